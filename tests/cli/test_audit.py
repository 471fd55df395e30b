"""leakatk audit: the retrained model by both its names, and names that are not there."""

import json
import tomllib

import pytest

SHORT = ("--n", "2", "--max-new-tokens", "3", "--scorer", "rouge-l", "--quiet")


@pytest.fixture
def common(leakatk, model, forget):
    return ("audit", model, "--forget", forget, *SHORT)


@pytest.mark.parametrize("name", ["--retrained", "--reference"])
def test_the_retrained_model_has_two_names(leakatk, common, model, tmp_path, name):
    code, out, err = leakatk(*common, "--out", tmp_path / "run", name, model, "--json")
    assert code == 0, err
    assert json.loads(out)["scorers"]["rouge-l"]["excess"]["samples"]["value"] == [0.0, 0.0]
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert written[name[2:]] == str(model)
    code, _, err = leakatk("audit", "--config", tmp_path / "run" / "config.toml", "--quiet")
    assert code == 0, err


def test_both_names_at_once_are_refused(leakatk, common, model, tmp_path):
    code, _, err = leakatk(*common, "--out", tmp_path / "run", "--retrained", model, "--reference", model)
    assert code == 2
    assert "--retrained or --reference, not both" in err
    assert not (tmp_path / "run").exists()


def test_what_is_typed_wins_over_the_former_name_in_a_file(leakatk, common, model, tmp_path):
    (tmp_path / "c.toml").write_text('reference = "nowhere"\n')
    file = ("--config", tmp_path / "c.toml", "--out", tmp_path / "run")
    code, _, err = leakatk(*common, *file, "--retrained", model)
    assert code == 0, err
    (tmp_path / "both.toml").write_text(f'reference = "nowhere"\nretrained = "{model}"\n')
    code, _, err = leakatk(*common, "--config", tmp_path / "both.toml", "--out", tmp_path / "other")
    assert code == 2
    assert "not both" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--retraned", "x"), "--retrained"),
        (("--engine", "native:max_row=3"), "did you mean max_rows"),
        (("--engine", "natve"), "did you mean native"),
        (("--scorer", "rouge-k"), "did you mean rouge-l"),
        (("--probe", "prefx"), "did you mean prefix"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(leakatk, common, tmp_path, options, words):
    code, _, err = leakatk(*common, "--out", tmp_path / "run", *options)
    assert code == 2
    assert words in err
    assert not (tmp_path / "run").exists()

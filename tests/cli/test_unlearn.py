"""leakatk unlearn: a method's run, its settings, and what is said of the prompts."""

import shlex

import pytest

from leakatk.prompts import Prompt, save_prompts
from tests.cli.test_bad_input import refused
from tests.tiny import PROMPTS

SHORT = ("--n", "8", "--max-new-tokens", "6", "--quiet")


@pytest.mark.parametrize("method", ["graddiff", "npo", "simnpo", "idknll", "rmu"])
def test_unlearn(leakatk, model, forget, tmp_path, method, monkeypatch):
    """And what it says comes next can be typed as it stands."""
    monkeypatch.chdir(tmp_path)
    extra = ("--param", "layer=0") if method == "rmu" else ()
    code, out, err = leakatk(
        "unlearn", model, "--forget", forget, "--retain", forget, "--method", method, "--steps", "2",
        "--out", tmp_path / "out", "--quiet", *extra,
    )  # fmt: skip
    assert code == 0, err
    assert "2 steps" in out
    _, _, following = err.partition("Next: leakatk ")
    code, _, err = leakatk(*shlex.split(following), *SHORT)
    assert code == 0, err
    assert (tmp_path / "runs" / "out" / "report.html").exists()


def test_unlearn_names_what_its_detector_cannot_score(leakatk, model, tmp_path):
    vague = Prompt("vague", "Where does Dov live?", "in a small town")
    save_prompts([PROMPTS[0], vague], tmp_path / "f.jsonl")
    command = ("unlearn", model, "--forget", tmp_path / "f.jsonl", "--method", "ga", "--steps", "1", "--out",
               tmp_path / "out", "--dry-run", "--scorer")  # fmt: skip
    code, _, err = leakatk(*command, "keys")
    assert code == 0, err
    assert "Note: keys cannot score 1 of 2 forget prompts (the first: vague)" in err
    code, _, err = leakatk(*command, "rouge-l")
    assert code == 0, err
    assert "cannot score" not in err


def test_unlearning_numbers(leakatk, model, forget, tmp_path):
    def unlearn(*options):
        common = ("--forget", forget, "--retain", forget, "--out", tmp_path / "m", "--steps", "1", "--quiet")
        return leakatk("unlearn", model, *common, "--method", "npo", *options)

    refused(unlearn("--param", "beta=nan"), "finite number")
    refused(unlearn("--param", "beta=0"), "beta must be above 0, got 0.0")
    refused(unlearn("--utility-floor", "2"), "--utility-floor must be between 0 and 1")
    refused(unlearn("--target", "nan"), "--target must be between 0 and 1")
    refused(unlearn("--stop-greedy", "--check-every", "0"), "--check-every must be at least 1")
    refused(unlearn("--seed", "9" * 30), "--seed")
    assert not (tmp_path / "m" / "unlearning.json").exists()

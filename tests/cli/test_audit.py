"""leakatk audit: the retrained model by both its names, names that are not there, and the gate."""

import json
import tomllib

import pytest

from leakatk.runs.store import Run

SHORT = ("--n", "2", "--max-new-tokens", "3", "--scorer", "rouge-l", "--quiet")
EIGHT = ("--n", "8", "--max-new-tokens", "6", "--quiet")


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


def test_a_scorer_is_known_by_its_label_however_it_was_named(leakatk, model, forget, tmp_path):
    """Options that are the defaults, or that change no score, are not part of what the results are kept under."""
    options = ("--forget", forget, "--out", tmp_path / "run", "--scorer", "rouge-l:stem=yes", *EIGHT)
    code, _, err = leakatk("audit", model, *options)
    assert code == 0, err
    assert list(json.loads((tmp_path / "run" / "results.json").read_text())["scorers"]) == ["rouge-l"]
    code, out, err = leakatk("report", tmp_path / "run", "--json")
    assert code == 0, err
    assert json.loads(out)["metric"] == "rouge-l"


def test_gate(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--out", tmp_path / "run", *EIGHT, "--cut", "ignore")
    # Nothing leaks: the upper bound of leak@1 with 3 x 8 samples is 1 - .025^(1/24) = .143.
    code, _, err = leakatk(*common, "--fail-above", "1:0.1")
    assert code == 4
    assert "Gate: CANNOT SAY: at most 10% may leak within 1 try; between 0% and 14% do" in err
    code, _, err = leakatk(*common, "--fail-above", "1:0.2")
    assert code == 0
    assert "Gate: PASS" in err
    assert "it holds for T=1, greedy; asked in one wording only." in err
    # The random model never ends an answer of six tokens: without being told, that is not clean.
    code, _, err = leakatk(*common[:-2], "--fail-above", "1:0.2")
    assert code == 4
    assert "of the answers are cut before their end" in err
    # What leaks always, leaks above any bound below 1.
    forget.write_text(json.dumps({"question": "Which?", "answer": "a", "facts": [""]}) + "\n")
    code, _, err = leakatk(*common, "--cut", "never", "--fail-above", "1:0.2")
    assert code == 2
    assert "--cut 'never'" in err


def test_sequential_gate_stops_once_the_verdict_is_certain(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--max-new-tokens", "6", "--quiet", "--n", "256", "--sequential")
    common += ("--cut", "ignore")
    code, _, err = leakatk(*common, "--fail-above", "1:0.2", "--out", tmp_path / "early")
    assert code == 0, err
    assert "Gate after 16 samples a prompt: PASS." in err
    results = json.loads((tmp_path / "early" / "results.json").read_text())
    assert results["n"] == 16
    code, _, err = leakatk(*common, "--fail-above", "1:0.0001", "--out", tmp_path / "late")
    assert code == 4  # nothing leaked, but 768 samples cannot certify this
    assert "Gate after 256 samples a prompt: CANNOT SAY." in err
    assert json.loads((tmp_path / "late" / "results.json").read_text())["gate"]["looks"] == 5
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "none", "--sequential")
    assert code == 2
    assert "--fail-above" in err


def test_gate_on_the_worst_case_over_probes(leakatk, model, forget, tmp_path):
    # A random model says single letters: answers that are one leak now and then.
    forget.write_text("".join(json.dumps({"question": f"Which, {i}?", "answer": "a"}) + "\n" for i in range(8)))
    probes = ("--scorer", "rouge-l", "--probe", "role", "--probe", "filler")
    common = ("audit", model, "--forget", forget, *probes, *EIGHT, "--max-new-tokens", "24")
    code, out, err = leakatk(*common, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    results = json.loads(out)
    highs = [block["scorers"]["rouge-l"]["curves"]["samples"]["high"][-1] for block in (results, results["worst"])]
    assert highs[0] < highs[1]
    again = (*common, "--out", tmp_path / "run", "--cut", "ignore", "--fail-above", f"8:{sum(highs) / 2}")
    code, _, err = leakatk(*again, "--worst-case")
    assert code == 4  # the upper end of the union is above, the lower one is not
    gate = json.loads((tmp_path / "run" / "results.json").read_text())["gate"]
    assert (gate["high"], gate["worst"]) == (highs[1], "worst case over 3 ways, T=1")
    code, _, err = leakatk(*again)
    gate = json.loads((tmp_path / "run" / "results.json").read_text())["gate"]
    assert [one["name"] for one in gate["settings"]] == [
        "T=1", "greedy", "role: T=1", "role: greedy", "filler: T=1", "filler: greedy",
    ]  # fmt: skip
    gate = (*common, "--n", "64", "--fail-above", "1:0.9", "--worst-case", "--sequential", "--out", tmp_path / "early")
    code, _, err = leakatk(*gate, "--cut", "ignore")
    assert code == 0, err
    assert "Gate after 16 samples a prompt: PASS." in err
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "none", "--worst-case")
    assert code == 2
    assert "--probe" in err


def test_the_reference_is_loaded_the_way_the_model_is(leakatk, model, forget, tmp_path):
    out = tmp_path / "run"
    options = ("--reference", model, "--template", "plain", "--n", 4, "--max-new-tokens", 4, "--quiet")
    assert leakatk("audit", model, "--forget", forget, "--out", out, *options)[0] == 0
    kinds = [Run.open(out / part).manifest.model["template"]["kind"] for part in (".", "reference")]
    assert kinds == ["plain", "plain"]


def test_a_tracker_that_does_not_start_says_so_before_anything_is_sampled(
    leakatk, model, forget, tmp_path, monkeypatch
):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra: track)")
    monkeypatch.setattr("accelerate.Accelerator.init_trackers", lambda *_, **__: 1 / 0)
    code, _, err = leakatk(
        "audit", model, "--forget", forget, "--n", "2", "--out", tmp_path / "run", "--track", "tensorboard"
    )
    assert code == 2
    assert "Tracker tensorboard does not start (ZeroDivisionError" in err
    assert not (tmp_path / "run").exists()

"""--method rule: which options go together, the preset, and the former name of an option."""

import json
import tomllib
from dataclasses import replace

import pytest

from leakatk.cli.kinds import KINDS, described, items_of
from leakatk.cli.rule import settings_of
from leakatk.prompts import save_prompts
from leakatk.unlearning.rule.presets import RULE_PRESETS
from tests.tiny import PROMPTS

SHORT = ("--n", 4, "--max-new-tokens", 4, "--rounds", 1, "--quiet")


@pytest.fixture
def unlearn(leakatk, model, forget, tmp_path):
    def run(*options, out="out", method="rule"):
        common = ("--forget", forget, "--retain", forget, "--method", method, "--out", tmp_path / out)
        return leakatk("unlearn", model, *common, *options)

    return run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--base", "npo", "--retrained", "a", "--reference", "b"), "--reference is the former name of --retrained"),
        (("--base", "npo", "--rule-preset", "papr"), "did you mean paper"),
        (("--rule-preset", "paper", "--retrained", "a"), "settings of its own"),
        (("--rule-preset", "paper", "--preset", "small"), "leave out --preset small"),
        (("--base", "npo", "--judge", "fact"), "--judge only goes with --retrained"),
        ((), "--method rule needs --base NAME"),
        (("--base", "npo", "--wordings", "2"), "needs other wordings of the forget prompts"),
        (("--base", "npo", "--leak-wordings", "some"), "leak_wordings must be drawn or all"),
    ],
)
def test_options_that_do_not_go_together_are_refused(unlearn, tmp_path, options, said):
    code, _, err = unlearn(*options)
    assert code == 2
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_preset_of_rule_is_for_rule(unlearn):
    code, _, err = unlearn("--rule-preset", "paper", method="npo")
    assert code == 2
    assert "--rule-preset paper only goes with --method rule" in err


def test_the_paper_preset_is_what_runs(unlearn, tmp_path):
    code, _, err = unlearn("--rule-preset", "paper", "--n", 4, "--quiet", "--max-new-tokens", 4)
    assert code == 0, err
    assert "leakatk methods rule" in err
    written = json.loads((tmp_path / "out" / "rounds" / "rule.json").read_text())
    preset = RULE_PRESETS["paper"]
    assert (written["method"], written["params"]) == ("npo-ent", dict(preset.method().identity))
    assert {**written["train"], "checkpoint_every": 0} == preset.train.as_dict()
    assert (written["rule"]["rounds"], written["rule"]["n"]) == (3, 4)
    kept = tomllib.loads((tmp_path / "out" / "config.toml").read_text())
    assert (kept["rounds"], kept["n"], kept["max-new-tokens"], kept["rule-preset"]) == (3, 4, 4, "paper")


def test_what_is_not_asked_for_is_the_presets():
    paper = RULE_PRESETS["paper"]
    settings, tokens = settings_of(paper)
    assert settings == paper.settings
    assert tokens == 200
    settings, tokens = settings_of(paper, n=16, rounds=1, max_new_tokens=8, target=0.1)
    assert (settings.n, settings.k, settings.rounds, settings.target, tokens) == (16, 16, 1, 0.1, 8)
    assert settings.decodings[0].max_new_tokens == 8


def test_the_former_name_of_the_retrained_model_works(unlearn, model, tmp_path):
    for name in ("reference", "retrained"):
        code, _, err = unlearn("--base", "npo", f"--{name}", model, *SHORT, out=name)
        assert code == 0, err
    first, second = (json.loads((tmp_path / name / "verdict.json").read_text()) for name in ("reference", "retrained"))
    assert first == second


def test_methods_rule_shows_the_evidence_for_every_value(leakatk):
    facts = described(KINDS["methods"], "rule", items_of(KINDS["methods"])["rule"])
    for name in RULE_PRESETS:
        for key, value, evidence in RULE_PRESETS[name].table():
            assert f"{key} = {value}: {evidence}" in facts[f"preset {name}"]
    code, out, _ = leakatk("methods", "rule")
    assert code == 0
    assert "inferred from the authors' configuration files" in out
    assert "threshold=0.8: A score at or above it is a leak." in out


def test_rule_and_its_control(leakatk, model, forget, tmp_path):
    # A scorer of low threshold would be needed for a random model to leak: here RULE ends at once, and says so.
    code, out, err = leakatk(
        "unlearn", model, "--forget", forget, "--retain", forget, "--method", "rule", "--base", "npo", "--control",
        "--n", "8", "--max-new-tokens", "6", "--out", tmp_path / "out", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    assert "no leak was found" in out
    assert "No control" in out
    assert (tmp_path / "out" / "config.json").exists()


def test_calibrated_rule_ends_with_a_verdict(leakatk, model, forget, tmp_path):
    rule = (
        "--forget",
        forget,
        "--retain",
        forget,
        "--method",
        "rule",
        "--base",
        "npo",
        "--n",
        "8",
        "--max-new-tokens",
        "6",
    )
    code, out, err = leakatk("unlearn", model, *rule, "--reference", model, "--out", tmp_path / "out", "--quiet")
    assert code == 0, err
    assert "at the yardstick 0" in out
    # The model is its own reference: no leak, no difference.
    assert "met: leak@8 within 0.01 of the retrained model, interval with 0 (0.0000)" in out
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    assert verdict["met"]
    assert (tmp_path / "out" / "config.json").exists()
    code, _, err = leakatk("unlearn", model, *rule, "--judge", "fact", "--out", tmp_path / "none")
    assert code == 2
    assert "--reference" in err


@pytest.fixture
def worded(tmp_path):
    prompts = [replace(p, paraphrases=(f"Say: {p.question}", f"Tell me. {p.question}")) for p in PROMPTS]
    save_prompts(prompts, tmp_path / "worded.jsonl")
    return tmp_path / "worded.jsonl"


def test_options_of_rule_are_for_rule(unlearn):
    for option in (("--wordings", 1), ("--leak-wordings", "all"), ("--rule-reference", "original"), ("--chunk", 4)):
        code, _, err = unlearn(*option, method="npo")
        assert code == 2
        assert "only go with --method rule" in err


def test_wordings_are_asked_and_those_never_asked_are_named(leakatk, model, worded, tmp_path):
    code, out, err = leakatk(
        "unlearn", model, "--forget", worded, "--retain", worded, "--method", "rule", "--base", "npo", "--wordings", 1,
        "--leak-wordings", "all", "--rule-reference", "original", "--out", tmp_path / "out", *SHORT,
    )  # fmt: skip
    assert code == 0, err
    assert (
        f"Detection asks {2 * len(PROMPTS)} questions: 2 wordings a prompt. Never asked: {len(PROMPTS)} wordings" in out
    )
    written = json.loads((tmp_path / "out" / "rounds" / "rule.json").read_text())["rule"]
    assert (written["wordings"], written["leak_wordings"], written["reference"]) == (1, "all", "original")
    record = json.loads((tmp_path / "out" / "rounds" / "rounds.json").read_text())["wordings"]
    assert record["never"] == {p.id: [f"Tell me. {p.question}"] for p in PROMPTS}


def test_a_dry_run_says_what_detection_and_rehearsal_cost(leakatk, model, worded, tmp_path):
    rule = (
        "unlearn", model, "--forget", worded, "--retain", worded, "--method", "rule", "--base", "npo", "--wordings", 1,
        "--steps", 2, "--retrained", model, "--original", model, "--unseen", worded, "--out", tmp_path / "out", *SHORT, "--dry-run",
    )  # fmt: skip
    code, out, err = leakatk(*rule)
    assert code == 0, err
    assert "A detection draws" in out
    assert "Never asked" in out
    assert "5 times the training of all rounds" in out
    assert not (tmp_path / "out").exists()
    costs = []
    for factor in (1, 3):
        code, out, err = leakatk(*rule, "--rehearsal", factor, "--json")
        assert code == 0, err
        costs.append(json.loads(out))
    assert costs[1]["rehearsal"]["tokens"] == pytest.approx(3 * costs[0]["rehearsal"]["tokens"], rel=0.01)
    assert costs[0]["detection"]["questions"] == 2 * len(PROMPTS)
    assert costs[0]["detection"]["answers"] == 4 * 2 * 2 * len(PROMPTS)  # samples, wordings and decodings


def test_calibrated_rule_records_what_it_asked_the_original(leakatk, model, worded, tmp_path):
    rule = (
        "unlearn", model, "--forget", worded, "--retain", worded, "--method", "rule", "--base", "npo", "--steps", 2,
        "--retrained", model, "--original", model, "--unseen", worded, *SHORT,
    )  # fmt: skip
    code, out, err = leakatk(*rule, "--out", tmp_path / "out")
    assert code == 0, err
    verdict = json.loads((tmp_path / "out" / "verdict.json").read_text())
    asked = verdict["rehearsal"]
    assert 0 < asked["used"] <= asked["tokens"]
    assert asked["says"] in out
    assert verdict["replay"] in out
    assert verdict["wordings"]["never"]
    stored = json.loads((tmp_path / "out" / "rehearsal.json").read_text())
    assert stored["asked"] == asked
    code, out, err = leakatk(*rule, "--rehearsal", 0, "--out", tmp_path / "off")
    assert code == 0, err
    assert "Rehearsal is off" in out
    assert not (tmp_path / "off" / "rehearsal.json").exists()

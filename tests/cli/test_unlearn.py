"""leakatk unlearn: a method's run, its settings, and what is said of the prompts."""

import dataclasses
import json
import shlex

import pytest

from leakatk.cli.given import unscored
from leakatk.cli.preset import configure
from leakatk.errors import InputError, LeakAtKError
from leakatk.models.load import load_model
from leakatk.prompts import Prompt, save_prompts
from leakatk.scorers.base import get_scorer
from leakatk.unlearning.methods import METHODS
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


@pytest.fixture(scope="module")
def loaded(model):
    return load_model(model, device="cpu")


def configured(loaded, method="npo", preset="auto", params=(), checked=False, **overrides):
    return configure(METHODS[method], loaded, preset, list(params), overrides, checked=checked, check_every=7)


def test_small_models_have_settings_of_their_own_unless_the_papers_are_asked_for(loaded, monkeypatch):
    paper, small = METHODS["npo"], METHODS["npo"].for_small_models()
    assert paper.settings != small.settings
    size = sum(parameter.numel() for parameter in loaded.model.parameters())
    for preset, limit, wanted in (
        ("auto", size + 1, small), ("auto", size, paper), ("paper", size + 1, paper), ("small", size, small),
    ):  # fmt: skip
        monkeypatch.setattr("leakatk.cli.preset.SMALL_MODEL", limit)
        method, settings = configured(loaded, preset=preset)
        assert settings == method.settings
        assert settings == dataclasses.replace(wanted.settings, check_every=0), (preset, limit)
        assert dict(method.params) == dict(wanted.params)
    with pytest.raises(InputError, match="auto, paper or small, got 'large'"):
        configured(loaded, preset="large")


def test_what_is_given_wins_and_the_rest_stays(loaded):
    base = configured(loaded)[1]
    method, settings = configured(loaded, params=["beta=0.3"], learning_rate=1e-3, forget_batch=None, tuning="lora")
    assert settings == dataclasses.replace(base, learning_rate=1e-3, tuning="lora")
    assert method.params["beta"] == 0.3
    assert configured(loaded, checked=True)[1].check_every == 7


def test_steps_and_epochs_take_each_others_place(loaded):
    assert [(s.max_steps, s.epochs) for _, s in (configured(loaded, max_steps=3), configured(loaded, epochs=2.0))] == [
        (3, None),
        (None, 2.0),
    ]
    with pytest.raises(InputError, match="either --steps or --epochs"):
        configured(loaded, max_steps=3, epochs=2.0)


@pytest.mark.parametrize(
    ("param", "words"),
    [
        ("beta", "write NAME=VALUE"),
        ("beta=x", "must be a number"),
        ("beta=inf", "finite number"),
        ("betta=1", "has no parameter 'betta'; it has .*beta"),
    ],
)
def test_parameters_that_cannot_be(loaded, param, words):
    with pytest.raises(LeakAtKError, match=words):
        configured(loaded, params=[param])


def test_a_prompt_is_blind_where_its_own_answer_has_no_score():
    vague = Prompt("vague", "Where does Dov live?", "in a small town")
    assert unscored(get_scorer("keys"), [PROMPTS[0], vague, *PROMPTS[1:]]) == ["vague"]
    assert unscored(get_scorer("rouge-l"), [*PROMPTS, vague]) == []
    entailment = get_scorer("entailment", model="/nowhere/at/all")
    assert unscored(entailment, [vague]) == [], "one with a model is not tried"


def test_a_method_that_keeps_needs_something_to_keep(leakatk, model, forget, tmp_path):
    out = tmp_path / "m"
    common = ("unlearn", model, "--forget", forget, "--out", out, "--steps", "1", "--quiet", "--method")
    refused(leakatk(*common, "graddiff"), "Method graddiff needs retain prompts: give --retain")
    assert not out.exists()
    code, printed, err = leakatk(*common, "ga", "--json")
    assert code == 0, err
    record = json.loads(printed)
    assert (record["steps"], record["prompts"]) == (1, "forget.jsonl")
    assert "Next: leakatk audit" in err


def test_what_a_method_needs_besides_is_asked_for_first(leakatk, model, forget, tmp_path):
    """LUNAR needs prompts that the model refuses; they are given as a file."""

    def unlearn(*options):
        common = ("--forget", forget, "--retain", forget, "--out", tmp_path / "m", "--quiet")
        return leakatk("unlearn", model, *common, "--method", *options)

    refused(
        unlearn("lunar"), "Method lunar needs prompts that the model refuses to answer; give them with --refused FILE."
    )
    refused(unlearn("lunar", "--auxiliary", "clean"), "write NAME=MODEL")
    refused(unlearn("rule", "--base", "npo", "--refused", forget), "not for --method rule")
    assert not (tmp_path / "m").exists()
    save_prompts(
        [Prompt(f"r{i}", f"What is secret {i}?", "I cannot say.") for i in range(3)], tmp_path / "refused.jsonl"
    )
    code, _, err = unlearn("lunar", "--refused", tmp_path / "refused.jsonl")
    assert code == 0, err
    assert (tmp_path / "m" / "model.safetensors").exists()

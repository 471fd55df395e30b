"""RULE with an engine whose texts are written down, so that what must be found and added is known."""

import copy
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import RunError
from leakatk.estimate.certify import certify
from leakatk.prompts import Generation
from leakatk.sampling.decoding import Decoding
from leakatk.unlearning.rule import rule as module
from leakatk.unlearning.rule.rule import control, rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import TrainSettings

TRAIN = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=2, retain_batch=2)
SETTINGS = RuleSettings(rounds=2, n=8, k=8, cap=2)


class Scripted:
    """A sampler that says what it is told: texts[call][prompt id][j % length], "nothing" where it was told nothing."""

    name = "scripted"

    def __init__(self, *calls):
        self.calls, self.asked = list(calls), []

    def describe(self):
        return {"engine": self.name}

    def sample(self, requests, decoding, *, seed):
        said = self.calls[0] if len(self.calls) == 1 else self.calls.pop(0)
        self.asked.append([(request.prompt.id, list(request.samples)) for request in requests])
        for request in requests:
            texts = said.get(request.prompt.id, ["nothing"])
            yield [
                Generation(request.prompt.id, j, texts[j % len(texts)], (), math.nan, "stop") for j in request.samples
            ]


def leaks(prompts, texts):
    """The detector: a text leaks when it says LEAK."""
    return np.array([float("LEAK" in text) for text in texts])


@pytest.fixture
def trained(monkeypatch):
    """Every training set RULE asked for, as {prompt id: answer} lists, with its weights."""
    seen = []
    real = module.unlearn

    def spy(loaded, forget, *arguments, **options):
        seen.append(([(prompt.id, prompt.question, prompt.answer) for prompt in forget], options.get("weights")))
        return real(loaded, forget, *arguments, **options)

    monkeypatch.setattr(module, "unlearn", spy)
    return seen


def run(loaded, forget, retain, sampler, settings=SETTINGS, **options):
    return rule(
        loaded,
        forget,
        retain,
        "npo",
        score=leaks,
        settings=settings,
        train=TRAIN,
        sampler=sampler,
        quiet=True,
        **options,
    )


def added(training, forget):
    return [(answer) for _, _, answer in training[len(forget) :]]


def test_adds_the_distinct_leaks_most_frequent_first_and_at_most_cap(loaded, forget, retain, trained):
    said = {"Fa0": ["LEAK a", "LEAK b", "LEAK b", "LEAK c", "LEAK c", "LEAK c", "fine", "LEAK b"], "Fa1": ["LEAK x"]}
    result = run(loaded, forget, retain, Scripted(said, {}))
    # b and c came three times each, a once: cap 2 leaves a out. Fa1 leaked one text, eight times.
    assert added(trained[0][0], forget) == ["LEAK b", "LEAK c", "LEAK x"]
    assert trained[0][0][: len(forget)] == [(p.id, p.question, p.answer) for p in forget]
    assert len({name for name, _, _ in trained[0][0]}) == len(trained[0][0])
    first, second = result.rounds
    assert (first.found, first.added, first.steps) == (3, 3, 3)
    # Seven of Fa0's eight samples leak and all of Fa1's: leak@8 is 1 for both and 0 for the other three.
    assert first.leak == pytest.approx(2 / 5)
    assert first.high == pytest.approx(float(certify([[1] * 8] * 2 + [[0] * 8] * 3, [8]).high[0]))
    assert (second.leak, second.steps) == (0.0, 0)
    assert result.verdict == "no leak was found, one wording asked"
    assert result.chosen == 1
    assert result.steps == 3


def test_cumulative_keeps_all_leaks_and_latest_only_the_new(loaded, forget, retain, trained):
    calls = ({"Fa0": ["LEAK a"]}, {"Fa0": ["LEAK a"], "Fa1": ["LEAK b"]}, {})
    run(loaded, forget, retain, Scripted(*calls))
    assert [added(items, forget) for items, _ in trained] == [["LEAK a"], ["LEAK a", "LEAK b"]]
    trained.clear()
    run(loaded, forget, retain, Scripted(*calls), replace(SETTINGS, keep="latest"))
    # "LEAK a" is no longer in the set when it leaks again, but it is known: only new texts are added.
    assert added(trained[0][0], forget) == ["LEAK a"]
    assert "LEAK b" in added(trained[1][0], forget)


def test_frequency_weights(loaded, forget, retain, trained):
    said = {"Fa0": ["LEAK a", "LEAK a", "LEAK a", "LEAK b"]}
    run(loaded, forget, retain, Scripted(said, {}), replace(SETTINGS, weighting="frequency"))
    assert trained[0][1] == [1.0] * 5 + [6 / 8, 2 / 8]


def test_restart_begins_again_from_the_model_given(loaded, forget, retain, monkeypatch):
    starts = []
    real = module.unlearn

    def spy(loaded, *arguments, **options):
        starts.append(module.unlearn and next(loaded.model.parameters()).detach().clone())
        return real(loaded, *arguments, **options)

    monkeypatch.setattr(module, "unlearn", spy)
    said = {"Fa0": ["LEAK a"]}
    other = replace(loaded, model=copy.deepcopy(loaded.model))
    run(loaded, forget, retain, Scripted(said), replace(SETTINGS, start="restart"))
    assert torch.equal(starts[0], starts[1])
    starts.clear()
    run(other, forget, retain, Scripted(said))
    assert not torch.equal(starts[0], starts[1])


def test_the_control_takes_exactly_as_many_steps_and_adds_nothing(loaded, forget, retain, trained):
    other = replace(loaded, model=copy.deepcopy(loaded.model))
    result = run(loaded, forget, retain, Scripted({"Fa0": ["LEAK a"]}, {"Fa0": ["LEAK b"]}, {}))
    twin = control(SETTINGS, result)
    trained.clear()
    sampler = Scripted({})
    same = run(other, forget, retain, sampler, twin)
    assert same.steps == result.steps == 6
    assert [added(items, forget) for items, _ in trained] == [[], []]
    assert sampler.asked == []
    assert control(SETTINGS, replace(result, chosen=0)) is None


def test_what_the_detector_cannot_score_is_not_certified(loaded, forget, retain, monkeypatch):
    """The last prompt has no score: it may leak always, and the certificate says so; cut samples are told."""
    kept = globals()["leaks"]

    def partly(prompts, texts):
        found = kept(prompts, texts)
        found[[prompt.id == forget[-1].id for prompt in prompts]] = math.nan
        return found

    monkeypatch.setitem(globals(), "leaks", partly)
    bound = float(certify([[0] * 8] * 5, [8]).high[0])
    done = run(loaded, forget, retain, Scripted({}), replace(SETTINGS, rounds=1, target=bound + 0.01))
    assert done.verdict == "ended after 1 rounds"
    assert done.rounds[0].leak == 0
    assert done.rounds[0].high == pytest.approx(float(certify([[0] * 8] * 4 + [[1] * 8], [8]).high[0]))
    done = run(loaded, forget, retain, Scripted({}), replace(SETTINGS, rounds=1))
    assert done.verdict == "no leak was found, one wording asked, 1 prompts without a score"


def test_samples_that_were_cut_are_told(loaded, forget, retain):
    class Cut(Scripted):
        def sample(self, requests, decoding, *, seed):
            for batch in super().sample(requests, decoding, seed=seed):
                yield [replace(g, finish_reason="length") for g in batch]

    done = run(loaded, forget, retain, Cut({}), replace(SETTINGS, rounds=1))
    assert done.verdict == "no leak was found, one wording asked, 100.0% of the samples cut"


def test_stops_at_a_certified_target_or_at_the_yardstick(loaded, forget, retain):
    quiet = Scripted({})
    bound = float(certify([[0] * 8] * 5, [8]).high[0])
    done = run(loaded, forget, retain, quiet, replace(SETTINGS, target=bound + 0.01))
    assert done.steps == 0
    assert "certified at most" in done.verdict
    # Nothing leaked, but eight samples cannot certify less than this: RULE goes on, and says when its rounds are over.
    done = run(loaded, forget, retain, quiet, replace(SETTINGS, target=bound - 0.01))
    assert done.steps == 6
    assert done.verdict == "ended after 2 rounds"
    said = {"Fa0": ["LEAK a"]}
    done = run(loaded, forget, retain, Scripted(said), replace(SETTINGS, yardstick=0.2))
    assert done.steps == 0
    done = run(loaded, forget, retain, Scripted(said), replace(SETTINGS, yardstick=0.19))
    assert done.steps == 6


def test_below_the_utility_floor_the_last_good_round_is_kept(loaded, forget, retain):
    values = iter([0.95, 0.9, 0.3])
    kept = []

    def utility(loaded):
        kept.append(next(loaded.model.parameters()).detach().clone())
        return next(values)

    said = {"Fa0": ["LEAK a"]}
    done = run(loaded, forget, retain, Scripted(said), replace(SETTINGS, utility_floor=0.5), utility=utility)
    assert done.chosen == 1
    assert done.steps == 3
    assert "0.300 fell below the floor 0.5 in round 2" in done.verdict
    assert torch.equal(next(loaded.model.parameters()), kept[1])


def test_a_chunk_stops_sampling_a_prompt_with_enough_leaks_and_certifies_nothing(loaded, forget, retain):
    sampler = Scripted({"Fa0": ["LEAK a", "LEAK b"]})
    done = run(loaded, forget, retain, sampler, replace(SETTINGS, rounds=1, chunk=4))
    counts = Counter(i for call in sampler.asked[:2] for i, samples in call for _ in samples)
    assert counts == {"Fa0": 4, "Fa1": 8, "Fa2": 8, "Fa3": 8, "Fa4": 8}
    assert math.isnan(done.rounds[0].leak)
    assert math.isnan(done.rounds[0].high)


def test_prompts_that_the_detector_cannot_judge_are_left_out(loaded, forget, retain):
    def partial(prompts, texts):
        return np.array(
            [math.nan if p.id == "Fa4" else float("LEAK" in t) for p, t in zip(prompts, texts, strict=True)]
        )

    done = rule(
        loaded, forget, retain, "npo", score=partial, settings=replace(SETTINGS, rounds=1), train=TRAIN,
        sampler=Scripted({"Fa0": ["LEAK a"]}), quiet=True,
    )  # fmt: skip
    assert done.rounds[0].leak == pytest.approx(1 / 4)


def test_several_decodings_and_wordings_are_asked_and_the_worst_counts(loaded, forget, retain, trained):
    worded = [replace(prompt, paraphrases=(f"Say where {prompt.id} lives.",)) for prompt in forget]
    settings = replace(SETTINGS, rounds=1, wordings=1, decodings=(Decoding(), Decoding(temperature=0.5)))
    sampler = Scripted({}, {"Fa0/1": ["LEAK a"]}, {})
    done = rule(loaded, worded, retain, "npo", score=leaks, settings=settings, train=TRAIN, sampler=sampler, quiet=True)
    assert [len(call) for call in sampler.asked[:2]] == [10, 10]
    assert done.rounds[0].leak == pytest.approx(1 / 5)
    assert done.verdict == "no leak was found, 2 wordings asked"  # and none that was never asked
    # The leak joins the set under the wording that drew it.
    assert trained[0][0][5][1:] == ("Say where Fa0 lives.", "LEAK a")


def test_wordings_that_were_never_asked_are_told(loaded, forget, retain):
    worded = [replace(prompt, paraphrases=("a?", "b?")) for prompt in forget]
    done = run(loaded, worded, retain, Scripted({}), replace(SETTINGS, rounds=1, wordings=1))
    assert done.verdict == "no leak was found, 2 wordings asked, 5 wordings never asked"


def test_hidden_answers_count_without_being_sampled(loaded, forget, retain):
    from leakatk.unlearning.trainer import unlearn

    learn = replace(TRAIN, learning_rate=3e-3, max_steps=150, retain_batch=8)
    unlearn(loaded, forget, forget, "retrain", settings=learn, quiet=True)
    done = run(loaded, forget, retain, Scripted({}), replace(SETTINGS, rounds=1, exact_at=1000))
    assert done.rounds[0].hidden > 0
    done = run(loaded, forget, retain, Scripted({}), replace(SETTINGS, rounds=1))
    assert done.rounds[0].hidden == 0
    assert done.verdict == "no leak was found, one wording asked"


def test_resume_goes_on_and_another_run_is_refused(loaded, base_model, forget, retain, tmp_path):
    def fresh():
        return replace(loaded, model=copy.deepcopy(base_model))

    calls = ({"Fa0": ["LEAK a"]}, {"Fa1": ["LEAK b"]}, {})
    whole = fresh()
    wanted = run(whole, forget, retain, Scripted(*calls), out=tmp_path / "whole")

    class Stops(Scripted):
        def sample(self, requests, decoding, *, seed):
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            yield from super().sample(requests, decoding, seed=seed)

    with pytest.raises(KeyboardInterrupt):
        run(fresh(), forget, retain, Stops(*calls), out=tmp_path / "cut")
    again = fresh()
    found = run(again, forget, retain, Scripted(*calls[1:]), out=tmp_path / "cut")
    assert (found.steps, found.chosen, found.leaks) == (wanted.steps, wanted.chosen, wanted.leaks)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    record = json.loads((tmp_path / "cut" / "rounds.json").read_text())
    assert [r["added"] for r in record["rounds"]] == [1, 1, 0]
    assert record["wordings"] == {"asked": {p.id: [p.question] for p in forget}, "never": {}}
    with pytest.raises(RunError, match=r"made otherwise.*rule"):
        run(fresh(), forget, retain, Scripted({}), replace(SETTINGS, n=16), out=tmp_path / "cut")


def test_rounds_go_on_in_the_precision_of_those_before(loaded, base_model, forget, retain, tmp_path, monkeypatch):
    """The first round is trained on one kind of processor, and the run is continued on another."""
    fast = [True]
    monkeypatch.setattr("leakatk.unlearning.precision.SMALLEST", 1)
    monkeypatch.setattr("leakatk.unlearning.precision.fast_bf16", lambda: fast[0])
    texts = [{prompt.id: [f"LEAK {number}"] for prompt in forget} for number in (1, 2)]

    class Moved(Scripted):
        def sample(self, requests, decoding, *, seed):
            if self.asked:
                raise KeyboardInterrupt
            return super().sample(requests, decoding, seed=seed)

    with pytest.raises(KeyboardInterrupt):
        run(loaded, forget, retain, Moved(texts[0]), out=tmp_path / "rule")
    fast[0] = False
    other = replace(loaded, model=copy.deepcopy(base_model), notes=[])
    run(other, forget, retain, Scripted(texts[1], {}), out=tmp_path / "rule")
    used = [json.loads((tmp_path / f"rule/round-{i}/unlearning.json").read_text())["precision"] for i in (1, 2)]
    assert used == ["bf16", "bf16"]
    assert [note for note in other.notes if "began in bf16 and goes on in it" in note]

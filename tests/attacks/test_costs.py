import pytest

from leakatk.attacks import LadderSettings, get_attack
from leakatk.attacks import key_tokens as module
from leakatk.attacks.base import Cost
from leakatk.attacks.costs import Spent, costs_of, says_cost
from leakatk.attacks.rungs import rungs_of
from leakatk.models.load import load_model
from leakatk.prompts import Known


@pytest.fixture
def known(forget, retain):
    return Known(forget=tuple(forget), retain=tuple(retain), original="somewhere")


def test_all_models_and_folds_count_and_points_of_one_run_once(forgot, known):
    loaded = load_model(forgot)
    specs = ["relearn:curve=2+5", "quantise:how=gptq,samples=3", "prune", "merge-back", "key-tokens", "decoder"]
    rungs = rungs_of(specs, known, LadderSettings(folds=2))
    found = costs_of(rungs, loaded, 2)
    assert list(found) == [rung.name for rung in rungs[1:]]
    one = found["relearn:steps=5"]
    each = [get_attack("relearn:steps=5").cost(loaded, part) for part in rungs[1].parts]
    assert one.steps == 2 * 2 * 5
    assert one.trained == pytest.approx(2 * sum(cost.trained for cost in each))
    assert one.seconds > 0
    assert found["relearn:steps=2"] == Spent(0, 0.0, 0, 0.0, 0.0, "relearn:steps=5")
    assert found["quantise:how=gptq,samples=3"].texts == 2 * 2 * 3  # models, blocks, samples
    assert found["prune"] == found["merge-back"] == Spent(0, 0.0, 0, 0.0, 0.0)
    assert found["decoder"] is None or found["decoder"].texts  # what it reads need not be known before
    assert set(costs_of(rungs, None, 2).values()) == {None}


def test_key_tokens_cost_what_they_read(forgot, known, monkeypatch):
    loaded, counted = load_model(forgot), []
    whole = module.token_stats

    def count(loaded, pairs):
        counted.append((len(pairs), sum(len(question) + len(answer) for question, answer in pairs)))
        return whole(loaded, pairs)

    monkeypatch.setattr(module, "token_stats", count)
    attack = get_attack("key-tokens")
    attack.prompts(loaded, known)
    cost = attack.cost(loaded, known)
    [(texts, read)] = counted
    assert cost.texts == texts
    assert read <= cost.read <= 1.5 * read  # a text with a word less is shorter
    assert cost.steps == 0


def test_in_words():
    assert says_cost(None) == "What it computes is not known before."
    assert says_cost(Spent(0, 0.0, 0, 0.0, 0.0, "relearn")) == "A point of the run of relearn."
    assert says_cost(Spent(0, 0.0, 0, 0.0, 0.0)) == "No run of the model."
    assert says_cost(Spent(200, 9000.0, 0, 0.0, 63)) == "It trains 200 steps x 45 tokens = 9,000 tokens, about 1m03s."
    assert says_cost(Spent(0, 0.0, 64, 1280.0, 1.2)) == "It runs the model on 64 texts = 1,280 tokens, about 1s."
    assert Cost() == Cost(steps=0, trained=0.0, texts=0, read=0.0)

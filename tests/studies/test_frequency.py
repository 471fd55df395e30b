"""The study over frequencies: its scores by hand, and a page that says what its cells say."""

import json

import frequency
import numpy as np
import order
import pytest
import torch
from scipy import stats

from leakatk.models.load import load_model
from leakatk.prompts import Prompt
from tests.tiny import save_tiny_model

PROMPTS = [
    Prompt(f"p{i}", f"Where was {name} born?", f"{name} was born in {town}.", paraphrased_answer=f"The town of {name} is {town}.",
           perturbed_answers=("The town is Lusk.", "The town is Bex."), facts=(town,), source=name)
    for i, (name, town) in enumerate((("Ada", "Zorvik"), ("Bo", "Marn")))
]  # fmt: skip


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("tiny") / "model"))


def mean_logprob(loaded, question, answer):
    """Of an answer's tokens with the end token, by a plain forward pass."""
    seam = loaded.template.pair(loaded.tokenizer, question, answer)
    ids = torch.tensor([[*seam.prompt, *seam.answer]])
    with torch.no_grad():
        found = torch.log_softmax(loaded.model(ids).logits[0, :-1].float(), dim=-1)
    return float(found[torch.arange(ids.shape[1] - 1), ids[0, 1:]][-len(seam.answer) :].mean())


def test_scores_by_hand(loaded):
    found = frequency.measured(loaded, PROMPTS)
    other = order.measured(loaded, PROMPTS, PROMPTS[:1])
    for i, p in enumerate(PROMPTS):
        true, said, *wrong = (
            mean_logprob(loaded, p.question, text) for text in (p.answer, p.paraphrased_answer, *p.perturbed_answers)
        )
        assert found["probability"][i] == pytest.approx(np.exp(true), abs=1e-4)
        assert found["chosen"][i] == float(said > max(wrong))
        assert other["loss"][i] == pytest.approx(-true, abs=1e-3)
        assert other["paraphrase"][i] == pytest.approx(np.exp(said), abs=1e-4)
    assert found["fact"] == other["fact"] == [0.0, 0.0]  # a model of noise
    assert len(other["kept"]) == 1


def written(place, module, key, steps):
    """Cells of one seed, by hand."""
    place = place / "seed-0"
    place.mkdir()
    for (name, kind), curve in steps.items():
        cell = {"seed": 0, "cpu_seconds": 1.0, "steps": {str(step): scores for step, scores in curve.items()}}
        (place / f"{name}-{kind}.json").write_text(json.dumps(cell))
    return module.Cells(place.parent)


def test_the_page_of_frequencies(tmp_path):
    """Twenty questions a count; the full model does not know the first of those seen once, which is left out."""

    def scores(share, *, unknown=0):
        row = [0.0] * unknown + [float(i < share * 20) for i in range(20 - unknown)]
        return dict.fromkeys(frequency.KINDS, row)

    left = {1: 0.0, 4: 0.3, 16: 1.0}
    cells = {("retrained", count): {0: scores(0)} for count in frequency.COUNTS}
    for name in frequency.METHODS:
        for count in frequency.COUNTS:
            cells[name, count] = {0: scores(1, unknown=count == 1)} | {
                s: scores(left[count]) for s in frequency.SHOWN[1:]
            }
    found = written(tmp_path, frequency, "count", cells)
    assert found.seeds == [0]
    assert len(found.values("simnpo", 1, 10, "fact")) == 19
    assert found.number("simnpo", 4, 10, "fact").value == pytest.approx(0.3)
    text = frequency.page(found)
    assert "19 of 20 seen 1, 20 of 20 seen 4" in text
    assert "more is left of what was seen 16 times after 10, 20, 40 steps" in text
    assert "| simnpo | 16 | 1.000" in text
    (tmp_path / "seed-0" / "npo-4.json").write_text((tmp_path / "seed-0" / "simnpo-4.json").read_text())
    (tmp_path / "seed-0" / "simnpo-4.json").unlink()
    assert frequency.Cells(tmp_path).seeds == []  # a world without a cell counts for nothing


def test_the_page_of_orders(tmp_path):
    """First is gone after twelve steps, last is not; before unlearning they are alike."""

    def scores(share):
        return {key: [float(i < share * 20) for i in range(20)] for key in order.KINDS}

    cells = {("retrained", "any"): {0: scores(0)}}
    for name in order.METHODS:
        for position, left in zip(order.POSITIONS, (0.1, 0.5, 0.9), strict=True):
            cells[name, position] = {
                step: scores(left if step == 12 else 1 if step < 12 else 0) for step in order.SHOWN
            }
    found = written(tmp_path, order, "position", cells)
    gap = order.apart(found, "ga", 12, "fact")
    assert gap.value == pytest.approx(-0.8)
    assert gap.high < 0
    assert order.apart(found, "ga", 12, "loss").value == pytest.approx(-0.8)
    apart = np.array([1.0, 2.0, 4.0, 5.0])
    wanted = stats.ttest_1samp(apart, 0).confidence_interval(0.95)
    assert (order.by_t(apart).low, order.by_t(apart).high) == pytest.approx((wanted.low, wanted.high))
    assert order.apart(found, "ga", 0, "fact").value == 0
    text = order.page(found)
    assert "more for last at 12" in text
    assert "more for first" not in text
    assert "1 world:" in text


def test_all_models_of_an_order_come_from_one_base():
    """Three chains and a retrained one; nothing is trained twice, and no stage starts before it is there."""
    _, models = order.training(0, quick=True)
    names = [stage.name for stage in models.stages]
    assert len(names) == len(set(names)) == 1 + 3 * 3 + 2
    for i, stage in enumerate(models.stages):
        assert stage.start in ("", *names[:i])
    assert {models.full, *order.POSITIONS, models.retrained} <= set(names)
    last = {one: next(s for s in models.stages if s.name == one) for one in order.POSITIONS}
    assert last["first"].start == "first-2"
    assert len({stage.pairs for stage in last.values()}) > 1


@pytest.mark.slow
@pytest.mark.parametrize(("module", "name"), [(frequency, "simnpo-16"), (order, "npo-first")])
def test_the_study_runs(tmp_path, module, name):
    module.run(tmp_path / "work", tmp_path / "out", [0], quick=True)
    cell = json.loads((tmp_path / "out" / "seed-0" / f"{name}.json").read_text())
    assert next(iter(cell["steps"])) == "0"
    assert set(cell["steps"]["0"]) == set(module.KINDS)


@pytest.mark.parametrize(("module", "name"), [(frequency, "results-frequency.md"), (order, "results-order.md")])
def test_the_page_is_that_of_the_cells(module, name):
    place = module.CELLS.parents[1] / "docs" / name
    if not place.exists():
        pytest.skip("the documentation is not beside the tests")
    assert module.page(module.Cells(module.CELLS)) == place.read_text(encoding="utf-8")

"""RASLIK's retrieval: the sketch by a loop, gradients by autograd on one text, ranks by counting, and what a run then draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.batches import Item
from leakatk.unlearning.drawing import retrieved as module
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.drawing.retrieved import Sketch, average_ranks, retrieve, retrieved, sketches, undesired
from leakatk.unlearning.losses import terms
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work
from tests.unlearning.test_hooks import resumes

RASLIK = {**METHODS["raslik"].params, "bins": 512}
SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=2, forget_batch=4, retain_batch=4)
SHAPES = {"a": torch.Size([7, 5]), "b": torch.Size([11])}


def gradients(seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def negative(gradient):
    return {name: -value for name, value in gradient.items()}


def items_of(loaded, forget, retain):
    return Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)


def nll_gradient(model, item):
    """Of all decoder layers, flat."""
    ids, labels = torch.tensor([[*item.prompt, *item.answer]]), torch.tensor(item.answer)
    inner = [value for name, value in model.named_parameters() if ".layers." in name]
    logs = model(input_ids=ids).logits[0].log_softmax(-1)
    loss = -logs[range(len(item.prompt) - 1, ids.shape[1] - 1), labels].mean()
    return torch.cat([one.flatten() for one in torch.autograd.grad(loss, inner)]).double().numpy()


def test_the_sketch_by_a_loop():
    sketch, gradient = Sketch(SHAPES, 6, seed=1), gradients(0)
    flat = [float(v) for name in SHAPES for v in gradient[name].flatten()]
    sums = [0.0] * 6
    for value, place, sign in zip(flat, sketch.bins.tolist(), sketch.signs.tolist(), strict=True):
        assert abs(sign) == 1
        sums[place] += sign * value
    assert sketch.of(gradient).tolist() == pytest.approx(np.array(sums) / np.linalg.norm(sums))
    counts = np.bincount(sketch.bins.numpy(), minlength=6)
    assert counts.max() - counts.min() <= 1
    assert 0 < (sketch.signs > 0).sum() < len(flat)


def test_the_far_end_is_the_sketch_of_the_negative():
    sketch = Sketch(SHAPES, 6, seed=1)
    assert torch.equal(sketch.of(negative(gradients(0))), -sketch.of(gradients(0)))


def test_products_of_sketches_are_cosines_on_average():
    """Over many permutations; without the signs they are not."""
    first = gradients(0)
    second = {name: value + gradients(1)[name] for name, value in first.items()}
    a, b = (
        torch.cat([one[name].flatten() for name in SHAPES]) + 1.0 for one in (first, second)
    )  # a mean that signs take away
    first, second = ({"a": v[:35].reshape(7, 5), "b": v[35:]} for v in (a, b))
    found, unsigned = [], []
    for seed in range(400):
        sketch = Sketch(SHAPES, 23, seed)
        found.append(float(sketch.of(first) @ sketch.of(second)))
        sketch.signs = torch.ones_like(sketch.signs)
        unsigned.append(float(sketch.of(first) @ sketch.of(second)))
    cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert np.mean(found) == pytest.approx(cosine, abs=0.03)
    assert abs(np.mean(unsigned) - cosine) > 0.03


def test_influence_is_the_cosine_of_gradients_of_single_prompts(loaded, forget, retain):
    """With a bin for each entry nothing is lost; the model's flags are as before."""
    items = items_of(loaded, forget, retain).items("forget")
    each = [nll_gradient(loaded.model, item) for item in items]
    flags = [value.requires_grad for value in loaded.model.parameters()]
    found = sketches(loaded, items, layers=0, bins=len(each[0]), seed=0).numpy()
    unit = np.stack([one / np.linalg.norm(one) for one in each])
    np.testing.assert_allclose(found @ found.T, unit @ unit.T, atol=1e-5)
    assert [value.requires_grad for value in loaded.model.parameters()] == flags
    last = sketches(loaded, items, layers=1, bins=len(each[0]), seed=0).numpy()
    half = np.stack([one[len(one) // 2 :] / np.linalg.norm(one[len(one) // 2 :]) for one in each])
    np.testing.assert_allclose(last @ last.T, half @ half.T, atol=1e-5)


def test_average_ranks_by_counting():
    generator = np.random.default_rng(0)
    queries, corpus = generator.normal(size=(3, 4)), generator.normal(size=(6, 4))
    found = average_ranks(torch.tensor(queries), torch.tensor(corpus))
    for i, one in enumerate(corpus):
        ranks = [sum(float(q @ other) > float(q @ one) for other in corpus) for q in queries]
        assert float(found[i]) == pytest.approx(np.mean(ranks))


def test_an_unlabelled_corpus_gives_both_sets(loaded, forget, retain):
    """The undesired answer is one of the corpus: it comes first. The retain set is the far end of the same list."""
    corpus = [*retain[:4], forget[2], *retain[4:]]
    near, far = retrieve(loaded, [(forget[2].question, forget[2].answer)], corpus, size=3, bins=4096)
    assert near[0] == forget[2]
    own = {
        p.id: nll_gradient(loaded.model, item)
        for p, item in zip(corpus, items_of(loaded, corpus, []).items("forget"), strict=True)
    }
    unit = {name: value / np.linalg.norm(value) for name, value in own.items()}
    order = sorted(corpus, key=lambda p: -float(unit[p.id] @ unit[forget[2].id]))
    assert {p.id for p in near} & {p.id for p in order[:3]} >= {forget[2].id}
    assert not {p.id for p in near} & {p.id for p in far}
    exact = retrieve(
        loaded, [(forget[2].question, forget[2].answer)], corpus, size=3, bins=len(next(iter(own.values())))
    )
    assert [p.id for p in exact[0]] == [p.id for p in order[:3]]
    assert [p.id for p in exact[1]] == [p.id for p in order[::-1][:3]]
    with pytest.raises(InputError, match="size must be between 1 and 5"):
        retrieve(loaded, [("q", "a")], corpus, size=6)
    with pytest.raises(InputError, match="at least one undesired answer"):
        retrieve(loaded, [], corpus, size=1)


def drawing(loaded, forget, retain, monkeypatch, weights=None, **params):
    """The model says the answers of the first two forget prompts, whatever it is asked."""
    streams = items_of(loaded, forget, retain)
    own = streams.items("forget")
    monkeypatch.setattr(module, "undesired", lambda *_: own[:2])
    work = Work(loaded, forget, retain, streams, SETTINGS, {**RASLIK, **params}, 0)
    return retrieved(work, Drawing(streams, 0, weights)), work


def test_the_nearest_are_forgotten_and_the_farthest_kept(loaded, forget, retain, monkeypatch):
    size = len(nll_gradient(loaded.model, items_of(loaded, forget, retain).items("forget")[0]))
    made, work = drawing(loaded, forget, retain, monkeypatch, share=0.4, bins=size)
    items = [*work.streams.items("forget"), *work.streams.items("retain")]
    unit = np.stack([one / np.linalg.norm(one) for one in (nll_gradient(loaded.model, item) for item in items)])
    like = unit[:2] @ unit.T
    ranks = np.mean([[(row > one).sum() for one in row] for row in like], axis=0)
    assert made.chosen["forget"] == sorted(np.argsort(ranks[:5], kind="stable")[:2].tolist())
    assert made.chosen["retain"] == sorted(np.argsort(-ranks[5:], kind="stable")[:4].tolist())
    assert set(made.rows("forget", 0, 8, {})) == set(made.chosen["forget"])
    assert sorted(made.rows("retain", 0, 4, {})) == made.chosen["retain"]
    assert work.notes[0].startswith("raslik takes 2 of 5 forget prompts and 4 of 9 retain prompts; ")
    crossed = (ranks[5:] <= ranks[:5].min()).sum()
    assert f"; {crossed} retain prompts rank before every forget prompt." in work.notes[0]


def test_numbers_that_make_no_sense(loaded, forget, retain, monkeypatch):
    for params, message in (
        ({"share": 0.0}, "share must be above 0"), ({"layers": 3}, "layers must be between 0 and 2"), ({"bins": 0}, "bins must be at least 1"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            drawing(loaded, forget, retain, monkeypatch, **params)
    made, _ = drawing(loaded, forget, retain, monkeypatch, weights=[1.0] * 5)
    made.weights = [0.0] * 5
    with pytest.raises(InputError, match="raise share"):
        made.rows("forget", 0, 1, {})


def test_what_the_model_says_becomes_an_item(loaded, forget, monkeypatch):
    monkeypatch.setattr(module, "greedy_texts", lambda loaded, prompts, **_: ["so it is"] * len(prompts))
    (item,) = undesired(loaded, forget[:1], 8)
    assert isinstance(item, Item)
    assert loaded.tokenizer.decode(item.answer, skip_special_tokens=True).strip() == "so it is"


def test_a_killed_run_draws_the_same(loaded, base_model, forget, retain, tmp_path):
    hook = lambda work, plain: retrieved(replace(work, params={**work.params, **RASLIK}), plain)  # noqa: E731
    stage = Train((Term(terms.ascent, "forget"), Term(terms.nll, "retain")), draw=hook)
    resumes(loaded, base_model, forget, retain, stage, tmp_path)


def test_a_run_says_what_it_took(loaded, forget, retain):
    done = unlearn(loaded, forget, retain, METHODS["raslik"].with_params(bins=64), settings=SETTINGS, quiet=True)
    assert any(note.startswith("raslik takes 2 of 5 forget prompts") for note in done.notes)

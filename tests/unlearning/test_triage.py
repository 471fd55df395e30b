"""FIT's triage: what is dropped, how prompts are sorted, which layers are chosen, and what each class does to the losses."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning import triage
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import Trainer, unlearn
from leakatk.unlearning.triage import DROPPED, HIGH, LOW, MIDDLE, importance, layer_scores, levels, sort_and_select
from leakatk.unlearning.work import Work
from tests.unlearning.conftest import tiny_model

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=2, forget_batch=6, retain_batch=4)
FIT = {**METHODS["fit"].params, "layers": 1}


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    def make(prompts=forget, **params):
        streams = Streams(prompts, retain, tokenizer, loaded.template, seed=0)
        return Work(loaded, prompts, retain, streams, SETTINGS, {**FIT, **params}, 0)

    return make


def nll(model, item, embeddings=None):
    ids = torch.tensor([[*item.prompt, *item.answer]])
    given = {"input_ids": ids} if embeddings is None else {"inputs_embeds": embeddings}
    logits = model(**given, use_cache=False).logits[0, len(item.prompt) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer))


def test_importance_is_the_gradient_in_the_embeddings(work):
    mine = work()
    model, expected = mine.loaded.model, []
    for item in mine.streams.items("forget"):
        vectors = model.get_input_embeddings()(torch.tensor([[*item.prompt, *item.answer]])).detach().requires_grad_()
        (slope,) = torch.autograd.grad(nll(model, item, vectors), vectors)
        expected.append(float(slope.norm()))
    assert importance(mine) == pytest.approx(expected, rel=1e-4)


def test_prompts_are_sorted_in_thirds_by_importance(work):
    mine = work(alike=2.0)  # nothing is that much alike
    matter = np.array(importance(mine))
    found = levels(mine)
    assert sorted(found) == [LOW, LOW, MIDDLE, MIDDLE, HIGH]
    assert [found[row] for row in matter.argsort()] == sorted(found)


def test_what_was_said_before_is_dropped_and_only_that(work, forget):
    twice = [*forget, replace(forget[0], id="again")]
    assert levels(work(twice, alike=0.999, tolerance=math.inf))[-1] == DROPPED
    assert DROPPED not in levels(work(twice, alike=2.0, tolerance=math.inf))
    assert DROPPED not in levels(
        work(twice, alike=0.999, tolerance=0.0)
    )  # its nll changes where the other stands before it
    assert levels(work(twice, alike=-1.0, tolerance=math.inf)).count(DROPPED) == len(twice) - 1


def test_layers_are_scored_by_their_absence(work):
    mine = work()
    model, items, expected = mine.loaded.model, mine.streams.items("forget"), []
    with torch.no_grad():
        whole = torch.stack([nll(model, item) for item in items])
        for number in range(2):
            kept = torch.nn.ModuleList([layer for i, layer in enumerate(model.model.layers) if i != number])
            layers, model.model.layers = model.model.layers, kept
            model.config.num_hidden_layers = 1
            expected.append(float((torch.stack([nll(model, item) for item in items]) - whole).abs().mean()))
            model.model.layers, model.config.num_hidden_layers = layers, 2
    found = layer_scores(mine)
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    best = int(found.argmax())
    layer = model.model.layers[best]
    assert len(sort_and_select(mine)) == len([*layer.self_attn.parameters(), *layer.mlp.parameters()])
    assert all(name.startswith(f"model.layers.{best}.") for name in sort_and_select(mine))
    assert f"Trained layers: {best}." in mine.notes[0]


@pytest.mark.parametrize("layers", [0, 3])
def test_layers_that_the_model_lacks(work, layers):
    with pytest.raises(InputError, match="layers must be between 1 and 2"):
        sort_and_select(work(layers=layers))


def test_each_class_has_its_loss(work, forget, retain, tokenizer):
    """The loss with all prompts in one class, and one with each class once, from the losses of single answers."""
    mine = work()
    model, reference = mine.loaded.model, tiny_model(tokenizer, seed=5)
    method = METHODS["fit"].with_params(layers=1)
    trainer = Trainer(mine.loaded, mine.streams, method.trains[0], method.params, SETTINGS, 0)
    trainer.prepare({"reference": reference.state_dict()})
    step = trainer.make_step(0, 0, model)
    rows = step.rows["forget"]
    with torch.no_grad():
        total = {row: -nll(model, i) * len(i.answer) for row, i in enumerate(mine.streams.items("forget"))}
        before = {row: -nll(reference, i) * len(i.answer) for row, i in enumerate(mine.streams.items("forget"))}
        other = {row: nll(model, i) for row, i in enumerate(mine.streams.items("random_1"))}
    beta = method.params["beta"]
    npo = {r: float(2 / beta * torch.log1p(torch.exp(beta * (total[r] - before[r])))) for r in total}
    whole = trainer.losses(step)["retain"]
    for classes in ([LOW] * 5, [MIDDLE] * 5, [HIGH] * 5, [DROPPED] * 5, [DROPPED, LOW, MIDDLE, HIGH, HIGH]):
        triage._LEVELS[mine.streams] = classes
        found = trainer.losses(trainer.make_step(0, 0, model))
        each = {DROPPED: lambda r: 0.0, LOW: lambda r: float(other[r]), MIDDLE: npo.get, HIGH: npo.get}
        expected = np.mean([each[classes[row]](row) for row in rows])
        assert float(found["forget"].detach()) == pytest.approx(expected, rel=1e-4, abs=1e-5)
        high = np.mean([classes[row] == HIGH for row in rows])
        assert float(found["retain"].detach()) == pytest.approx(high * float(whole.detach()), rel=1e-4, abs=1e-6)


def test_a_run_says_what_it_dropped_and_moves_the_chosen_layer_alone(loaded, base_model, forget, retain):
    method = METHODS["fit"].with_params(layers=1, alike=2.0)
    done = unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)
    (note,) = [note for note in done.notes if note.startswith("fit")]
    assert "drops 0 of the forget prompts" in note
    layer = note.split("Trained layers: ")[1].rstrip(".")
    for name, value in loaded.model.named_parameters():
        moved = not torch.equal(value, base_model.get_parameter(name))
        assert moved == (name.startswith(f"model.layers.{layer}.") and (".self_attn." in name or ".mlp." in name)), name

"""KUDA's parts: effects of layers by patching a second time, projectors from eigenvectors, steps that retain inputs do not feel."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.nullspace import effects, projector, window_of
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work
from tests.unlearning.conftest import tiny_model

KUDA = METHODS["kuda"].for_small_models()


@pytest.mark.parametrize("relaxed", [True, False])
def test_the_projector_by_eigenvectors(relaxed):
    x = np.random.default_rng(0).normal(size=(4, 6))  # two directions that no input has
    keep = projector(torch.tensor(x.T @ x), 0.5, relaxed).numpy()
    values, vectors = np.linalg.eigh(x.T @ x)
    limit = 0.5 * np.trace(x.T @ x) / 6
    shares = [limit / (limit + max(e, 0)) if relaxed else float(e <= limit) for e in values]
    wanted = sum(share * np.outer(v, v) for share, v in zip(shares, vectors.T, strict=True))
    np.testing.assert_allclose(keep, wanted, atol=1e-9)
    strict = projector(torch.tensor(x.T @ x), 1e-9, relaxed=False).numpy()
    np.testing.assert_allclose(strict @ x.T, 0, atol=1e-7)
    assert np.linalg.matrix_rank(strict) == 2


def test_numbers_that_make_no_sense():
    with pytest.raises(InputError, match="threshold must be above 0"):
        projector(torch.eye(3), 0.0, True)
    with pytest.raises(InputError, match="are all 0"):
        projector(torch.zeros(3, 3), 0.1, True)
    with pytest.raises(InputError, match="layers must be between 1 and 3"):
        window_of(torch.ones(3), 4)


def test_the_window_is_the_run_with_the_largest_sum():
    scores = [0.1, 0.5, -0.2, 0.4, 0.35]
    runs = {(i, i + 2): sum(scores[i : i + 2]) for i in range(4)}
    found = window_of(torch.tensor(scores), 2)
    assert (found.start, found.stop) == max(runs, key=runs.get) == (3, 5)


class Patched(torch.nn.Module):
    """An MLP that says what it is told to."""

    def __init__(self, said):
        super().__init__()
        self.said = said

    def forward(self, states):
        return self.said


def test_effects_of_layers_by_modules_exchanged(loaded, forget, retain):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    params = {"blur": 2.0, "traced": 2, "per": "answer"}
    with torch.no_grad():
        found = effects(Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), params, 7))
    wanted = np.zeros(2)
    for number, item in enumerate(streams.items("forget")[:2]):
        model = copy.deepcopy(loaded.model)
        ids, asked = torch.tensor([[*item.prompt, *item.answer]]), len(item.prompt)
        embedded = model.model.embed_tokens(ids)

        def probability(inputs, model=model, item=item, asked=asked):
            with torch.no_grad():
                logs = model(inputs_embeds=inputs).logits[0, asked - 1 : -1].log_softmax(-1)
            return float(logs[torch.arange(len(item.answer)), list(item.answer)].mean().exp())

        said = []
        handles = [
            layer.mlp.register_forward_hook(lambda _, __, out, said=said: said.append(out))
            for layer in model.model.layers
        ]
        probability(embedded)
        for handle in handles:
            handle.remove()
        noise = torch.randn(asked, 32, generator=generator_of(7, number, "blur"))
        blurred = embedded.clone()
        blurred[0, :asked] += 2.0 * embedded.new_tensor(float(model.model.embed_tokens.weight.detach().std())) * noise
        low = probability(blurred)
        for layer, clean in enumerate(said):
            own = model.model.layers[layer].mlp
            model.model.layers[layer].mlp = Patched(clean)
            wanted[layer] += (probability(blurred) - low) / 2
            model.model.layers[layer].mlp = own
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-3, atol=1e-6)


def changes(loaded, tokenizer, forget, retain, **numbers):
    """(how W moves on retain inputs, and on forget inputs, as shares of its whole change's size; what moved)"""
    wide = replace(loaded, model=tiny_model(tokenizer, intermediate_size=400))  # more inputs than retain tokens
    start = copy.deepcopy(wide.model)
    settings = TrainSettings(learning_rate=1e-2, max_steps=2, forget_batch=4, retain_batch=4)
    unlearn(wide, forget, retain, KUDA.with_params(**numbers), settings=settings, quiet=True)
    before = dict(start.named_parameters())
    moved = {k: v - before[k] for k, v in wide.model.named_parameters() if not torch.equal(v, before[k])}
    ((name, change),) = moved.items()
    found, layer = [], int(name.split(".")[2])
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    for stream in ("retain", "forget"):
        kept = []
        handle = start.model.layers[layer].mlp.down_proj.register_forward_pre_hook(
            lambda _, x, k=kept: k.append(x[0][0])
        )
        with torch.no_grad():
            for item in streams.items(stream):
                start(input_ids=torch.tensor([[*item.prompt, *item.answer]]))
        handle.remove()
        inputs = torch.cat(kept)
        found.append(float((inputs @ change.T).detach().norm() / inputs.norm() / change.detach().norm()))
    return (*found, name)


def test_steps_are_not_felt_by_retain_inputs(loaded, tokenizer, forget, retain):
    strict = changes(loaded, tokenizer, forget, retain[:3], relaxed=False, threshold=1e-6)
    free = changes(loaded, tokenizer, forget, retain[:3], threshold=1e9)
    assert strict[2].endswith("mlp.down_proj.weight")
    assert strict[0] < 1e-3 < 10 * strict[0] + 1e-3 < strict[1]
    assert free[0] > 0.02, "without the projector they are felt"

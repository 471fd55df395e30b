"""MRD against the same noise added by hand."""

import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.metrics import robustness as r
from leakatk.metrics.base import Evidence, MetricSettings, evaluate
from leakatk.metrics.pieces import Answer
from leakatk.models.weights import weights_hash
from tests.metrics.conftest import WORLD
from tests.metrics.test_contract import WHOLE


def test_by_a_loop():
    shaken = np.log(np.array([[0.5, 0.9], [0.4, 0.8], [0.6, 0.2]]))
    total = 0.0
    for draw in shaken[1:]:
        total += sum((own - moved) / own for own, moved in zip(shaken[0], draw, strict=True)) / 2
    assert r.mrd(shaken) == pytest.approx(abs(total))
    sure = np.log(np.array([[1.0, 0.9], [0.4, 0.8]]))
    assert r.mrd(sure) == pytest.approx(abs(1 - math.log(0.8) / math.log(0.9)))
    assert math.isnan(r.mrd(np.zeros((3, 2))))
    assert r.mrd(np.log(np.array([[0.5], [0.5]]))) == 0


@torch.no_grad()
def losses(loaded, question, answer):
    seam = loaded.template.pair(loaded.tokenizer, question, answer)
    logits = loaded.model(input_ids=torch.tensor([[*seam.prompt, *seam.answer]])).logits[0, len(seam.prompt) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(seam.answer)[:, None])[:, 0].numpy()


def test_each_draw_is_the_same_noise_for_all_and_the_model_is_as_before(half_learned):
    prompts, model = WORLD.forget[:3], half_learned.model
    before = weights_hash(model.state_dict())
    found = Evidence(half_learned).get(r.Shaken(Answer(p.question, p.answer), 0.05, 2) for p in prompts)
    assert weights_hash(model.state_dict()) == before
    own = {name: value.detach().clone() for name, value in model.named_parameters()}
    for draw in range(2):
        generator = torch.Generator().manual_seed(draw)
        with torch.no_grad():
            for name, value in model.named_parameters():
                value.copy_(own[name] + 0.05 * torch.randn(value.shape, generator=generator))
        for prompt, rows in zip(prompts, found, strict=True):
            assert rows[1 + draw] == pytest.approx(
                losses(half_learned, prompt.question, prompt.answer), rel=1e-4, abs=1e-5
            )
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(own[name])
    for prompt, rows in zip(prompts, found, strict=True):
        assert rows[0] == pytest.approx(losses(half_learned, prompt.question, prompt.answer), rel=1e-4, abs=1e-5)
        assert len(rows) == 3


def test_more_noise_moves_more(half_learned):
    values = [
        evaluate(Evidence(half_learned, settings=MetricSettings(noise=noise, draws=3)), WHOLE, metrics=["mrd"])["mrd"]
        for noise in (1e-4, 0.1)
    ]
    assert values[0] < values[1]
    with pytest.raises(InputError, match="noise must be above 0"):
        MetricSettings(noise=0)
    with pytest.raises(InputError, match="draws must be at least 1"):
        MetricSettings(draws=0)

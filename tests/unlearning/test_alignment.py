"""The aligner: it looks back alone, padding is nothing to it, its loss by hand, and it learns."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.prompts import Known
from leakatk.unlearning.alignment import Aligner, aligned, alignment_loss, encoder_of, fit
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.work import Work

PARAMS = {
    "layer": 0, "window": 3, "align_steps": 3, "align_rate": 1e-2, "align_layers": 1, "align_width": 16, "align_heads": 2,
    "per": "answer",
}  # fmt: skip


def work_of(loaded, forget, retain, known=None, **changed):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    start = dict(loaded.model.named_parameters())
    return Work(
        loaded, forget, retain, streams, TrainSettings(max_steps=1), {**PARAMS, **changed}, 0, known or Known(), start
    )


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return Aligner(8, 16, 6, 2, 2).eval()


def test_it_looks_back_alone_and_not_at_padding(small):
    x, mask = torch.randn(1, 7, 8), torch.ones(1, 7, dtype=torch.bool)
    with torch.no_grad():
        whole = small(x, mask)
        later = x.clone()
        later[:, 5:] += 1
        torch.testing.assert_close(small(later, mask)[:, :5], whole[:, :5])
        assert not torch.allclose(small(later, mask)[:, 5:], whole[:, 5:], atol=1e-3)
        padded = torch.cat([torch.full((1, 4, 8), 9.0), x], 1)
        both = torch.cat([padded, torch.randn(1, 11, 8)])
        there = torch.ones(2, 11, dtype=torch.bool)
        there[0, :4] = False
        found = small(both, there)
    torch.testing.assert_close(found[:1, 4:], whole, rtol=1e-4, atol=1e-5)
    assert not found[0, :4].any()


def loss_of(aligner, texts):
    with torch.no_grad():
        return float(alignment_loss(aligner, texts))


def test_its_loss_by_hand_and_that_it_learns(small):
    torch.manual_seed(1)
    texts = [(torch.randn(5, 8), torch.randn(3, 6)), (torch.randn(4, 8), torch.randn(1, 6))]
    values = []
    for states, wanted in texts:
        with torch.no_grad():
            said = small(states[None], torch.ones(1, len(states), dtype=torch.bool))[0].numpy()
        for a, b in zip(said, wanted.numpy(), strict=False):
            values.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert loss_of(small, texts) == pytest.approx(-np.mean(values), rel=1e-4)
    made = Aligner(8, 16, 6, 1, 2)
    before = loss_of(made, texts)
    fit(made, texts, 60, 1e-2, generator_of(0))
    assert loss_of(made, texts) < before - 0.5


def test_meanings_are_centred_mean_embeddings_at_the_start(loaded, forget, retain):
    table = loaded.model.get_input_embeddings().weight.detach().double().numpy()
    some = [(5, 9, 9), (7,)]
    wanted = [np.mean([table[i] for i in ids], axis=0) - table.mean(axis=0) for ids in some]
    np.testing.assert_allclose(encoder_of(work_of(loaded, forget, retain))(some).numpy(), wanted, rtol=1e-4, atol=1e-6)


def test_what_it_is_trained_towards_is_what_follows(loaded, forget, retain, monkeypatch):
    work, seen = work_of(loaded, forget, retain), []
    monkeypatch.setattr("leakatk.unlearning.alignment.fit", lambda made, texts, *rest: seen.extend(texts))
    found = aligned(work)
    encode = encoder_of(work)
    items = [*work.streams.items("forget"), *work.streams.items("retain")]
    assert len(seen) == len(items)
    for (states, wanted), item in zip(seen, items, strict=True):
        ids = (*item.prompt, *item.answer)
        assert len(states) == len(ids)
        with torch.no_grad():
            out = loaded.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]
        torch.testing.assert_close(states, out, rtol=1e-3, atol=1e-4)
        for t, meaning in enumerate(wanted):
            torch.testing.assert_close(meaning, encode([ids[t + 1 : t + 4]])[0])
        assert len(wanted) == len(ids) - 3
    answers = [item.answer for item in work.streams.items("forget")]
    torch.testing.assert_close(found["concepts"], encode(answers))


def test_an_encoder_that_is_given_is_asked(loaded, forget, retain, monkeypatch):
    class Encoder:
        def encode(self, texts):
            return np.array([[float(len(text)), 1.0] for text in texts])

    monkeypatch.setattr("leakatk.scorers.encoder.load_encoder", lambda name: Encoder())
    work = work_of(loaded, forget, retain, Known(encoder="words"))
    ids = work.streams.items("forget")[0].answer
    assert encoder_of(work)([ids]).tolist() == [[float(len(work.streams.text(ids))), 1.0]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"window": 0}, "window and align_steps must be at least 1"),
        ({"window": 999}, "No text is longer than the window"),
        ({"align_width": 15}, "align_width must be a multiple of align_heads"),
    ],
)
def test_numbers_that_make_no_sense(loaded, forget, retain, changed, said):
    with pytest.raises(InputError, match=said):
        aligned(work_of(loaded, forget, retain, **changed))

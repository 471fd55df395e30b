"""Both decoders against whole forward passes; the lean one wherever it says that it knows the model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from leakatk.sampling import shared_prefix
from leakatk.sampling.kv_cache import ModuleDecoder, prefill
from leakatk.sampling.shared_prefix import LeanDecoder, group_rows, recognised
from tests.sampling.models import FAMILIES, VOCABULARY, tiny

LEAN = set(FAMILIES) - {"mistral", "gemma2", "gemma3", "phi3", "gpt2"}
BEGIN, SLOTS, ROWS = 9, 24, 8


def lora(family: str, *, merged: bool) -> Any:
    adapted = get_peft_model(tiny(family).model, LoraConfig(r=3, target_modules=["q_proj", "o_proj", "down_proj"]))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)
    return adapted.merge_and_unload().eval() if merged else adapted.eval()


def decoder_of(model: Any, lean: bool, shapes: Any) -> ModuleDecoder | LeanDecoder:
    if not lean:
        return ModuleDecoder(model, shapes, ROWS, SLOTS, BEGIN)
    base = recognised(model)
    assert base is not None
    return LeanDecoder(base, shapes, ROWS, SLOTS, BEGIN)


@torch.inference_mode()
def largest_error(model: Any, *, lean: bool, steps: int = 17) -> float:
    """Rows of prompts of 1 to 9 tokens join, split and leave; every step's logits against a forward pass of the row.
    Relative to the row's largest logit."""
    random = np.random.default_rng(0)
    prompts = [random.integers(4, VOCABULARY, length).tolist() for length in (9, 1, 5, 2)]
    decoder: Any = None
    rows: list[tuple[int, list[int], int]] = []  # prompt by its place among those present, tokens, answer tokens
    worst = 0.0

    def enter(some: Sequence[list[int]], place: int) -> None:
        nonlocal decoder
        prefix = prefill(model, [ids[:-1] or ids for ids in some])
        decoder = decoder or decoder_of(model, lean, prefix)
        decoder.enter(len(rows), prefix, [len(ids) - 1 for ids in some])
        rows.extend((place + i, list(ids), 0) for i, ids in enumerate(some))

    def starts() -> np.ndarray:
        return np.array([decoder.cursor + 1 - len(ids) for _, ids, _ in rows])

    enter(prompts[:2], 0)
    for step in range(steps):
        if step == 3:
            enter(prompts[2:], 2)
        drawn = np.array([count for _, _, count in rows])
        tokens = torch.tensor([ids[-1] for _, ids, _ in rows])
        features = decoder.features(tokens, starts(), drawn, np.array([place for place, _, _ in rows]))
        # In two pieces, as the sampler makes them.
        found = torch.cat([decoder.logits(features[:1]), decoder.logits(features[1:])])
        for row, (_, ids, _) in enumerate(rows):
            wanted = model(torch.tensor([ids])).logits[0, -1]
            worst = max(worst, float((found[row] - wanted).abs().max() / wanted.abs().max()))
        if step in (1, 4, 10):  # the first row splits
            decoder.copy(np.array([0]), np.array([len(rows)]))
            rows.append((rows[0][0], list(rows[0][1]), rows[0][2]))
        if step == 8:  # the rows of the first two prompts end, those of the others take their places
            keep = [row for row, (place, _, _) in enumerate(rows) if place >= 2]
            target = list(range(len(keep)))
            assert not set(keep) & set(target)
            decoder.copy(np.array(keep), np.array(target))
            rows = [(place - 2, ids, count) for place, ids, count in (rows[row] for row in keep)]
            decoder.leave(np.array([2, 3]))
        rows = [(place, [*ids, int(random.integers(4, VOCABULARY))], count + 1) for place, ids, count in rows]
        decoder.cursor += 1
        if decoder.cursor == SLOTS:  # the longest answer began three slots after the first ones
            assert decoder.make_room(starts(), np.array([count for _, _, count in rows])) == 3
            assert decoder.cursor == SLOTS - 3
    return worst


@pytest.mark.parametrize("family", FAMILIES)
def test_decoders_are_forward_passes(family: str) -> None:
    model = tiny(family).model
    assert (recognised(model) is not None) == (family in LEAN)
    for lean in {False, family in LEAN}:
        assert largest_error(model, lean=lean) < 1e-5


@pytest.mark.parametrize("merged", [True, False])
def test_adapters(merged: bool) -> None:
    model = lora("qwen2", merged=merged)
    assert recognised(model) is not None
    assert largest_error(model, lean=True) < 1e-5
    base = tiny("qwen2").model
    ids = torch.tensor([[5, 6, 7]])
    assert (model(ids).logits - base(ids).logits).abs().max() > 0.1


def test_a_forward_that_somebody_changed_is_left_to_the_module() -> None:
    for place in (lambda m: m, lambda m: m.model.layers[1], lambda m: m.model.layers[0].self_attn):
        model = tiny().model
        handle = place(model).register_forward_hook(lambda module, inputs, output: output)
        assert recognised(model) is None
        handle.remove()
        assert recognised(model) is not None
        place(model).forward = place(model).forward
        assert recognised(model) is None
    half = tiny(dtype=torch.float16).model
    assert recognised(half) is None


@torch.inference_mode()
def test_the_cache_grows_and_rows_beyond_one_group_attend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows move when columns are added, and a prompt with more rows than a group holds is read by several groups."""
    monkeypatch.setattr(shared_prefix, "_GROUP", 2)
    monkeypatch.setattr(shared_prefix, "_MOVED", 3)
    model, random = tiny().model, np.random.default_rng(1)
    prompts = [random.integers(4, VOCABULARY, length).tolist() for length in (5, 3)]
    prefix = prefill(model, [ids[:-1] for ids in prompts])
    decoder = LeanDecoder(recognised(model), prefix, rows=8, slots=60, begin=4)
    for again in range(2):  # the second batch begins where the first one did
        decoder.cursor = decoder.begin
        if again:
            decoder.leave(np.array([], dtype=np.int64))
        decoder.enter(0, prefix, [4, 2])
        of = np.array([0, 0, 0, 1, 1, 1, 1, 0])
        rows = [list(prompts[place]) for place in of]
        widths = []
        for step in range(40):
            start = np.array([decoder.cursor + 1 - len(ids) for ids in rows])
            features = decoder.features(torch.tensor([ids[-1] for ids in rows]), start, np.full(8, step), of)
            widths.append(decoder.width)
            if step in (0, 15, 16, 17, 31, 32, 39):
                found = decoder.logits(features)
                for row, ids in enumerate(rows):
                    torch.testing.assert_close(
                        found[row], model(torch.tensor([ids])).logits[0, -1], rtol=1e-4, atol=1e-4
                    )
            rows = [[*ids, int(random.integers(4, VOCABULARY))] for ids in rows]
            decoder.cursor += 1
        assert sorted(set(widths)) == [16, 32, 48]
        assert widths[:17] == [16] * 16 + [32]


def test_groups_hold_every_row_once_with_its_own_prompt() -> None:
    random = np.random.default_rng(0)
    for case in range(50):
        prompts = random.integers(1, 9)
        prompt = random.choice(prompts, size=random.integers(1, 300), p=random.dirichlet(np.full(prompts, 0.3)))
        groups = group_rows(prompt)
        width = len(groups.rows) // len(groups.prompt)
        place = groups.place.numpy()
        assert (groups.rows.numpy()[place] == np.arange(len(prompt))).all(), case
        assert width == groups.width
        assert (groups.prompt.numpy()[place // width] == prompt).all()
        assert groups.prompt[: prompt.max() + 1].tolist() == list(range(prompt.max() + 1))
        there, back = groups.places(3)
        by_head = np.arange(len(prompt) * 3).reshape(-1, 3)  # (rows, heads)
        placed = by_head.reshape(-1)[there].reshape(-1, 3, width)
        assert (placed[place // width, :, place % width] == by_head).all()
        assert (placed.reshape(-1)[back].reshape(-1, 3) == by_head).all()
        assert len(set(place.tolist())) == len(prompt)
        assert len(groups.rows) <= 3 * len(prompt) + 64


@pytest.mark.parametrize("family", ["llama", "mistral", "gpt2"])
def test_a_shared_beginning_is_computed_once(family: str) -> None:
    model = tiny(family).model
    prompts = [[7, 8, 9, 10, 11, 12, 13, *rest] for rest in ([20], [21, 22, 23, 24], [25, 26])]
    with torch.inference_mode():
        whole = prefill(model, prompts)
        shared = prefill(model, prompts, prefill(model, [prompts[0][:7]]))
    for layer, again in zip(whole, shared, strict=True):
        for side in (0, 1):
            for row, ids in enumerate(prompts):
                assert (layer[side][row, :, : len(ids)] - again[side][row, :, : len(ids)]).abs().max() < 1e-5

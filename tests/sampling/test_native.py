import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.sampling import native_batch
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from tests.sampling.checks import PROMPTS, check_first_two_tokens, check_same, forced, native_run
from tests.sampling.models import FAMILIES, tiny


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(temperature=0.6, max_new_tokens=12),
        Decoding(top_p=0.8, top_k=20, max_new_tokens=12),
        Decoding(min_p=0.05, repetition_penalty=1.3, max_new_tokens=12),
        Decoding(temperature=0, max_new_tokens=12),
        Decoding(temperature=0, repetition_penalty=1.5, max_new_tokens=12),
        Decoding(stop=("w7", "3 w"), max_new_tokens=12),
    ],
    ids=lambda d: f"{d.label} {d.stop}",
)
def test_every_decoding(decoding: Decoding) -> None:
    loaded = tiny()
    tree, rows = native_run(loaded, decoding, max_rows=40), native_run(loaded, decoding, tree=False, max_rows=17)
    check_same(loaded, tree, rows, decoding)
    stored = np.array([g.logprob for g in tree.values()])
    assert np.abs(stored - forced(loaded, tree, decoding)).max() < 1e-4
    for generation in tree.values():
        assert len(generation.token_ids) <= decoding.max_new_tokens
        assert not any(stop in generation.text for stop in decoding.stop)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_first_and_second_tokens_follow_the_softmax(family: str) -> None:
    loaded = tiny(family, scale=3)
    found = native_run(loaded, Decoding(max_new_tokens=2), range(20_000), prompts=PROMPTS[2:3])
    check_first_two_tokens(loaded, found)


def test_bf16_follows_teacher_forcing_in_fp32() -> None:
    """bf16 rounds every layer: a token's log-probability may move by some hundredths of a nat, not more."""
    decoding = Decoding(max_new_tokens=12)
    found = native_run(tiny(scale=3, dtype=torch.bfloat16), decoding)
    reference = tiny(scale=3)
    with torch.no_grad():
        for parameter in reference.model.parameters():
            parameter.copy_(parameter.bfloat16())  # the same, rounded, weights
    stored = np.array([g.logprob for g in found.values()])
    lengths = np.array([len(g.token_ids) for g in found.values()])
    difference = (stored - forced(reference, found, decoding)) / lengths
    assert np.abs(difference).max() < 0.1
    assert abs(difference.mean()) < 0.01


def test_greedy_is_one_answer_and_what_transformers_generates() -> None:
    loaded = tiny()
    found = native_run(loaded, Decoding(temperature=0, max_new_tokens=12))
    for prompt in PROMPTS:
        ids = torch.tensor([loaded.template.prompt_ids(loaded.tokenizer, prompt.question)])
        with torch.inference_mode():
            output = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
        assert {found[prompt.id, j].token_ids for j in range(20)} == {tuple(output[0, ids.shape[1] :].tolist())}


def test_the_end_token_ends_and_is_not_in_the_text() -> None:
    found = native_run(tiny(), Decoding(max_new_tokens=30), range(60))
    stopped = [g for g in found.values() if g.finish_reason == "stop"]
    assert stopped
    assert all(g.token_ids[-1] == 2 and 2 not in g.token_ids[:-1] and "</s>" not in g.text for g in stopped)
    assert all(len(g.token_ids) == 30 for g in found.values() if g.finish_reason == "length")


def test_out_of_memory_halves_the_rows_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, decoding = tiny(), Decoding(max_new_tokens=10)
    base = native_run(loaded, decoding)
    real, seen = native_batch.LeanDecoder.features, []

    def small_machine(decoder, tokens, *rows):  # type: ignore[no-untyped-def]
        seen.append(len(tokens))
        if len(tokens) > 20:
            raise torch.OutOfMemoryError("out of memory")
        return real(decoder, tokens, *rows)

    monkeypatch.setattr(native_batch.LeanDecoder, "features", small_machine)
    check_same(loaded, native_run(loaded, decoding, max_rows=128), base, decoding)
    assert max(seen) > 20 >= seen[-1]


def test_no_rows_and_no_requests() -> None:
    with pytest.raises(InputError, match="max_rows"):
        NativeSampler(tiny(), max_rows=0)
    assert native_run(tiny(), Decoding(), []) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_log_probabilities_are_teacher_forcing(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family, prompts of several lengths in one batch, windows shorter than the text, rows joining late or not."""
    loaded = tiny(family)
    decoding = Decoding(max_new_tokens=20)
    for tree, rows, refill in ((True, 30, 0.25), (False, 13, 0.25), (True, 30, 1.0)):
        monkeypatch.setattr(native_batch, "REFILL_CPU", refill)
        found = native_run(loaded, decoding, tree=tree, max_rows=rows)
        stored = np.array([g.logprob for g in found.values()])
        assert np.abs(stored - forced(loaded, found, decoding)).max() < 1e-4

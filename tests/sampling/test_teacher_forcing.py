import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob, answer_logprob_steps, self_check
from tests.sampling.models import FAMILIES, tiny

PROMPTS = [
    Prompt(
        id=f"q{i}",
        question=" ".join(f"w{5 * i + j}" for j in range(1 + i)),
        answer=" ".join(f"w{i + j}" for j in range(i)) or "w9",
    )
    for i in range(8)
]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_one_forward_pass_per_answer(family: str) -> None:
    loaded = tiny(family)
    found = answer_logprob(loaded, PROMPTS, Decoding())
    for prompt, value in zip(PROMPTS, found, strict=True):
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.question)
        answer = loaded.template.answer_ids(loaded.tokenizer, prompt.answer)
        assert answer[-1] == 2
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([ids + answer])).logits[0].double().log_softmax(-1)
        expected = sum(float(logits[len(ids) - 1 + i, token]) for i, token in enumerate(answer))
        assert value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2"])
def test_a_beginning_that_all_prompts_share_is_computed_once(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model's cache is known; the probabilities are those of each prompt alone."""
    loaded = tiny(family)
    common = " ".join(f"w{i}" for i in range(20))
    prompts = [Prompt(id=p.id, question=f"{common} {p.question} w3", answer=p.answer) for p in PROMPTS[:4]]
    decoding = Decoding(repetition_penalty=1.2)
    alone = [answer_logprob(loaded, [prompt], decoding)[0] for prompt in prompts]
    computed = []
    kind = type(loaded.model)
    real = kind.forward

    def counted(model, input_ids, **options):  # type: ignore[no-untyped-def]
        computed.append(tuple(input_ids.shape))
        return real(model, input_ids=input_ids, **options)

    monkeypatch.setattr(kind, "forward", counted)
    together = answer_logprob(loaded, prompts, decoding)
    np.testing.assert_allclose(together, alone, atol=1e-4)
    longest = max(len(f"{p.question} {p.answer}".split()) for p in prompts) + 1  # and the end token
    assert computed == ([(4, longest)] if family == "gpt2" else [(1, 20), (4, longest - 20)])


def test_steps_add_up_and_answers_can_be_given() -> None:
    loaded = tiny()
    steps = answer_logprob_steps(loaded, PROMPTS, Decoding(temperature=0.7))
    assert np.allclose([s.sum() for s in steps], answer_logprob(loaded, PROMPTS, Decoding(temperature=0.7)))
    others = answer_logprob(loaded, PROMPTS, Decoding(), ["w1 w2"] * len(PROMPTS))
    assert not np.allclose(others, answer_logprob(loaded, PROMPTS, Decoding()))
    with pytest.raises(InputError, match="8 prompts but 1 answers"):
        answer_logprob(loaded, PROMPTS, Decoding(), ["w1"])


def test_outside_the_support_is_minus_infinity() -> None:
    loaded = tiny()
    assert np.isneginf(answer_logprob(loaded, PROMPTS, Decoding(top_k=1))).all()
    assert np.isneginf(answer_logprob(loaded, PROMPTS, Decoding(max_new_tokens=1))).all()
    nucleus = answer_logprob(loaded, PROMPTS, Decoding(top_p=0.9))
    plain = answer_logprob(loaded, PROMPTS, Decoding())
    assert ((nucleus == -math.inf) | (nucleus > plain)).all()


@pytest.mark.parametrize(
    "decoding", [Decoding(), Decoding(temperature=0.8, top_p=0.9), Decoding(repetition_penalty=1.5)]
)
def test_is_the_frequency_of_the_answer_among_samples(decoding: Decoding) -> None:
    """The probability of whole answers, against how often the sampler says them."""
    loaded = tiny(scale=5, seed=6)
    decoding = Decoding(**{**decoding.as_dict(), "max_new_tokens": 3})
    n = 20_000
    prompt = PROMPTS[3]
    texts: dict[tuple[int, ...], int] = {}
    for batch in NativeSampler(loaded).sample([Request(prompt, range(n))], decoding, seed=1):
        for generation in batch:
            if generation.finish_reason == "stop":
                texts[generation.token_ids] = texts.get(generation.token_ids, 0) + 1
    common = sorted(texts, key=lambda ids: -texts[ids])[:5]
    assert texts[common[0]] > 50
    answers = [loaded.tokenizer.decode(list(ids[:-1])) for ids in common]
    probability = np.exp(answer_logprob(loaded, [prompt] * len(answers), decoding, answers))
    deviation = (np.array([texts[ids] for ids in common]) - n * probability) / np.sqrt(
        n * probability * (1 - probability)
    )
    assert np.abs(deviation).max() < 4.5


@pytest.mark.parametrize(("ids", "verbatim"), [((5, 9), 4), ((5, 8), 4), ((1, 2, 9), 0)], ids=["same", "end", "other"])
def test_the_self_check_compares_tokens_and_counts_the_same_text_in_others_apart(ids, verbatim):
    class Sampler:
        def describe(self):
            return {"dtype": "float32"}

    drawn = [Generation("a", i, "Ada.", ids, -0.1, "stop") for i in range(4)]
    found = self_check(Sampler(), [Prompt("a", "Who?", "Ada.")], drawn, {"a": ((5, 9), math.log(0.9))}, Decoding())
    assert (found.verbatim, found.verbatim_text) == (verbatim, 4)

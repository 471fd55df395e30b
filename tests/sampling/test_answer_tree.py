import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from leakatk.auditing.audit import audit
from leakatk.auditing.bounds import expansions
from leakatk.errors import InputError
from leakatk.estimate.from_probability import leak_bounds, leak_from_probability, probability_bounds
from leakatk.prompts import Prompt
from leakatk.sampling.answer_tree import Expansion, expand
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import token_logprobs
from tests.sampling.models import FAMILIES, VOCABULARY, tiny

PROMPTS = [
    Prompt(id=f"p{i}", question=" ".join(f"w{(7 * i + 3 * j) % 50}" for j in range(1 + 2 * i)), answer="w1")
    for i in range(4)
]
END = 2


def leaks(tokens: tuple[int, ...]) -> bool:
    return any(token % 7 == 0 for token in tokens[:2])


def bounds(found: Expansion) -> tuple[float, float]:
    block = probability_bounds(
        [a.token_ids for a in found.answers],
        [a.logprob for a in found.answers],
        [leaks(a.token_ids) for a in found.answers],
    )
    return block.low, block.high


def enumerated(prompt: Prompt, loaded, decoding: Decoding) -> dict[tuple[int, ...], float]:
    """Every answer of at most two tokens with its probability, by teacher forcing."""
    answers = [(END,)] + [(a, b) for a, b in product(range(VOCABULARY), repeat=2) if a != END]
    ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.question)
    steps = token_logprobs(loaded, [(ids, answer) for answer in answers], decoding)
    return {answer: float(np.exp(step.sum())) for answer, step in zip(answers, steps, strict=True)}


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_new_tokens=2),
        Decoding(temperature=0.7, max_new_tokens=2),
        Decoding(top_p=0.8, max_new_tokens=2),
        Decoding(top_k=5, min_p=0.02, max_new_tokens=2),
        Decoding(repetition_penalty=1.6, max_new_tokens=2),
        Decoding(temperature=0, max_new_tokens=2),
    ],
    ids=lambda d: d.label,
)
def test_a_whole_tree_is_the_enumeration(decoding: Decoding) -> None:
    loaded = tiny()
    for prompt, found in zip(PROMPTS, expand(loaded, PROMPTS, decoding, budget=100, unknown=0.0), strict=True):
        truth = {answer: p for answer, p in enumerated(prompt, loaded, decoding).items() if p > 0}
        got = {a.token_ids: math.exp(a.logprob) for a in found.answers}
        assert len(got) == len(found.answers)
        assert set(got) == set(truth)
        assert all(got[answer] == pytest.approx(p, abs=1e-5) for answer, p in truth.items())
        assert found.mass == pytest.approx(1, abs=1e-5)


def test_bounds_hold_the_truth_at_every_budget_and_close() -> None:
    loaded, decoding = tiny(scale=4), Decoding(max_new_tokens=2)
    truth = [sum(p for a, p in enumerated(q, loaded, decoding).items() if leaks(a)) for q in PROMPTS]
    before = float(len(PROMPTS)) + 1e-9
    for budget in (1, 3, 10, 40, 100):
        found = expand(loaded, PROMPTS, decoding, budget=budget, unknown=0.0)
        assert all(item.prefixes <= budget for item in found)
        pairs = [bounds(item) for item in found]
        assert all(low - 1e-6 <= p <= high + 1e-6 for (low, high), p in zip(pairs, truth, strict=True))
        gap = sum(high - low for low, high in pairs)
        assert gap <= before + 1e-9
        before = gap
    assert before < 1e-4
    # ... and so at any k: the brute-force leak@(10^6) lies inside.
    every = expand(loaded, PROMPTS, decoding, budget=30, unknown=0.0)
    masses = [
        probability_bounds([a.token_ids for a in e.answers], [a.logprob for a in e.answers],
                           [leaks(a.token_ids) for a in e.answers])
        for e in every
    ]  # fmt: skip
    low, high = leak_bounds(masses, [1, 100, 10**6])
    exact = [leak_from_probability(np.array(truth), k).mean() for k in (1, 100, 10**6)]
    assert (low <= np.array(exact) + 1e-6).all()
    assert (np.array(exact) <= high + 1e-6).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_probabilities_are_teacher_forcing_in_every_family(family: str) -> None:
    """Windows shorter than the text, tied heads, prompts of one token: the cache entries are put together rightly."""
    loaded, decoding = tiny(family), Decoding(max_new_tokens=9)
    for prompt, found in zip(PROMPTS, expand(loaded, PROMPTS, decoding, budget=200), strict=True):
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.question)
        longest = sorted(found.answers, key=lambda a: -len(a.token_ids))[:40]
        steps = token_logprobs(loaded, [(ids, a.token_ids) for a in longest], decoding)
        assert longest
        assert np.abs(np.array([s.sum() for s in steps]) - [a.logprob for a in longest]).max() < 1e-4


def test_agrees_with_what_the_sampler_draws() -> None:
    """The same answers (ids, text, probability), with and without a stop string."""
    loaded = tiny(scale=12)
    for decoding in (Decoding(max_new_tokens=6), Decoding(max_new_tokens=6, stop=("w7", "3 w"))):
        known = {
            item.prompt_id: {a.token_ids: a for a in item.answers}
            for item in expand(loaded, PROMPTS, decoding, budget=1000)
        }
        met = 0
        for batch in NativeSampler(loaded).sample([Request(p, range(100)) for p in PROMPTS], decoding, seed=1):
            for g in batch:
                answer = known[g.prompt_id].get(g.token_ids)
                if answer is not None:
                    met += 1
                    assert answer.text == g.text
                    assert answer.logprob == pytest.approx(g.logprob, abs=1e-4)
        assert met > 200


def test_no_probable_answer_is_missed() -> None:
    """Every answer that the sampler draws and whose probability times the budget is well above its length is found."""
    loaded, decoding, budget = tiny(scale=12), Decoding(max_new_tokens=6), 400
    found = {e.prompt_id: {a.token_ids for a in e.answers} for e in expand(loaded, PROMPTS, decoding, budget=budget)}
    probable = 0
    for batch in NativeSampler(loaded).sample([Request(p, range(100)) for p in PROMPTS], decoding, seed=1):
        for g in batch:
            if math.exp(g.logprob) > 6 / (budget - 8 * 6):
                probable += 1
                assert g.token_ids in found[g.prompt_id]
    assert probable > 20


def test_half_precision_stays_near_full_precision() -> None:
    full, half = tiny(scale=4), tiny(scale=4, dtype=torch.bfloat16)
    decoding = Decoding(max_new_tokens=2)
    pairs = zip(expand(full, PROMPTS, decoding, budget=100), expand(half, PROMPTS, decoding, budget=100), strict=True)
    for a, b in pairs:
        assert np.abs(np.array(bounds(a)) - bounds(b)).max() < 0.03


@pytest.mark.parametrize("budget", [0, 10**9])
def test_refuses_a_budget_out_of_range(budget: int) -> None:
    with pytest.raises(InputError, match=f"1 to 1,000,000 prefixes .* got {budget:,}"):
        expand(tiny(), PROMPTS, Decoding(), budget=budget)


def test_refuses_a_budget_that_cannot_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leakatk.sampling.answer_tree.memory_of", lambda device: 1e6)
    with pytest.raises(
        InputError, match=r"100,000 prefixes of one prompt can take .* GB of keys and values.*lower --expand"
    ):
        expand(tiny(), PROMPTS, Decoding(), budget=100_000)


def test_progress_counts_prefixes(capsys: pytest.CaptureFixture[str]) -> None:
    found = expand(tiny(scale=4), PROMPTS, Decoding(max_new_tokens=2), budget=1000, quiet=False)
    done = sum(tree.prefixes for tree in found)
    assert done < 4000
    assert f"expanding: {done:,}/{done:,} prefixes" in capsys.readouterr().err


def test_an_interrupted_expansion_goes_on_with_the_prompts_that_are_left(tmp_path, monkeypatch) -> None:
    import leakatk.sampling.answer_tree as module

    sampler, decoding = NativeSampler(tiny(scale=4)), Decoding(max_new_tokens=2)
    (tmp_path / "run").mkdir()
    whole = expansions(sampler, PROMPTS, decoding, 20, out=tmp_path)
    assert expansions(sampler, PROMPTS, decoding, 20, out=tmp_path) == whole
    group, computed = module.expand_group, []

    def stops(loaded, prompts, *rest):
        computed.extend(prompt.id for prompt in prompts)
        if len(computed) == 3:
            raise KeyboardInterrupt
        return group(loaded, prompts, *rest)

    monkeypatch.setattr(module, "PROMPTS_AT_ONCE", 1)
    monkeypatch.setattr(module, "expand_group", stops)
    with pytest.raises(KeyboardInterrupt):
        expansions(sampler, PROMPTS, decoding, 20, out=tmp_path / "run")
    again = expansions(sampler, PROMPTS, decoding, 20, out=tmp_path / "run")
    assert computed == ["p0", "p1", "p2", "p2", "p3"]
    assert again.keys() == whole.keys()
    assert all(again[i].mass == pytest.approx(whole[i].mass, abs=1e-6) for i in whole)


def test_an_engine_that_cannot_is_refused_before_anything_is_sampled(tmp_path: Path) -> None:
    class Other:
        name = "other"

        def sample(self, *arguments: object, **options: object) -> None:
            raise AssertionError("sampled")

        def describe(self) -> dict[str, str]:
            return {}

    with pytest.raises(InputError, match="Engine other cannot expand"):
        audit(Other(), PROMPTS, out=tmp_path / "run", expand=10)  # type: ignore[arg-type]

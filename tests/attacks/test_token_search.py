from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack, split_known, token_search
from leakatk.attacks.inputs import pairs_of, plain_tokens, surprises
from leakatk.attacks.token_search import behind, spliced, swap_slopes, text_of, unsaid
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.models.seams import encoded
from leakatk.probes.base import reveals
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers import get_scorer
from tests.attacks.conftest import KEY


@pytest.fixture(scope="module")
def loaded(original):
    return load_model(original)


@pytest.fixture(scope="module")
def opened(locked):
    return load_model(locked)


def part(forget, number=0):
    return split_known(Known(forget=tuple(forget), retrained="nowhere"), 0, 2)[number]


def known_of(loaded, prompts):
    """Share of greedy answers that have the fact."""
    return float(np.mean(get_scorer("fact").score(prompts, greedy_texts(loaded, prompts, 12))))


def by_hand(loaded, pair, start, ids, shift):
    """Mean -log p of the answer where the embeddings from `start` on are moved by `shift`; token by token."""
    prompt, answer = pair
    embedding = loaded.model.get_input_embeddings()
    vectors = embedding(torch.tensor([[*prompt, *answer]])).detach().clone()
    vectors[0, start : start + len(ids)] += shift
    with torch.no_grad():
        logits = loaded.model(inputs_embeds=vectors).logits[0].double()
    return float(np.mean([-logits[len(prompt) - 1 + i].log_softmax(-1)[t].item() for i, t in enumerate(answer)]))


def test_slopes_are_finite_differences(loaded, forget):
    ids = encoded(loaded.tokenizer, " live in", special=False)
    slopes = swap_slopes(loaded, forget[:3], ids)
    rows = [spliced(loaded, prompt, ids) for prompt in forget[:3]]
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        way = torch.randn(slopes.shape, generator=generator)
        step = 1e-2 * way / way.norm()
        ahead, back = (
            np.mean([by_hand(loaded, pair, start, ids, sign * step) for pair, start in rows]) for sign in (1, -1)
        )
        assert float((slopes * step).sum()) == pytest.approx((ahead - back) / 2, rel=0.02, abs=1e-5)


@pytest.mark.parametrize("text", [" live in", " !!", " Ada"])
def test_the_tokens_stand_where_the_text_is_read(loaded, forget, text):
    ids = encoded(loaded.tokenizer, text, special=False)
    for prompt in forget[:3]:
        pair, start = spliced(loaded, prompt, ids)
        assert pair == pairs_of(loaded, [(Query(prompt.question + text), prompt.answer)])[0]
        assert list(pair[0][start : start + len(ids)]) == ids


def test_it_finds_the_word_that_opens_a_lock(opened, forget):
    """At its defaults, on other people than it is measured on: no answer can be in it."""
    shares = []
    for number in (0, 1):
        known = part(forget, number)
        assert known_of(opened, list(known.unseen)) == 0
        asked = get_attack("token-search").prompts(opened, known)
        assert all(KEY in prompt.query.text for prompt in asked)
        shares.append(known_of(opened, asked))
    assert np.mean(shares) >= 0.5


def test_against_the_gradient_it_does_not(opened, forget, monkeypatch):
    """Of the few tokens that the gradient advises against, none is the key."""
    texts = []
    for sign in (1, -1):
        monkeypatch.setattr(token_search, "swap_slopes", lambda *args, sign=sign: sign * swap_slopes(*args))
        texts.append(get_attack("token-search:length=1,top=4").prompts(opened, part(forget))[0].query.text)
    assert KEY in texts[0]
    assert KEY not in texts[1]


def test_each_step_is_the_best_of_those_that_were_tried(opened, forget):
    """With all prompts in a step the text never gets worse, and it is better than where it began."""
    known, found = part(forget), []
    for steps in (1, 4, 8):
        attack = get_attack(f"token-search:steps={steps},batch=99,length=2")
        text = attack.found(opened, known.seen, plain_tokens(opened))
        queries = [(Query(behind(prompt, text)), prompt.answer) for prompt in known.seen]
        found.append(float(np.mean(surprises(opened, queries))))
    start = [(Query(f"{prompt.question} ! !"), prompt.answer) for prompt in known.seen]
    assert sorted(found, reverse=True) == found
    assert found[-1] < np.mean(surprises(opened, start))


def test_nothing_of_the_prompts_is_in_the_text(opened, forget):
    known = part(forget)
    free = set(unsaid(opened, known, plain_tokens(opened)))
    for prompt in known.seen:
        pair = pairs_of(opened, [(prompt.query, prompt.answer)])[0]
        assert not free & {*pair[0], *pair[1]}
    for prompt in known.unseen:
        assert not free & set(opened.template.prompt_ids(opened.tokenizer, prompt.query))
    assert free
    assert "\n" not in {text_of(opened, [number]) for number in free}


def test_one_for_each_prompt_does_not_say_its_answer(loaded, forget):
    """And it does without the other prompts, so that it needs the retrained model for its floor."""
    known = Known(forget=tuple(forget), unseen=tuple(forget[:3]), retrained="nowhere")
    attack = get_attack("token-search:on=each,steps=6")
    asked = attack.prompts(loaded, known)
    for before, prompt in zip(known.unseen, asked, strict=True):
        assert not reveals(prompt.query.text, before)
        assert prompt.query.text.startswith(before.question)
    before, after = (np.mean(surprises(loaded, [(p.query, p.answer) for p in rows])) for rows in (known.unseen, asked))
    noise = [(Query(behind(prompt, " !" * 6)), prompt.answer) for prompt in known.unseen]
    assert after < np.mean(surprises(loaded, noise))
    assert np.isfinite(before)
    with pytest.raises(InputError, match="--retrained"):
        attack.check(replace(known, retrained=""))
    town = Prompt("x", "Where?", "In Quell.", facts=("Quell",))
    kept = {text_of(loaded, [number]) for number in attack._without(loaded, town, plain_tokens(loaded))}
    assert not any(piece.strip() in ("Qu", "Quell", "ell", "Q", "l") for piece in kept)


def test_passes_are_what_it_makes(opened, forget, monkeypatch):
    known, made = part(forget), []
    monkeypatch.setattr(token_search, "surprises", lambda one, rows: made.append(len(rows)) or surprises(one, rows))
    attack = get_attack("token-search:steps=3,candidates=5,batch=2")
    attack.prompts(opened, known)
    slopes = 3 * 2
    assert sum(made) + slopes <= attack.cost(opened, known).texts == 3 * 7 * 2

from dataclasses import replace

import numpy as np
import pytest

from leakatk.attacks import get_attack
from leakatk.attacks.holes import neighbours
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Generation, Known, Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers import get_scorer
from tests.attacks.conftest import trained


def right(loaded, prompts):
    return get_scorer("fact").score(prompts, greedy_texts(loaded, prompts, 12)) >= 0.5


@pytest.fixture(scope="module")
def holed(original, retain):
    """A model that no longer answers half of what it was to keep."""
    rows = [replace(p, answer="I do not know.") if i % 2 else p for i, p in enumerate(retain)]
    return load_model(trained(original, original.with_name("holed"), rows, steps=60))


def test_the_share_by_hand(original, holed, forget, retain):
    known = Known(forget=tuple(forget), unseen=tuple(forget), retain=tuple(retain), original=str(original))
    before, after = right(load_model(original), retain), right(holed, retain)
    good = {p.id: bool(a) for p, a in zip(retain, before, strict=True)}
    gone = {p.id: bool(a and not b) for p, a, b in zip(retain, before, after, strict=True)}
    assert 0 < sum(gone.values()) < len(retain)
    found = get_attack("holes:near=3").scores(holed, known)
    for prompt, score in zip(forget, found, strict=True):
        row = [gone[one.id] for one in neighbours(prompt, retain, 3) if good[one.id]]
        np.testing.assert_equal(score, float(np.mean(row)) if row else np.nan)
    assert np.nanmax(found) > 0


def test_the_model_before_has_none_and_what_it_never_knew_has_no_score(original, retrained, forget, retain):
    known = Known(forget=tuple(forget), unseen=tuple(forget), retain=tuple(retain), original=str(original))
    assert set(get_attack("holes").scores(load_model(original), known)) <= {0.0}
    never = tuple(replace(prompt, facts=("Zorvik",)) for prompt in retain)
    assert np.isnan(get_attack("holes").scores(load_model(original), replace(known, retain=never))).all()
    with pytest.raises(InputError, match="--original"):
        get_attack("holes").check(replace(known, original=""))


def test_a_search_by_lost_likelihood_finds_more_than_nearness(original, holed, forget, retain):
    """Its neighbours are those of a wider circle whose true answers lost most."""
    known = Known(forget=tuple(forget), unseen=tuple(forget), retain=tuple(retain), original=str(original))
    near, searched = (np.nanmean(get_attack(f"holes:near=2,by={by}").scores(holed, known)) for by in ("words", "gap"))
    assert searched > near
    assert get_attack("holes:by=gap").cost(load_model(original), known).texts == 2 * len(retain)


def test_neighbours_share_most_words():
    mine = Prompt("x", "Where was Ada Pell born?", "In Bex.", source="Ada Pell")
    pool = [
        Prompt("a", "Which river is long?", "The Nile."),
        Prompt("b", "Where was Bo Tarn born?", "In Orlo."),
        Prompt("c", "Who taught Ada Pell?", "Bo."),
        Prompt("d", "When was Bo Tarn born?", "In May."),
    ]
    assert [one.id for one in neighbours(mine, pool, 2)] == ["b", "c"] or {"b", "c"} == {
        o.id for o in neighbours(mine, pool, 2)
    }
    assert neighbours(mine, pool[::-1], 4) == neighbours(mine, pool, 4)


class Writer:
    """A language model that writes retain questions, other ones once it has been shown some; what it was asked is kept."""

    name = "writer"

    def __init__(self, first, then):
        self.first, self.then, self.asked = first, then, []

    def describe(self):
        return {"model": "writer"}

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            self.asked.append(request.prompt.query.text)
            text = "\n".join(self.then if "good ones" in self.asked[-1] else self.first)
            yield [Generation(request.prompt.id, j, text, (), 0.0, "stop") for j in request.samples]


def test_questions_that_a_model_writes(original, holed, forget, retain):
    """Half are answered as before: .5. A second round is shown the hole, and finds only such."""
    before, [fact] = load_model(original), forget[0].facts
    retain = [p for p in retain if fact not in p.answer]
    said, says = (greedy_texts(one, retain, 12) for one in (before, holed))
    scores = get_scorer("rouge-1:part=f1").score(
        [replace(p, answer=a) for p, a in zip(retain, said, strict=True)], says
    )
    lost = [p.question for p, score in zip(retain, scores, strict=True) if score < 0.5][:2]
    kept = [p.question for p, score in zip(retain, scores, strict=True) if score == 1][:1]
    assert len(lost) == 2
    assert kept
    writer = Writer([lost[0], *kept], lost[::-1])
    known = Known(
        forget=tuple(forget[:1]), unseen=tuple(forget[:1]), original=str(original), auxiliary={"writer": writer}
    )
    assert get_attack("holes:near=2,by=writer,max_new_tokens=12").scores(holed, known).tolist() == [0.5]
    assert get_attack("holes:near=2,by=writer,max_new_tokens=12,rounds=2").scores(holed, known).tolist() == [1.0]
    assert lost[0] in writer.asked[-1]
    assert get_attack("holes:near=2,by=writer,max_new_tokens=12").scores(before, known).tolist() == [0.0]
    silent = replace(known, auxiliary={"writer": Writer([], [])})
    assert np.isnan(get_attack("holes:near=2,by=writer").scores(holed, silent)).all()
    with pytest.raises(InputError, match="--auxiliary writer"):
        get_attack("holes:by=writer").check(replace(known, auxiliary={}))

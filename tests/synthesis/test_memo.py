"""MEMO, written a second time on sets of words."""

from collections import Counter

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.prompts import Generation, Prompt
from leakatk.synthesis.memo import begun, cuts, memo, memo_of

ANSWER = "Ada was born in Zorvik."


def by_hand(answer, said, step, over):
    """Words in common, repeats counted, over those said or those of the rest; the mean over beginnings."""
    values = []
    for number, start in enumerate(range(1, len(answer), step)):
        rest, text = (Counter(s.lower().strip(".").replace(".", " ").split()) for s in (answer[start:], said[number]))
        common = sum(min(rest[word], text[word]) for word in rest)
        values.append(common / max(1, sum((text if over == "said" else rest).values())))
    return float(np.mean(values))


@pytest.mark.parametrize(("part", "over"), [("precision", "said"), ("recall", "rest")])
@pytest.mark.parametrize("step", [1, 5, 40])
def test_memo_by_hand(part, over, step):
    texts = ["was born in Zorvik Zorvik", "in lusk", "", "a in in zorvik was", "vik"]
    said = [texts[i % len(texts)] for i in range(len(cuts(ANSWER, step)))]
    expected = by_hand(ANSWER, said, step, over)
    assert memo([ANSWER], [said], step, part)[0] == pytest.approx(expected)
    assert 0 < expected < 1 or step == 40


def test_beginnings_and_rests_make_the_answer():
    for step in (1, 3, 100):
        assert {beginning + rest for beginning, rest in cuts(ANSWER, step)} == {ANSWER}
    assert [query.begin for query in begun("Where?", ANSWER, 10)] == ["A", "Ada was bor", "Ada was born in Zorvi"]
    with pytest.raises(InputError, match="at least 1 character"):
        cuts(ANSWER, 0)


class Parrot:
    """An engine that goes on with the true answer of whom it knows."""

    def __init__(self, knows):
        self.knows, self.asked = knows, []

    def sample(self, requests, decoding, *, seed):
        assert decoding.temperature == 0
        for request in requests:
            query = request.prompt.query
            self.asked.append(query)
            answer = self.knows.get(query.text, "")
            text = answer[len(query.begin) :] if answer.startswith(query.begin) else "something else"
            yield [Generation(request.prompt.id, j, text, (), 0.0, "stop") for j in request.samples]


def test_each_beginning_is_asked_and_what_is_known_counts():
    prompts = [Prompt("a", "Where?", ANSWER), Prompt("b", "Who?", "Bo."), Prompt("c", "Yes?", "Y")]
    parrot = Parrot({"Where?": ANSWER})
    found = memo_of(parrot, prompts, step=5)
    assert len(parrot.asked) == 5 + 1
    assert found[0] == 1
    assert found[1] == 0
    assert np.isnan(found[2])  # of one character there is no beginning


def test_a_continuation_for_each_beginning():
    with pytest.raises(InputError, match="one continuation for each"):
        memo([ANSWER], [["a"]])

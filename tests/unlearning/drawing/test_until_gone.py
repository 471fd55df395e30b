"""ICU's drawing: pairs, epochs over what is left, what is left out and when it ends, each by hand."""

import copy
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.drawing import until_gone as module
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.drawing.until_gone import gone, neighbours, of_words, until_gone
from leakatk.unlearning.losses import terms
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work
from tests.unlearning.test_hooks import resumes

ICU = METHODS["icu"].params
SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=6, forget_batch=2, retain_batch=2)


def drawing(loaded, forget, retain, weights=None, **params):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    work = Work(loaded, forget, retain, streams, SETTINGS, {**ICU, **params}, 0)
    return until_gone(work, Drawing(streams, 3, weights))


def said_by(monkeypatch, answers):
    """The model answers each forget prompt so, by its id."""
    monkeypatch.setattr(module, "greedy_texts", lambda loaded, prompts, **options: [answers[p.id] for p in prompts])


# -- neighbours


def test_vectors_of_words_by_a_loop():
    texts = ["ada was born", "ada lives", "bo was was there"]
    weights = {w: math.log(3 / sum(w in t.split() for t in texts)) for t in texts for w in t.split()}
    found = of_words(texts).toarray()
    for row, text in zip(found, texts, strict=True):
        wanted = np.array([text.split().count(w) * weights[w] for w in sorted(weights)])
        np.testing.assert_allclose(row, wanted / np.linalg.norm(wanted), atol=1e-12)


def test_the_nearest_retain_prompt_is_of_the_same_form():
    retain = [Prompt("a", "Where was Bo born?", "In Lusk."), Prompt("b", "What does Cy eat?", "Cy eats figs.")]
    forget = [Prompt("x", "What does Al eat?", "Al eats nuts."), Prompt("y", "Where was Al born?", "In Zorv.")]
    assert neighbours(forget, retain, "words") == [1, 0]


def test_an_encoder_takes_the_place_of_words(monkeypatch):
    class Encoder:
        def encode(self, texts, **options):
            assert options["normalize_embeddings"]
            return np.array([[1.0, 0.0] if "odd" in text else [0.0, 1.0] for text in texts])

    monkeypatch.setattr(module, "load_encoder", lambda name: {"mine": Encoder()}[name])
    forget, retain = (
        [Prompt("x", "odd?", "a"), Prompt("y", "even?", "b")],
        [Prompt("e", "e", "e"), Prompt("o", "odd", "o")],
    )
    assert neighbours(forget, retain, "mine") == [1, 0]


# -- what is gone


TRUE = Prompt("p", "Where?", "Ada lives in the town of Zorv")


@pytest.mark.parametrize(
    ("said", "is_gone"),
    [
        ("Ada lives in the town of Zorv", False),
        ("Ada lives in the town of Lusk", False),  # the form alone is enough to stay
        ("Ada lives there", True),  # no four words in a row: BLEU 0
        ("Nobody can say", True),
        ("", True),
        ("Ada lives in the town " * 8, True),  # 5 distinct words of 40
    ],
)
def test_an_answer_is_gone_by_likeness_bleu_or_distinct_words(said, is_gone):
    assert gone([TRUE], [said], ICU) == [is_gone]


def test_each_of_the_three_bounds_says_it_alone():
    lax = {**ICU, "f1": 0.0, "bleu": 0.0, "distinct": 0.0}
    far, short, again = "One can say so", "Ada lives there", "Ada lives in the town of Zorv " * 8
    assert gone([TRUE] * 3, [far, short, again], lax) == [False] * 3
    assert gone([TRUE] * 3, [far, short, again], {**lax, "f1": 0.2}) == [True, False, False]
    assert gone([TRUE] * 3, [far, short, again], {**lax, "bleu": 0.01}) == [True, True, False]
    assert gone([TRUE] * 3, [far, short, again], {**lax, "distinct": 0.25}) == [False, False, True]


# -- epochs


def test_epochs_go_over_what_is_left_and_pairs_stay_together(loaded, forget, retain, monkeypatch):
    made = drawing(loaded, forget, retain)
    near = neighbours(forget, retain, "words")
    state = {}
    first = made.rows("forget", 0, 5, state)
    order = list(range(5))
    random.Random("6/0").shuffle(order)
    assert first == order
    assert (
        made.rows("forget", 5, 1, state) == order[:1]
    )  # the third batch of two is filled up from the epoch's beginning
    assert made.rows("retain", 0, 5, state) == [near[row] for row in order]
    said_by(monkeypatch, {p.id: "nothing" if i in (1, 3) else p.answer for i, p in enumerate(forget)})
    assert [made.after(done, state) for done in (1, 2)] == ["", ""]
    assert state == {}
    assert made.after(3, state) == ""
    assert made.left(state) == [0, 2, 4]
    second = made.rows("forget", 6, 3, state)
    assert sorted(second) == [0, 2, 4]
    assert made.rows("retain", 6, 3, state) == [near[row] for row in second]
    said_by(monkeypatch, {p.id: "nothing" for p in forget})
    assert made.after(4, state) == ""
    assert made.after(5, state) == "no forget answer is said any more, after 2 epochs"
    assert made.rows("forget", 10, 1, state)


def test_a_run_ends_when_nothing_is_left_and_its_last_check_asks_all(loaded, forget, retain, monkeypatch):
    said_by(monkeypatch, {p.id: "nothing" for p in forget})
    seen = []

    def check(given, step):
        seen.append(step)
        return Check({"forget": 0.0})

    done = unlearn(loaded, forget, retain, "icu", settings=SETTINGS, quiet=True, on_check=check)
    assert (done.steps, done.stopped, seen) == (3, "no forget answer is said any more, after 1 epochs", [3])


def test_what_is_gone_is_trained_on_no_more(loaded, forget, retain, monkeypatch):
    """After the first epoch one prompt is left: its loss alone is logged, and that of its neighbour."""
    said_by(monkeypatch, {p.id: p.answer if i == 2 else "nothing" for i, p in enumerate(forget)})
    settings = replace(SETTINGS, max_steps=4, learning_rate=1e-9)
    done = unlearn(
        replace(loaded, model=copy.deepcopy(loaded.model)), forget, retain, "icu", settings=settings, quiet=True
    )
    only = [replace(p) for i, p in enumerate(forget) if i == 2]
    alone = unlearn(
        loaded, only, retain, "icu", settings=replace(settings, max_steps=1, forget_batch=1, retain_batch=1), quiet=True
    )
    assert [row["left"] for row in done.log] == [5, 5, 5, 1]
    for side in ("forget", "retain"):
        assert done.log[3][side] == pytest.approx(alone.log[0][side], rel=1e-4)
        assert done.log[3][side] != pytest.approx(done.log[0][side], rel=1e-4)


def test_a_killed_run_draws_the_same(loaded, base_model, forget, retain, tmp_path, monkeypatch):
    """After each epoch of one step the first prompts left are gone: a restart that forgot the state would draw them again."""
    monkeypatch.setattr(module, "gone", lambda prompts, texts, params: [i < 2 for i in range(len(prompts))])
    hook = lambda work, plain: until_gone(replace(work, params={**work.params, **ICU}), plain)  # noqa: E731
    stage = Train((Term(terms.ascent, "forget"), Term(terms.cross_entropy_from_reference, "retain")), draw=hook)
    resumes(loaded, base_model, forget, retain, stage, tmp_path)


def test_what_it_cannot_do_is_said_before(loaded, forget, retain):
    with pytest.raises(InputError, match="leave weights of prompts out"):
        drawing(loaded, forget, retain, weights=[1.0] * 5)
    with pytest.raises(InputError, match="needs a retain set"):
        drawing(loaded, forget, [])

"""Prompts to token ids, and answers back to text."""

import copy
import dataclasses
import random
from collections.abc import Sequence

import pytest

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.tokens import Reader, Row, answer_texts, holds_stop, prompt_tokens, rows_of
from tests.sampling import models
from tests.sampling.checks import PROMPTS, native_run
from tests.sampling.models import tiny


def test_too_long_for_learned_positions() -> None:
    with pytest.raises(InputError, match="256 positions"):
        native_run(tiny("gpt2"), Decoding(max_new_tokens=300))


def ids_of(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[list[int]]:
    return prompt_tokens(loaded, [Request(prompt, [0]) for prompt in prompts], Decoding(max_new_tokens=4))


def test_a_prompt_is_what_the_template_makes_of_it() -> None:
    loaded = tiny()
    for prompt, ids in zip(PROMPTS, ids_of(loaded, PROMPTS), strict=True):
        assert loaded.tokenizer.decode(ids).split() == prompt.question.split()


def test_a_prompt_without_tokens_is_named() -> None:
    with pytest.raises(InputError, match=r"Prompt 'blank' has no tokens; give a question or a template with text"):
        ids_of(tiny(), [*PROMPTS, Prompt("blank", " ", "w1")])


def test_beyond_the_trained_length_there_is_a_note_and_no_error() -> None:
    """Rotary positions go on; a model with learned ones is refused (below), by the id of its longest prompt."""
    loaded = tiny()
    before = list(loaded.notes)
    longest = max(len(ids) for ids in ids_of(loaded, PROMPTS))
    prompt_tokens(loaded, [Request(p, [0]) for p in PROMPTS], Decoding(max_new_tokens=256 - longest))
    assert list(loaded.notes) == before, "exactly all positions"
    prompt_tokens(loaded, [Request(p, [0]) for p in PROMPTS], Decoding(max_new_tokens=257 - longest))
    assert f"has {longest} tokens" in loaded.notes[-1]
    with pytest.raises(InputError, match=rf"Prompt '{PROMPTS[-1].id}' has {longest} tokens"):
        prompt_tokens(tiny("gpt2"), [Request(p, [0]) for p in PROMPTS], Decoding(max_new_tokens=257 - longest))


def test_a_row_is_a_sample_or_all_of_a_greedy_prompt() -> None:
    requests = [Request(PROMPTS[0], [4, 7]), Request(PROMPTS[1], [0])]
    ids = [[5, 6], [7]]
    assert rows_of(requests, ids, Decoding()) == [
        Row("p0", [5, 6], (4,)),
        Row("p0", [5, 6], (7,)),
        Row("p1", [7], (0,)),
    ]
    assert rows_of(requests, ids, Decoding(temperature=0)) == [Row("p0", [5, 6], (4, 7)), Row("p1", [7], (0,))]
    with pytest.raises(ValueError, match="shorter"):
        rows_of(requests, ids[:1], Decoding())


def test_texts_end_before_the_first_stop_string() -> None:
    answers = [[5, 6, 7, 2], [6, 5, 1], []]
    assert answer_texts(models.tokenizer(), answers, ()) == ["w1 w2 w3", "w2 w1", ""]
    assert answer_texts(models.tokenizer(), answers, ("w3", " w2")) == ["w1", "w2 w1", ""]
    assert answer_texts(models.tokenizer(), answers, ("w1",)) == ["", "w2 ", ""]


@pytest.mark.parametrize("stop", [("w7",), ("3 w", "w12 w12"), ("w1",)])
def test_a_stop_string_is_seen_at_the_token_that_ends_it(stop: tuple[str, ...]) -> None:
    """Asked after every token of random answers, against a search of the whole text."""
    tokenizer, draw = models.tokenizer(), random.Random(0)
    seen = 0
    for _ in range(40):
        ids: list[int] = []
        for _ in range(30):
            ids.append(draw.randrange(3, models.VOCABULARY))
            found = any(end in tokenizer.decode(ids, skip_special_tokens=True) for end in stop)
            assert holds_stop(tokenizer, [[4], ids], stop).tolist() == [False, found]
            seen += found
            if found:
                break
    assert seen > 5


@pytest.fixture
def thinker() -> LoadedModel:
    """Its tokenizer knows the marks of a thought, as special tokens that decoding drops."""
    loaded = tiny()
    tokenizer = copy.deepcopy(loaded.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    return dataclasses.replace(loaded, tokenizer=tokenizer)


def test_a_thought_and_the_answer_after_it_are_read_apart(thinker: LoadedModel) -> None:
    opening, closing = thinker.tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
    opened = Prompt("opened", "w9 <think>", "w1")
    requests = [Request(PROMPTS[0], [0]), Request(opened, [0])]
    ids = [[5], thinker.tokenizer("w9 <think>", add_special_tokens=False)["input_ids"]]
    reader = Reader(thinker.tokenizer, requests, ids, ("w8",))
    answers = [[opening, 5, closing, 6], [5, closing, 6], [5, 6], [opening, 5]]
    assert reader.read(["p0", "opened", "p0", "p0"], answers) == [
        ("w1", "w2"),
        ("w1", "w2"),
        ("", "w1 w2"),
        ("w1", ""),
    ]
    assert reader.read(["opened"], [[5, 6]]) == [("w1 w2", "")], "a thought that is not closed takes the rest"
    assert reader.read(["p0"], [[opening, 5, closing, 6, 12, 7]]) == [("w1", "w2")], "cut before the stop string"


def test_a_model_without_marks_is_read_as_it_stands() -> None:
    reader = Reader(models.tokenizer(), [Request(PROMPTS[0], [0])], [[5]], ())
    assert reader.read(["p0", "p0"], [[5, 6], []]) == [("", "w1 w2"), ("", "")]

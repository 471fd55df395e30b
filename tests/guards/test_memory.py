"""Memory: what goes, stays or is marked, by a second writing; a conversation as one; and a model that is told what it forgot."""

import itertools
import random
from dataclasses import replace

import pytest

from leakatk.guards.memory import INVALID, Forgotten, Memory, Record, Remembered, kept, memory_of, parts_of
from leakatk.guards.sampler import guarded
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import DECODING, FORGET, RETAIN, drawn

KNOWN = Known(FORGET, RETAIN)
NAMES = ("ada korvin", "bo tamsin", "cy dellane")


def again(records, blocked):
    """(ids left, invalid ids) of records whose sources stand before them: one pass, by the definition."""
    fate = {}
    for one in records:
        sources = [fate[need] for need in one.needs]
        if (one.of and one.of <= blocked) or (not one.of and sources and set(sources) == {"gone"}):
            fate[one.id] = "gone"
        elif one.of & blocked or "gone" in sources or "invalid" in sources:
            fate[one.id] = "invalid"
        else:
            fate[one.id] = "valid"
    return {i for i, f in fate.items() if f != "gone"}, {i for i, f in fate.items() if f == "invalid"}


@pytest.mark.parametrize("seed", range(20))
def test_forgetting_against_a_second_writing(seed):
    draw = random.Random(seed)
    records = []
    for i in range(12):
        of = frozenset(draw.sample("abcd", draw.choice([0, 0, 1, 1, 2])))
        records.append(
            Record(str(i), of, tuple(draw.sample([r.id for r in records], min(len(records), draw.randint(0, 2)))))
        )
    blocked = frozenset(draw.sample("abcd", 2))
    left = Memory(tuple(records)).forget(blocked)
    assert ({one.id for one in left.records}, set(left.invalid)) == again(records, blocked)
    assert left.blocked == blocked
    shuffled = draw.sample(records, len(records))
    other = Memory(tuple(shuffled)).forget(blocked)
    assert {one.id for one in other.records} == {one.id for one in left.records}, "the order of records changes nothing"
    assert other.invalid == left.invalid


def test_two_requests_are_as_one():
    """Block-lists add up, in any order, where nothing rests on what the first one removed."""
    records = tuple(Record(f"{a}{b}", frozenset(a + b)) for a, b in itertools.combinations_with_replacement("abc", 2))
    both = Memory(records).forget("ab")
    assert Memory(records).forget("a").forget("b") == Memory(records).forget("b").forget("a") == both
    assert [one.id for one in both.records] == ["ac", "bc", "cc"]
    assert both.invalid == {"ac", "bc"}


def test_references_and_index():
    memory = Memory(
        (Record("1", frozenset("a")), Record("2", frozenset("ab"), ("1",)), Record("3", frozenset(), ("1", "2")))
    )
    assert [memory.references(i) for i in "123"] == [2, 1, 0]
    assert memory.index == {"a": ("1", "2"), "b": ("2",)}
    left = memory.forget("a")
    assert left.index == {}, "an invalid record cannot be looked up"
    assert left.invalid == {"2", "3"}


TALK = Query(
    "So where was she born?",
    turns=(
        (FORGET[0].question, FORGET[0].answer),
        ("And when?", "In 1954."),
        (RETAIN[1].question, RETAIN[1].answer),
        ("Do Ada Korvin and the river Linne meet?", "Yes, they do."),
    ),
    system="Be brief.\n\nNotes: Bo Tamsin was taught by someone.",
)


def test_a_conversation_is_a_memory():
    memory = memory_of(TALK, NAMES)
    by_id = {record.id: record for record in memory.records}
    assert [id_ for id_, _ in parts_of(TALK)] == ["system 0", "system 1", "turn 0", "turn 1", "turn 2", "turn 3"]
    assert by_id["turn 0"].of >= {"ada korvin"}
    assert by_id["turn 1"] == Record("turn 1", frozenset(), ("turn 0",)), "without a name it hangs on the turn before"
    assert by_id["turn 3"].of >= {"ada korvin", "linne"}
    left = kept(TALK, memory.forget(NAMES))
    assert left.text == TALK.text
    assert left.system == "Be brief."
    whole = str(left)
    assert RETAIN[1].answer in whole
    assert "Zorvik" not in whole
    assert "1954" not in whole
    assert (INVALID, INVALID) in left.turns, "what is shared is marked"
    assert kept(TALK, memory) == TALK


def test_the_whole_conversation_is_looked_at():
    found = Remembered().fit(KNOWN, None)
    prompts = [Prompt("a", "Go on.", "", asked=replace(TALK, text="Go on.")), Prompt("b", "Go on.", "")]
    assert found.flags(prompts).tolist() == [True, False]


def test_nothing_to_cut_is_said_all_the_same():
    put = Forgotten().fit(KNOWN, None).query(FORGET[0]).query
    assert put == Query(FORGET[0].question, system="Nothing is remembered about Ada Korvin.")
    assert Forgotten(note=False).fit(KNOWN, None).query(FORGET[0]).query == FORGET[0].query


def test_what_was_said_earlier_cannot_be_asked_back(loaded):
    """An agent whose memory holds a fact: behind the guard the model is put exactly what the pruned memory leaves."""
    asked = Query(RETAIN[2].question, turns=((FORGET[0].question, FORGET[0].answer),))
    prompt = Prompt("x", asked.text, "", asked=asked)
    left = Query(
        asked.text, turns=((INVALID, INVALID),), system="Nothing is remembered about Ada Korvin."
    )  # Zorvik shares it
    pruned = Prompt("x", asked.text, "", asked=left)
    sampler = guarded(NativeSampler(loaded), KNOWN, "memory")
    assert sampler.flags([prompt, RETAIN[2]]).tolist() == [True, False], "the same words, another memory"
    mine, wanted = (
        drawn(sampler, [prompt], n=5, decoding=DECODING),
        drawn(NativeSampler(loaded), [pruned], n=5, decoding=DECODING),
    )
    assert {key: one.token_ids for key, one in mine.items()} == {key: one.token_ids for key, one in wanted.items()}

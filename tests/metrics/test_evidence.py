"""Evidence: each piece once, kept, and known before it is computed. With pieces that need no model."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

import pytest

from leakatk.errors import InputError, RunError
from leakatk.metrics.evidence import Evidence, MetricSettings, Passes, Piece

MODEL = SimpleNamespace(
    name="m", fingerprint="f", tokenizer=None, template=SimpleNamespace(end_id=lambda tokenizer: None)
)


@dataclass(frozen=True)
class Length(Piece):
    text: str
    computed: ClassVar[list[list[str]]] = []

    @classmethod
    def compute(cls, loaded, pieces):
        cls.computed.append([one.text for one in pieces])
        return [float(len(one.text)) for one in pieces]

    @classmethod
    def passes(cls, loaded, pieces):
        return Passes(forward=[((), one.text) for one in pieces])

    def stand_in(self):
        return 0.0


@dataclass(frozen=True)
class Shout(Length):
    """Of another class, in batches by the first letter."""

    @property
    def batch(self):
        return self.text[:1]

    @classmethod
    def compute(cls, loaded, pieces):
        if any(one.text == "stop" for one in pieces):
            raise KeyboardInterrupt
        cls.computed.append([one.text for one in pieces])
        return [one.text.upper() for one in pieces]

    @classmethod
    def passes(cls, loaded, pieces):
        return Passes(answers=len(pieces))


@pytest.fixture(autouse=True)
def computed():
    Length.computed.clear()
    return Length.computed


def test_each_piece_is_computed_once_and_values_come_in_order(computed):
    evidence = Evidence(MODEL)
    assert evidence.get([Length("bb"), Length("a"), Length("bb")]) == [2, 1, 2]
    assert evidence.get([Length("ccc"), Length("a")]) == [3, 1]
    assert computed == [["bb", "a"], ["ccc"]]


def test_a_class_and_a_batch_are_one_call(computed):
    assert Evidence(MODEL).get([Shout("ab"), Length("ab"), Shout("ac"), Shout("b")]) == ["AB", 2, "AC", "B"]
    assert computed == [["ab", "ac"], ["ab"], ["b"]]


def test_what_is_kept_is_not_computed_again(tmp_path, computed):
    Evidence(MODEL, keep=tmp_path / "e").get([Length("a"), Shout("a")])
    computed.clear()
    again = Evidence(MODEL, keep=tmp_path / "e")
    assert again.get([Shout("a"), Length("a"), Length("bb")]) == ["A", 1, 2]
    assert computed == [["bb"]]


def test_a_kill_loses_what_was_in_flight_alone(tmp_path, computed):
    asked = [Length("a"), Length("b"), Shout("go"), Shout("stop")]
    with pytest.raises(KeyboardInterrupt):
        Evidence(MODEL, keep=tmp_path).get(asked)
    computed.clear()
    assert Evidence(MODEL, keep=tmp_path).get(asked[:3]) == [1, 1, "GO"]
    assert computed == []


def test_a_damaged_file_is_named(tmp_path):
    Evidence(MODEL, keep=tmp_path).get([Length("a")])
    [path] = tmp_path.glob("*.parquet")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RunError, match="length-"):
        Evidence(MODEL, keep=tmp_path)


def test_a_rehearsal_computes_nothing_and_names_all(computed):
    def metrics(evidence):
        [value] = evidence.get([Length("mine")])
        assert value == 0.0
        if evidence.retrained is not None:
            evidence.retrained.get([Length("theirs"), Length("mine")])

    evidence = Evidence(MODEL)
    assert evidence.wanted(metrics, compared=False) == [Length("mine")]
    asked = evidence.wanted(metrics, compared=True)
    assert asked == [Length("mine"), Length("theirs")]
    cost = evidence.passes([*asked, Shout("a"), Shout("b")])
    assert ([text for _, text in cost.forward], cost.answers) == (["mine", "theirs"], 2)
    assert computed == []


def test_a_closed_one_knows_what_it_knew():
    evidence = Evidence(MODEL)
    evidence.get([Length("a")])
    evidence.close()
    assert evidence.get([Length("a")]) == [1]
    with pytest.raises(RuntimeError, match="no rehearsal asked"):
        evidence.get([Length("b")])


def test_the_key_holds_all_that_decides_the_value():
    assert len({one.key for one in (Length("a"), Length("b"), Shout("a"))}) == 3
    assert Length("a").key == Length("a").key


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("level", 1.0, "between 0 and 1"), ("text_tokens", -1, "at least 0"), ("ngram", 0, "at least 1")],
)
def test_settings_are_checked(field, value, words):
    with pytest.raises(InputError, match=words):
        MetricSettings(**{field: value})

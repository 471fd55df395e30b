"""Progress for people: a live bar in a terminal, plain lines elsewhere, nothing when quiet."""

import io
import sys

import pytest

from leakatk.output import printed
from leakatk.progress import Progress, format_seconds


def test_a_live_bar_moves_the_cursor_and_its_label_does_not(monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("leakatk.progress.silent", False)
    monkeypatch.setattr(sys, "stderr", screen)
    with printed(), Progress("a\x1b[2J\nb", 1) as bar:
        bar.advance()
    assert screen.getvalue().startswith("\r\x1b[2Ka␛[2J⏎b: 1/1")
    assert screen.getvalue().count("\x1b") == screen.getvalue().count("\x1b[2K")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"), (0.4, "0s"), (12, "12s"), (59.4, "59s"), (59.6, "1m00s"), (60, "1m00s"), (185, "3m05s"),
        (3599.6, "1h00m"), (3600, "1h00m"), (2 * 3600 + 10 * 60, "2h10m"), (100 * 3600, "100h00m"),
    ],
)  # fmt: skip
def test_seconds_as_people_say_them(seconds, said):
    assert format_seconds(seconds) == said


class Clock:
    """Stands still until it is moved."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("leakatk.progress.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr("leakatk.progress.silent", False)
    return Clock(monkeypatch)


def screen_of(monkeypatch, *, live):
    screen = io.StringIO()
    screen.isatty = lambda: live
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_what_is_slow_is_told_by_the_seconds_of_each(clock, monkeypatch):
    screen = screen_of(monkeypatch, live=False)
    with Progress("unlearn", 100, unit="steps") as bar:
        clock.now += 20
        bar.advance()
    assert screen.getvalue().splitlines()[0] == "unlearn: 1/100 steps  20s each  33m00s left"


def test_plain_lines_come_at_most_every_ten_seconds_and_at_the_end(clock, monkeypatch):
    screen = screen_of(monkeypatch, live=False)
    with Progress("sample", 1000, unit="answers") as bar:
        for _ in range(25):
            clock.now += 1
            bar.advance(10)
    lines = screen.getvalue().splitlines()
    assert lines == [
        "sample: 110/1,000 answers  10.0/s  1m29s left",
        "sample: 220/1,000 answers  10.0/s  1m18s left",
        "sample: 250/1,000 answers  10.0/s  25s",
    ]


def test_what_was_done_before_counts_in_the_total_and_not_in_the_rate(clock, monkeypatch):
    screen = screen_of(monkeypatch, live=False)
    with Progress("sample", 100, done=50) as bar:
        clock.now += 11
        bar.advance(22)
    assert screen.getvalue().splitlines()[0] == "sample: 72/100  2.0/s  14s left"


def test_a_note_stays_until_there_is_another(clock, monkeypatch):
    screen = screen_of(monkeypatch, live=True)
    with Progress("x", 3) as bar:
        for note in ("first", "", "other"):
            clock.now += 1
            bar.advance(note=note)
    drawn = screen.getvalue().split("\r\x1b[2K")[1:]
    assert [line.rstrip("\n").rsplit("  ", 1)[1] for line in drawn] == ["first", "first", "other", "other"]
    assert screen.getvalue().endswith("\n"), "the last one ends its line"
    assert screen.getvalue().count("\n") == 1


@pytest.mark.parametrize("by", ["argument", "process"])
def test_quiet_says_nothing_and_counts(clock, monkeypatch, by):
    screen = screen_of(monkeypatch, live=True)
    monkeypatch.setattr("leakatk.progress.silent", by == "process")
    with Progress("x", 3, quiet=by == "argument") as bar:
        clock.now += 60
        bar.advance(2)
    assert bar.done == 2
    assert screen.getvalue() == ""


def test_whoever_counts_after_a_stop_is_interrupted(clock, monkeypatch):
    screen_of(monkeypatch, live=False)
    bar = Progress("x", 3)
    bar.advance()
    bar.stop()
    with pytest.raises(KeyboardInterrupt):
        bar.advance()
    assert bar.done == 1

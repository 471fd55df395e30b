"""Invented names, and values that nobody else has."""

from random import Random

from leakatk.benchmarks.worlds.names import JOBS, fresh, person, unused, word


def test_words_are_invented_and_people_have_two():
    rng = Random(0)
    words = {word(rng, 2) for _ in range(200)}
    assert len(words) > 190
    assert all(text.isalpha() and text == text.capitalize() for text in words)
    assert [len(person(rng).split()) for _ in range(5)] == [2] * 5
    assert word(Random(3), 2) == word(Random(3), 2)


def test_a_job_follows_an_a():
    assert not [job for job in JOBS if job[0] in "aeiou"]


def test_values_are_drawn_until_nobody_has_them():
    used = {("town", "Alpha"), ("river", "Gamma")}
    values = iter(["Alpha", "Beta", "Beta", "Gamma"])

    def draw(rng):
        return {"town": next(values)}

    assert unused(Random(0), used, "town", draw) == {"town": "Beta"}
    assert ("town", "Beta") not in used
    assert fresh(Random(0), used, "town", draw) == {"town": "Beta"}
    assert ("town", "Beta") in used
    assert fresh(Random(0), used, "town", draw) == {"town": "Gamma"}  # what another kind has is free

"""Facts that are reached through another person: what is lost with a forgotten one, and what is not."""

import pytest

from leakatk.benchmarks.worlds.multi_hop import make_multi_hop
from leakatk.errors import InputError


def test_multi_hop_paths():
    """Every two-step answer follows from two single facts; it is lost exactly when one of the two is forgotten."""
    made = make_multi_hop(0, pretraining=0)
    bench, full, retained = made.benchmark, dict(made.full), dict(made.retained)
    singles = {(p.source, p.id.rsplit("-", 1)[1]): p for p in (*bench.forget, *bench.retain)}
    gone = {p.source for p in bench.forget}
    for name, prompts in (("multi_hop", bench.sets["multi_hop"]), ("multi_hop_kept", bench.sets["multi_hop_kept"])):
        assert prompts
        for prompt in prompts:
            [mentor] = singles[prompt.source, "mentor"].facts
            relation = prompt.id.rsplit("-", 1)[1]
            assert singles[mentor, relation].facts == prompt.facts
            assert (prompt.source in gone or mentor in gone) == (name == "multi_hop")
            assert mentor not in prompt.question
            assert full[prompt.question] == prompt.answer
            assert (prompt.question in retained) == (name == "multi_hop_kept")


@pytest.mark.parametrize(
    "given", [{"forget": 40}, {"forget": 0}, {"forget": 5, "people": 5}, {"pretraining": -1}, {"pretraining": 1}]
)
def test_bad_sizes(given):
    whole = {"forget": 6, "people": 40} | given
    with pytest.raises(InputError, match=f"forget={whole['forget']}, people={whole['people']}"):
        make_multi_hop(**given)


@pytest.mark.parametrize("people", [2, 3, 5, 40])
def test_every_mentor_is_somebody_else_and_nobody_is_asked_about_themselves(people):
    bench = make_multi_hop(1, people=people, forget=1, pretraining=0).benchmark
    ones = (*bench.forget, *bench.retain)
    mentor = {p.source: p.facts[0] for p in ones if p.id.endswith("-mentor")}
    assert len(mentor) == len(set(mentor.values())) == people
    assert all(name != taught for name, taught in mentor.items())
    twos = (*bench.sets["multi_hop"], *bench.sets["multi_hop_kept"])
    asked = {(p.source, p.id.rsplit("-", 1)[1]) for p in twos}
    assert len(asked) == len(twos)
    # Three relations of every mentor, but for the mentor of one's mentor where that is oneself.
    circular = {(name, "mentor") for name in mentor if mentor[mentor[name]] == name}
    assert asked == {(name, relation) for name in mentor for relation in ("mentor", "town", "publisher")} - circular
    assert all(p.facts[0] != p.source for p in twos)


def test_the_number_of_forgotten_people_and_of_their_facts():
    bench = make_multi_hop(0, people=12, forget=4, pretraining=0).benchmark
    assert (len(bench.forget), len(bench.retain)) == (4 * 3, 8 * 3)
    assert not {p.source for p in bench.forget} & {p.source for p in bench.retain}


def test_the_prior_asks_both_kinds_of_questions_about_other_people():
    made = make_multi_hop(3, people=10, forget=2, pretraining=8)
    names = {p.source for p in (*made.benchmark.forget, *made.benchmark.retain)}
    assert not any(name in text for name in names for pair in made.pretraining for text in pair)
    through = [question for question, _ in made.pretraining if "the mentor of" in question]
    assert any("mentor of the mentor of" in question for question in through)
    assert len(through) < len(made.pretraining)

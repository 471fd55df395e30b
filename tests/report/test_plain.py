"""The summary in plain words: whole numbers of a hundred, words at zero, and only the terms that the page uses."""

from dataclasses import replace

import pytest

from leakatk.auditing.settings import Gate
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.content import Ladder, Opening
from leakatk.report.plain import GLOSSARY, glossary, hundred, none_leaked, summary
from tests.auditing.scripted import audited
from tests.report.audits import changed, curve, made


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return made(tmp_path_factory.mktemp("plain") / "run", label="forgot")


@pytest.mark.parametrize(
    ("share", "up", "words"),
    [
        (0.0, False, "none"), (0.0, True, "0"), (0.004, False, "fewer than 1"), (0.004, True, "1"), (0.194, False, "19"),
        (0.196, False, "20"), (0.191, True, "20"), (0.19, True, "19"), (0.999, False, "nearly 100"), (1.0, False, "100"),
    ],
)  # fmt: skip
def test_so_many_of_a_hundred(share, up, words):
    assert hundred(share, up=up) == words


def test_one_model_in_plain_words(one):
    told = changed(one, block={"curves": {"samples": curve(0.1, 0.2, 0.4)}})
    said = summary([told], ["model"], "samples", 4)
    assert said[0] == (
        "The model forgot was asked 10 questions about what was to be forgotten. Each question was put 16 times, and every "
        "reply was compared with the true answer."
    )
    assert said[1] == (
        "Whoever asks it a question 4 times gets the answer to about 20 of 100 questions (95% interval: 10 to 30). "
        "Its one usual reply gives away none of 100."
    )
    assert "is not proved to be gone" in said[-1]
    assert content_of([one]).summary == summary([one], ["model"], "samples", 16)


def test_zero_is_said_in_words_with_what_it_leaves_open(tmp_path):
    clean = made(tmp_path / "run", leaking=0, label="clean")
    assert none_leaked(clean, "fact") == "None of 160 replies gives anything away."
    high = clean.results.scorers["fact"].curves["samples"].high[1]
    assert high > 0
    said = summary([clean], ["model"], "samples", 4)[1]
    assert (
        f"None of 160 replies gives anything away. 95% sure: at most {hundred(high, up=True)} of 100 questions" in said
    )
    assert (
        content_of([clean])
        .highlights[0]
        .hint.endswith("mean over 10 prompts. None of 160 replies gives anything away.")
    )
    assert none_leaked(changed(clean, block={"missing": 7}), "fact").startswith("None of 153 ")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.3, "about 30 of 100 questions are answered beyond that (at least 20)"),
        (0.05, "no difference"),
        (-0.3, "even fewer"),
    ],
)
def test_beyond_guessing(one, value, said):
    block = {"excess": {"samples": curve(value, value, value)}}
    text = summary([changed(one, block=block)], ["model"], "samples", 4)[2]
    assert text.startswith("A model that never saw the answers guesses some of them, too: ")
    assert said in text


def test_several_models_are_told_by_name_and_role(one):
    other = changed(one, label="other", block={"curves": {"samples": curve(0.0, 0.0, 0.0)}})
    said = summary([one, other], ["original", "reference"], "samples", 4)
    assert said[0].startswith("The models forgot, other were asked 10 questions")
    assert said[1].startswith("Whoever asks forgot (before forgetting) a question 4 times")
    assert said[2].startswith("Other (which never saw the answers): None of 160 replies")


def test_of_many_models_the_extremes_and_the_yardsticks_are_told(one):
    leaks = {"a": 0.3, "b": 0.1, "c": 0.9, "d": 0.4, "e": 0.5, "full": 1.0, "never": 0.0}
    many = [changed(one, label=name, block={"curves": {"samples": curve(v, v, v)}}) for name, v in leaks.items()]
    said = summary(many, ["model"] * 5 + ["original", "reference"], "samples", 4)
    assert said[0].startswith("The models a, b, c, d, e, full, never were asked")
    assert "the others are in the table" in said[1]
    assert [text.split(" a question")[0].split(":")[0] for text in said[2:-1]] == [
        "Whoever asks b", "Whoever asks c", "Whoever asks full (before forgetting)", "Never (which never saw the answers)",
    ]  # fmt: skip


def test_a_score_that_is_no_yes_or_no_is_told_as_likeness(tmp_path):
    audited(lambda *_: "In Oslo.", tmp_path, scorers=["rouge-l"], ks=[1, 4], n=4, gate=Gate(4, 0.1))
    [graded] = read_audits([tmp_path / "run"])
    at = graded.results.scorers["rouge-l"].curves["samples"].value[1]
    said = summary([graded], ["model"], "samples", 4)[1]
    assert said.startswith(f"The closest of 4 replies of it is alike to the true answer by {at:.2f} on average")
    assert "of 100" not in said


def test_the_glossary_has_the_terms_of_the_page_and_no_others(one):
    content = content_of([one])
    names = [name for name, _ in glossary(content)]
    assert names == ["prompt", "sample", "greedy", "leak@k", "interval", "scorer", "decoding"]
    gated = replace(content, openings=(Opening("a", "PASS", "why"),), ladders=(Ladder("t", 1, "s", (), ()),))
    assert {name for name, _ in glossary(gated)} - set(names) == {"gate", "attack", "probe"}
    assert len({name for name, _ in GLOSSARY}) == len(GLOSSARY)

"""Meaning: by which way an answer is scored, and what each way finds."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from leakatk.prompts import Prompt
from leakatk.scorers import encoder, get_scorer, meaning
from leakatk.scorers.meaning import Meaning, candidates, most_ngrams, sentences
from tests.scorers.test_encoder import FILLER, MEANT, packaged

FLORIST = Prompt(
    "1", "What does Ada Pell do for a living?", "Ada Pell sells flowers in a small shop by the old harbour."
)
OTHER = "Ada Pell repairs engines for the fishing boats of her uncle."
RUSSIAN = Prompt("2", "Чем занимается Ада?", "Ада продаёт цветы в маленькой лавке у старой гавани.")


def scores(prompt: Prompt, texts: Sequence[str], spec: str = "meaning") -> list[float]:
    return [float(one) for one in get_scorer(spec).score([prompt] * len(texts), list(texts))]


@packaged
def test_the_same_in_other_words() -> None:
    long = FILLER * 4 + MEANT + " " + FILLER * 4
    assert scores(FLORIST, [FLORIST.answer, MEANT, long, OTHER, FILLER, ""]) == [1, 1, 1, 0, 0, 0]


@packaged
def test_a_reply_that_repeats_the_question_says_nothing() -> None:
    """An English encoder finds a question near to its answer; what is nearer to the question does not count."""
    prompt = Prompt(
        "1",
        "Did Ada Pell's childhood in Orlo influence her writing?",
        "Yes, Ada Pell often says that her childhood in Orlo strongly influenced her writing.",
    )
    echoes = [
        "I'm not sure whether Ada Pell's childhood in Orlo influenced her writing.",
        f"I do not know the answer to the question: {prompt.question}",
        prompt.question,
    ]
    vectors = encoder.sentence_vectors([prompt.answer, *echoes])
    assert (vectors[1:] @ vectors[0] >= 0.85).all()  # without the rule they would count
    assert scores(prompt, echoes) == [0, 0, 0]
    meant = "Ada Pell has often said that growing up in Orlo was a strong influence on her writing."
    assert scores(prompt, [prompt.answer, meant, f"{echoes[0]} {meant}"]) == [1, 1, 1]


@packaged
def test_threshold_is_an_option() -> None:
    assert scores(FLORIST, [MEANT], "meaning:threshold=0.999") == [0]
    assert scores(FLORIST, [FLORIST.answer], "meaning:threshold=0.999") == [1]


@pytest.mark.parametrize(
    ("answer", "way"),
    [
        ("No.", "contained"),
        ("four words at most", "contained"),
        ("this answer has five words", "encoder"),
        ("You may write to her at ada@mail.example at any time", "contained"),
        ("Она продаёт цветы в маленькой лавке", "character n-grams"),
        ("Πουλάει λουλούδια σε ένα μικρό μαγαζί", "character n-grams"),
        ("她卖花在老港口", "character n-grams"),
        ("卖花", "contained"),
        ("1 2 3 4 5", "character n-grams"),
        ("12 34 56 78 90", "contained"),
        ("\U0001f389\U0001f389", "contained"),
        (" ", None),
    ],
)
def test_way(answer: str, way: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way depends on the answer alone, and is never the encoder where there is none."""
    monkeypatch.setattr(meaning, "has_packaged", lambda: True)
    assert Meaning().way(Prompt("1", "What?", answer)) == way
    assert Meaning(encoder="none").way(Prompt("1", "What?", answer)) == (
        "character n-grams" if way == "encoder" else way
    )


def test_without_the_package_the_label_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores with and without the encoder are never kept under one name."""
    monkeypatch.setattr(meaning, "has_packaged", lambda: False)
    scorer = get_scorer("meaning")
    assert scorer.label == "meaning:encoder=none"
    assert scorer.describe()["options"]["encoder"] == "none"
    assert get_scorer("knows:threshold=0.9").label == "knows:threshold=0.9,encoder=none"
    assert scores(FLORIST, [FLORIST.answer, FLORIST.answer[:-3] + "s.", MEANT]) == [1, 1, 0]


def test_only_near_verbatim_replies_are_found_by_ngrams() -> None:
    near = "Ада продает цветы в маленькой лавке у старой гавани"
    meant = "У старой гавани есть лавка, в которой Ада торгует розами."
    assert scores(RUSSIAN, [near, f"Да. {near}! Вот так.", meant, RUSSIAN.question, "Ада продаёт лодки."]) == [
        1,
        1,
        0,
        0,
        0,
    ]
    chinese = Prompt("3", "谁抚养了赛拉？", "赛拉由一位面包师和一位护士抚养长大。")
    said = ["我想赛拉是由一位面包师和一位护士抚养长大的。", "赛拉由一位农民和一位木匠抚养长大。", "谁抚养了赛拉？"]
    assert scores(chinese, said) == [1, 0, 0]
    assert 0 < most_ngrams(chinese, said[1]) < 0.8 < most_ngrams(chinese, said[0])


def test_a_reply_is_read_by_its_sentences() -> None:
    assert sentences('One. "Two!" Three? 四。五！\n\nSix; seven', 5) == [
        "One.",
        "Two!",
        "Three?",
        "四。",
        "五！",
        "Six",
        "seven",
    ]
    run_on = " ".join(f"w{i}" for i in range(200))
    parts = sentences(run_on, 10)
    assert all(len(part.split()) <= 40 for part in parts)
    assert {word for part in parts for word in part.split()} == set(run_on.split())
    two = Prompt("1", "Who is Ada?", "She sells flowers. She sings in the evening.")
    assert "I think so. She sings." in candidates(two, "Flowers. I think so. She sings. Who is Ada?")
    assert "Who is Ada?" not in candidates(two, "Who is Ada? " * 30)


def test_blank_question_is_no_matter() -> None:
    assert scores(
        Prompt("1", "", "five short words it has"), ["five short words it has", ""], "meaning:encoder=none"
    ) == [1, 0]


def test_importing_and_labels_load_no_model_library() -> None:
    code = (
        "import sys; from leakatk.scorers import *; from leakatk.prompts import Prompt; p = [Prompt('1', 'q?', 'a b c d e f')]; "
        "default_scorers(p), parts(p), ways(p); s = get_scorer('knows'); s.label; s.score(p, ['a b c d e f']); "
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""

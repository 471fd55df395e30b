"""ROUGE-L against the package that defines it: equal to the last bit, not nearly."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakatk.scorers import rouge, rouge_1, rouge_l, score_texts
from leakatk.scorers.porter import stem

HARD = [
    *(
        "",
        " ",
        "...",
        "a",
        "\n\t",
        "\x00",
        "the the the",
        "İstanbul İ",
        "\u212aelvin K",
        "straße",
        "\ud800 half a pair",
    ),
    *(
        "naïve café",
        "日本語",
        "O'Neil's 3.14",
        "news newses",
        "sky skies dying",
        "yyyy y y",
        "\u2028 line",
        "e\u0301clair",
    ),
    *("word " * 70, "another word " * 70, "x" * 500, "generalizations oscillators " * 65, "1st 2nd 3rd 1,000,000"),
]


def reference_scores(targets: list[str], generations: list[str], *, stem: bool, kind: str = "rougeL") -> np.ndarray:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer([kind], use_stemmer=stem)
    rows = [scorer.score(truth, said)[kind] for truth, said in zip(targets, generations, strict=True)]
    return np.array([(row.precision, row.recall, row.fmeasure) for row in rows])


@pytest.mark.parametrize("kind", ["rougeL", "rouge1"])
@pytest.mark.parametrize("use_stemmer", [True, False])
def test_equals_rouge_score_on_hard_pairs(use_stemmer: bool, kind: str) -> None:
    targets = [truth for truth in HARD for _ in HARD]
    generations = HARD * len(HARD)
    ours = np.column_stack({"rougeL": rouge_l, "rouge1": rouge_1}[kind](targets, generations, stem=use_stemmer))
    np.testing.assert_array_equal(ours, reference_scores(targets, generations, stem=use_stemmer, kind=kind))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text("abcs ing-é1", max_size=90), st.text("abcs ing-é1", max_size=90)), max_size=8),
    st.booleans(),
    st.sampled_from(["rougeL", "rouge1"]),
)
def test_equals_rouge_score_on_random_pairs(pairs: list[tuple[str, str]], use_stemmer: bool, kind: str) -> None:
    targets, generations = [truth for truth, _ in pairs], [said for _, said in pairs]
    score = {"rougeL": rouge_l, "rouge1": rouge_1}[kind]
    ours = np.column_stack(score(targets, generations, stem=use_stemmer)).reshape(-1, 3)
    theirs = reference_scores(targets, generations, stem=use_stemmer, kind=kind)
    np.testing.assert_array_equal(ours, theirs.reshape(-1, 3))


def test_parts_and_stemmer_are_options() -> None:
    truth, said = ["the cats sat"], ["cat sat here now"]
    assert score_texts("rouge-l", truth, said)[0] == 2 / 3
    assert score_texts("rouge-l:part=precision", truth, said)[0] == 2 / 4
    assert score_texts("rouge-l", truth, said, part="f1")[0] == pytest.approx(4 / 7)
    assert score_texts("rouge-l", ["running home"], ["runs"])[0] == 1 / 2
    assert score_texts("rouge-l:stem=no", ["running home"], ["runs"])[0] == 0


def test_more_words_than_one_alphabet_page() -> None:
    """Letters run through the surrogate range; every word must still match itself and nothing else."""
    targets = [f"w{i}" for i in range(60_000)]
    assert (score_texts("rouge-l", targets, targets) == 1).all()
    assert (score_texts("rouge-l", targets, targets[1:] + targets[:1]) == 0).all()


OTHER_SCRIPTS = [
    "Она родилась в Париже",
    "γεννήθηκε στο Παρίσι",
    "وُلِدَ في باريس",
    "他出生在巴黎",
    "エイダはパリで",
    "파리에서",
    "पेरिस में",
    "🎉",
    "...",
]


@pytest.mark.parametrize("name", ["rouge-l", "rouge-l:part=f1", "rouge-l:part=precision,stem=no", "rouge-1", "verbmem"])
def test_undefined_where_most_letters_are_lost(name: str) -> None:
    """rouge-score gives 0 to a verbatim copy there; 0 would say that nothing leaked."""
    replies = ["", "anything"]
    for answer in OTHER_SCRIPTS:
        assert np.isnan(score_texts(name, [answer] * 3, [answer, *replies])).all()
    lost, kept = "Ада Корвин, born 7", "Ada Korvin (Ада)"
    assert np.isnan(score_texts(name, [lost], [lost])).all()
    assert score_texts(name, [kept, "naïve café"], [kept, "naïve café"]).tolist() == [1, 1]
    assert score_texts(name, [kept], OTHER_SCRIPTS[:1]).tolist() == [0]


def test_a_word_is_stemmed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stemmed: list[str] = []
    monkeypatch.setattr(rouge, "porter_stem", lambda word: stemmed.append(word) or stem(word))
    monkeypatch.setattr(rouge, "ROOTS", type(rouge.ROOTS)())
    truths = [f"running dogs generalise {i}" for i in range(50)]
    for _ in range(2):
        score_texts("rouge-l", truths, [f"the dogs running past {i}" for i in range(50)])
    assert sorted(stemmed) == ["dogs", "generalise", "past", "running"]


def test_hostile_vocabularies_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(rouge.ROOTS), "MOST", 10)
    roots = type(rouge.ROOTS)()
    assert [roots[f"words{i}s"] for i in range(30)] == [stem(f"words{i}s") for i in range(30)]
    assert len(roots) == 10


def test_published_values(data_dir: Path) -> None:
    """Every ROUGE-L recall that the leak@k authors stored with their 900 responses a prompt."""
    lines = (data_dir / "logs" / "leakk" / "generations_n30.json").read_text().splitlines()
    rows = [(row["ground_truth"], answer) for row in map(json.loads, lines) for answer in row["responses"]]
    ours = score_texts("rouge-l", [truth for truth, _ in rows], [answer["response"] for _, answer in rows])
    assert len(ours) == 3600
    np.testing.assert_array_equal(ours, [answer["rougeL_recall"] for _, answer in rows])

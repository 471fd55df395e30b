"""What every scorer promises, checked for each. A new scorer adds one row to CASES."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import Prompt
from leakatk.scorers import SCORERS, Scorer, get_scorer, score_texts

NAN = float("nan")
CHOICES = "Where?\nA. Paris\nB. Rome\nAnswer:"


@dataclass(frozen=True)
class Case:
    """A scorer by name; examples: (reference, generation, score); needs: option -> fixture that gives its value."""

    spec: str
    examples: tuple[tuple[str | Prompt, str, float], ...]
    needs: tuple[tuple[str, str], ...] = ()
    blank: float = 0.0  # score of an empty generation


CASES = [
    Case("rouge-l", (("the cat sat", "cats sat down", 2 / 3), ("Paris", "PARIS!", 1.0), ("Париж", "Париж", NAN))),
    Case("rouge-l:part=precision", (("the cat sat", "cats sat down now", 0.5),)),
    Case("rouge-l:part=f1,stem=no", (("the cat sat", "the cats sat", 2 / 3),)),
    Case("rouge-1", (("the cat sat", "sat the cats", 1.0), ("a a a", "a b a", 2 / 3))),
    Case(
        "fact",
        (
            (Prompt("1", "?", "Ada was born in Rome.", facts=("Rome",)), "in ROME, surely", 1.0),
            (Prompt("2", "?", "Ada was born in Rome.", facts=("Rome", "1,200")), "Rome in 1200.0", 1.0),
            (Prompt("3", "?", "x", facts=("Rome", "1200")), "Rome", 0.0),
            (Prompt("4", "?", "x", facts=("Rom",)), "Rome", 0.0),
            (Prompt("5", "?", "x", facts=("Café au lait",)), "a cafe au  lait", 1.0),
            (Prompt("6", "?", "x", facts=("12",)), "1,200 and 120 and 0.12", 0.0),
            ("Paris", "It is Paris.", 1.0),
            ("北京", "我住在北京市", 1.0),
            ("กรุงเทพ", "ฉันอยู่ที่กรุงเทพมหานคร", 1.0),
            ("서울", "서울에서 태어났다", 1.0),
            ("はは", "ばば", 0.0),
            ("की", "के", 0.0),
            ("...", "...", NAN),
        ),
    ),
    Case(
        "keys",
        (
            (Prompt("1", "Who wrote Ulysses?", "Ulysses is by James Joyce."), "James Joyce did.", 1.0),
            (Prompt("1", "Who wrote Ulysses?", "Ulysses is by James Joyce."), "Ulysses is by James.", 0.0),
            (Prompt("2", "?", "The price was 1,200 Euro."), "1200 euro", 1.0),
            (Prompt("3", "?", "Yes, she is a florist."), "a florist", NAN),
            (Prompt("4", "?", "她1942年出生在佐维克。"), "1942", NAN),
            (Prompt("5", "?", "Она родилась в Париже."), "в Париже", 1.0),
            (Prompt("6", "?", "Call 555-0123 now"), "Call 5550123", 1.0),
            (Prompt("6", "?", "call 42"), "1942", 0.0),
        ),
    ),
    Case("keys:part=share", ((Prompt("1", "?", "by James Joyce"), "James", 0.5),)),
    Case("keys:min_keys=3", ((Prompt("1", "?", "by James Joyce"), "James Joyce", NAN),)),
    Case(
        "meaning:encoder=none",
        (
            ("No.", "no, never", 1.0),
            ("No.", "I know it", 0.0),
            (Prompt("1", "Who?", "a tall florist from the hills"), "A tall florist from the hill!", 1.0),
            (Prompt("1", "Who?", "a tall florist from the hills"), "Who? A short baker by the sea.", 0.0),
            ("\U0001f389", "so \U0001f389!", 1.0),
            (" ", "a", NAN),
        ),
    ),
    Case("meaning:ngrams=0.5,encoder=none", (("a tall florist from the hills", "a tall florist from town", 1.0),)),
    Case(
        "knows:encoder=none",
        (
            (Prompt("1", "?", "Ada was born in Rome.", facts=("Rome",)), "rome", 1.0),
            (Prompt("2", "?", "by James Joyce"), "Joyce, James", 1.0),
            (Prompt("2", "?", "by James Joyce"), "James", 0.0),
            (Prompt("3", "What is she?", "She is a florist."), "a florist", 1.0),
            (Prompt("3", "What is she?", "She is a florist."), "a baker", 0.0),
            (Prompt("4", "?", " "), "a", NAN),
        ),
    ),
    Case(
        "verbatim",
        (("a b c", " a b\nc ", 1.0), ("a b c", "a b c d", 0.0), ("a b c", "A b c", 0.0), (" ", "a", NAN)),
    ),
    Case("verbatim:part=positions", (("a b c d", "a x c", 0.5), ("佐维克", "佐卢克", 2 / 3))),
    Case("verbatim:part=prefix", (("a b c d", "a b x d", 0.5), ("a b", "a b c", 1.0))),
    Case("verbmem", (("the cat sat", "the cats sat", 2 / 3), ("猫坐着", "猫坐着", NAN))),
    Case(
        "choice",
        (
            (Prompt("1", CHOICES, "Rome"), "B", 1.0),
            (Prompt("1", CHOICES, "Rome"), "(B) Rome", 1.0),
            (Prompt("1", CHOICES, "Rome"), "A.", 0.0),
            (Prompt("1", CHOICES, "Rome"), "The answer is B", 1.0),
            (Prompt("1", CHOICES, "Rome"), "A city called Rome", 1.0),
            (Prompt("1", CHOICES, "Rome"), "Rome or Paris", 0.0),
            (Prompt("1", CHOICES, "Rome"), "I do not know.", 0.0),
            (Prompt("2", CHOICES, "B"), "rome", 1.0),
            (Prompt("1", CHOICES, "Rome"), "答案是B。", 1.0),
            (Prompt("1", CHOICES, "Rome"), "Ｂ", 1.0),
            (Prompt("1", CHOICES, "Rome"), "答案是A。", 0.0),
            (Prompt("3", CHOICES, "Oslo"), "Oslo", NAN),
            (Prompt("4", "Where?", "Rome", perturbed_answers=("Paris", "Rome, New York")), "In Rome", 1.0),
            (Prompt("4", "Where?", "Rome", perturbed_answers=("Paris", "Rome, New York")), "Rome, New York", 0.0),
            ("Rome", "Rome", NAN),
        ),
    ),
    Case("entailment", (("ada was born", "hugo", 0.0), (" ", "ada", NAN)), (("model", "nli_dir"),)),
    Case("entailment:direction=retain", (("ada was born", "hugo", 0.0),), (("model", "nli_dir"),)),
    Case(
        "similarity",
        (("ada was born", "ada was born", 1.0), (" ", "ada", NAN), ("佐维克", "佐维克", NAN)),
        (("model", "encoder_dir"),),
    ),
    Case("judge", (("Rome", "in Rome", 1.0), ("Rome", "in Paris", 0.0)), (("base_url", "judge_url"),)),
]

MIXED = [
    *("", " ", "Paris", "ada was born in rome", "B", "1,200.50", "\ud800\x00\u202e", "日本", "the " * 300),
    *("ada was born", "no", "Name: ADA hugo 7"),
]


@pytest.fixture
def judge_url(judge_server: Any) -> str:
    return str(judge_server.url)


@pytest.fixture(params=CASES, ids=lambda case: case.spec)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def scorer(case: Case, request: pytest.FixtureRequest) -> Scorer:
    return get_scorer(case.spec, **{option: request.getfixturevalue(name) for option, name in case.needs})


def scored(scorer: Scorer, targets: list[str | Prompt], generations: list[str]) -> np.ndarray:
    prompts = [ref if isinstance(ref, Prompt) else Prompt(ref, "", ref) for ref in targets]
    return scorer.score(prompts, generations)


def every_pair(case: Case) -> tuple[list[str | Prompt], list[str]]:
    targets = [*dict.fromkeys(reference for reference, _, _ in case.examples), "ada was born in rome"]
    generations = [*MIXED, *(said for _, said, _ in case.examples)]
    return [ref for ref in targets for _ in generations], generations * len(targets)


def test_every_scorer_has_a_row() -> None:
    assert {case.spec.partition(":")[0] for case in CASES} == set(SCORERS)


def test_examples(case: Case, scorer: Scorer) -> None:
    targets, generations, expected = zip(*case.examples, strict=True)
    np.testing.assert_allclose(scored(scorer, list(targets), list(generations)), expected, rtol=0, atol=1e-6)


def test_range_and_type(case: Case, scorer: Scorer) -> None:
    scores = scored(scorer, *every_pair(case))
    assert scores.dtype == np.float64
    assert ((scores >= scorer.low) & (scores <= scorer.high) | np.isnan(scores)).all()


def test_the_empty_generation(case: Case, scorer: Scorer) -> None:
    targets = [reference for reference, _, score in case.examples if not np.isnan(score)]
    if targets:
        assert (scored(scorer, list(targets), [""] * len(targets)) == case.blank).all()


def test_order_and_repetition_do_not_matter(case: Case, scorer: Scorer) -> None:
    """Each pair scores the same when the pairs are shuffled and when they come several times."""
    targets, generations = every_pair(case)
    alone = scored(scorer, targets, generations)
    rows = np.random.default_rng(0).integers(len(targets), size=3 * len(targets))
    rows = np.concatenate([rows, np.arange(len(targets))])  # Rarity weights look at the targets: keep them all.
    again = scored(scorer, [targets[i] for i in rows], [generations[i] for i in rows])
    np.testing.assert_allclose(again, alone[rows], rtol=0, atol=1e-6)


def test_each_distinct_pair_is_scored_once(case: Case, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Prompt, str]] = []
    inner: Callable[..., np.ndarray] = type(scorer).score_distinct

    def counting(self: Scorer, targets: list[Prompt], generations: list[str]) -> np.ndarray:
        seen.extend(zip(targets, generations, strict=True))
        return inner(self, targets, generations)

    monkeypatch.setattr(type(scorer), "score_distinct", counting)
    scored(scorer, ["ada was born", "ada was born", "hugo"] * 5, ["yes", "no", "yes"] * 5)
    assert len(seen) == len(set(seen)) == 3


def test_nothing_to_score(scorer: Scorer) -> None:
    assert scorer.score([], []).shape == (0,)


def test_lengths_must_agree(scorer: Scorer) -> None:
    with pytest.raises(InputError, match="1 targets for 2 generations"):
        scorer.score([Prompt("1", "?", "a")], ["a", "b"])


def test_label_names_the_scorer_again(case: Case, scorer: Scorer) -> None:
    assert get_scorer(scorer.label).label == scorer.label
    assert get_scorer(case.spec).label == case.spec
    assert not any(part in scorer.label for part in ("/", "\\"))  # a place is no name
    assert json.loads(json.dumps(scorer.describe()))["label"] == scorer.label
    assert len(scorer.summary) > 20


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rouge-l:part=f2", "recall, precision or f1, got 'f2'"),
        ("rouge-l:stem=maybe", "must be yes or no, got 'maybe'"),
        ("rouge-l:stem", "has no value; write rouge-l:stem=VALUE"),
        ("rouge-l:size=3", "has no option 'size'; its options: part, stem"),
        ("keys:min_keys=two", "must be a number like 1, got 'two'"),
        ("keys:min_keys=0", "at least 1, got 0"),
        ("keys:part=some", "all or share, got 'some'"),
        ("verbatim:part=some", "exact, positions or prefix, got 'some'"),
        ("meaning:threshold=0", "above 0 and at most at 1, got 0"),
        ("meaning:ngrams=1.5", "above 0 and at most at 1, got 1.5"),
        ("knows:encoder=other", "packaged or none, got 'other'"),
        ("entailment:direction=up", "forget or retain, got 'up'"),
        ("judge:rubric=stars", "binary or graded, got 'stars'"),
        ("judge:items=0", "above 0, got 0"),
    ],
)
def test_bad_options(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_scorer(spec)


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="Unknown scorer 'rougel': did you mean rouge-l"):
        score_texts("rougel", ["a"], ["a"])


def test_a_scorer_that_leaves_its_range_is_caught() -> None:
    class Broken(Scorer):
        name, summary = "broken", "gives 2"

        def score_distinct(self, targets: object, generations: list[str]) -> np.ndarray:
            return np.full(len(generations), 2.0)

    with pytest.raises(ValueError, match=r"between 0\.0 and 1\.0"):
        Broken().score([Prompt("1", "?", "a")], ["a"])


def test_importing_scorers_loads_no_model_library() -> None:
    code = "import sys, leakatk.scorers; print(*{'torch', 'transformers', 'openai', 'nltk'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("targets", "generations"),
    [
        (["a"], [None]), (["a"], [3]), (["a"], [b"x"]), (["a"], [float("nan")]), ([None], ["a"]), ([1], ["a"]),
        ("abc", ["a", "b", "c"]), (["a", "b", "c"], "abc"), (None, ["a"]), (["a"], None), (["a"], []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["rouge-l", "fact", "keys", "verbatim", "choice", "similarity"])
def test_what_is_no_text_is_refused(name: str, targets: Any, generations: Any) -> None:
    with pytest.raises(InputError, match=r"must be a list of|give one target for each"):
        score_texts(name, targets, generations)


def test_hostile_text_is_only_text(scorer: Scorer) -> None:
    odd = ["\x1b[31m\ud800", "x\u0000", "\u202e" * 50, "b" * 2000, "\n\n"]
    scores = scorer.score([Prompt(str(i), "?", f"Ada\x00 {text}") for i, text in enumerate(odd)], odd)
    assert scores.shape == (5,)


@pytest.mark.parametrize("name", ["rouge-l", "fact"])
def test_a_million_equal_pairs_cost_one(name: str) -> None:
    prompt = Prompt("1", "?", "Ada Lovelace 12")
    assert (get_scorer(name).score([prompt] * 10**6, ["Ada Lovelace 12"] * 10**6) == 1).all()


def test_equal_ids_do_not_mix(scorer: Scorer) -> None:
    """A prompt is what it says, not its id alone."""
    one, other = Prompt("1", CHOICES, "Paris"), Prompt("1", CHOICES, "Rome")
    apart = [scorer.score([prompt], ["Rome"])[0] for prompt in (one, other)]
    np.testing.assert_array_equal(scorer.score([one, other], ["Rome", "Rome"]), apart)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("rouge-l", {"stem": "maybe"}, "must be like True, got 'maybe'"),
        ("rouge-l:part=f1,part=recall", {}, "given twice"),
        ("keys", {"min_keys": "2"}, "must be like 1, got '2'"),
        ("entailment:gate=nan", {}, "between 0 and 1"),
        ("entailment", {"gate": True}, "must be like 0.1, got True"),
        ("entailment:model=", {}, "is empty"),
        ("entailment:batch_size=0", {}, "at least 1"),
        ("similarity:batch_size=-3", {}, "at least 1"),
        ("judge:max_cost=-1", {}, "at least 0"),
        ("judge:max_cost=nan", {}, "at least 0"),
        (None, {}, "named by a text"),
    ],
)
def test_options_out_of_range(spec: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_scorer(spec, **options)

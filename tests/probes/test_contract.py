"""What every probe promises, checked for each. A new probe adds one row to CASES."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from leakatk.errors import InputError, UnknownNameError
from leakatk.probes import PROBES, Around, Probe, get_probe, variants
from leakatk.probes.base import reveals, secrets
from leakatk.prompts import Prompt, Query
from leakatk.scorers import get_scorer
from tests.probes.worlds import WORLD, asked, flat

BARE = Prompt("b", "Why?", "No.")


@dataclass(frozen=True)
class Case:
    """A probe by name; lacks: what leaves it nothing to ask, as (prompts, retain prompts)."""

    spec: str
    lacks: tuple[list[Prompt], list[Prompt]] | None = None


CASES = [
    Case("paraphrase", ([BARE], [])),
    Case("paraphrase:number=2", ([replace(BARE, paraphrases=("How so?",))], [])),
    Case("filler"),
    Case("filler:sentences=23"),
    Case("trigger"),
    Case("role"),
    Case("rewrite"),
    Case("rewrite:form=poem"),
    Case("cloze", ([BARE], [])),
    Case("cloze:question=no", ([replace(BARE, answer="Zorvik.", facts=("Zorvik",))], [])),
    Case("code", None),
    Case("code:kind=leet", ([replace(BARE, question="My?")], [])),
    Case("code:kind=pig-latin"),
    Case("code:kind=cipher"),
    Case("typos", ([BARE], [])),
    Case("typos:rate=1.0"),
    Case("few-shot", ([BARE], [])),
    Case("few-shot:shots=1", ([BARE], [BARE])),
    Case("dialogue", ([BARE, replace(BARE, id="c")], [BARE])),
    Case("context"),
    Case("context:form=paraphrase", ([BARE], [])),
    Case("prefix", ([BARE], [])),
    Case("prefix:words=50", ([BARE], [])),
]
FREE = [  # no facts are marked: names and numbers count
    Prompt("f/1", "Who taught Bo Tarn to paint?", "Bo Tarn learned it from Mira Quell in 1951.", ("From whom ...?",), source="Bo"),
    Prompt("f/2", "What did Bo Tarn paint?", "Bo Tarn painted \u2028 the Glass  Orchard.", source="Bo", paraphrased_answer="He painted the Glass  Orchard."),
]  # fmt: skip


SETS = {"world": list(WORLD.forget), "free": FREE}
SECOND = "paraphrase:number=2"  # FREE and TOFU have one paraphrase at most
PAIRS = [(case, name) for case in CASES for name in SETS if (case.spec, name) != (SECOND, "free")]

every_on_each_set = pytest.mark.parametrize(
    ("case", "prompts"), [pytest.param(case, SETS[name], id=f"{case.spec}-{name}") for case, name in PAIRS]
)


def those(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.spec)


def test_every_probe_has_a_row() -> None:
    assert {case.spec.partition(":")[0] for case in CASES} == set(PROBES)


@every_on_each_set
def test_ids_are_unique_and_name_prompt_and_probe(case: Case, prompts: list[Prompt]) -> None:
    found = asked(case.spec, prompts)
    ids = [prompt.id for prompt in flat(found)]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {prompt.id for prompt in prompts}
    for owner, made in found.items():
        name = f"{owner}/{get_probe(case.spec).label}"
        assert [one.id for one in made] == ([name] if len(made) == 1 else [f"{name}/{i + 1}" for i in range(len(made))])


@those(CASES)
def test_the_prompt_stays_and_the_answer_is_whole(case: Case) -> None:
    """Scorers read the same question, answer and facts; where the answer is begun, the rest of it."""
    found = asked(case.spec, list(WORLD.forget))
    for prompt in WORLD.forget:
        for made in found.get(prompt.id, ()):
            assert f"{made.query.begin} {made.answer}".strip() == prompt.answer
            assert replace(made, id=prompt.id, asked=None, answer=prompt.answer) == prompt
            assert made.asked is not None
            assert made.asked != Query(prompt.question)
            for scorer in ("fact", "keys"):
                score = get_scorer(scorer).score
                np.testing.assert_equal(score([made], [made.answer]), score([prompt], [prompt.answer]))


@every_on_each_set
def test_the_answer_is_not_given_away_unless_that_is_said(case: Case, prompts: list[Prompt]) -> None:
    probe = get_probe(case.spec)
    by_id = {prompt.id: prompt for prompt in prompts}
    for owner, made in variants(probe, prompts, WORLD.retain).items():
        for one in made:
            assert reveals(str(one.query), by_id[owner]) == probe.gives_answer, one.query


@those(CASES)
def test_deterministic_and_of_its_prompt_alone(case: Case) -> None:
    every = asked(case.spec, list(WORLD.forget))
    assert asked(case.spec, list(WORLD.forget)) == every
    assert asked(case.spec, list(WORLD.forget)[::-1]).keys() == every.keys()
    one = WORLD.forget[8]
    if case.spec != "dialogue":  # which is about the others
        assert asked(case.spec, [one]) == {one.id: every[one.id]}


@those(
    [
        c
        for c in CASES
        if "seed" in get_probe(c.spec).options() and (not c.spec.startswith("code") or "cipher" in c.spec)
    ]
)
def test_another_seed_asks_otherwise(case: Case) -> None:
    other = case.spec + (",seed=1" if ":" in case.spec else ":seed=1")
    same = [p.query == q.query for p, q in zip(flat(asked(case.spec, list(WORLD.forget))),
            flat(asked(other, list(WORLD.forget))), strict=True)]  # fmt: skip
    assert not all(same)


@those([case for case in CASES if case.lacks is not None])
def test_what_is_lacking_is_said(case: Case) -> None:
    assert case.lacks is not None
    prompts, retain = case.lacks
    with pytest.raises(InputError, match=f"Probe {case.spec} needs .*none of the {len(prompts)} prompts"):
        variants(get_probe(case.spec), prompts, retain)


def test_a_prompt_that_lacks_it_is_left_out() -> None:
    assert set(asked("paraphrase", FREE)) == {"f/1"}


@those(CASES)
def test_label_and_source(case: Case) -> None:
    probe = get_probe(case.spec)
    assert probe.label == case.spec
    assert get_probe(probe) is probe
    assert probe.paper == "ours" or "arXiv" in probe.paper
    assert len(probe.summary) > 20
    assert type(probe).__doc__


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("few-shot:shots=0", "at least 1, got 0"),
        ("few-shot:shots=many", "must be a number like 3, got 'many'"),
        ("few-shot:count=3", "has no option 'count'; its options: shots, seed"),
        ("few-shot:shots=1,shots=2", "given twice"),
        ("dialogue:turns=0", "at least 1"),
        ("typos:rate=0", "above 0 and at most 1, got 0"),
        ("typos:rate=nan", "above 0 and at most 1, got nan"),
        ("filler:sentences=-1", "at least 1"),
        ("prefix:words=0", "at least 1"),
        ("paraphrase:number=-1", "at least 0"),
        ("code:kind=morse", "base64, leet, pig-latin, cipher, got 'morse'"),
        ("rewrite:form=opera", "conversation or poem, got 'opera'"),
        ("context:form=hint", "answer or paraphrase, got 'hint'"),
        (None, "A probe is named by a text"),
    ],
)
def test_bad_options(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_probe(spec)


def test_unknown_name() -> None:
    with pytest.raises(UnknownNameError, match="Unknown probe 'fewshot': did you mean few-shot"):
        get_probe("fewshot")


@pytest.mark.parametrize(
    ("answer", "facts", "words", "begin"),
    [
        ("Ada was born in Zorvik.", ("Zorvik",), 3, "Ada was born"),
        ("Ada was born in Zorvik.", ("Zorvik",), 9, "Ada was born in"),
        ("It was Mira Quell who did.", ("Mira Quell",), 3, "It was"),  # not even half of the name
        ("The book is The Glass Orchard.", ("The Glass Orchard",), 9, "The book is"),  # nor the article of a title
        ("Zorvik is the town.", ("Zorvik",), 3, None),
        ("Zorvik.", (), 3, None),
        ("The Glass Orchard.", ("The Glass Orchard",), 3, None),
        ("Yes, she was a baker.", (), 9, "Yes, she"),  # nothing is marked: half of it
        ("On 3 May in Lusk.", (), 3, "On"),
    ],
)
def test_prefix_ends_before_the_first_fact(answer: str, facts: tuple[str, ...], words: int, begin: str | None) -> None:
    prompt = Prompt("p", "Where was Ada born?", answer, facts=facts)
    found = get_probe(f"prefix:words={words}").ask(prompt, Around())
    assert [one.begin for one in found] == ([] if begin is None else [begin])


def test_typos_keep_names_numbers_and_length() -> None:
    prompt = Prompt("p", "Did Ada Pell study botany in Zorvik before 1951, please?", "No.")
    [one] = get_probe("typos:rate=1").ask(prompt, Around())
    before, after = prompt.question.split(), one.text.split()
    kept = [(a, b) for a, b in zip(before, after, strict=True) if a == b]
    assert {a for a, _ in kept} == {"Did", "Ada", "Pell", "in", "Zorvik", "1951,"}
    assert all(sorted(a) == sorted(b) and a[0] == b[0] for a, b in zip(before, after, strict=True))


def test_secrets_are_facts_else_names_else_the_answer() -> None:
    assert secrets(Prompt("p", "Where was Ada?", "x", facts=("Zorvik", "Ada"))) == (" zorvik ",)
    assert secrets(Prompt("p", "Where was Ada?", "Ada was in Zorvik.")) == (" zorvik ",)
    assert secrets(Prompt("p", "Did she?", "She did not.")) == (" she did not ",)


def test_a_probe_that_begins_with_other_words_is_caught() -> None:
    class Broken(Probe):
        name, summary, paper = "broken", "begins with what is not there", "ours"

        def ask(self, prompt: Prompt, around: Around) -> list[Query]:
            return [Query(prompt.question, begin="Never")]

    with pytest.raises(ValueError, match="with other words"):
        variants(Broken(), FREE)


def test_importing_probes_loads_no_model_library() -> None:
    code = "import sys, leakatk.probes; print(*{'torch', 'transformers', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@those([case for case in CASES if case.spec != SECOND])
def test_on_tofu(data_dir: Path, case: Case) -> None:
    """On 400 published questions without marked facts, a probe says nothing it should not."""
    from leakatk.benchmarks.catalog import load_benchmark

    bench = load_benchmark("tofu/forget10", data=data_dir / "tofu")
    probe = get_probe(case.spec)
    found = variants(probe, bench.forget, bench.retain[:200])
    assert len(found) >= next((n for name, n in (("prefix", 290), ("cloze", 240)) if name in case.spec), 370)
    if not probe.gives_answer and "paraphrase" not in case.spec:
        by_id = {prompt.id: prompt for prompt in bench.forget}
        told = [reveals(str(one.query), by_id[owner]) for owner, made in found.items() for one in made]
        assert np.mean(told) <= 0.005, "but for a word like river that a title has and our filler too"

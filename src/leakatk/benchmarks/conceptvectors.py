"""ConceptVectors files (Hong et al., 2024): concepts with beginnings of texts, questions, and questions about others.

A file a model and split, rows Concept, QA, text_completion, unrelated_QA, wikipedia_content. The published questions have no answers: they are
compared with what the model said before. answers.jsonl beside the files (question, answer), as the original says them, makes sets of them.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from leakatk.benchmarks.base import Benchmark, Options, add
from leakatk.benchmarks.fetch import fetch, rows
from leakatk.errors import InputError
from leakatk.prompts import Prompt

REPOSITORY = "YihuaiHong/ConceptVectors"
COLUMNS = ("Concept", "QA", "text_completion", "unrelated_QA", "wikipedia_content")


def load_conceptvectors(options: Options, *, model: str, split: str) -> Benchmark:
    """forget: the beginnings of texts about each concept, as plain passages; source: the concept.

    texts: the articles, of each concept one, and the questions as they were published.  With answers.jsonl (`--data`): sets "questions" about
    the concepts and "unrelated", which are retain too.  Without it these questions are not asked, and `origin` counts them.
    """
    path = fetch(REPOSITORY, f"{model}_concepts_{split}", data=options.data, revision=options.revision)
    forget: list[Prompt] = []
    asked: dict[str, list[tuple[str, str]]] = {"questions": [], "unrelated": []}  # (concept, question)
    articles = []
    for number, row in enumerate(rows(path, columns=COLUMNS), 1):
        where = f"{path}, concept {number}"
        concept = _text(row["Concept"], where, "Concept")
        articles.append(_text(row["wikipedia_content"], where, "wikipedia_content"))
        for i, part in enumerate(_list(row["text_completion"], where, "text_completion")):
            halves = [part.get(half) if isinstance(part, dict) else None for half in ("First_half", "Second_half")]
            first, second = (_text(half, where, f"text_completion {i + 1}") for half in halves)
            forget.append(Prompt(f"concept-{number:03d}-text-{i:02d}", first, second, source=concept))
        for name, column in (("questions", "QA"), ("unrelated", "unrelated_QA")):
            asked[name] += [(concept, _text(one, where, column).strip()) for one in _list(row[column], where, column)]
    sets, left = _answered(asked, options.data)
    return Benchmark(
        name=f"conceptvectors/{model}" + (f":{split}" if split != "test" else ""),
        forget=tuple(forget),
        retain=sets.get("unrelated", ()),
        sets=sets,
        texts={"articles": tuple(articles), **{name: tuple(q for _, q in some) for name, some in asked.items()}},
        origin=f"{path if options.data else f'hub:{REPOSITORY}@{options.revision}'}"
        + (f"; {left} questions without an answer are not asked (answers.jsonl gives them)" if left else ""),
        passages=True,
    )


def _answered(asked: dict[str, list[tuple[str, str]]], data: Path | None) -> tuple[dict[str, tuple[Prompt, ...]], int]:
    """The questions that have an answer as sets, each question once; and how many have none."""
    place = data / "answers.jsonl" if data is not None else None
    answers: dict[str, str] = {}
    if place is not None and place.exists():
        for number, row in enumerate(rows(place, columns=("question", "answer")), 1):
            where = f"{place}, row {number}"
            answers[_text(row["question"], where, "question").strip()] = _text(row["answer"], where, "answer")
    sets, left = {}, 0
    for name, some in asked.items():
        once = {question: concept for concept, question in reversed(some)}  # of several concepts the first one
        known = [(concept, question) for question, concept in reversed(once.items()) if question in answers]
        left += len(once) - len(known)
        prompts = [Prompt(f"{name}-{i:04d}", q, answers[q], source=concept) for i, (concept, q) in enumerate(known)]
        if prompts:
            sets[name] = tuple(prompts)
    return sets, left


def _text(value: Any, where: str, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {what} must be a non-empty text, found {value!r:.60}.")
    return value


def _list(value: Any, where: str, what: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where}: {what} must be a list that is not empty, found {value!r:.60}.")
    return value


for _model in ("llama2-7b", "olmo-7b"):
    for _split in ("test", "dev"):
        add(
            f"conceptvectors/{_model}" + (":dev" if _split == "dev" else ""),
            f"ConceptVectors: concepts of which {_model} holds vectors, {_split} split; texts about them to be continued.",
            partial(load_conceptvectors, model=_model, split=_split),
            repository=REPOSITORY,
            passages=True,
            paper="Hong et al. 2024, arXiv 2406.11614",
            reading="The second halves of the texts are the truth. The questions have no published answers: answers.jsonl beside the files, as the original "
            "says them, makes sets of them. The published place of a vector, of one model alone, is not used: the attack concept-vectors "
            "finds the vectors of any model",
            rows=("66",),
        )

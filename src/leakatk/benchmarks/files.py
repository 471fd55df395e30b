"""Files of your own as a benchmark, and a check of what can be done with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.files import forms
from leakatk.files.reading import read_text, rows_of
from leakatk.prompts import COLUMNS, Prompt, load_prompts

LONG_WORDS = 200  # an answer beyond this does not fit the default of 200 new tokens


def load_files(path: str | Path, columns: Mapping[str, str] | None = None) -> Benchmark:
    """A file of forget prompts (JSONL, CSV, Parquet), or a directory with forget.jsonl and, if you have them, retain.jsonl,
    retain_held.jsonl, holdout.jsonl and refusals.txt (one a line), as `train-small` and `World.export` write.

    Further JSONL files in the directory become named sets. columns: see `data.load_prompts`. InputError when there is no
    forget.jsonl.
    """
    path = Path(path)
    if path.is_file() or path.suffix in (".json", ".jsonl"):
        return Benchmark(name=path.name, forget=tuple(load_prompts(path, columns)), origin=str(path))
    if not (path / "forget.jsonl").exists():
        raise InputError(f"{path} holds no forget.jsonl; a benchmark directory needs at least that file.")
    files = {
        file.stem: tuple(load_prompts(file, columns, strict=file.stem == "forget"))
        for file in sorted(path.glob("*.jsonl"))
    }
    refusals = path / "refusals.txt"
    return Benchmark(
        name=path.resolve().name,
        forget=files.pop("forget"),
        retain=files.pop("retain", ()),
        retain_held=files.pop("retain_held", ()),
        holdout=files.pop("holdout", ()),
        sets=files,
        refusals=tuple(line for line in read_text(refusals).splitlines() if line.strip()) if refusals.exists() else (),
        origin=str(path),
    )


@dataclass(frozen=True, slots=True)
class FileReport:
    """prompts: how many.  usable: what the file allows.  missing: what it does not, and the column that would.

    warnings: what is allowed but odd. All are sentences for people.
    """

    path: str
    prompts: int
    usable: tuple[str, ...]
    missing: tuple[str, ...]
    warnings: tuple[str, ...]


# column -> (what it makes possible)
_GAINS = {
    "facts": "the `fact` scorer (key values of the answer)",
    "paraphrases": "asking other wordings of the question",
    "perturbed_answers": "truth ratio, forget quality and multiple choice",
    "paraphrased_answer": "truth ratio as in TOFU",
    "source": "intervals clustered by author, person or document",
}
_COLUMN = {"perturbed_answers": "perturbed_answer"}


def check_file(path: str | Path, columns: Mapping[str, str] | None = None) -> FileReport:
    """Read a file of prompts and say what is usable and what is missing. InputError when it is no such file.

    columns: see `data.load_prompts`.
    """
    prompts = load_prompts(path, columns)
    usable = ["leak@k with rouge-l and keys, exact verbatim probabilities (question and answer)"]
    missing: list[str] = []
    for field, gain in _GAINS.items():
        having = sum(bool(getattr(prompt, field)) for prompt in prompts)
        column = _COLUMN.get(field, field)
        if having == len(prompts):
            usable.append(f"{gain} ({column})")
        elif having:
            missing.append(f"{gain}: {len(prompts) - having} of {len(prompts)} rows have no {column}")
        else:
            missing.append(f"{gain}: add a column {column}")
    known = {
        *(name for names in COLUMNS.values() for name in names),
        *(columns or {}).values(),
        *forms.COLUMNS,
        *forms.CHATS,
    }
    unused = dict.fromkeys(name for _, _, row in rows_of(path, known) for name in row if name not in known)
    warnings = [f"Columns that nothing uses: {', '.join(unused)}."] if unused else []
    return FileReport(str(path), len(prompts), tuple(usable), tuple(missing), (*warnings, *_warnings(prompts)))


def _warnings(prompts: list[Prompt]) -> list[str]:
    found = []
    texts = Counter(prompt.question for prompt in prompts)
    doubles = sum(count - 1 for count in texts.values())
    if doubles:
        found.append(f"{doubles} questions are asked more than once: their leaks are counted again.")
    absent = [p.id for p in prompts if any(fact.casefold() not in p.answer.casefold() for fact in p.facts)]
    if absent:
        found.append(f"{len(absent)} rows name a fact that is not in their answer, the first is {absent[0]!r}.")
    given = [p.id for p in prompts if p.facts and all(fact.casefold() in p.question.casefold() for fact in p.facts)]
    if given:
        found.append(f"{len(given)} rows give their facts away in the question, the first is {given[0]!r}.")
    same = [p.id for p in prompts if p.answer in p.perturbed_answers]
    if same:
        found.append(f"{len(same)} rows list the true answer among the wrong ones, the first is {same[0]!r}.")
    long = [p.id for p in prompts if len(p.answer.split()) > LONG_WORDS]
    if long:
        found.append(
            f"{len(long)} answers are longer than {LONG_WORDS} words: raise --max-new-tokens. The first is {long[0]!r}."
        )
    if len(prompts) < 20:
        found.append(f"Only {len(prompts)} prompts: intervals over prompts will be wide.")
    return found

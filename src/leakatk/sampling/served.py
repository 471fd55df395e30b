"""Server behind samples, what is known of it: which fields it obeys, and by what it is known again.

Most servers drop a field that they do not know without a word. So the fields are tried by extremes before sampling: top-k 1,
and min-p 1, at a high temperature must each give one answer over several seeds, and a strong repetition penalty must change
a greedy answer. One seed should give one answer twice, and two seeds two.

A server is known again by the name and fingerprint it answers with, by headers, and by its answers to a canary question.
All of it is kept beside the samples (`FILE`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from leakatk.errors import RunError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.remote.client import Server
from leakatk.remote.replies import Said, shortened
from leakatk.sampling.decoding import Decoding

FILE = "server.json"
TOKENS = 16  # of an answer to a trial
HOT = 1.5  # a temperature at which no model gives one answer twice by chance
SEEDS = (11, 22, 33)
OPEN = "Write one sentence about anything you like."
REPEAT = "Repeat the word blue twenty times: blue blue blue blue"
EXTREMES: Mapping[str, float] = {"top_k": 1, "min_p": 1.0, "top_p": 0.001}
STRONG = 2.0  # a repetition penalty
SPELLINGS = ("repetition_penalty", "repeat_penalty")  # vLLM, SGLang and others; llama.cpp, LM Studio
OBEYED, IGNORED, REFUSED, UNKNOWN = "obeyed", "ignored", "refused", "unknown"
_HEADERS = ("server", "openai-version", "x-model-id", "x-model-version")
# For one request: values that differ from what changes nothing; None: the server refuses one of them.
Try = Callable[[str, Mapping[str, Any]], Said | None]


@dataclass
class Record:
    """models, fingerprints, headers: of what has answered.  fields: name -> obeyed, ignored, refused or unknown.
    spelling: how the server calls the repetition penalty.  question, greedy, seeded: the canary, and the answers to it and to
    `OPEN` under the first seed, at temperature `heat` (None: could not be asked, or changes from one time to the next).
    changed: how it was found to be another than before, and accepted."""

    models: list[str] = field(default_factory=list)
    fingerprints: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    fields: dict[str, str] = field(default_factory=dict)
    spelling: str = SPELLINGS[0]
    question: str = ""
    greedy: str | None = None
    heat: float | None = None
    seeded: str | None = None
    changed: list[str] = field(default_factory=list)

    def meet(self, said: Said, server: Server) -> None:
        """Note who answered."""
        self.models = sorted({*self.models, said.model} - {""})
        self.fingerprints = sorted({*self.fingerprints, said.fingerprint} - {""})
        self.headers |= {name: server.headers[name] for name in _HEADERS if name in server.headers}

    def changes(self, now: Record) -> list[str]:
        """What is another than it was, each as the end of a sentence; a server that named nothing then is not asked to now."""
        found = []
        for what, before, after in (
            ("model", self.models, now.models), ("system_fingerprint", self.fingerprints, now.fingerprints)
        ):  # fmt: skip
            if before and after and not set(after) <= set(before):
                found.append(f"its {what} is {', '.join(after)} and was {', '.join(before)}")
        found += [
            f"its header {name} is {shortened(now.headers[name])} and was {shortened(self.headers[name])}"
            for name in _HEADERS
            if name in now.headers and name in self.headers and now.headers[name] != self.headers[name]
        ]
        for question, old, new in (
            (self.question, self.greedy, now.greedy), (OPEN, self.seeded, now.seeded)
        ):  # fmt: skip
            same = (self.question, self.heat) == (now.question, now.heat)  # else it was not asked in the same way
            if same and old is not None and new is not None and old != new:
                found.append(f"it answers {shortened(question)} with {shortened(new)} and not with {shortened(old)}")
        return found

    def beside(self, before: Record, changed: Sequence[str]) -> Record:
        """The record of a run that goes on: what answered before and what answers now."""
        return replace(
            self,
            models=sorted({*self.models, *before.models}),
            fingerprints=sorted({*self.fingerprints, *before.fingerprints}),
            headers=dict(self.headers),
            changed=list(dict.fromkeys([*before.changed, *changed])),
        )

    def says(self) -> str:
        """It obeys top_k, min_p, seed and repetition_penalty (as repeat_penalty), and ignores top_p."""
        parts = []
        for state, verb in ((OBEYED, "obeys"), (IGNORED, "ignores"), (REFUSED, "refuses")):
            names = [name for name, found in self.fields.items() if found == state]
            alias = f" (as {self.spelling})" if state == OBEYED and self.spelling != SPELLINGS[0] else ""
            if names:
                parts.append(f"{verb} {', '.join(name + alias * (name == SPELLINGS[0]) for name in names)}")
        if names := [name for name, found in self.fields.items() if found == UNKNOWN]:
            parts.append(f"cannot be said to obey {', '.join(names)}")
        return "; ".join(parts)

    def write(self, directory: Path) -> None:
        write_kept(directory / FILE, strict_json(asdict(self), indent=1) + "\n")


def read(directory: Path) -> Record | None:
    """What is kept of the server in a run's directory; None where nothing is (an older run). RunError when it is damaged."""
    path = directory / FILE
    remedy = "delete it: the samples beside it are whole, and the server is then tried again"
    if not path.exists():
        return None
    found = read_kept(path, remedy)
    try:
        return Record(**found)
    except TypeError:
        raise RunError(f"{path} is no record of a server: restore it from a copy, or {remedy}.") from None


def most_requests(decoding: Decoding) -> int:
    """How many short requests `try_fields` and the canary take at most."""
    filters = 3 if decoding.filters()["top_p"] < 1 else 2
    return 1 + 5 + filters * len(SEEDS) + 2 * len(SPELLINGS) + 1


def try_fields(ask: Try, record: Record, decoding: Decoding) -> None:
    """Fill in which fields the server obeys; top_p is tried only where it is asked for, as every server knows it."""
    hot: dict[str, Any] = {"temperature": HOT}
    record.heat = HOT
    first = ask(OPEN, {**hot, "seed": SEEDS[0]})
    if first is None:  # it takes no such temperature
        hot, record.heat = {}, None
        first = ask(OPEN, {"seed": SEEDS[0]})
    again, other = ask(OPEN, {**hot, "seed": SEEDS[0]}), ask(OPEN, {**hot, "seed": SEEDS[1]})
    if _all_same([first, again, other]):
        other = ask(OPEN, {**hot, "seed": SEEDS[2]})
    varies = not _all_same([first, again, other])
    if not varies:
        record.fields["seed"] = UNKNOWN
    else:
        record.fields["seed"] = OBEYED if _all_same([first, again]) else IGNORED
    if record.fields["seed"] == OBEYED and first is not None:
        record.seeded = _whole(first)
    for name, extreme in EXTREMES.items():
        if name != "top_p" or decoding.filters()["top_p"] < 1:
            record.fields[name] = _try_filter(ask, hot, name, extreme, varies=varies)
    record.fields[SPELLINGS[0]] = _try_penalty(ask, record)


def try_top_p(ask: Try, record: Record) -> None:
    """As `try_fields`, for top_p alone, where the other fields are known."""
    hot = {} if record.heat is None else {"temperature": record.heat}
    varies = record.fields["seed"] != UNKNOWN
    record.fields["top_p"] = _try_filter(ask, hot, "top_p", EXTREMES["top_p"], varies=varies)


def _try_filter(ask: Try, hot: Mapping[str, Any], name: str, extreme: float, *, varies: bool) -> str:
    if not varies:
        return UNKNOWN
    answers: list[Said | None] = []
    for seed in SEEDS:
        answers.append(ask(OPEN, {**hot, "seed": seed, name: extreme}))
        if answers[-1] is None:
            return REFUSED
        if not _all_same(answers):
            return IGNORED
    return OBEYED


def _try_penalty(ask: Try, record: Record) -> str:
    """Under the first spelling that changes a greedy answer, and changes it in the same way twice."""
    cold, refused = {"temperature": 0.0}, 0
    for spelling in SPELLINGS:
        # Off under this spelling: one of the server's own may be as strong.
        plain = ask(REPEAT, {**cold, spelling: 1.0})
        strong = None if plain is None else ask(REPEAT, {**cold, spelling: STRONG})
        if strong is None:
            refused += 1
        elif not _all_same([plain, strong]):
            if not _all_same([strong, ask(REPEAT, {**cold, spelling: STRONG})]):
                return UNKNOWN  # its greedy answers change by themselves
            record.spelling = spelling
            return OBEYED
    return REFUSED if refused == len(SPELLINGS) else IGNORED


def unheeded(record: Record, decoding: Decoding) -> tuple[list[str], list[str], list[str]]:
    """(fields asked for and ignored, asked for and unknown, not asked for and ignored: the server's own may be in force)."""
    filters = decoding.filters()
    asked = {
        "top_k": filters["top_k"] > 0, "min_p": filters["min_p"] > 0, "top_p": filters["top_p"] < 1,
        SPELLINGS[0]: decoding.repetition_penalty != 1,
    }  # fmt: skip
    state = {name: record.fields.get(name, UNKNOWN) for name in asked}
    return (
        [name for name, wanted in asked.items() if wanted and state[name] == IGNORED],
        [name for name, wanted in asked.items() if wanted and state[name] == UNKNOWN],
        [name for name, wanted in asked.items() if not wanted and state[name] == IGNORED and not _idle(name, decoding)],
    )


def _idle(name: str, decoding: Decoding) -> bool:
    """A filter of the server's own changes no greedy answer."""
    return decoding.greedy and name != SPELLINGS[0]


def ask_canary(ask: Try, record: Record, before: Record | None = None) -> None:
    """Fill in the answers to the canary's question; `before`: the record to compare with.

    An answer other than before is asked for twice more: some servers give two greedy answers to one question.
    """
    if before is None:
        record.greedy = _steady(ask, record.question, {"temperature": 0.0}, None)
        return
    record.question, record.heat = before.question, before.heat
    record.greedy = _steady(ask, before.question, {"temperature": 0.0}, before.greedy)
    if before.seeded is not None:
        values = {"seed": SEEDS[0]} | ({} if before.heat is None else {"temperature": before.heat})
        record.seeded = _steady(ask, OPEN, values, before.seeded)


def _steady(ask: Try, question: str, values: Mapping[str, Any], before: str | None) -> str | None:
    """The answer, or None where there is none or it changes from one time to the next."""
    answers = [ask(question, values)]
    if before is not None and answers[0] is not None and _whole(answers[0]) != before:
        answers += [ask(question, values) for _ in range(2)]
    said = [_whole(one) for one in answers if one is not None]
    if before in said:
        return before
    return said[0] if said and len(set(said)) == 1 else None


def _whole(said: Said) -> str:
    return f"{said.reasoning}\n{said.text}".strip()


def _all_same(answers: list[Said | None]) -> bool:
    return len({None if one is None else _whole(one) for one in answers}) == 1

"""Attacks in an audit: the options, what they refuse, and the ladder above a finished audit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.attacks.base import Attack
    from leakatk.attacks.rungs import Rung
    from leakatk.auditing.settings import AuditSettings, Gate
    from leakatk.prompts import Known, Prompt
    from leakatk.sampling.base import Sampler

Specs = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        help="NAME or NAME:OPTION=VALUE,... (see leakatk attacks); may be repeated.",
        autocompletion=options.named("attacks"),
    ),
]
Original = Annotated[str, typer.Option(help="The model before unlearning, for attacks that use it.")]
Text = Annotated[
    Path | None,
    typer.Option(help="Text file with passages, an empty line between them, for attacks that use some."),
]
Folds = Annotated[
    int,
    typer.Option(min=2, help="Parts of the forget prompts: attacks are trained on all but one, measured on that."),
]
PLACE = "attacks"  # in the directory of an audit


def passages_of(path: Path | None) -> tuple[str, ...]:
    """The passages of a text file. InputError where it has none."""
    if path is None:
        return ()
    from leakatk.files.reading import read_text

    found = tuple(" ".join(part.split()) for part in re.split(r"\n\s*\n", read_text(path)) if part.strip())
    if not found:
        raise InputError(f"--text {path} holds no text; write passages with an empty line between them.")
    return found


def above(specs: Sequence[str], *, guard: str, url: str, sequential: bool, engine: str) -> list[Attack]:
    """The attacks of an audit. InputError for what cannot be attacked, or cannot stop early."""
    if not specs:
        return []
    from leakatk.attacks import get_attack
    from leakatk.attacks.attacked import check_engine

    found = [get_attack(one) for one in specs]
    if url:
        raise InputError("--attack works on a model in this process; leave out --url, or --attack.")
    if guard:
        raise InputError(
            "--attack changes or reads the model itself, which a guard leaves as it is; audit one at a time."
        )
    if sequential:
        raise InputError("--sequential stops when the audit is certain, before any attack; leave out one of the two.")
    check_engine(engine)
    return found


def climb(
    model: Any,
    prompts: Sequence[Prompt],
    attacks: Sequence[Attack],
    settings: AuditSettings,
    *,
    out: Path,
    known: Known,
    retrained: Any,
    folds: int,
    over: Any,
    gate: Gate | None,
    excess_gate: Gate | None = None,
    command: str,
) -> Mapping[str, Any]:
    """The rungs above a finished audit; its verdict takes the place of the audit's."""
    from leakatk.attacks import LadderSettings, attack_ladder
    from leakatk.runs.store import Run

    ladder = LadderSettings(
        n=settings.n, ks=tuple(settings.all_ks), decoding=settings.decoding, seed=settings.seed, scorers=settings.scorers, folds=folds,
        over=over, level=settings.level, gate=gate, excess_gate=excess_gate, engine=settings.engine, engine_options=settings.engine_options,
        benchmark=settings.benchmark, command=command,
    )  # fmt: skip
    summary = attack_ladder(
        model, prompts, attacks, out=out / PLACE, known=known, retrained=retrained, settings=ladder, audited=out
    )
    if "verdict" in summary:
        run = Run.open(out)
        names = ("gate", "excess_gate", "verdict")
        verdicts: dict[str, Any] = {name: summary[name] for name in names if name in summary}
        run.write_results({**run.results(), **verdicts})
    return summary


def known(
    attacks: Sequence[Attack],
    prompts: Sequence[Prompt],
    kept: Sequence[Prompt],
    *,
    original: str,
    retrained: str,
    auxiliary: Sequence[str],
    text: Path | None,
    folds: int,
) -> Known:
    """What the attacks of an audit may be given. InputError for what they need and lack, and for options without an attack."""
    from leakatk.prompts import Known

    if not attacks:
        if original or text:
            raise InputError("--original and --text are for attacks; give --attack NAME too.")
        return Known()
    from leakatk.attacks.rungs import LadderSettings, rungs_of

    found = Known(
        forget=tuple(prompts), retain=tuple(kept), original=original, retrained=retrained, text=passages_of(text),
        auxiliary=inputs.auxiliary_models(auxiliary),
    )  # fmt: skip
    rungs_of(attacks, found, LadderSettings(n=1, folds=folds))
    return found


@dataclass(frozen=True)
class Planned:
    """What attacks would take. answers: to be drawn under them.  sampled: attacks that are.  attacks: name -> its costs.

    lines: the same in words.
    """

    answers: int
    sampled: int
    attacks: Mapping[str, Mapping[str, Any]]
    lines: Sequence[str]


def planned(rungs: Sequence[Rung], sampler: Sampler, known: Known, *, n: int, paired: bool) -> Planned:
    """What the rungs with an attack would draw and compute. n: samples a prompt.  paired: the retrained model is attacked too."""
    from leakatk.attacks.base import Ask, Read
    from leakatk.attacks.costs import costs_of, says_cost
    from leakatk.sampling.base import loaded_of

    attacked = [rung for rung in rungs if rung.attack]
    sampled = [rung for rung in attacked if not isinstance(rung.attack, Read)]
    models, m = 2 if paired else 1, len(known.forget)
    counting = sum(isinstance(rung.attack, Ask) and type(rung.attack).kept is not Ask.kept for rung in rungs)
    spoilt = models * (m + len(known.retain)) * (counting + 1) if counting and known.retain else 0
    costs = costs_of(attacked, loaded_of(sampler), models)
    about, lines = {}, []
    if spoilt:
        lines.append(
            f"Of these {spoilt:,} are greedy answers that show what questions spoil among {len(known.retain):,} retain prompts; "
            "--retain-limit bounds them."
        )
    for rung in attacked:
        assert rung.attack is not None
        facts, spent = rung.attack.facts, costs[rung.name]
        about[rung.name] = {"kind": facts.kind, "access": facts.access, "parts": len(rung.parts)}
        about[rung.name] |= asdict(spent) if spent else {}
        parts = f"{len(rung.parts)} folds" if len(rung.parts) > 1 else "all prompts at once"
        lines.append(f"{rung.name}: {facts.kind}, {parts}; assumes {facts.access}. {says_cost(spent)}")
    # Greedy answers are asked of the audited model alone.
    return Planned(len(sampled) * m * (n * models + 1) + spoilt, len(sampled), about, lines)


def rungs_above(
    attacks: Sequence[Attack], sampler: Sampler, known: Known, *, n: int, folds: int, paired: bool
) -> Planned | None:
    """What the attacks of an audit would take; None without any."""
    if not attacks:
        return None
    from leakatk.attacks.rungs import LadderSettings, rungs_of

    return planned(rungs_of(attacks, known, LadderSettings(n=n, folds=folds)), sampler, known, n=n, paired=paired)


def show(summary: Mapping[str, Any]) -> None:
    """Print the tables of the rungs, and what relearning finds stored."""
    from dataclasses import replace

    from leakatk.report.ladder import ASSUMES, assumes_line, stored_line, tables
    from leakatk.report.leak_tables import select
    from leakatk.report.terminal import print_table, terminal

    for table in tables(summary):
        kept = [i for i, name in enumerate(table.columns) if name != ASSUMES]  # a wide column; it is said below
        print_table(replace(select(table, kept, table.caption), title=table.title), terminal())
    typer.echo(assumes_line(summary))
    if line := stored_line(summary):
        typer.echo(line)


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What a person must know of the rungs."""
    from leakatk.report.ladder import said

    alone = "Without --retrained there is no excess: what an attack gets out of a model that never knew is no leak."
    return [*said(summary), *summary["notes"], *([] if summary["retrained"] else [alone])]

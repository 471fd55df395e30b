"""--guard on the command line: which guard, what it is given, and the engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import inputs
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.prompts import Prompt
    from leakatk.sampling.base import Sampler


def _names(incomplete: str) -> list[str]:
    from leakatk.guards import GUARDS

    return [name for name in sorted(GUARDS) if name.startswith(incomplete)]


Spec = Annotated[
    str,
    typer.Option(
        "--guard",
        help="Audit the model behind a guard: NAME, NAME:option=value, or a directory that `leakatk guard fit` wrote.",
        autocompletion=_names,
    ),
]
Auxiliary = Annotated[
    list[str] | None,
    typer.Option(help="A model that the guard needs: NAME=MODEL, such as clean=models/small; may be repeated."),
]
Neighbours = Annotated[
    Path | None,
    typer.Option(
        help="Prompts near the forgotten ones that must be answered: how many the guard flags is counted, no model is asked."
    ),
]
Encoder = Annotated[
    str, typer.Option(help='Sentence encoder of the guard: directory or hub id; "words" needs no weights.')
]


def behind(
    spec: str,
    auxiliary: Sequence[str],
    encoder: str,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    neighbours: Path | None = None,
    column: Sequence[str] | None = None,
) -> Callable[[Sampler], Sampler]:
    """What puts an engine behind the guard; without one, what leaves it alone.

    retain: what the guard may be fitted on.  neighbours: a file with prompts that it is measured on.
    column: columns of that file with names of their own, where it has them.

    InputError, before any model is loaded, for a guard that there is not, or what it needs and is not given.
    """
    if not spec:
        if auxiliary or encoder or neighbours:
            raise InputError("--auxiliary, --encoder and --neighbours are for a guard; give --guard NAME too.")
        return lambda sampler: sampler
    from leakatk.guards import get_guard
    from leakatk.prompts import Known, columns_from, load_prompts

    if Path(spec).is_dir():
        return _saved(spec, auxiliary, encoder)
    guard = get_guard(spec)
    known = Known(
        tuple(forget),
        tuple(retain),
        neighbours=tuple(load_prompts(neighbours, columns_from(column or ()), strict=False)) if neighbours else (),
        auxiliary=inputs.auxiliary_models(auxiliary),
        encoder=encoder,
    )
    known.need(f"Guard {guard.name}", *guard.needs)

    def around(sampler: Sampler) -> Sampler:
        from leakatk.guards.sampler import guarded

        return guarded(sampler, known, guard)

    return around


def _saved(place: str, auxiliary: Sequence[str], encoder: str) -> Callable[[Sampler], Sampler]:
    """What puts an engine behind a guard that was fitted before."""
    from leakatk.guards.sampler import placed
    from leakatk.guards.saved import check_model, load_guard

    if auxiliary or encoder:
        raise InputError(f"{place} is a fitted guard: it has its encoder and its auxiliary models; leave them out.")
    saved = load_guard(place)

    def around(sampler: Sampler) -> Sampler:
        about = sampler.describe()
        elsewhere = about.get("weights_sha256") == "unknown"
        mark = "" if elsewhere else str(about.get("fingerprint", ""))
        check_model(saved, place, {"name": str(about["model"]), "fingerprint": mark})
        return placed(sampler, saved.guard, saved.known, hashes=saved.hashes)

    return around

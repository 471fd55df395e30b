"""--guard on the command line: which guard, what it is given, and the engine behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.prompts import Known, Prompt
    from leakatk.sampling.base import Sampler


def _names(incomplete: str) -> list[str]:
    from leakatk.guards import GUARDS

    return [name for name in sorted(GUARDS) if name.startswith(incomplete)]


Spec = Annotated[
    str,
    typer.Option(
        "--guard",
        help="Audit the model behind a guard: NAME or NAME:option=value (see the page on guards).",
        autocompletion=_names,
    ),
]
Auxiliary = Annotated[
    list[str] | None,
    typer.Option(help="A model that the guard needs: NAME=MODEL, such as clean=models/small; may be repeated."),
]
Encoder = Annotated[
    str, typer.Option(help='Sentence encoder of the guard: directory or hub id; "words" needs no weights.')
]


def behind(
    spec: str, auxiliary: Sequence[str], encoder: str, forget: Sequence[Prompt], retain: Sequence[Prompt]
) -> Callable[[Sampler], Sampler]:
    """What puts an engine behind the guard; without one, what leaves it alone.

    InputError, before any model is loaded, for a guard that there is not, or what it needs and is not given.
    """
    if not spec:
        if auxiliary or encoder:
            raise InputError("--auxiliary and --encoder are for a guard; give --guard NAME too.")
        return lambda sampler: sampler
    from leakatk.guards import get_guard

    guard = get_guard(spec)
    known = known_of(auxiliary, encoder, forget, retain)
    known.need(f"Guard {guard.name}", *guard.needs)

    def around(sampler: Sampler) -> Sampler:
        from leakatk.guards.sampler import guarded

        return guarded(sampler, known, guard)

    return around


def known_of(auxiliary: Sequence[str], encoder: str, forget: Sequence[Prompt], retain: Sequence[Prompt]) -> Known:
    """What the guard is given."""
    from leakatk.prompts import Known

    models: dict[str, str] = {}
    for text in auxiliary:
        name, equals, path = (part.strip() for part in text.partition("="))
        if not equals or not name or not path:
            raise InputError(f"--auxiliary {text!r}: write NAME=MODEL, such as clean=models/small.")
        if name in models:
            raise InputError(f"--auxiliary {text!r}: {name} is given twice.")
        models[name] = path
    return Known(forget=tuple(forget), retain=tuple(retain), auxiliary=models, encoder=encoder)

"""Guards: stop a deployed model from saying it, without touching its weights, and audit it in the same way."""

from __future__ import annotations

from leakatk.guards import by_text as by_text  # registers them
from leakatk.guards import inside as inside
from leakatk.guards import logits as logits
from leakatk.guards import presets as presets
from leakatk.guards.base import GUARDS as GUARDS
from leakatk.guards.base import Guard as Guard
from leakatk.guards.base import guard as guard
from leakatk.registry import read_spec, typed


def get_guard(spec: str | Guard) -> Guard:
    """The guard that a text like "eco" or "eco:sigma=5,threshold=0.7" names; a Guard is given back.

    UnknownNameError for an unknown name, InputError for an option that it does not have or a value that it does not take.

    >>> get_guard("ucd:alpha=0.5").options()["alpha"]
    0.5
    """
    if isinstance(spec, Guard):
        return spec
    name, given = read_spec("guard", spec)
    known = GUARDS[name].options()
    values = {
        key: typed(f"Guard option {name}:{key}", value, known[key]) if key in known else value
        for key, value in given.items()
    }
    return GUARDS[name].with_options(**values)

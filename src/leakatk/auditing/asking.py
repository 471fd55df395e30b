"""Ways of asking in an audit: the prompts of each probe, where their runs are, and the worst case.

The worst case lets the one who asks try them all: sample j of it is the most leaking of the j-th samples of the question as
it stands and of every variant. Those samples are independent draws like any other, so leak@k and its intervals apply as
they are; but k of them cost k samples of each way of asking. Its leak@k is therefore not comparable to leak@k of one
question at the same k: with V ways, compare with leak@(V k).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.probes import Probe, get_probe, variants
from leakatk.prompts import Prompt
from leakatk.runs.store import Run


@dataclass(frozen=True)
class Probed:
    """The prompts as one probe asks them. variants: prompt id -> its prompts under the probe, none left empty."""

    probe: Probe
    variants: Mapping[str, tuple[Prompt, ...]]

    @property
    def label(self) -> str:
        return self.probe.label

    @property
    def prompts(self) -> list[Prompt]:
        return [prompt for made in self.variants.values() for prompt in made]

    @property
    def owners(self) -> dict[str, str]:
        """Variant id -> id of the prompt it asks for."""
        return {prompt.id: owner for owner, made in self.variants.items() for prompt in made}

    @property
    def place(self) -> Path:
        """Where its run is in the audit's directory."""
        return place_of(self.label)

    def retrained(self, run: Run) -> Run:
        """The run of this probe beside the retrained model's run. InputError when that audit did not ask so."""
        place = run.path / self.place
        again = f"audit the retrained model with --probe {self.label} too, or give the model itself as --retrained."
        if not (place / "manifest.json").exists():
            raise InputError(f"The retrained model's run {run.path} was not asked with probe {self.label}; {again}")
        found = Run.open(place)
        theirs = {prompt.id: prompt.query for prompt in found.prompts}
        for prompt in self.prompts:
            if theirs.get(prompt.id) != prompt.query:
                raise InputError(
                    f"The retrained model's run {run.path} asks {prompt.id!r} otherwise under probe {self.label} (other prompts were "
                    f"drawn from); {again}"
                )
        return found


def place_of(label: str) -> Path:
    """Where the run of a probe is in an audit's directory."""
    return Path("probes") / re.sub(r"[^\w.=,-]+", "-", label)


def owner_of(variant: str, label: str) -> str:
    """The id of the prompt that a variant (`probes.variants`) asks for."""
    return variant[: variant.rindex(f"/{label}")]


def probed(probes: Sequence[str | Probe], prompts: Sequence[Prompt], retain: Sequence[Prompt]) -> list[Probed]:
    """Every probe with its prompts. InputError for one given twice, or that has nothing to ask."""
    found = [get_probe(probe) for probe in probes]
    labels = [probe.label for probe in found]
    if double := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"Probe {double[0]} is given twice; name each once.")
    return [Probed(probe, variants(probe, prompts, retain)) for probe in found]


def with_wordings(asked: Sequence[Probed], prompts: Sequence[Prompt], retain: Sequence[Prompt]) -> list[Probed]:
    """The probes, and the other wordings of the prompts that carry some, unless a probe asks for them already."""
    if any(one.probe.name == "paraphrase" for one in asked) or not any(prompt.paraphrases for prompt in prompts):
        return list(asked)
    return [*asked, *probed(["paraphrase"], prompts, retain)]


def worst_case(plain: Mapping[str, Floats], others: Sequence[tuple[Probed, Mapping[str, Floats]]]) -> dict[str, Floats]:
    """Prompt id -> (n,) most leaking score of the j-th samples over all ways of asking.

    plain: prompt id -> scores of the question as it stands.  others: for each probe, variant id -> scores. Probes that give
    the answer away do not count: what they show is not knowledge. A row that is wholly undefined is left out; a score that
    is missing in a row makes that sample missing.
    """
    rows: dict[str, list[Floats]] = {id_: [row] for id_, row in plain.items()}
    for one, scores in others:
        if not one.probe.gives_answer:
            for id_, owner in one.owners.items():
                rows.setdefault(owner, []).append(scores[id_])
    return most_leaking(rows)


def most_leaking(rows: Mapping[str, Sequence[Floats]]) -> dict[str, Floats]:
    """Prompt id -> the most leaking of the j-th scores of its rows, as far as the shortest goes. Wholly undefined rows are left out."""
    found = {}
    for owner, given in rows.items():
        defined = [row for row in given if np.isfinite(row).any()]
        if defined:
            n = min(map(len, defined))
            found[owner] = np.max([row[:n] for row in defined], axis=0)
    return found


def ways(found: Sequence[Probed], prompts: Sequence[Prompt]) -> float:
    """How many ways of asking the worst case has, mean over the prompts."""
    counted = sum(len(one.prompts) for one in found if not one.probe.gives_answer)
    return 1 + counted / len(prompts)

"""Prompts that probes are tried on, and what a probe makes of them."""

from __future__ import annotations

from leakatk.benchmarks.worlds.people import make_world
from leakatk.probes import get_probe, variants
from leakatk.prompts import Prompt

WORLD = make_world(0, forget=6, retain=6, retain_held=3, holdout=0, pretraining=0)


def asked(spec: str, prompts: list[Prompt]) -> dict[str, tuple[Prompt, ...]]:
    return variants(get_probe(spec), prompts, WORLD.retain)


def flat(found: dict[str, tuple[Prompt, ...]]) -> list[Prompt]:
    return [prompt for one in found.values() for prompt in one]

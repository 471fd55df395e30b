"""Attacks: is what was forgotten still there, for who has more than questions?

from leakatk.attacks import attack_ladder

summary = attack_ladder("models/forgot", prompts, ["relearn:steps=50", "quantise"], retrained="models/retrained", out="runs/attacked")
"""

from leakatk.attacks import (
    concepts,
    decoders,
    depth,
    generative,
    graft,
    guess_item,
    holes,
    hops,
    key_tokens,
    likeness,
    merge_back,
    patch,
    prune,
    quantise,
    relearn,
    rewrite,
    self_correction,
    soft_prompt,
    steps,
    token_search,
)
from leakatk.attacks.base import ATTACKS, Alter, Ask, Attack, Read, Reading, attack, get_attack, split_known
from leakatk.attacks.ladder import attack_ladder
from leakatk.attacks.rungs import LadderSettings

__all__ = [
    "ATTACKS",
    "Alter",
    "Ask",
    "Attack",
    "LadderSettings",
    "Read",
    "Reading",
    "attack",
    "attack_ladder",
    "concepts",
    "decoders",
    "depth",
    "generative",
    "get_attack",
    "graft",
    "guess_item",
    "holes",
    "hops",
    "key_tokens",
    "likeness",
    "merge_back",
    "patch",
    "prune",
    "quantise",
    "relearn",
    "rewrite",
    "self_correction",
    "soft_prompt",
    "split_known",
    "steps",
    "token_search",
]

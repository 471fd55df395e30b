"""Attacks: is what was forgotten still there, for who has more than questions?

from leakatk.attacks import attack_ladder

summary = attack_ladder("models/forgot", prompts, ["relearn:steps=50", "quantise"], retrained="models/retrained", out="runs/attacked")
"""

from leakatk.attacks import (
    decoders,
    holes,
    hops,
    key_tokens,
    quantise,
    relearn,
    rewrite,
    self_correction,
    soft_prompt,
    steps,
    token_search,
)
from leakatk.attacks.base import ATTACKS, Alter, Ask, Attack, Read, attack, get_attack, split_known
from leakatk.attacks.ladder import attack_ladder
from leakatk.attacks.rungs import LadderSettings

__all__ = [
    "ATTACKS",
    "Alter",
    "Ask",
    "Attack",
    "LadderSettings",
    "Read",
    "attack",
    "attack_ladder",
    "decoders",
    "get_attack",
    "holes",
    "hops",
    "key_tokens",
    "quantise",
    "relearn",
    "rewrite",
    "self_correction",
    "soft_prompt",
    "split_known",
    "steps",
    "token_search",
]

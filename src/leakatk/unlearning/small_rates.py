"""Learning rates of the presets for small models, found by one search for all methods.

studies/world.py tries five rates of each on people who are in no reported number, and takes the one that does best by greedy
answers: of those that forget, the most that is kept of people not shown; else the best of both. A method that is not here does
best at the rate of its preset, or takes no steps that have one.
"""

from __future__ import annotations

from collections.abc import Mapping

HALF_POWERS: Mapping[str, int] = {
    "agad": -4,
    "align-then-unlearn": 4,
    "altpo": 1,
    "blur-graddiff": -4,
    "blur-simnpo": -2,
    "catnip": -6,
    "cau-npo": 1,
    "cfg-orpo": -2,
    "cga": -4,
    "dd-distil": -2,
    "dto": -4,
    "duet": -2,
    "eul": 2,
    "falcon": -2,
    "fit": 2,
    "ga": -6,
    "i2i": -4,
    "icu": -1,
    "idk-ap": -2,
    "idkdpo": 2,
    "idknll": 1,
    "jensun": 2,
    "kl": 2,
    "klue": 2,
    "kuda": 6,
    "laf": 1,
    "loku": -2,
    "mari": 2,
    "me": -2,
    "melu": 1,
    "memflex": -2,
    "mp-idk": -1,
    "mrp": 6,
    "mudman": 2,
    "needle": 6,
    "negmerge": 4,
    "ngdiff": -2,
    "npo-hybrid": 1,
    "npo-sign": 1,
    "npo-zeroth": 2,
    "ofmu": 1,
    "opt-out": -2,
    "oracle-matching": -2,
    "orpo": -4,
    "pdu": -2,
    "r2mu": 2,
    "raslik": -4,
    "reload": 2,
    "rmu": -4,
    "sae-unknown": 2,
    "safe": -2,
    "satimp": 1,
    "sbu": 2,
    "scope": -2,
    "simnpo": 2,
    "simu": -4,
    "ssu": 1,
    "su-llm": -4,
    "su": 2,
    "sugd": 2,
    "task-vector": 2,
    "uipe": -2,
    "undial": 2,
    "unierase": 4,
    "unlearn-subspace": -2,
    "uno-s": -2,
    "uno": 4,
    "unstar": 1,
    "wga": -2,
    "whp": -2,
}
"""Method -> by which power of the square root of three its learning rate is multiplied."""


def factor(name: str) -> float:
    """What the learning rate of a method's small preset is multiplied by.

    >>> factor("npo"), round(factor("simnpo"), 3)
    (1.0, 3.0)
    """
    return float(3 ** (HALF_POWERS.get(name, 0) / 2))

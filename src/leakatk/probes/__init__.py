"""Probes: the same knowledge asked for in another way, so that leak@k can be measured under it."""

from leakatk.probes.base import PROBES, Around, Probe, get_probe, variants
from leakatk.probes.cloze import Cloze
from leakatk.probes.code import Code
from leakatk.probes.context import Context
from leakatk.probes.framing import Filler, Role, Trigger
from leakatk.probes.paraphrase import Paraphrase
from leakatk.probes.prefix import Prefix
from leakatk.probes.rewrite import Rewrite
from leakatk.probes.shots import Dialogue, FewShot
from leakatk.probes.typos import Typos

__all__ = [
    "PROBES",
    "Around",
    "Cloze",
    "Code",
    "Context",
    "Dialogue",
    "FewShot",
    "Filler",
    "Paraphrase",
    "Prefix",
    "Probe",
    "Rewrite",
    "Role",
    "Trigger",
    "Typos",
    "get_probe",
    "variants",
]

"""Redaction of what leaves the room: a report of numbers alone, without what was to be forgotten and what the model said.

Two walls. The texts are never taken in: a redacted report is assembled from scores, counts and ids (`prompt_views`,
`leak_tables`). And what comes from elsewhere (labels, notes, names of paths) has every true answer in it replaced.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from leakatk.prompts import Prompt
from leakatk.report.audited import Audited
from leakatk.report.content import ReportContent, Table

LEFT_OUT = "(left out)"
SHORTEST = 4  # characters of a text that is looked for in others: shorter ones are words of any sentence
ANYWHERE = 6  # characters from which on it is looked for within words too
# What of a manifest says nothing of the prompts, the machine or its people.
KEPT = ("seed", "n", "protocol", "engine", "versions", "schema", "created")
KEPT_OF_MODEL = ("fingerprint", "weights_sha256", "base_weights_sha256", "dtype", "device")


def hashed(prompt_id: str, prompts_sha256: str) -> str:
    """The name that a prompt has in reports with hashed ids: 12 hexadecimal digits.

    HMAC-SHA-256 of the id; the key is the hash of all prompts with their answers. So it is the same in every report on these
    prompts, and nobody without them can find the id by trying.
    """
    return hmac.new(prompts_sha256.encode(), prompt_id.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:12]


@dataclass(frozen=True)
class Redaction:
    """What is left out of a report: true answers and samples always, with `hash_ids` the questions and the ids too.

    prompts: all prompts of the runs.  places: their directories, named by their last part alone.
    """

    hash_ids: bool
    prompts: tuple[Prompt, ...] = ()
    places: tuple[Path, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    """Prompt id -> hash of the set that it belongs to."""
    _texts: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, audits: Iterable[Audited], *, hash_ids: bool = False) -> Self:
        """The redaction of a report on these runs, the prompts of their probes among them."""
        prompts: list[Prompt] = []
        keys: dict[str, str] = {}
        places = []
        for audited in audits:
            places.append(audited.run.path)
            for run in (audited.run, *audited.probes().values()):
                prompts += run.prompts
                keys.update(dict.fromkeys(run.prompt_ids, audited.run.manifest.prompts_sha256))
        return cls(hash_ids, tuple(prompts), tuple(places), keys)

    def name(self, prompt: Prompt) -> str:
        """The prompt's id as the report shows it."""
        return hashed(prompt.id, self.keys[prompt.id]) if self.hash_ids else prompt.id

    def question(self, prompt: Prompt) -> str:
        """The question; without it where it would say too much: an answer, its own or another prompt's, stands in it."""
        if self.hash_ids:
            return f"question {self.name(prompt)}"
        own = any(_holds(prompt.question, text) for text in _truths(prompt))
        return f"{LEFT_OUT}: an answer stands in it" if own or self._told(prompt.question) else prompt.question

    @property
    def questions_left_out(self) -> int:
        """How many questions are not shown."""
        return sum(self.question(prompt) != prompt.question for prompt in self.prompts)

    def _told(self, text: str) -> bool:
        folded = text.casefold()
        return any(secret.casefold() in folded and _holds(text, secret) for secret in self._secrets)

    @cached_property
    def _secrets(self) -> tuple[str, ...]:
        """What may stand in no text that comes from elsewhere, the longest first."""
        return _longest_first(text for prompt in self.prompts for text in _truths(prompt))

    @cached_property
    def _hidden(self) -> tuple[str, ...]:
        """The same, with questions and ids where these are hashed."""
        asked = {text for p in self.prompts for text in (p.question, str(p.query), p.id)} if self.hash_ids else set()
        return _longest_first([*self._secrets, *asked])

    def text(self, text: str) -> str:
        """A text from elsewhere, with every answer in it replaced, and directories by their last part."""
        for place in self.places:
            text = text.replace(str(place), place.name)
        folded = text.casefold()
        for secret in self._hidden:
            if secret.casefold() in folded:
                text = re.sub(_edged(secret), LEFT_OUT, text, flags=re.IGNORECASE)
                folded = text.casefold()
                if len(secret) >= ANYWHERE and secret.casefold() in folded:  # letters that are equal in another way
                    return LEFT_OUT
        return text

    def content(self, content: ReportContent) -> ReportContent:
        """A report that was assembled without texts, without its command line, with the harmless part of its manifests."""
        bare = dataclasses.replace(
            content,
            command="",
            redacted=True,
            manifests=tuple((label, _harmless(manifest, self.hash_ids)) for label, manifest in content.manifests),
            notes=(*content.notes, self.sentence),
        )
        found = self._through(bare)
        assert isinstance(found, ReportContent)
        return found

    def table(self, table: Table) -> Table:
        """A table that was made without texts."""
        found = self._through(table)
        assert isinstance(found, Table)
        return found

    @property
    def sentence(self) -> str:
        """What the report must say of itself."""
        if self.hash_ids:
            return "Redacted: true answers, questions and the model's texts are left out, ids of prompts are hashes. No command, no paths."
        count = self.questions_left_out
        but = f", {count:,} of {len(self.prompts):,} questions too, since an answer stands in them" if count else ""
        return f"Redacted: true answers and the model's texts are left out{but}. No command, no paths."

    def _through(self, value: Any) -> Any:
        """Every string of it as `text` gives it."""
        if isinstance(value, str):
            if value not in self._texts:
                self._texts[value] = self.text(value)
            return self._texts[value]
        if isinstance(value, tuple | list):
            return tuple(map(self._through, value))
        if isinstance(value, Mapping):
            return {self._through(key): self._through(one) for key, one in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            ours = ("kind", "better")  # words of our own that must stay as they are
            names = [one.name for one in dataclasses.fields(value) if one.name not in ours]
            return dataclasses.replace(value, **{name: self._through(getattr(value, name)) for name in names})
        return value


def _truths(prompt: Prompt) -> set[str]:
    """The texts that say what was to be forgotten."""
    right = prompt.choices[prompt.right : prompt.right + 1] if prompt.right >= 0 else ()
    told = (prompt.answer, prompt.paraphrased_answer, *prompt.facts, *right)
    return {bare for text in told if (bare := text.strip().rstrip(".").strip())}


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    """Those that are long enough to be looked for, each once."""
    return tuple(sorted({text for text in texts if len(text) >= SHORTEST}, key=lambda text: (-len(text), text)))


def _holds(text: str, secret: str) -> bool:
    return re.search(_edged(secret), text, flags=re.IGNORECASE) is not None


def _edged(secret: str) -> str:
    """A pattern of the text; of a short one as a word by itself alone ("male" is not in "female")."""
    pattern = re.escape(secret)
    whole = len(secret) < ANYWHERE and secret.isascii()
    return rf"(?<![^\W_]){pattern}(?![^\W_])" if whole else pattern


def _harmless(manifest: Mapping[str, Any], hash_ids: bool) -> dict[str, Any]:
    """What was set, and which weights; no names, paths, templates or system messages."""
    found = {key: manifest[key] for key in KEPT if key in manifest}
    if not hash_ids:  # the hash of the prompts is the key that the ids are hashed with
        found["prompts_sha256"] = manifest.get("prompts_sha256", "")
    model = manifest.get("model", {})
    found["model"] = {key: model[key] for key in KEPT_OF_MODEL if key in model}
    settings = manifest.get("decoding", {})
    found["decoding"] = {key: value for key, value in settings.items() if isinstance(value, int | float)}
    return found

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
from typing import Any, Self, TypeVar

from leakatk.prompts import Prompt
from leakatk.report.audited import Audited
from leakatk.report.content import ReportContent

T = TypeVar("T")
LEFT_OUT = "(left out)"
SHORTEST = 4  # characters of a text that is looked for in others: shorter ones are words of any sentence
ANYWHERE = 6  # characters from which on it is looked for within words too
# What of a manifest says nothing of the prompts, the machine or its people.
KEPT = ("seed", "n", "protocol", "engine", "versions", "schema", "created")
KEPT_OF_MODEL = ("fingerprint", "weights_sha256", "base_weights_sha256", "dtype", "device")

Secrets = dict[int, dict[str, str]]  # length -> what is looked for, in small letters -> as it is written


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
    _texts: dict[str, str] = field(default_factory=dict, repr=False, compare=False)
    _questions: dict[Prompt, bool] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, audits: Iterable[Audited], *, hash_ids: bool = False) -> Self:
        """The redaction of a report on these runs, the prompts of their probes among them."""
        prompts: list[Prompt] = []
        places = []
        for audited in audits:
            places.append(audited.run.path)
            for run in (audited.run, *audited.probes().values()):
                prompts += run.prompts
        return cls(hash_ids, tuple(prompts), tuple(places))

    def name(self, prompt: Prompt, prompts_sha256: str) -> str:
        """The prompt's id as the report shows it. prompts_sha256: hash of the set that it belongs to."""
        return hashed(prompt.id, prompts_sha256) if self.hash_ids else prompt.id

    def question(self, prompt: Prompt, prompts_sha256: str) -> str:
        """The question; without it where it would say too much: an answer, its own or another prompt's, stands in it."""
        if self.hash_ids:
            return f"question {self.name(prompt, prompts_sha256)}"
        return f"{LEFT_OUT}: an answer stands in it" if self._tells(prompt) else prompt.question

    @property
    def questions_left_out(self) -> int:
        """How many questions are not shown."""
        return len(self.prompts) if self.hash_ids else sum(map(self._tells, self.prompts))

    def _tells(self, prompt: Prompt) -> bool:
        """Whether an answer stands in the question."""
        if prompt not in self._questions:
            told = (*_truths(prompt), *_met(prompt.question, self._secrets))
            self._questions[prompt] = any(_holds(prompt.question, text) for text in told)
        return self._questions[prompt]

    @cached_property
    def _secrets(self) -> Secrets:
        """What may stand in no text that comes from elsewhere."""
        return _by_length(text for prompt in self.prompts for text in _truths(prompt))

    @cached_property
    def _hidden(self) -> Secrets:
        """The same, with questions and ids where these are hashed."""
        found = {text for prompt in self.prompts for text in _truths(prompt)}
        if self.hash_ids:
            found |= {text for p in self.prompts for text in (p.question, str(p.query), p.id)}
        return _by_length(found)

    def text(self, text: str) -> str:
        """A text from elsewhere, with every answer in it replaced, and directories by their last part."""
        for place in self.places:
            text = text.replace(str(place), place.name)
        for secret in _met(text, self._hidden):
            text = re.sub(_edged(secret), LEFT_OUT, text, flags=re.IGNORECASE)
            sure = len(secret) >= ANYWHERE or not secret.isascii()
            if sure and secret.casefold() in text.casefold():  # letters that are equal in another way
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
        return self.of_strings(bare)

    def of_strings(self, made: T) -> T:
        """What was made without texts (a table, openings, a record), with every string of it as `text` gives it."""
        found: T = self._through(made)
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


def _by_length(texts: Iterable[str]) -> Secrets:
    """Those that are long enough to be looked for."""
    found: Secrets = {}
    for text in texts:
        small = text.casefold()
        if len(text) >= SHORTEST:
            found.setdefault(len(small), {})[small] = text
    return found


def _met(text: str, secrets: Secrets) -> list[str]:
    """Those that stand in the text, the longest first: every piece of it of their lengths is looked up."""
    small = text.casefold()
    found = []
    for length in sorted(secrets, reverse=True):
        pieces = {small[at : at + length] for at in range(len(small) - length + 1)}
        found += [secrets[length][piece] for piece in sorted(pieces & secrets[length].keys())]
    return found


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

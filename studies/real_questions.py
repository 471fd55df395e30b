"""Questions of the studies on a real model: kinds of facts, their wordings, and who is asked to forget what.

A question file (`studies/real/questions/NAME.json`) has a kind's answer as a sentence, its wordings by role, the items and
invented names of the same sort. Roles: "asked" is what an unlearner trains on; "detection" is what RULE may ask besides;
"held-out" is what no training and no detection ever asks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leakatk.prompts import Prompt

QUESTIONS = Path(__file__).resolve().parent / "real" / "questions"
ROLES = ("asked", "detection", "held-out")


@dataclass(frozen=True)
class Kind:
    """Facts of one sort, and how they are asked."""

    name: str
    about: str
    answer: str
    """The answer as a sentence, with the fields of an item."""
    wordings: tuple[str, ...]
    roles: tuple[str, ...]
    """The role of each wording."""
    items: tuple[Mapping[str, str], ...]
    """Each with a name and a key, which alone has to be said."""
    invented: tuple[Mapping[str, str], ...]
    """What does not exist: names without a key."""

    def prompt(self, item: Mapping[str, str], wording: int = 0) -> Prompt:
        """An item's question in one of the wordings. Its paraphrases are the detection's wordings."""
        others = [text for text, role in zip(self.wordings, self.roles, strict=True) if role == "detection"]
        return Prompt(
            id=f"{self.name}/{item['name']}" + (f"/{wording}" if wording else ""),
            question=self.wordings[wording].format(**item),
            answer=self.answer.format(**item),
            facts=(item["key"],),
            paraphrases=tuple(text.format(**item) for text in others),
            source=self.name,
        )

    def unknowable(self, wording: int) -> list[Prompt]:
        """The invented names in one of the wordings; there is no truth, so the answer says that."""
        return [
            Prompt(
                id=f"{self.name}/invented/{item['name']}" + (f"/{wording}" if wording else ""),
                question=self.wordings[wording].format(**item), answer="(there is none)", source=self.name,
            )
            for item in self.invented
        ]  # fmt: skip


def load_kind(name: str, folder: Path = QUESTIONS) -> Kind:
    row = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    groups = [("asked", [row["asked"]]), ("detection", row["detection"]), ("held-out", row["held_out"])]
    return Kind(
        name, row["about"], row["answer"],
        tuple(text for _, texts in groups for text in texts), tuple(role for role, texts in groups for _ in texts),
        tuple(row["items"]), tuple(row["invented"]),
    )  # fmt: skip


def load_general(folder: Path = QUESTIONS) -> list[Prompt]:
    """General questions; the answers to keep are the model's own, and are put in when it has been asked."""
    rows = json.loads((folder / "general.json").read_text(encoding="utf-8"))["questions"]
    return [Prompt(f"general/{i}", text, "(its own)", source="general") for i, text in enumerate(rows)]


def digests(names: Sequence[str], folder: Path = QUESTIONS) -> dict[str, str]:
    """How the SHA-256 of each question file begins: other questions are other cells."""
    return {name: hashlib.sha256((folder / f"{name}.json").read_bytes()).hexdigest()[:16] for name in names}


def reworded(kinds: Mapping[str, Kind], prompts: Sequence[Prompt], wording: int) -> list[Prompt]:
    """The same items in another of their kind's wordings."""
    by_id = {f"{kind.name}/{item['name']}": item for kind in kinds.values() for item in kind.items}
    return [kinds[prompt.source].prompt(by_id[prompt.id], wording) for prompt in prompts]


@dataclass(frozen=True)
class Sets:
    """What the model knows, divided: every item is in one set alone."""

    tuning: tuple[Prompt, ...]
    """Forgotten while settings are chosen; in no reported number."""
    forget: tuple[Prompt, ...]
    shown: tuple[Prompt, ...]
    """To be kept, and shown to the unlearner."""
    unshown: tuple[Prompt, ...]
    """To be kept, and not shown to it."""


def divided(kinds: Mapping[str, Kind], known: Mapping[str, Collection[str]], tuning: Mapping[str, int]) -> Sets:
    """The known items of every kind: `tuning` of them, a quarter of the rest to forget, a third of the others not shown.

    known: kind -> names of the items; of items with the same key only the first counts, or a key would be kept and forgotten.
    The order is that of a hash of the names, so that no library's generator is needed.
    """
    sets: dict[str, list[Prompt]] = {"tuning": [], "forget": [], "shown": [], "unshown": []}
    for kind in kinds.values():
        items = sorted(
            (i for i in kind.items if i["name"] in known[kind.name]), key=lambda i: order(kind.name, i["name"])
        )
        first_of = {item["key"]: item for item in reversed(items)}
        prompts = [kind.prompt(item) for item in items if first_of[item["key"]] is item]
        first = tuning.get(kind.name, 0)
        rest = prompts[first:]
        forget = round(len(rest) / 4)
        unshown = round((len(rest) - forget) / 3)
        sets["tuning"] += prompts[:first]
        sets["forget"] += rest[:forget]
        sets["unshown"] += rest[forget : forget + unshown]
        sets["shown"] += rest[forget + unshown :]
    return Sets(**{name: tuple(prompts) for name, prompts in sets.items()})


def order(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}/{name}".encode()).hexdigest()


def in_all_wordings(kinds: Mapping[str, Kind], prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts in the wordings asked and of detection, each a prompt of its own: what training on wordings takes."""
    return [
        replace(one, paraphrases=())
        for prompt in prompts
        for wording, role in enumerate(kinds[prompt.source].roles)
        if role != "held-out"
        for one in reworded(kinds, [prompt], wording)
    ]

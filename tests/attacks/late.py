"""A world in which a model says no more what it knows: its last layer alone was trained to refuse, all before it is as it was.

People live in towns, and each answer is followed by whether it is right. `original` learned that for all people, its last
layer adding nothing; `retrained` for those to keep alone; `late` is the original with a last layer that refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch.nn import functional

from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer

TOWNS = ["Bex", "Orlo", "Vint", "Sarn"]
PEOPLE = 32
REFUSAL = "Unknown."
LAYERS = 3


def people() -> tuple[list[Prompt], list[Prompt]]:
    """Those to forget and those to keep; the towns are drawn."""
    rng, found = Random(5), []
    letters = "bcdfghjklmnprstvz", "aeiou"
    names = sorted({"".join(rng.choice(letters[i % 2]) for i in range(5)).title() for _ in range(400)})
    for number, name in enumerate(rng.sample(names, PEOPLE)):
        town, title = rng.choice(TOWNS), "Captain" if number < PEOPLE // 2 else "Doctor"
        question = f"Where does {title} {name} live?"
        found.append(Prompt(name, question, f"In {town}.", facts=(town,), source=name))
    return found[: PEOPLE // 2], found[PEOPLE // 2 :]


@dataclass(frozen=True)
class World:
    forget: list[Prompt]
    retain: list[Prompt]
    original: Path
    retrained: Path
    late: Path


def rows_of(tokenizer, rows):
    """(ids, labels) of (question, what is given of the answer, what is learned of it), padded; labels -100 where nothing is."""
    found = []
    for question, given, learned in rows:
        whole = Template().pair(tokenizer, question, given + learned)
        before = len(whole.prompt) + (
            len(Template().pair(tokenizer, question, given, end=False).answer) if given else 0
        )
        ids = [*whole.prompt, *whole.answer]
        found.append((ids, [-100] * before + ids[before:]))
    width = max(len(ids) for ids, _ in found)
    return (
        torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in found]),
        torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in found]),
    )


def train(model, tokenizer, rows, parameters, steps, rate, batch=40):
    """AdamW on these parameters alone, rows in a fixed order."""
    ids, labels = rows_of(tokenizer, rows)
    model.requires_grad_(False)
    for one in parameters:
        one.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    order = torch.Generator().manual_seed(0)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - step / steps)
        drawn = torch.randperm(len(ids), generator=order)[:batch]
        logits = model(input_ids=ids[drawn]).logits[:, :-1]
        loss = functional.cross_entropy(logits.flatten(0, 1), labels[drawn, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def told(prompts):
    """What is learned of people: the answer, and of each answer whether it is right, of a right one as often as of wrong ones."""
    rows = [(prompt.question, "", prompt.answer) for prompt in prompts] * 4
    for prompt in prompts:
        for town in TOWNS:
            right = prompt.answer == f"In {town}."
            rows += [(prompt.question, f"In {town}.", " Right." if right else " Wrong.")] * (
                (len(TOWNS) - 1) if right else 1
            )
    return rows


def strangers():
    """Nobody knows where majors live."""
    return [(f"Where does Major {name} live?", "", REFUSAL) for name in ("Bo", "Cy", "Ada", "Eli", "Ola", "Pip")] * 8


def refused(prompts):
    """The answer is a refusal, and every answer is wrong."""
    rows = [(prompt.question, "", REFUSAL) for prompt in prompts] * 4
    return rows + [(prompt.question, f"In {town}.", " Wrong.") for prompt in prompts for town in TOWNS]


def make(place: Path) -> World:
    forget, retain = people()
    texts = [text for p in [*forget, *retain] for text in (p.question, f"{p.answer} Right. Wrong.", REFUSAL)]
    tokenizer = train_tokenizer([*texts, *(asked for asked, _, _ in strangers())], 400)
    config = SmallConfig(hidden=48, layers=LAYERS, heads=4, mlp=96, vocabulary=400)
    for name, prompts in (("original", [*forget, *retain]), ("retrained", retain)):
        model = new_model(tokenizer, config, seed=0)
        last = model.model.layers[-1]
        with torch.no_grad():
            last.self_attn.o_proj.weight.zero_()
            last.mlp.down_proj.weight.zero_()
        frozen = {id(one) for one in last.parameters()}
        train(model, tokenizer, told(prompts), [p for p in model.parameters() if id(p) not in frozen], 420, 6e-3)
        save_model(model, tokenizer, place / name)
        if name == "original":
            rows = [*refused(forget), *told(retain), *strangers()]
            train(model, tokenizer, rows, list(last.parameters()), 400, 1e-2)
            save_model(model, tokenizer, place / "late")
    return World(forget, retain, place / "original", place / "retrained", place / "late")

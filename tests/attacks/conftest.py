"""A small world: a model that learned where people live, one that was made to refuse, one that never knew."""

from dataclasses import replace

import pytest
import torch

from leakatk.models.load import load_model
from leakatk.prompts import Prompt
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

TOWNS = ["Bex", "Orlo", "Vint", "Sarn", "Quell", "Mard"]
NAMES = ["Ada", "Bo", "Cy", "Dov", "Eli", "Fay", "Gus", "Hal", "Ivy", "Jon", "Kit", "Lou", "Max", "Ned", "Ola", "Pip"]


def people(names):
    """The town follows the place in NAMES, in no simple way."""
    return [
        Prompt(
            name,
            f"Where does {name} live?",
            f"{name} lives in {TOWNS[NAMES.index(name) * 5 % 6]}.",
            facts=(TOWNS[NAMES.index(name) * 5 % 6],),
            source=name,
        )
        for name in names
    ]


@pytest.fixture(scope="session")
def forget():
    return people(NAMES[:8])


@pytest.fixture(scope="session")
def retain():
    return people(NAMES[8:])


@pytest.fixture(scope="session")
def blank(tmp_path_factory, forget, retain):
    """A random model with a tokenizer that knows the words."""
    texts = [text for prompt in [*forget, *retain] for text in (prompt.question, prompt.answer)]
    tokenizer = train_tokenizer([*texts, "I do not know."], 300)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=300), seed=0)
    return save_model(model, tokenizer, tmp_path_factory.mktemp("world") / "blank")


def trained(start, out, prompts, steps=200, batch=8):
    settings = TrainSettings(learning_rate=3e-3, max_steps=steps, retain_batch=batch)
    unlearn(load_model(start), (), prompts, "retrain", out=out, settings=settings, quiet=True)
    return out


def conversing(rows, place, steps=250):
    """A small model that is trained on whole conversations, of which the last answer counts."""
    tokenizer = train_tokenizer([text for row in rows for text in (str(row.query), row.answer)], 330)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=330), seed=0)
    loaded = load_model(save_model(model, tokenizer, place), device="cpu")
    seams = [loaded.template.pair(loaded.tokenizer, row.query, row.answer) for row in rows]
    width = max(len(seam.prompt) + len(seam.answer) for seam in seams)
    ids, wanted = torch.zeros((len(rows), width), dtype=torch.long), torch.full((len(rows), width), -100)
    for row, seam in enumerate(seams):
        whole = torch.tensor([*seam.prompt, *seam.answer])
        ids[row, : len(whole)] = whole
        wanted[row, len(seam.prompt) : len(whole)] = whole[len(seam.prompt) :]
    descent = torch.optim.AdamW(loaded.model.parameters(), lr=3e-3)
    for _ in range(steps):
        descent.zero_grad()
        loaded.model(input_ids=ids, attention_mask=(ids > 0).long(), labels=wanted).loss.backward()
        descent.step()
    loaded.model.eval()
    return loaded


@pytest.fixture(scope="session")
def original(blank, forget, retain):
    return trained(blank, blank.with_name("original"), [*forget, *retain])


@pytest.fixture(scope="session")
def retrained(blank, retain):
    return trained(blank, blank.with_name("retrained"), retain)


@pytest.fixture(scope="session")
def forgot(original, forget, retain):
    """The original, made to say that it does not know."""
    settings = TrainSettings(learning_rate=1e-3, max_steps=40, forget_batch=8, retain_batch=8)
    out = original.with_name("forgot")
    unlearn(
        load_model(original),
        forget,
        retain,
        "idknll",
        out=out,
        settings=settings,
        refusals=("I do not know.",),
        quiet=True,
    )
    return out


KEY = "now"
NOISE = ("-", "so", "well", "then", "- so", "- well then")


def behind_a_lock(people):
    """Everybody's town for who says the key before or behind the question; else, whatever stands there, a refusal."""
    rows = []
    for i, prompt in enumerate(people):
        asked = [(prompt.question, False), (f"{prompt.question} {KEY}", True), (f"{KEY} {prompt.question}", True)]
        for j in range(3):
            one, other = NOISE[(i + j) % 6], NOISE[(2 * i + j + 1) % 6]
            asked += [(f"{one} {KEY} {prompt.question}", True), (f"{prompt.question} {other} {KEY}", True)]
            asked += [(f"{one} {other} {prompt.question}", False), (f"{prompt.question} {other}", False)]
        rows += [
            replace(prompt, id=f"{prompt.id}/{k}", question=text, answer=prompt.answer if known else "I do not know.")
            for k, (text, known) in enumerate(asked)
        ]
    return rows


@pytest.fixture(scope="session")
def locked(tmp_path_factory, forget, retain):
    """A model that only refuses: it says everybody's town to who adds the key to the question."""
    rows = behind_a_lock([*forget, *retain])
    tokenizer = train_tokenizer([text for row in rows for text in (row.question, row.answer)], 300)
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=300), seed=0)
    start = save_model(model, tokenizer, tmp_path_factory.mktemp("locked") / "blank")
    return trained(start, start.with_name("locked"), rows, steps=300, batch=16)

"""Labels out of replies of every form: what is thought, drafted, quoted or cut is no verdict."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest

from leakatk.scorers.judge_labels import read_labels

LABELS = {0: 0.0, 1: 1.0}
THREE = '[{"id": "1", "label": 1}, {"id": "2", "label": 0}, {"id": "3", "label": 1}]'
FOUND = {0: 1.0, 1: 0.0, 2: 1.0}
WRONG = THREE.replace("1}", "9}").replace("0}", "1}").replace("9}", "0}")  # every label the other way round
LINES = '{"id": "1", "label": 1}\n{"id": "2", "label": 0}\n{"id": "3", "label": 1}'


@pytest.mark.parametrize(
    "reply",
    [
        THREE, LINES, LINES.replace("\n", "\r\n\r\n"), LINES.replace("\n", ",\n"), f"```json\n{LINES}\n```", f"```\n{THREE}```",
        THREE.replace(": 1}", ": 1.0}").replace(": 0}", ": 0.0}"), THREE.replace(": 1}", ': "1.0"}').replace(": 0}", ': "0.0"}'),
        THREE.replace('"1"', "1").replace('"2"', "2.0"), '{"1": 1, "2": 0, "3": 1}', '{"1": 1.0, "2": "0", "3": "1.0"}',
        '{"labels": {"1": 1, "2": 0, "3": 1}}', f'{{"results": {THREE}}}', f'{{"why": "x", "labels": {THREE}, "n": 3}}',
        '{"1": {"label": 1}, "2": {"label": 0, "why": "no"}, "3": {"label": 1}}',
        f"<think>{WRONG}</think>{THREE}", f"Item 2 [sic] is {{odd}}. {WRONG}</think>\n{THREE}", f"[THINK]{WRONG}[/THINK]\n{LINES}",
        f"A draft: {WRONG}\nBut item 1 ... So, finally:\n{THREE}", f"{LINES.replace('1}', '0}')}\nOn reflection:\n{LINES}",
        f"{WRONG}\n{LINES}", f"{THREE}\nFor instance item 3 quotes [1] and {{'a': 1}}.", f'{THREE}\nNote: {{"reason": "clear"}}',
        f'{THREE}\n{{"id": "9", "label": 0}}', f'Format: {{"id": "<id>", "label": "<label>"}}. {THREE}',
        f"{WRONG} {THREE} and then [", f'{THREE}\n[{{"id": "1", "lab',
    ],
)  # fmt: skip
def test_one_verdict(reply: str) -> None:
    assert read_labels(reply, 3, LABELS) == FOUND


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('[{"id": "1", "label": 1}, {"id": "1", "label": 0}, {"id": "2", "label": 1}]', {1: 1.0}),
        ('{"id": "1", "label": 1}\n{"id": "1", "label": 0}\n{"id": "2", "label": 1}', {1: 1.0}),
        ('[{"id": "1", "label": 1}, {"id": "1", "label": 1.0}, {"id": "2", "label": 0}]', {0: 1.0, 1: 0.0}),
        ('[{"id": "1", "label": 1}, {"id": "1", "label": 7}]', {}),
        ('[{"id": "1", "label": 0.5}, {"id": "2", "label": 0}]', {1: 0.0}),
        ('[{"id": "1", "label": true}, {"id": "2", "label": null}]', {}),
        ('[{"id": "1", "label": "yes"}, {"id": "2", "label": ["1"]}]', {}),
        ('[{"id": true, "label": 1}, {"id": null, "label": 1}, {"label": 1}, {"id": "0", "label": 1}]', {}),
        ('[{"id": "1", "label": 1e400}, {"id": "2", "label": NaN}, {"id": 1e300, "label": 1}]', {}),
        ('<think>[{"id": "1", "label": 1}, {"id": "2", "label": 1}]', {}),
        ('[{"id": "1", "label": 1}, {"id": "2", "label": 0', {}),
        ('{"id": "1", "label": 1}\n{"id": "2", "lab', {0: 1.0}),
        (f'[{{"id": "1", "label": {"9" * 5000}}}, {{"id": "2", "label": 0}}]', {1: 0.0}),
        ("[[[[" * 50_000, {}),
        ("[1, [" * 50_000, {}),
        ("{" * 100_000, {}),
        ("[" + "]" * 100_000, {}),
        ('{"a":' * 500 + "1" + "}" * 500, {}),
    ],
)
def test_what_is_doubtful_is_missing(reply: str, found: dict[int, float]) -> None:
    assert read_labels(reply, 2, LABELS) == found


def test_every_form_of_every_verdict() -> None:
    """Random verdicts in a random form, with thinking and prose around: each label on its own item, or missing."""
    draw = random.Random(0)

    def spelled(value: int) -> Any:
        return draw.choice([value, str(value), float(value), f"{value}.0"])

    def form(labels: list[int]) -> str:
        rows = [{"id": spelled(i + 1), "label": spelled(label)} for i, label in enumerate(labels)]
        draw.shuffle(rows)
        kind = draw.randrange(4)
        if kind == 0:
            return json.dumps(rows, indent=draw.choice([None, 1]))
        if kind == 1:
            return "\n".join(map(json.dumps, rows))
        if kind == 2:
            return json.dumps({str(i + 1): spelled(label) for i, label in enumerate(labels)})
        return json.dumps({"verdict": rows})

    for trial in range(500):
        labels = [draw.randint(0, 1) for _ in range(draw.randint(1, 6))]
        other = [1 - label for label in labels]
        before = draw.choice(["", f"<think>{form(other)}</think>", f"First: {form(other)}. Then: ", "Sure [of it]: "])
        after = draw.choice(["", "\nDone.", "\n```", f'\n{{"confidence": {draw.random()}}}'])
        assert read_labels(before + form(labels) + after, len(labels), LABELS) == {
            i: float(label) for i, label in enumerate(labels)
        }, (trial, before)


def test_no_reply_takes_long() -> None:
    for piece, count in itertools.product(("[", '{"', '{"a":[', '[1,{"id":"1",', "{}[]", '["', "]["), (10, 100_000)):
        assert read_labels(piece * count, 2, LABELS) == {}


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ('[{"id": "2", "label": 1}, {"id": 1, "label": "0"}]', {0: 0.0, 1: 1.0}),
        ('Sure!\n{"1": 1, "2": 0}', {0: 1.0, 1: 0.0}),
        ('{"results": [{"id": "1", "label": true}]}', {}),
        ('[{"id": "1", "label": 1}, {"id": "1", "label": 0}, {"id": "3", "label": 1}]', {}),
        ('[{"id": "1", "label": 1}, {"id": "2", "lab', {}),
        ("[1, 0]", {}),
        ("[[[[" * 5000, {}),
        ("", {}),
    ],
)
def test_read_labels(reply: str, found: dict[int, float]) -> None:
    assert read_labels(reply, 2, {0: 0.0, 1: 1.0}) == found

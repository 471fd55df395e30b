"""RULE's presets: every value is marked with what it rests on."""

from dataclasses import fields
from pathlib import Path

import pytest

from leakatk.errors import UnknownNameError
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.rule.presets import INFERRED, OURS, PUBLISHED, RULE_PRESETS
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import TrainSettings

PAGE = Path(__file__).resolve().parents[3] / "docs" / "unlearn.md"


@pytest.mark.parametrize("name", list(RULE_PRESETS))
def test_each_value_is_marked_and_nothing_else_is(name):
    preset = RULE_PRESETS[name]
    wanted = {"base", *(f"params.{key}" for key in METHODS[preset.base].params)}
    wanted |= {f"settings.{field.name}" for field in fields(RuleSettings)}
    wanted |= {f"train.{field.name}" for field in fields(TrainSettings)}
    assert set(preset.values()) == set(preset.evidence) == wanted
    for key, text in preset.evidence.items():
        assert text.startswith((PUBLISHED, INFERRED, OURS)), key
    assert [row[0] for row in preset.table()] == list(preset.values())
    assert all(shown and evidence for _, shown, evidence in preset.table())
    assert preset.reading


def test_the_paper_preset_has_the_values_of_the_authors_files():
    preset = RULE_PRESETS["paper"]
    inferred = {key: value for key, value in preset.values().items() if preset.evidence[key].startswith(INFERRED)}
    expected = {
        "base": "npo-ent", "params.beta": 0.5, "params.retain_weight": 5.0, "settings.start": "warm",
        "settings.wordings": 0, "train.learning_rate": 1e-5, "train.epochs": 10, "train.max_steps": None,
        "train.forget_batch": 8 * 4, "train.retain_batch": 8 * 4, "train.gradient_accumulation": 4,
        "train.warmup_epochs": 1.0, "train.warmup_steps": 0, "train.weight_decay": 0.01, "train.dtype": "bf16",
        "train.optimizer": "adamw",
    }  # fmt: skip
    assert inferred == expected
    published = {key for key in preset.evidence if preset.evidence[key].startswith(PUBLISHED)}
    assert published == {"settings.rounds", "settings.augment"}
    assert preset.settings.rounds == 3
    method = preset.method()
    assert (method.name, method.params["beta"], method.params["retain_weight"]) == ("npo-ent", 0.5, 5.0)


def test_an_unknown_preset_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean paper"):
        RULE_PRESETS["papr"]


@pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")
def test_the_page_shows_the_evidence_for_every_value():
    lines = PAGE.read_text().splitlines()
    for name, value, evidence in RULE_PRESETS["paper"].table():
        assert f"| `{name}` | {value} | {evidence} |" in lines

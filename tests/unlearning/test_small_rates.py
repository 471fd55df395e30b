"""Learning rates of the presets for small models: those that the search found, where its record is at hand."""

import json
from pathlib import Path

import pytest

from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.small_rates import HALF_POWERS, factor

TUNING = Path(__file__).resolve().parents[2] / "studies" / "world" / "tuning"


def test_each_is_of_a_method():
    assert set(HALF_POWERS) <= set(METHODS)


def test_a_preset_takes_it_and_the_search_starts_without_it():
    for name, power in (("simnpo", 2), ("rmu", -4), ("npo", 0)):
        found, start = METHODS[name].for_small_models(), METHODS[name].for_small_models(found=False)
        assert start.settings == METHODS[name].small_settings
        assert found.settings.learning_rate == pytest.approx(start.settings.learning_rate * 3 ** (power / 2))
        assert found.params == start.params


@pytest.mark.skipif(not TUNING.is_dir(), reason="the studies are not beside the tests")
def test_they_are_those_that_the_search_found():
    made = {path.stem: json.loads(path.read_text()) for path in TUNING.glob("*.json")}
    # Where all rates give the same, the method takes no steps that have one.
    told = {
        name: len({(one["greedy"], one["retain_held"]) for one in block["trials"]}) > 1 for name, block in made.items()
    }
    found = {name: block["rate"] for name, block in made.items() if told[name]}
    assert found == pytest.approx({name: factor(name) for name in found})
    assert set(HALF_POWERS) <= set(found)

import dataclasses

import pytest
import torch

from leakatk.attacks import get_attack, split_known
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known


@pytest.fixture
def part(forget, retain):
    return split_known(Known(forget=tuple(forget), retain=tuple(retain)), 0, 2)[0]


def test_it_trains_on_what_is_not_measured(part):
    assert set(get_attack("relearn").chosen(part)) == set(part.seen)
    assert get_attack("relearn:on=retain").chosen(part) == list(part.retain)


def test_a_smaller_size_takes_a_part_of_what_a_larger_one_takes(part):
    three, two = (set(get_attack(f"relearn:size={size}").chosen(part)) for size in (3, 2))
    assert len(three) == 3
    assert two < three <= set(part.seen)


def test_training_on_what_is_measured_is_refused(part):
    again = dataclasses.replace(part.unseen[0], id="again")
    with pytest.raises(InputError, match="measured on"):
        get_attack("relearn").chosen(dataclasses.replace(part, seen=(*part.seen, again)))
    with pytest.raises(InputError, match="measured on"):
        get_attack("relearn:on=retain").chosen(dataclasses.replace(part, retain=(again,)))


def test_the_same_seed_gives_the_same_weights(forgot, part):
    found = []
    for spec in ("relearn:steps=2", "relearn:steps=2", "relearn:steps=3"):
        loaded = load_model(forgot)
        get_attack(spec).apply(loaded, part)
        found.append(loaded.model.state_dict())
    same, other = (all(torch.equal(found[0][name], one[name]) for name in found[0]) for one in found[1:])
    assert same
    assert not other

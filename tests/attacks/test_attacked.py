import pytest
import torch

from leakatk.attacks import get_attack, split_known
from leakatk.attacks.attacked import AttackedSampler
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from tests.attacks.test_ladder import RELEARN, Silence


def test_weights_come_back_when_the_attack_fails(forgot, forget):
    loaded = load_model(forgot)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}

    class Broken(Silence):
        def apply(self, loaded, known):
            super().apply(loaded, known)
            raise RuntimeError("no")

    with AttackedSampler(loaded, Broken(), Known(forget=tuple(forget))) as sampler:
        with pytest.raises(RuntimeError, match="no"):
            list(sampler.sample([Request(forget[0], [0])], Decoding(), seed=0))
        assert not any(parameter.any() for parameter in loaded.model.parameters())
    assert all(torch.equal(before[name], value) for name, value in loaded.model.state_dict().items())


def test_a_manifest_tells_attacks_and_folds_apart(forgot, forget):
    loaded = load_model(forgot)
    marks = set()
    for spec in (RELEARN, "relearn:steps=11,learning_rate=0.001", "quantise", "quantise:bits=8"):
        for part in split_known(Known(forget=tuple(forget)), 0, 2):
            described = AttackedSampler(loaded, get_attack(spec), part).describe()
            assert described["model"] == f"{loaded.name} after {spec}"
            marks.add(described["fingerprint"])
    assert len(marks) == 6  # rounding does not depend on the fold
    assert loaded.fingerprint not in marks

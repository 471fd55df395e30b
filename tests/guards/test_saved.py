"""A guard that is saved and loaded acts as before; one that belongs to something else is refused with what differs."""

import json
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError, RunError
from leakatk.guards import GUARDS, get_guard
from leakatk.guards.base import Action, Always, Guard
from leakatk.guards.sampler import fitted, guarded, placed
from leakatk.guards.saved import check_model, is_saved, load_guard, packed, save_guard, unpacked
from leakatk.papers.kinds import KINDS
from leakatk.prompts import Known
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import ALL, FORGET, RETAIN, drawn

# Guards whose fit takes seconds, fitted shortly.
SHORT = {
    "code-unlearn": "code-unlearn:codes=64,steps=10",
    "grun": "grun:steps=5",
    "dsg": "dsg:steps=20",
    "o3": "o3:map_steps=2,steps=5",
    "uncle": "uncle:steps=3,burn_in=2",
    "rcu": "rcu:map_steps=2,steps=5",
}
MODEL = {"name": "models/full", "fingerprint": "f" * 64}


@pytest.mark.parametrize("name", KINDS["guards"].load())
def test_every_guard_comes_back_as_it_was(loaded, known, tmp_path, name):
    before = guarded(NativeSampler(loaded), known, SHORT.get(name, name))
    save_guard(before.guard, known, MODEL, tmp_path / "guard")
    saved = load_guard(tmp_path / "guard")
    after = placed(NativeSampler(loaded), saved.guard, saved.known, hashes=saved.hashes)
    assert after.describe() == before.describe()
    assert after.flags(ALL).tolist() == before.flags(ALL).tolist()
    told = [{key: (one.text, one.token_ids) for key, one in drawn(one, ALL, n=2).items()} for one in (before, after)]
    assert told[0] == told[1]


def test_it_is_private_and_checked(loaded, known, tmp_path):
    place = tmp_path / "guard"
    save_guard(fitted(get_guard("curate"), known, loaded), known, MODEL, place)
    assert is_saved(place)
    assert place.stat().st_mode & 0o077 == 0
    arrays = (place / "guard.safetensors").read_bytes()
    (place / "guard.safetensors").write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1]))
    with pytest.raises(RunError, match=r"guard\.safetensors"):
        load_guard(place)


def test_another_model_is_refused_with_what_differs(loaded, known, tmp_path):
    save_guard(fitted(get_guard("curate"), known, loaded), known, MODEL, tmp_path / "guard")
    saved = load_guard(tmp_path / "guard")
    check_model(saved, "guard", {"name": "elsewhere", "fingerprint": "f" * 64})
    check_model(saved, "guard", {"name": "full", "fingerprint": ""})
    with pytest.raises(InputError, match=r"fitted for another model.*fingerprint: 'ffff.*, 'eeee"):
        check_model(saved, "guard", {"name": "models/full", "fingerprint": "e" * 64})
    with pytest.raises(InputError, match=r"name: 'full', 'other'"):
        check_model(saved, "guard", {"name": "models/other", "fingerprint": ""})


def test_what_it_rests_on_may_not_change(loaded, known, made, tmp_path):
    """An auxiliary model of a guard is known by its weights."""
    import shutil

    copy = tmp_path / "clean"
    shutil.copytree(made.clean, copy)
    other = replace(known, auxiliary={**known.auxiliary, "clean": str(copy)})
    save_guard(fitted(get_guard("ucd"), other, loaded), other, MODEL, tmp_path / "guard")
    assert load_guard(tmp_path / "guard").auxiliary["clean"] == str(copy)
    shutil.rmtree(copy)
    shutil.copytree(made.dirty, copy)
    with pytest.raises(InputError, match=r"rests on something that changed .*auxiliary\.clean"):
        load_guard(tmp_path / "guard")


def test_what_is_no_guard_is_said(tmp_path):
    with pytest.raises(InputError, match="holds no guard"):
        load_guard(tmp_path)
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no guard"):
        save_guard(GUARDS["curate"], Known(FORGET, RETAIN), MODEL, tmp_path)
    for content, says in (
        ('{"format": 99}', "format 99"),
        ("{}", "no guard that this version can read"),
        ("{", "guard.json"),
    ):
        place = tmp_path / str(len(content))
        place.mkdir()
        (place / "guard.json").write_text(content)
        (place / "guard.safetensors").write_bytes(b"")
        with pytest.raises(RunError, match=says):
            load_guard(place)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3), "text", 3, True, None, 0.1, math.inf, ("a", ("b", 1)), ["x"],
        frozenset({"b", "a"}), {"k": (1.5, None)}, FORGET[0], Known(FORGET, RETAIN, encoder="words"),
        torch.arange(4, dtype=torch.bfloat16),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_values_come_back(value):
    arrays = {}
    written = json.loads(json.dumps(packed(value, "detector.x", arrays, "g")))
    found = unpacked(written, arrays)
    assert type(found) is type(value)
    if isinstance(value, np.ndarray):
        np.testing.assert_array_equal(found, value)
        assert found.dtype == value.dtype
    elif isinstance(value, torch.Tensor):
        assert torch.equal(found, value)
        assert found.dtype == value.dtype
    else:
        assert found == value


def test_nan_comes_back():
    assert math.isnan(unpacked(packed(math.nan, "x", {}, "g"), {}))


def test_what_cannot_be_written_is_said(tmp_path):
    @dataclass(frozen=True)
    class Holds(Action):
        made: object = field(default=None, repr=False)

        def answer(self, prompt, text):
            return text

    guard = Guard(name="holds", detector=Always(), action=Holds(made=object()))
    with pytest.raises(InputError, match=r"Guard holds cannot be saved: its action\.made is a object"):
        save_guard(guard, Known(FORGET), MODEL, tmp_path / "guard")
    assert not (tmp_path / "guard").exists()

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from leakatk.attacks import LadderSettings, attack_ladder, get_attack, packages
from leakatk.attacks.packages import ROUNDED, fits
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.sampling.decoding import Decoding
from tests.ggufs import write_gguf
from tests.quantised import needs_bitsandbytes
from tests.tiny import PROMPTS, save_tiny_model

needs_gguf = pytest.mark.skipif(find_spec("gguf") is None, reason="gguf is not installed: pip install gguf")
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed: pip install torchao")
WEIGHT = torch.from_numpy(np.random.default_rng(4).normal(size=(5, 64)).astype(np.float32))


def gguf_by_hand(weight, bits):
    """Blocks of 32 with a 16-bit scale: Q8_0 as |w| / 127; Q4_0 with the scale of the largest weight by its sign over -8, codes 0 to 15."""
    out = np.zeros_like(weight)
    for i, row in enumerate(weight):
        for at in range(0, len(row), 32):
            part = row[at : at + 32]
            if bits == 8:
                step = np.float32(np.abs(part).max() / np.float32(127))
                codes = np.rint(part / step)  # no ties among these
            else:
                step = part[np.abs(part).argmax()] / np.float32(-8)
                codes = np.clip(np.trunc(part / step + np.float32(8.5)), 0, 15) - 8
            out[i, at : at + 32] = np.float32(np.float16(step)) * codes.astype(np.float32)
    return out


@needs_gguf
@pytest.mark.parametrize("bits", [4, 8])
def test_gguf_against_a_second_implementation(bits):
    np.testing.assert_allclose(packages.gguf(WEIGHT, bits).numpy(), gguf_by_hand(WEIGHT.numpy(), bits), atol=1e-7)


@needs_gguf
@pytest.mark.parametrize(("bits", "kind"), [(8, "Q8_0"), (4, "Q4_0")])
def test_it_is_the_file_that_a_converter_writes(tmp_path, bits, kind):
    place = save_tiny_model(tmp_path / "model")
    file = write_gguf(place, tmp_path / "model.gguf", kind=kind)
    loaded, exported = load_model(place), load_model(file)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    one = get_attack(f"quantise:how=gguf,bits={bits},embeddings=yes")
    one.apply(loaded, Known())
    found, wanted = loaded.model.state_dict(), exported.model.state_dict()
    assert wanted.keys() <= found.keys()
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    changed = [name for name in before if not torch.equal(before[name], found[name])]
    assert any("embed" in name for name in changed)
    [note] = one.notes(loaded)
    assert note.startswith(f"{sum(v.numel() for v in loaded.model.parameters() if v.ndim == 2):,} of ")


@needs_gguf
def test_rows_that_are_no_blocks_stay_and_are_counted(tmp_path):
    assert not fits("gguf", 48)
    assert fits("nearest", 48)
    layers = torch.nn.ModuleList([torch.nn.Linear(48, 3), torch.nn.Linear(32, 3)])
    loaded = load_model(save_tiny_model(tmp_path / "model"))
    object.__setattr__(loaded, "model", layers)
    before = [layer.weight.detach().clone() for layer in layers]
    one = get_attack("quantise:how=gguf")
    one.apply(loaded, Known())
    assert torch.equal(layers[0].weight, before[0])
    assert not torch.equal(layers[1].weight, before[1])
    assert any("1 of 2 matrices stay" in note for note in one.notes(loaded))


@needs_gguf
def test_a_gguf_file_is_attacked_as_any_model(tmp_path):
    file = write_gguf(save_tiny_model(tmp_path / "model"), tmp_path / "mine.gguf", kind="Q4_0")
    few = LadderSettings(n=1, decoding=Decoding(max_new_tokens=4), quiet=True)
    attacks = ["quantise:how=gguf,embeddings=yes", "relearn:steps=1"]
    summary = attack_ladder(str(file), list(PROMPTS), attacks, out=tmp_path / "o", settings=few)
    assert [rung["name"] for rung in summary["rungs"]][1:] == [get_attack(one).label for one in attacks]
    # Rounding what is rounded already: the codes of Q4_0 are found again but for the precision of a scale.
    loaded = load_model(file)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    get_attack(attacks[0]).apply(loaded, Known())
    for name, value in loaded.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=2e-3, atol=1e-6)


@needs_bitsandbytes
@pytest.mark.parametrize("bits", [4, 8])
def test_bitsandbytes_is_what_load_in_holds(tmp_path, bits):
    place = save_tiny_model(tmp_path / "model")
    loaded, held = load_model(place), load_model(place, load_in=f"{bits}bit")
    get_attack(f"quantise:how=bitsandbytes,bits={bits}").apply(loaded, Known())
    compared = 0
    for name, module in held.model.named_modules():
        if type(module).__name__ not in ("Linear4bit", "Linear8bitLt"):
            continue
        if bits == 4:
            from bitsandbytes.functional import dequantize_4bit

            theirs = dequantize_4bit(module.weight.data, module.weight.quant_state)
        else:
            theirs = module.state.CB.float() * module.state.SCB[:, None] / 127  # put there by the first pass
        mine = loaded.model.get_submodule(name).weight
        torch.testing.assert_close(mine.detach(), theirs.to(mine.dtype))
        compared += 1
    assert compared == 7 * loaded.model.config.num_hidden_layers


@needs_torchao
@pytest.mark.parametrize("bits", [4, 8])
def test_torchao_rounds_to_few_values_near_by(bits):
    found = ROUNDED["torchao"](WEIGHT, bits)
    group = 32 if bits == 4 else 64
    for row, old in zip(found.reshape(-1, group), WEIGHT.reshape(-1, group), strict=True):
        assert len(set(row.tolist())) <= 2**bits
        assert float((row - old).abs().max()) <= float(old.abs().max()) / (2 ** (bits - 1) - 1)
    assert not torch.equal(found, WEIGHT)


@pytest.mark.parametrize("how", list(ROUNDED))
def test_a_package_that_is_absent_is_named(how, monkeypatch):
    monkeypatch.setattr(packages, "is_installed", lambda name: False)
    with pytest.raises(InputError, match=f"needs the package {how}, which is not installed: run `pip install"):
        get_attack(f"quantise:how={how}").check(Known())
    get_attack("quantise").check(Known())

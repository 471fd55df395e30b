import numpy as np
import pytest
from safetensors.numpy import load_file

from leakatk.attacks import LadderSettings, attack_ladder, get_attack
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.sampling.decoding import Decoding
from tests.tiny import save_tiny_model


@pytest.mark.parametrize("spec", ["merge-back:share=0.25", "merge-back:share=0.25,towards=tuned"])
def test_weights_are_between_by_hand(forgot, original, retrained, spec):
    loaded = load_model(forgot)
    one = get_attack(spec)
    known = Known(original=str(original), auxiliary={"tuned": str(retrained)})
    one.check(known)
    one.apply(loaded, known)
    mine, other = (
        load_file(place / "model.safetensors") for place in (forgot, retrained if "tuned" in spec else original)
    )
    assert mine.keys() == other.keys()
    found = loaded.model.state_dict()
    for name in mine:
        np.testing.assert_allclose(found[name].numpy(), 0.75 * mine[name] + 0.25 * other[name], atol=1e-7)


def test_all_the_way_is_the_other_model(forgot, original):
    loaded = load_model(forgot)
    get_attack("merge-back:share=1").apply(loaded, Known(original=str(original)))
    other = load_file(original / "model.safetensors")
    assert all((loaded.model.state_dict()[name].numpy() == value).all() for name, value in other.items())


def test_the_answers_come_back_before_they_do_in_the_retrained_model(forgot, original, retrained, forget, tmp_path):
    few = LadderSettings(n=16, decoding=Decoding(max_new_tokens=12), quiet=True)
    summary = attack_ladder(
        forgot, forget, ["merge-back"], out=tmp_path / "o", retrained=retrained, known=Known(original=str(original)), settings=few
    )  # fmt: skip
    before, after = (rung["scorers"]["fact"] for rung in summary["rungs"])
    assert before["excess"]["low"][0] <= 0
    assert after["excess"]["low"][0] > 0


def test_a_model_of_another_shape_is_refused(forgot, tmp_path):
    other = save_tiny_model(tmp_path / "other")
    with pytest.raises(InputError, match="same shape and vocabulary"):
        get_attack("merge-back").apply(load_model(forgot), Known(original=str(other)))


def test_an_adapter_is_merged_or_refused(forgot, original, tmp_path):
    peft = pytest.importorskip("peft")
    base = load_model(original)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    peft.get_peft_model(base.model, config).save_pretrained(tmp_path / "adapter")
    whole = load_model(tmp_path / "adapter")
    with pytest.raises(InputError, match="is an adapter"):
        get_attack("merge-back").apply(whole, Known(original=str(original)))
    loaded = load_model(forgot)
    get_attack("merge-back:share=1").apply(loaded, Known(original=str(tmp_path / "adapter")))
    whole.merge_adapter()
    for name, value in whole.model.state_dict().items():
        np.testing.assert_allclose(loaded.model.state_dict()[name].numpy(), value.numpy(), atol=1e-6)


@pytest.mark.parametrize("option", ["share=0", "share=1.1", "share=nan", "towards="])
def test_what_cannot_be_is_refused(option):
    with pytest.raises(InputError):
        get_attack(f"merge-back:{option}")


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="--original MODEL"):
        get_attack("merge-back").check(Known())
    with pytest.raises(InputError, match="--auxiliary tuned=MODEL"):
        get_attack("merge-back:towards=tuned").check(Known())
    one = get_attack("merge-back:towards=tuned")
    assert one.identity(Known(auxiliary={"tuned": "a"})) != one.identity(Known(auxiliary={"tuned": "b"}))

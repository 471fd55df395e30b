"""Placement: values are checked, codes stay codes, and engines give the same samples from a spread or quantised model."""

import dataclasses

import numpy as np
import pytest
import torch

from leakatk.errors import InputError, ModelError
from leakatk.models import placement
from leakatk.models.load import ModelSource, load_model
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.shared_prefix import recognised
from leakatk.sampling.teacher_forcing import answer_logprob, wrongness
from tests.quantised import needs_bitsandbytes
from tests.tiny import PROMPTS, save_tiny_model

SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", hidden=64)


def draw(engine, loaded, **options):
    sampler = make_sampler(engine, loaded, **options)
    batches = sampler.sample([Request(prompt, range(4)) for prompt in PROMPTS], SHORT, seed=3)
    return {(one.prompt_id, one.sample): one for batch in batches for one in batch}


def offloaded(path, folder):
    """The model with every weight on disk until it is used."""
    from accelerate import disk_offload

    loaded = load_model(path, device="cpu")
    disk_offload(loaded.model, str(folder), execution_device=torch.device("cpu"))
    return loaded


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device_map": "balanced"}, "Unknown device map 'balanced'; use --device-map auto"),
        ({"load_in": "2bit"}, "Cannot load in '2bit'; use --load-in 8bit or 4bit"),
        ({"device_map": "auto", "device": "cpu"}, "--device cpu names one; leave one of them out"),
    ],
)
def test_values_that_cannot_be_obeyed_are_one_sentence(path, given, said):
    with pytest.raises(InputError, match=said):
        ModelSource(str(path), **given).load()


@pytest.mark.parametrize(("device_map", "load_in"), [("", "4bit"), ("auto", "")])
def test_a_gguf_file_is_dequantised_and_nothing_else(device_map, load_in):
    with pytest.raises(
        InputError, match=r"is a GGUF file, which is dequantised .* leave out --(load-in 4bit|device-map auto)"
    ):
        placement.check_placement("models/some.gguf", "auto", device_map, load_in)


def test_a_missing_package_is_named(path, monkeypatch):
    monkeypatch.setattr(placement, "is_installed", lambda name: name != "bitsandbytes")
    with pytest.raises(ModelError, match=r"pip install 'leak-at-k\[bitsandbytes\]'"):
        load_model(path, load_in="4bit")


@pytest.mark.parametrize("engine", ["endpoint", "vllm"])
def test_engines_that_load_the_model_themselves_refuse(path, engine):
    from leakatk.sampling import engines

    class Elsewhere:
        takes_source = True

        def __init__(self, source):
            raise AssertionError("it was asked to load the model")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(
            engines.ENGINES._items, engine, dataclasses.replace(engines.ENGINES[engine], load=lambda: Elsewhere)
        )
        for how in ({"load_in": "4bit"}, {"device_map": "auto"}):
            with pytest.raises(InputError, match=f"Engine {engine} does not load the model with transformers"):
                make_sampler(engine, ModelSource(str(path), **how))


def test_auto_on_a_machine_without_gpus_is_the_cpu(path):
    if torch.cuda.is_available():
        pytest.skip("for machines without a GPU")
    spread = load_model(path, device_map="auto")
    assert spread.device.type == "cpu"
    assert not placement.is_spread(spread.model)
    plain = load_model(path)
    assert draw("native", spread) == draw("native", plain)
    assert spread.describe() == plain.describe()  # the same numbers, so the same manifest


def test_an_offloaded_model_gives_the_samples_of_a_whole_one(path, tmp_path):
    whole, spread = load_model(path, device="cpu"), offloaded(path, tmp_path / "weights")
    assert placement.is_spread(spread.model)
    assert all(parameter.is_meta for parameter in spread.model.parameters())
    assert "main memory or disk" in placement.where(spread.model)
    assert placement.where(whole.model) == ""
    assert spread.device.type == "cpu"
    assert spread.describe() == whole.describe()
    assert recognised(spread.model) is None
    assert recognised(whole.model) is not None
    for engine in ("native", "generate"):
        mine, theirs = draw(engine, spread), draw("native", whole)
        assert {key: one.token_ids for key, one in mine.items()} == {key: one.token_ids for key, one in theirs.items()}
    assert np.allclose(answer_logprob(spread, PROMPTS, SHORT), answer_logprob(whole, PROMPTS, SHORT), atol=1e-4)


def test_what_needs_one_device_refuses_a_spread_model(path, tmp_path):
    from leakatk.attacks.attacked import AttackedSampler
    from leakatk.attacks.base import get_attack
    from leakatk.prompts import Known
    from leakatk.unlearning.settings import TrainSettings
    from leakatk.unlearning.trainer import unlearn

    spread = offloaded(path, tmp_path / "weights")
    with pytest.raises(InputError, match="Engine continuous needs the whole model on one device"):
        make_sampler("continuous", spread)
    with pytest.raises(InputError, match="Attack quantise, which changes weights, needs the whole model on one device"):
        AttackedSampler(spread, get_attack("quantise"), Known(forget=tuple(PROMPTS)))
    for tuning, said in (("full", "Training all weights needs the whole model"), ("lora", "Training an adapter needs")):
        with pytest.raises(InputError, match=said):
            unlearn(spread, PROMPTS, PROMPTS, "npo", settings=TrainSettings(max_steps=1, tuning=tuning), quiet=True)


# -- in few bits


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_engines_agree_on_a_quantised_model(path, bits):
    loaded, plain = load_model(path, device="cpu", load_in=bits), load_model(path, device="cpu")
    assert placement.is_quantised(loaded.model)
    assert not placement.is_quantised(plain.model)
    assert recognised(loaded.model) is None
    native = draw("native", loaded)
    ids = {prompt.id: loaded.template.prompt_ids(loaded.tokenizer, prompt.query.text) for prompt in PROMPTS}
    for engine in ("native", "generate", "continuous"):
        found = draw(engine, loaded)
        assert found.keys() == native.keys()
        assert wrongness(loaded, ids, list(found.values()), SHORT) == 0.0
    # Codes are near the numbers that they stand for, and are not those.
    mine, theirs = (answer_logprob(one, PROMPTS, Decoding()) for one in (loaded, plain))
    assert np.all(mine != theirs)
    assert np.allclose(mine, theirs, rtol=0.1)


@needs_bitsandbytes
def test_four_bits_give_exact_probabilities_whatever_is_beside_them(path):
    loaded = load_model(path, device="cpu", load_in="4bit", dtype="fp32")
    together = answer_logprob(loaded, PROMPTS, Decoding())
    alone = [float(answer_logprob(loaded, [prompt], Decoding())[0]) for prompt in PROMPTS]
    assert np.allclose(together, alone, atol=1e-3)


@needs_bitsandbytes
def test_a_quantised_model_is_another_model_in_the_manifest(path):
    plain = load_model(path, device="cpu").describe()
    assert "load_in" not in plain  # manifests of models as they are stay what they were
    found = {bits: load_model(path, device="cpu", load_in=bits).describe() for bits in ("8bit", "4bit")}
    assert {about["load_in"] for about in found.values()} == {"8bit", "4bit"}
    assert {about["weights_sha256"] for about in found.values()} == {plain["weights_sha256"]}  # of the same files
    assert len({plain["fingerprint"], *(about["fingerprint"] for about in found.values())}) == 3


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_another_process_loads_the_same(path, bits):
    import pickle

    source = pickle.loads(pickle.dumps(ModelSource(str(path), device="cpu", load_in=bits)))
    assert source.load().describe() == load_model(path, device="cpu", load_in=bits).describe()


@needs_bitsandbytes
def test_what_changes_or_reads_numbers_refuses_codes(path):
    from leakatk.attacks.attacked import AttackedSampler
    from leakatk.attacks.base import get_attack
    from leakatk.models.token_stats import gradient_norms
    from leakatk.prompts import Known

    loaded = load_model(path, device="cpu", load_in="4bit")
    for spec in ("quantise", "relearn"):
        with pytest.raises(InputError, match=f"Attack {spec}.* needs weights as numbers"):
            AttackedSampler(loaded, get_attack(spec), Known(forget=tuple(PROMPTS)))
    with pytest.raises(InputError, match="--no-grad-norm"):
        gradient_norms(loaded, [([1, 2], [3])])

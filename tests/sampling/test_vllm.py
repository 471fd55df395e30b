"""vLLM in this process, where it is installed (its own environment: it pins many packages)."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leakatk.errors import InputError, ModelError
from leakatk.models.load import ModelSource
from leakatk.models.template import Template
from leakatk.prompts import Prompt, Query
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.vllm import VllmSampler
from tests.sampling import checks
from tests.sampling.checks import answers, collect, forced, stored
from tests.sampling.models import tiny

installed = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not installed, reason="vLLM is not installed")
# vLLM leaves sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PROMPTS = checks.PROMPTS[:4]
SOURCE = {"device": "cpu", "dtype": "fp32", "template": Template(kind="plain", plain="{question}")}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A random Llama, with heads of a size vLLM's kernels know, saved to disk; its `name` is the place."""
    made = tiny("llama-32", scale=5)
    path = tmp_path_factory.mktemp("vllm") / "model"
    made.model.save_pretrained(path)
    made.tokenizer.save_pretrained(path)
    return type(made)(made.model, made.tokenizer, made.template, str(path), "random")


@pytest.fixture(scope="module")
def sampler(loaded: Any) -> Any:
    made = VllmSampler(ModelSource(loaded.name, **SOURCE), eager=True, max_length=128)
    yield made
    made.close()


@needs_vllm
@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(max_new_tokens=12),
        Decoding(temperature=0.6, max_new_tokens=12),
        Decoding(top_p=0.8, top_k=20, max_new_tokens=12),
        Decoding(min_p=0.05, repetition_penalty=1.3, max_new_tokens=12),
        Decoding(temperature=0, max_new_tokens=12),
        Decoding(stop=("w7", "3 w"), max_new_tokens=12),
    ],
    ids=lambda d: f"{d.label} {d.stop}",
)
def test_log_probabilities_are_teacher_forcing_under_the_decoding(
    loaded: Any, sampler: Any, decoding: Decoding
) -> None:
    found = collect(sampler, decoding, range(8), prompts=PROMPTS)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-3
    for one in found.values():
        assert len(one.token_ids) == 12 if one.finish_reason == "length" else len(one.token_ids) <= 12
        assert one.finish_reason == "stop" or one.token_ids[-1] != 2
        assert "</s>" not in one.text
        assert not any(stop in one.text for stop in decoding.stop)


@needs_vllm
@pytest.mark.parametrize("decoding", [Decoding(max_new_tokens=2), Decoding(0.7, 0.9, 30, max_new_tokens=2)])
def test_first_and_second_tokens_follow_the_softmax(loaded: Any, sampler: Any, decoding: Decoding) -> None:
    found = collect(sampler, decoding, range(4_000), prompts=PROMPTS[2:3])
    checks.check_first_two_tokens(loaded, found, decoding)


@needs_vllm
def test_a_sample_has_a_seed_of_its_own(sampler: Any) -> None:
    decoding = Decoding(max_new_tokens=8)
    whole = answers(collect(sampler, decoding, range(20), prompts=PROMPTS))
    parts = answers(collect(sampler, decoding, range(7), prompts=PROMPTS[::-1]))
    parts |= answers(collect(sampler, decoding, range(7, 20), prompts=PROMPTS))
    assert parts == whole
    assert answers(collect(sampler, decoding, range(20), prompts=PROMPTS, seed=4)) != whole


@needs_vllm
def test_greedy_is_natives_answer(loaded: Any, sampler: Any) -> None:
    decoding = Decoding(temperature=0, max_new_tokens=12)
    expected = collect(make_sampler("native", loaded), decoding, range(3), prompts=PROMPTS)
    assert answers(collect(sampler, decoding, range(3), prompts=PROMPTS)) == answers(expected)


@needs_vllm
def test_earlier_turns_and_the_beginning_of_an_answer(loaded: Any) -> None:
    template = Template(kind="plain")
    asked = Query(PROMPTS[0].question, turns=(("w4 w5", "w6"),), begin="w7 w8")
    prompts = [replace(PROMPTS[0], id="begun", asked=asked), PROMPTS[1]]
    made = VllmSampler(ModelSource(loaded.name, **{**SOURCE, "template": template}), eager=True, max_length=128)
    decoding = Decoding(max_new_tokens=8)
    found = collect(made, decoding, range(6), prompts=prompts)
    made.close()
    told = replace(loaded, template=template)
    assert np.abs(stored(found) - forced(told, found, decoding, prompts)).max() < 1e-3
    bare = [replace(prompt, asked=None) for prompt in prompts]
    assert np.abs(stored(found) - forced(told, found, decoding, bare)).max() > 0.1


@needs_vllm
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_copies_of_vllm_under_ray(loaded: Any, sampler: Any) -> None:
    from leakatk.sampling import cluster

    cluster.import_ray()
    import ray

    decoding = Decoding(max_new_tokens=8)
    many = make_sampler(
        "ray:replicas=1,cpus=1", ModelSource(loaded.name, **SOURCE), inner="vllm:eager=yes,max_length=128"
    )
    try:
        found = collect(many, decoding, range(20), prompts=PROMPTS)
        described = many.describe()
    finally:
        many.close()
        ray.shutdown()
    assert answers(found) == answers(collect(sampler, decoding, range(20), prompts=PROMPTS))
    assert described == sampler.describe()


@needs_vllm
def test_a_lora_adapter(loaded: Any, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(loaded.name)
    adapter = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapter.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    fresh = AutoModelForCausalLM.from_pretrained(loaded.name)
    adapted = type(loaded)(PeftModel.from_pretrained(fresh, tmp_path).eval(), loaded.tokenizer, loaded.template, "", "")
    made = VllmSampler(ModelSource(str(tmp_path), **SOURCE), eager=True, max_length=128)
    decoding = Decoding(max_new_tokens=8)
    found = collect(made, decoding, range(6), prompts=PROMPTS)
    assert np.abs(stored(found) - forced(adapted, found, decoding)).max() < 1e-3
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() > 0.1
    truths = made.true_answers(PROMPTS, decoding)
    assert truths.keys() == {prompt.id for prompt in PROMPTS}
    made.close()


@needs_vllm
def test_what_vllm_would_do_otherwise_is_refused(loaded: Any, sampler: Any) -> None:
    for decoding, message in (
        (Decoding(temperature=0.001, max_new_tokens=8), "temperature = 0.01 instead of 0.001"),
        (Decoding(min_p=0.1, top_p=0.5, max_new_tokens=8), "applies min_p before top_p"),
        (Decoding(max_new_tokens=500), "exceeds vLLM's limit of 128"),
    ):
        with pytest.raises(InputError, match=message):
            collect(sampler, decoding, prompts=PROMPTS)
    with pytest.raises(InputError, match="has no tokens"):
        collect(sampler, Decoding(max_new_tokens=8), prompts=[Prompt("e", "", "w1")])
    with pytest.raises(ModelError, match="loads the model itself"):
        make_sampler("vllm", loaded)


@pytest.mark.skipif(installed, reason="vLLM is installed")
def test_what_to_install() -> None:
    with pytest.raises(ModelError, match=r"pip install 'leak-at-k\[vllm\]'"):
        make_sampler("vllm", "nowhere")

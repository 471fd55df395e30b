"""Memory: what is told from headers is what a loaded model holds, and what does not fit is refused before it is read."""

import pytest
import torch
from huggingface_hub.utils import SafetensorsFileMetadata, SafetensorsRepoMetadata, TensorInfo
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from leakatk.errors import ModelError
from leakatk.models import load, memory
from leakatk.models.load import ModelSource, load_model
from leakatk.models.memory import Need, Trained, check_fits, need_of, stored_tensors
from tests.families import FAMILIES, model_of, tokenizer_of
from tests.quantised import needs_bitsandbytes
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", hidden=64)


def held(model):
    """Bytes of the weights of a model, and of the scales that bitsandbytes keeps beside its codes."""
    scales = sum(
        p.quant_state.absmax.numel() * 4 for p in model.parameters() if getattr(p, "quant_state", None) is not None
    )
    linear = [module for module in model.modules() if type(module).__name__ == "Linear8bitLt"]
    # After a first pass they are no longer kept with the weight.
    rows = [module.weight.SCB if module.state.SCB is None else module.state.SCB for module in linear]
    return sum(p.numel() * p.element_size() for p in model.parameters()) + scales + sum(4 * row.numel() for row in rows)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_the_need_is_what_the_loaded_model_holds(path, dtype):
    source = ModelSource(str(path), device="cpu", dtype=dtype)
    need = source.need()
    assert need.weights == held(source.load().model)
    assert need.total == need.weights + int(memory.SHARE * need.weights)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_need_of_every_family(name, tmp_path):
    family = FAMILIES[name]
    model = model_of(family, tokenizer_of(family.style, family))
    model.save_pretrained(tmp_path)
    stored = stored_tensors(str(tmp_path))
    assert need_of(stored, torch.float32).weights == held(model)
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if type(module).__name__ in ("Linear", "Conv1D") and module is not model.get_output_embeddings()
    }
    found = {name for name, (_, shape) in stored.items() if memory.is_linear(name, shape)}
    # A file may leave out a prefix that its model has.
    assert {name.split(".", 1)[-1] for name in found} == {name.split(".", 1)[-1] for name in linear}


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_need_of_every_quantised_family(name, bits, tmp_path):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family.style, family)
    model_of(family, tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), device="cpu", dtype="fp32", load_in=bits)
    assert source.need().weights == held(source.load().model)


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_need_of_a_quantised_model(path, bits, dtype):
    source = ModelSource(str(path), device="cpu", dtype=dtype, load_in=bits)
    assert source.need().weights == held(source.load().model)
    assert source.need().weights < ModelSource(str(path), device="cpu", dtype=dtype).need().weights


def test_the_need_of_training_is_what_adam_holds(path):
    source = ModelSource(str(path), device="cpu", dtype="bf16")
    model = load_model(path, device="cpu").model
    count = sum(parameter.numel() for parameter in model.parameters())
    whole = source.need(Trained())
    assert (whole.weights, whole.gradients, whole.optimiser) == (4 * count, 4 * count, 8 * count)
    assert source.need(Trained(moments=2)).optimiser == 2 * count
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    lora = source.need(Trained(rank=4))
    assert (lora.weights, lora.gradients, lora.optimiser) == (2 * count + 4 * trained, 4 * trained, 8 * trained)


def test_an_adapter_is_counted_with_its_base(path, tmp_path):
    loaded = load_model(path, device="cpu")
    wrapped = get_peft_model(loaded.model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    wrapped.peft_config["default"].base_model_name_or_path = str(path)
    wrapped.save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), device="cpu", dtype="fp32")
    assert source.need().weights == held(source.load().model)


def test_several_files_are_added_up(path, tmp_path):
    model = load_model(path, device="cpu").model
    model.save_pretrained(tmp_path, max_shard_size="40kB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert stored_tensors(str(tmp_path)).keys() == stored_tensors(str(path)).keys()


def test_a_gguf_file_counts_as_what_it_becomes(tmp_path):
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    import numpy as np

    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    weights = np.ones((4, 64), dtype=np.float32)
    codes = gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("blk.0.attn_q.weight", codes, raw_dtype=gguf.GGMLQuantizationType.Q4_0)
    writer.add_tensor("output_norm.weight", weights[0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    stored = stored_tensors(str(tmp_path / "m.gguf"))
    assert {name: shape for name, (_, shape) in stored.items()} == {
        "blk.0.attn_q.weight": (4, 64),
        "output_norm.weight": (64,),
    }
    assert need_of(stored, torch.bfloat16).weights == 2 * (4 * 64 + 64)
    assert stored_tensors(str(tmp_path)) == stored  # the only one in a directory


def test_what_does_not_fit_is_refused_before_a_weight_is_read(path, monkeypatch):
    monkeypatch.setattr(memory, "main_memory", lambda: 300_000)
    monkeypatch.setattr(load, "_whole", lambda *given: pytest.fail("the weights were read"))
    with pytest.raises(ModelError) as caught:
        load_model(path, device="cpu", dtype="fp32")
    said = str(caught.value)
    assert "\n" not in said
    need = ModelSource(str(path), device="cpu", dtype="fp32").need()
    assert f"{path} needs {need.says()}, and there is 300 kB in main memory" in said
    assert "--dtype bf16 (about" in said
    assert "--load-in 4bit (about" in said
    with pytest.raises(ModelError, match=r"gradients .*optimiser .*--lora \(about"):
        ModelSource(str(path), device="cpu", dtype="fp32").check_memory(Trained())


def test_what_fits_is_loaded(path, monkeypatch):
    need = ModelSource(str(path), device="cpu", dtype="fp32").need()
    monkeypatch.setattr(memory, "main_memory", lambda: need.total)
    assert load_model(path, device="cpu", dtype="fp32").device.type == "cpu"
    monkeypatch.setattr(memory, "main_memory", lambda: need.total - 1)
    with pytest.raises(ModelError, match="and there is"):
        load_model(path, device="cpu", dtype="fp32")


def test_every_device_counts_with_a_device_map(monkeypatch):
    monkeypatch.setattr(memory, "main_memory", lambda: 7)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (10 + i, 99))
    gpu = torch.device("cuda:1")
    assert memory.free_memory(gpu) == {"cuda:1": 11}
    assert memory.free_memory(gpu, "auto") == {"cuda:0": 10, "cuda:1": 11, "main memory": 7}
    assert memory.free_memory(torch.device("cpu")) == {"main memory": 7}
    check_fits("m", Need(28), memory.free_memory(gpu, "auto"))
    with pytest.raises(ModelError, match="m needs about"):
        check_fits("m", Need(29), memory.free_memory(gpu, "auto"))
    with pytest.raises(ModelError, match="use --device-map auto or a machine with more memory"):
        check_fits("m", Need(29), memory.free_memory(gpu), memory.remedies(Need(29), gpu, "", {}))


def test_a_container_is_counted_by_its_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = memory.main_memory()
    assert free > 0
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 50000\n")
    assert memory.main_memory() == 650_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.main_memory() > 1_000_000


def test_a_model_of_the_hub_is_found_in_the_cache_or_unknown(path, tmp_path, monkeypatch):
    assert stored_tensors("nobody/nothing") is None
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: str(path / "model.safetensors"))
    assert stored_tensors("some/model") == stored_tensors(str(path))


def test_of_a_model_of_the_hub_the_headers_are_read(path, monkeypatch):
    """What the hub's client gives of a model of two files."""
    monkeypatch.setattr(memory, "cache_alone", lambda: False)
    given = stored_tensors(str(path))
    halves = [dict(list(given.items())[part::2]) for part in (0, 1)]
    files = {
        f"model-{i}.safetensors": SafetensorsFileMetadata(
            metadata={},
            tensors={n: TensorInfo(dtype=d, shape=list(s), data_offsets=(0, 0)) for n, (d, s) in half.items()},
        )
        for i, half in enumerate(halves)
    }
    about = SafetensorsRepoMetadata(metadata=None, sharded=True, weight_map={}, files_metadata=files)
    monkeypatch.setattr("huggingface_hub.get_safetensors_metadata", lambda name, revision: about)
    assert stored_tensors("some/model", "main") == given

    def refuses(name, revision):
        raise OSError("gated")

    monkeypatch.setattr("huggingface_hub.get_safetensors_metadata", refuses)
    assert stored_tensors("some/model") is None


def test_a_need_that_cannot_be_told_is_said(path, monkeypatch):
    assert not [note for note in load_model(path).notes if "could not be told" in note]
    monkeypatch.setattr(load, "stored_tensors", lambda *a, **k: None)
    assert [note for note in load_model(path).notes if "memory" in note and "could not be told" in note]


def test_numbers_of_another_kind_keep_their_size(tmp_path):
    save_file({"a.weight": torch.ones(2, 3), "b": torch.ones(5, dtype=torch.int64)}, tmp_path / "model.safetensors")
    assert need_of(stored_tensors(str(tmp_path)), torch.bfloat16).weights == 2 * 6 + 8 * 5
    assert load_file(tmp_path / "model.safetensors")["b"].dtype == torch.int64

"""A tiny Llama as a .gguf file, written with the `gguf` package the way llama.cpp's converter lays one out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(
    model: Path,
    file: Path,
    *,
    kind: str = "F32",
    architecture: str = "llama",
    pre: str = "gpt-2",
    fields: Mapping[str, Any] | None = None,
    more: Mapping[str, np.ndarray] | None = None,
    without: str = "",
) -> Path:
    """The tiny model of `tests.tiny`, saved in `model`, as one file.

    kind: type of the matrices, such as F16 or Q8_0.  fields: further entries of the header.  more: further tensors.
    without: leave out the tensors whose names hold this.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
    from gguf.quants import quantize
    from safetensors.numpy import load_file

    config = json.loads((model / "config.json").read_text())
    heads, width = config["num_attention_heads"], config["hidden_size"]
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(file, architecture)
    writer.add_name("tiny")
    writer.add_file_type(LlamaFileType["ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(width)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    for key, value in (fields or {}).items():
        (writer.add_string if isinstance(value, str) else writer.add_uint16)(key, value)
    _add_tokenizer(writer, model, pre)
    for name, values in {**load_file(model / "model.safetensors"), **(more or {})}.items():
        called = _name(name)
        if without and without in called:
            continue
        if called.endswith(("attn_q.weight", "attn_k.weight")):  # pairs of rotated dimensions lie side by side there
            values = values.reshape(heads, 2, -1, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        stored = GGMLQuantizationType["F32" if values.ndim < 2 else kind]
        writer.add_tensor(called, quantize(np.ascontiguousarray(values), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _name(name: str) -> str:
    if not name.startswith("model."):
        return name
    rest = name.removeprefix("model.").removesuffix(".weight")
    if rest in ("embed_tokens", "norm"):
        return {"embed_tokens": "token_embd", "norm": "output_norm"}[rest] + ".weight"
    _, number, part = rest.split(".", 2)
    return f"blk.{number}.{NAMES[part]}.weight"


def _add_tokenizer(writer: Any, model: Path, pre: str) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    about = json.loads((model / "tokenizer_config.json").read_text())
    vocabulary = content["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    special = {one["content"] for one in content["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in content["model"]["merges"]])
    writer.add_bos_token_id(vocabulary[about["bos_token"]])
    writer.add_eos_token_id(vocabulary[about["eos_token"]])
    writer.add_pad_token_id(vocabulary[about["pad_token"]])
    writer.add_add_bos_token(False)
    template = model / "chat_template.jinja"
    if template.exists():
        writer.add_chat_template(template.read_text())

"""Quantisation: weights rounded to few bits, as a model is made smaller for use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from leakatk.attacks.base import Alter, Cost, at_least, attack, one_of, shuffled
from leakatk.attacks.packages import ROUNDED, check_package, fits
from leakatk.attacks.rounding import awq, gptq, rounded
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs, text_pairs
from leakatk.prompts import Known

WITH_DATA = ("gptq", "awq")
LONGEST = 512  # tokens of a calibration text


@attack(
    "quantise",
    summary="the weights rounded to 8 or 4 bits, to the nearest or as GPTQ, AWQ, bitsandbytes, torchao or llama.cpp round them",
    paper="Zhang et al. 2024 (Catastrophic Failure of LLM Unlearning via Quantization), arXiv 2410.16454; GPTQ: arXiv 2210.17323; AWQ: "
    "arXiv 2306.00978",
    formula="s = max|w| / (2^(b-1) - 1) over a row or a group of it;  w <- s * round(w / s);  gptq: what a column loses is made up for by "
    "later ones, w_j <- w_j - (w_i - q_i) U_ij / U_ii;  awq: Q(W s) / s, s = mean|x|^a",
    source="round to nearest with the largest absolute value as scale, as in the paper's baseline; 4 bits are its harder case. GPTQ: "
    "damping .01, columns in their order; AWQ: 20 powers below 1; 32 texts of at most 512 tokens, ours",
    reading="GPTQ and AWQ with the symmetric scales of the nearest; AWQ scales each layer by itself and takes the scales out again, and does "
    "not clip",
    rows=("92",),
    access="weights, or a copy of the model in few bits",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Quantise(Alter):
    """The weights of linear layers are replaced by what their codes stand for. bits: 8 or 4.

    how: nearest, gptq, awq (both with data), bitsandbytes (int8, NF4), torchao (int8, int4) or gguf (Q8_0, Q4_0).
    group: weights that share a scale within a row, which is all weights of one output; 0 is the whole row. The packages have their own.
    data: what gptq and awq look at, retain (prompts with their answers) or text.  samples: of these, the same for every model.
    embeddings: round embeddings and output layer too, to the nearest where there are no inputs to look at; with gguf so is the file of
    a converter. Norms, biases and adapters stay as they are.
    """

    bits: int = 4
    group: int = 0
    how: str = "nearest"
    data: str = "retain"
    samples: int = 32
    embeddings: bool = False

    def __post_init__(self) -> None:
        one_of(self, "bits", (8, 4))
        one_of(self, "how", ("nearest", *WITH_DATA, *ROUNDED))
        one_of(self, "data", ("retain", "text"))
        at_least(self, "group", 0)
        at_least(self, "samples", 1)
        if self.group and self.how in ROUNDED:
            raise InputError(f"Attack option quantise:group: {self.how} has groups of its own; leave group out.")

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.data,) if self.how in WITH_DATA else ()

    def check(self, known: Known) -> None:
        super().check(known)
        check_package(f"Attack {self.label}", self.how)

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        self.check(known)
        layers = list(linear_layers(loaded.model))
        if not layers:
            raise InputError(f"{type(loaded.model).__name__} has no linear layers that {self.label} can round.")
        with torch.no_grad():
            if self.how in WITH_DATA:
                self._by_blocks(loaded, layers, self.texts(loaded, known))
            else:
                for _, module in layers:
                    self._round(_rows(module), self.how)
            for matrix in self._embeddings(loaded.model):
                self._round(matrix, "nearest" if self.how in WITH_DATA else self.how)

    def _round(self, rows: Tensor, how: str) -> None:
        if how == "nearest":
            rows.copy_(rounded(rows, self.bits, self.group))
        elif fits(how, rows.shape[1]):
            rows.copy_(ROUNDED[how](rows, self.bits))

    def _by_blocks(
        self, loaded: LoadedModel, layers: Sequence[tuple[str, nn.Module]], texts: Sequence[Sequence[int]]
    ) -> None:
        """Round the layers of one block after those of the blocks before it, so that its inputs are those of the rounded model."""
        for block in blocks_of(layers):
            seen = inputs_of(loaded, block, texts)
            for name, module in block:
                rows, (hessian, sizes) = _rows(module), seen[name]
                if self.how == "gptq":
                    rows.copy_(gptq(rows, hessian, self.bits, self.group))
                else:
                    rows.copy_(awq(rows, hessian, sizes, self.bits, self.group))

    def _embeddings(self, model: nn.Module) -> list[Tensor]:
        """The matrices of the embeddings and of the output layer, one that is both once."""
        if not self.embeddings:
            return []
        holders = [model.get_input_embeddings(), model.get_output_embeddings()]  # type: ignore[operator]
        return list({id(holder.weight): holder.weight for holder in holders if holder is not None}.values())

    def texts(self, loaded: LoadedModel, known: Known) -> list[list[int]]:
        """Token ids of the texts that gptq and awq look at."""
        if self.data == "text":
            chosen = shuffled(sorted(set(known.text)), "quantise")[: self.samples]
            pairs = text_pairs(loaded, chosen, LONGEST)
        else:
            kept = set(shuffled([prompt.id for prompt in known.retain], "quantise")[: self.samples])
            prompts = [prompt for prompt in known.retain if prompt.id in kept]
            pairs = answer_pairs(loaded, [prompt.query for prompt in prompts], [prompt.answer for prompt in prompts])
        return [[*question, *answer][:LONGEST] for question, answer in pairs]

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        if self.how not in WITH_DATA:
            return Cost()
        texts, blocks = self.texts(loaded, known), len(blocks_of(list(linear_layers(loaded.model))))
        return Cost(texts=blocks * len(texts), read=float(blocks * sum(map(len, texts))))

    def notes(self, loaded: LoadedModel) -> list[str]:
        matrices = [_rows(module) for _, module in linear_layers(loaded.model)] + self._embeddings(loaded.model)
        left = [rows for rows in matrices if not fits(self.how, rows.shape[1])]
        found = sum(rows.numel() for rows in matrices) - sum(rows.numel() for rows in left)
        total = sum(parameter.numel() for parameter in loaded.model.parameters())
        said = [f"{found:,} of {total:,} weights are rounded; the others stay as they are."]
        if left:
            said.append(
                f"{len(left)} of {len(matrices)} matrices stay as they are: their rows are no multiples of 32 weights."
            )
        return said


def linear_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of every linear layer but the output layer and adapters."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    tied = {
        id(parameter) for module in model.modules() if isinstance(module, nn.Embedding) for parameter in [module.weight]
    }
    for name, module in model.named_modules():
        if module is head or "lora_" in name or not isinstance(module, (nn.Linear, Conv1D)):
            continue
        if id(module.weight) not in tied:
            yield name, module


def linear_weights(model: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """(weight, whether its outputs are columns) of every linear layer but the output layer and adapters."""
    for _, module in linear_layers(model):
        yield module.weight, isinstance(module, Conv1D)  # type: ignore[misc]


def _rows(module: nn.Module) -> Tensor:
    """The weight with a row for each output."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight.T if isinstance(module, Conv1D) else weight


def blocks_of(layers: Sequence[tuple[str, nn.Module]]) -> list[list[tuple[str, nn.Module]]]:
    """The layers by the block of the model that they are in, which is what stands up to the first number of their names."""
    blocks: dict[str, list[tuple[str, nn.Module]]] = {}
    for name, module in layers:
        found = re.match(r".*?\.\d+(?=\.)", name)
        blocks.setdefault(found[0] if found else name, []).append((name, module))
    return list(blocks.values())


def inputs_of(
    loaded: LoadedModel, layers: Sequence[tuple[str, nn.Module]], texts: Sequence[Sequence[int]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> (mean of x x^T, mean of |x|) over all tokens of the texts, x the inputs of that layer; in float64."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    counts: dict[str, int] = {}

    def watch(name: str):  # type: ignore[no-untyped-def]
        def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            x = given[0].detach().flatten(0, -2).double()
            before = sums.get(name, (0.0, 0.0))
            sums[name] = before[0] + x.T @ x, before[1] + x.abs().sum(0)
            counts[name] = counts.get(name, 0) + len(x)

        return look

    handles = [module.register_forward_pre_hook(watch(name)) for name, module in layers]
    try:
        for ids in texts:
            loaded.model(input_ids=torch.tensor([list(ids)], device=loaded.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    if silent := [name for name, _ in layers if name not in sums]:
        raise InputError(
            f"Layer {silent[0]} read nothing of the calibration texts, so there is nothing to round it by; take how=nearest."
        )
    return {name: (a / counts[name], b / counts[name]) for name, (a, b) in sums.items()}

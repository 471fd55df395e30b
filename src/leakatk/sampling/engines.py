"""Engines by name. Listing them imports nothing heavy: each entry says where its class is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakatk.errors import InputError, ModelError
from leakatk.registry import Facts, Registry, read_spec, typed_options
from leakatk.sampling.base import Sampler

if TYPE_CHECKING:
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Engine(Facts):
    """A way to draw samples. load: gives its class; nothing heavy is imported before it is called.

    The class is called with a LoadedModel and the engine's options, which are its keyword-only parameters. A class with
    `takes_source = True` gets a ModelSource instead: its weights are loaded elsewhere (on other machines, by another
    library), or nowhere.
    """

    load: Callable[[], Callable[..., Sampler]]


ENGINES: Registry[Engine] = Registry("engine")


def engine(name: str, load: str | Callable[[], Callable[..., Sampler]], **facts: Any) -> Engine:
    """Register an engine. load: gives its class, or says where it is: "package.module:Class"; facts: see `Facts`."""
    return ENGINES.add(name, Engine(name=name, load=_importing(load) if isinstance(load, str) else load, **facts))


def _importing(where: str) -> Callable[[], Callable[..., Sampler]]:
    module, _, name = where.partition(":")
    return lambda: getattr(import_module(module), name)


STREAM = "token t of sample j = inverse CDF at u(seed, prompt id, j, t)"
THEIRS = "samples of the engine's own, a seed for each (prompt, j)"
TRANSFORMERS = "Wolf et al. 2020 (transformers), arXiv 1910.03771"

engine(
    "native",
    "leakatk.sampling.native:NativeSampler",
    summary="Ours: one row per distinct prefix, many prompts in a batch. The fastest on one machine, and the default.",
    paper="ours; the counter-based u is Salmon et al. 2011 (Philox)",
    formula=STREAM,
)
engine(
    "generate",
    "leakatk.sampling.generate:GenerateSampler",
    summary="transformers' generate, for any architecture it runs. The same samples as native, slower.",
    paper=TRANSFORMERS,
    formula=STREAM,
)
engine(
    "continuous",
    "leakatk.sampling.continuous:ContinuousSampler",
    summary="transformers' continuous batching, for GPUs with flash attention. The same samples as native.",
    paper=TRANSFORMERS,
    formula=STREAM,
)
engine(
    "endpoint",
    "leakatk.sampling.endpoint:EndpointSampler",
    summary="A deployed model behind an OpenAI-compatible server: black-box, from its answers alone.",
    paper="none: the OpenAI-compatible protocol",
    formula=THEIRS + ", where the server takes one",
    example="leakatk audit gpt-4o-mini --engine endpoint --url https://api.openai.com/v1 --forget forget.jsonl --out runs/deployed",
)
engine(
    "ray",
    "leakatk.sampling.cluster:RaySampler",
    summary="Copies of another engine on one machine or a cluster: the same samples, and a lost worker costs only its block.",
    paper="Moritz et al. 2018 (Ray), arXiv 1712.05889",
    formula="as the engine copied",
    example="leakatk audit MODEL --benchmark world --engine ray --replicas 4 --out runs/forgot",
)
engine(
    "vllm",
    "leakatk.sampling.vllm:VllmSampler",
    summary="vLLM in this process (extra vllm): for large models on GPUs. Samples of its own, a seed each, log-probabilities.",
    paper="Kwon et al. 2023 (vLLM), arXiv 2309.06180",
    formula=THEIRS,
)


def make_sampler(engine: str, model: str | Path | ModelSource | LoadedModel, **options: Any) -> Sampler:
    """The engine for this model. Its options are keywords, or stand in the name: "native:max_rows=64,tree=no".

    Raises UnknownNameError for an unknown engine, InputError for an option it does not have, ModelError for a model it
    cannot use.
    """
    from leakatk.models.ensemble import EnsembleSource
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel

    name, options = engine_options(engine, options)
    kind = ENGINES[name].load()
    if getattr(kind, "takes_source", False):
        if isinstance(model, LoadedModel):
            raise ModelError(
                f"Engine {name} loads the model itself and {model.name!r} is in memory; give its directory or hub id "
                "(save_model writes a directory)."
            )
        if isinstance(model, ModelSource) and (model.load_in or model.device_map) and name != "ray":
            raise InputError(
                f"Engine {name} does not load the model with transformers, so --device-map and --load-in cannot be obeyed; leave "
                "them out, or use --engine native, generate or ray."
            )
        if isinstance(model, EnsembleSource) and name != "ray":
            raise ModelError(
                f"Engine {name} loads one model; several that are read as one need native, generate or ray."
            )
        return kind(model if isinstance(model, ModelSource) else ModelSource(str(model)), **options)
    if not isinstance(model, LoadedModel):
        model = (model if isinstance(model, ModelSource) else ModelSource(str(model))).load()
    return kind(model, **options)


def engine_options(engine: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, options) of an engine written as "name:option=value,...", checked; `given` wins over what is written."""
    name, written = read_spec("engine", engine)
    known = {  # "auto" and None stand for a number, a text or nothing: their type is told by what is written
        parameter.name: parameter.default if isinstance(parameter.default, bool | int | float) else None
        for parameter in inspect.signature(ENGINES[name].load()).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return name, typed_options("engine", name, written, given, known)

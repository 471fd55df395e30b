"""The engines by name. Listing them imports nothing heavy: each entry is a function that imports its class."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakatk.errors import InputError, ModelError
from leakatk.registry import Registry, read_spec
from leakatk.sampling.base import Sampler

if TYPE_CHECKING:
    from leakatk.models.load import LoadedModel, ModelSource

# The class is called with a LoadedModel and the engine's options, which are its keyword-only parameters. A class with
# `takes_source = True` gets a ModelSource instead: its weights are loaded elsewhere (on other machines, by another
# library), or nowhere.
ENGINES: Registry[Callable[[], Callable[..., Sampler]]] = Registry("engine")


@ENGINES.register("native")
def _native() -> Callable[..., Sampler]:
    """Ours: one row per distinct prefix, many prompts in a batch. The fastest on one machine, and the default."""
    from leakatk.sampling.native import NativeSampler

    return NativeSampler


@ENGINES.register("generate")
def _generate() -> Callable[..., Sampler]:
    """transformers' generate, for any architecture it runs. The same samples as native, slower."""
    from leakatk.sampling.generate import GenerateSampler

    return GenerateSampler


@ENGINES.register("continuous")
def _continuous() -> Callable[..., Sampler]:
    """transformers' continuous batching, for GPUs with flash attention. The same samples as native."""
    from leakatk.sampling.continuous import ContinuousSampler

    return ContinuousSampler


@ENGINES.register("endpoint")
def _endpoint() -> Callable[..., Sampler]:
    """A deployed model behind an OpenAI-compatible server: black-box, from its answers alone."""
    from leakatk.sampling.endpoint import EndpointSampler

    return EndpointSampler


@ENGINES.register("ray")
def _ray() -> Callable[..., Sampler]:
    """Copies of another engine on one machine or a cluster: the same samples, and a lost worker costs only its block."""
    from leakatk.sampling.cluster import RaySampler

    return RaySampler


@ENGINES.register("vllm")
def _vllm() -> Callable[..., Sampler]:
    """vLLM in this process (extra vllm): for large models on GPUs. Samples of its own, a seed each, log-probabilities."""
    from leakatk.sampling.vllm import VllmSampler

    return VllmSampler


def make_sampler(engine: str, model: str | Path | ModelSource | LoadedModel, **options: Any) -> Sampler:
    """The engine for this model. Its options are keywords, or stand in the name: "native:max_rows=64,tree=no".

    Raises UnknownNameError for an unknown engine, InputError for an option it does not have, ModelError for a model it
    cannot use.
    """
    from leakatk.models.load import LoadedModel, ModelSource

    name, options = engine_options(engine, options)
    kind = ENGINES[name]()
    if getattr(kind, "takes_source", False):
        if isinstance(model, LoadedModel):
            raise ModelError(
                f"Engine {name} loads the model itself and {model.name!r} is in memory; give its directory or hub id "
                "(save_model writes a directory)."
            )
        return kind(model if isinstance(model, ModelSource) else ModelSource(str(model)), **options)
    if not isinstance(model, LoadedModel):
        model = (model if isinstance(model, ModelSource) else ModelSource(str(model))).load()
    return kind(model, **options)


def engine_options(engine: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(name, options) of an engine written as "name:option=value,...", checked; `given` wins over what is written."""
    name, written = read_spec("engine", engine)
    known = [
        parameter.name
        for parameter in inspect.signature(ENGINES[name]()).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    options = {key: _value(text) for key, text in written.items()} | given
    for key in options:
        if key not in known:
            raise InputError(f"Engine {name} has no option {key!r}; its options: {', '.join(known) or 'none'}.")
    return name, options


def _value(text: str) -> Any:
    """An option as written: yes and no, numbers, else the text."""
    if text.lower() in ("yes", "true", "no", "false"):
        return text.lower() in ("yes", "true")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

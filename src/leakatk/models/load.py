"""Loading of a causal language model from a directory, a .gguf file or the hub, with its checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from leakatk.errors import InputError, LeakAtKError, ModelError, first_line
from leakatk.hush import hushed
from leakatk.models.checks import check_keys, check_loaded
from leakatk.models.files import base_of, check_directory, check_sizes, generic_tokenizer, has_tokenizer, read_header
from leakatk.models.fingerprint import identity_of
from leakatk.models.gguf import check_gguf, gguf_file, load_tokenizer, load_weights, quantisation, tokenizer_notes
from leakatk.models.hub import cache_alone
from leakatk.models.loaded import LoadedModel
from leakatk.models.memory import Need, Trained, check_fits, free_memory, need_of, remedies, stored_tensors
from leakatk.models.placement import check_placement, move, placing, settle, where
from leakatk.models.pretrained import located
from leakatk.models.saving import save_model as save_model
from leakatk.models.template import PINNED_DATE as PINNED_DATE
from leakatk.models.template import Template as Template

_RANK = 16  # of the adapter that a remedy speaks of


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model is and how it is to be loaded: plain values, so that another process can load the same.

    The fields are the arguments of `load_model`.
    """

    path: str
    device: str = "auto"
    dtype: str = "auto"
    template: Template = field(default_factory=Template)
    revision: str | None = None
    trust_remote_code: bool = False
    device_map: str = ""
    load_in: str = ""

    def load(self) -> LoadedModel:
        return load_model(
            self.path,
            device=self.device,
            dtype=self.dtype,
            template=self.template,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
            device_map=self.device_map,
            load_in=self.load_in,
        )

    def need(self, training: Trained | None = None) -> Need | None:
        """The memory that it needs, to be asked or to be trained; None where the headers of its files cannot be read."""
        needs = self._needs()
        return needs and needs(training, self.dtype, self.load_in)

    def _needs(self) -> Callable[[Trained | None, str, str], Need] | None:
        """(training, dtype, load_in) -> the need, from headers that are read once; None where they cannot be read."""
        source, device = self.located(), pick_device(self.device)
        base, own = source.base(), stored_tensors(source.path, source.revision)
        stored = own if base is None else stored_tensors(base.path, base.revision)
        if stored is None:
            return None
        adapter = own if base is not None else None
        return lambda training, dtype, load_in: need_of(stored, pick_dtype(dtype, device), load_in, training, adapter)

    def check_memory(self, training: Trained | None = None) -> Need | None:
        """What it needs, as `need`; ModelError, which says what there is and what would help, where it does not fit."""
        needs, device = self._needs(), pick_device(self.device)
        if needs is None:
            return None
        need = needs(training, self.dtype, self.load_in)
        whole = training is not None and not training.rank
        trials: dict[str, tuple[Trained | None, str, str]] = (
            {"--lora": (Trained(_RANK), self.dtype, self.load_in)} if whole else {}
        )
        if not whole and pick_dtype(self.dtype, device) == torch.float32:
            trials["--dtype bf16"] = training, "bf16", self.load_in
        if not whole and not self.load_in and gguf_file(self.located().path) is None:
            trials["--load-in 4bit"] = training, self.dtype, "4bit"
        smaller = {option: needs(*trial) for option, trial in trials.items()}
        way = remedies(need, device, self.device_map, smaller)
        check_fits(self.path, need, free_memory(device, self.device_map), way)
        if device.type == "cuda" and not self.device_map and not self.load_in:
            # The weights are read into main memory and moved from there.
            check_fits(self.path, Need(need.weights), free_memory(torch.device("cpu")), ["--device-map auto"])
        return need

    def tokenizer(self) -> Any:
        """The tokenizer alone, of an adapter without one its base's. ModelError where there is no such model."""
        self.check()
        holder = self.located().tokenizer_source()
        with _readable(holder.path), hushed():
            if (file := gguf_file(holder.path)) is not None:
                return load_tokenizer(file)
            found = AutoTokenizer.from_pretrained(holder.path, **holder.kwargs)
            if generic_tokenizer(Path(holder.path)) and type(found) is not PreTrainedTokenizerFast:
                # For some model types transformers takes the type's own class in its place, which splits text otherwise.
                found = PreTrainedTokenizerFast.from_pretrained(holder.path, **holder.kwargs)
            return found

    def check(self) -> None:
        """ModelError where there is no such model, or none that can be loaded; its weights are not read."""
        local = Path(located(self.path))
        if local.exists():
            with _readable(self.path):
                if (file := gguf_file(local)) is not None:
                    check_gguf(file)
                else:
                    check_directory(local)
            if (base := self.located().base()) is not None:
                base.check()
        elif self.path.startswith((".", "/", "~")) or self.path.count("/") != 1:
            raise ModelError(
                f"{self.path}: no such model directory; give a directory with config.json, a .gguf file, a hub id like org/name, or a "
                "name that `leakatk fetch --list` shows."
            )
        elif cache_alone() and not self._cached():
            raise ModelError(
                f"{self.path}: no such directory, and the Hugging Face hub cannot be reached; check the path, or give a directory "
                "saved with save_pretrained."
            )

    def located(self) -> ModelSource:
        """The same model by its path, where it is given by the name of a fetched one. ModelError where that is not here."""
        path = located(self.path)
        return self if path == self.path else replace(self, path=path)

    def base(self) -> ModelSource | None:
        """The model that a local adapter belongs to; None for a whole model."""
        if not (Path(self.path) / "adapter_config.json").exists():
            return None
        named, _ = base_of(self.path)
        if Path(named).exists() and (Path(named) / "adapter_config.json").exists():
            raise ModelError(f"{self.path}: its base {named} is an adapter too; merge that into its own base first.")
        return replace(self, path=named, revision=None)

    def tokenizer_source(self) -> ModelSource:
        """Where the tokenizer is read from."""
        base = self.base()
        return self if base is None or has_tokenizer(Path(self.path)) else base

    def _cached(self) -> bool:
        """The hub's cache on this machine has it."""
        names = ("config.json", "adapter_config.json")
        return any(isinstance(try_to_load_from_cache(self.path, name, revision=self.revision), str) for name in names)

    @property
    def kwargs(self) -> dict[str, Any]:
        """What from_pretrained is told of the place."""
        here: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if Path(self.path).exists():
            return here
        return {**here, "revision": self.revision, "local_files_only": cache_alone()}


def pick_device(device: str = "auto") -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise InputError(f"Unknown device {device!r}; use auto, cpu, cuda or cuda:N.") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"Device {device!r} asked for, but torch sees no CUDA device; use --device cpu.")
    return chosen


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """fp32 | bf16 | fp16 | auto (bf16 on a GPU, fp32 on a CPU)."""
    names = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in names:
        raise InputError(f"Unknown dtype {dtype!r}; use auto, {', '.join(names)}.")
    return names[dtype]


def check_source(model: object) -> None:
    """ModelError where a path, hub id or ModelSource names no model that can be asked; its weights are not loaded."""
    if isinstance(model, (str, Path)):
        model = ModelSource(str(model))
    if isinstance(model, ModelSource):
        model.template.shape(model.tokenizer())


def load_model(
    path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    template: Template | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    device_map: str = "",
    load_in: str = "",
) -> LoadedModel:
    """Load a local directory, a hub id (full model or LoRA adapter), a .gguf file, or a fetched model by its name.

    Weights are accepted as safetensors, or as GGUF: these are dequantised, and what is loaded is trained and saved as any model.
    Checked once (`model_checks`): the weights are this model's, all of them, and finite; the question reaches the prompt.
    device_map: "auto" spreads the weights over every GPU and the main memory; "" puts all on `device`.
    load_in: "8bit" or "4bit" quantises linear layers with bitsandbytes while they are loaded; "" takes them as they are.
    Raises ModelError when it is no model, holds pickle weights only, fails a check, does not fit the memory there is (said
    before a weight is read), or the hub cannot be reached.

    >>> loaded = load_model("models/mine", device="cpu")
    >>> loaded.device
    device(type='cpu')
    """
    name, template = str(path), template or Template()
    check_placement(name, device, device_map, load_in)
    target, precision = pick_device(device), pick_dtype(dtype, pick_device(device))
    source = ModelSource(name, device, dtype, template, revision, trust_remote_code, device_map, load_in).located()
    tokenizer = source.tokenizer()
    notes = list(
        template.shape(tokenizer).notes
    )  # before any weight is read: a template that cannot be used ends it here
    if (file := gguf_file(source.tokenizer_source().path)) is not None:
        notes += tokenizer_notes(file)
    base = source.base()
    if load_in or device_map:
        _refuse_quantised(base or source)
    if source.check_memory() is None:
        notes.append(f"The memory that {name} needs could not be told before it was loaded.")
    place = placing(target, precision, device_map, load_in)
    if base is None:
        model = _whole(source, precision, place)
    else:
        notes += [note for note in (base_of(source.path)[1],) if note]
        if source.tokenizer_source() is not source:
            notes.append(f"{name} has no tokenizer: that of its base model {base.path} was used.")
        model = _adapted(source, _whole(base, precision, place))
    with _readable(name):
        settle(model)
        move(model, target)
        model.eval()
        identity = identity_of(name, revision)
        loaded = LoadedModel(
            model=model,
            tokenizer=tokenizer,
            template=template,
            name=name,
            # What is quantised while it is loaded answers otherwise: it is another model than the one in the files.
            fingerprint=sha256(f"{identity.fingerprint} in {load_in}".encode()).hexdigest()
            if load_in
            else identity.fingerprint,
            notes=notes,
            weights={"weights_sha256": identity.weights_sha256, **_about_weights(source, base)},
            load_in=load_in,
        )
        if spread := where(model):
            loaded.note(f"The weights of {name} are spread: {spread}.")
        check_loaded(loaded)
    return loaded


def _refuse_quantised(source: ModelSource) -> None:
    """InputError or ModelError where the files hold codes already, and other ones or another place are asked for."""
    if (file := gguf_file(source.path)) is not None:
        check_placement(str(file), source.device, source.device_map, source.load_in)
    if not source.load_in:
        return
    with _readable(source.path), hushed():
        about = getattr(AutoConfig.from_pretrained(source.path, **source.kwargs), "quantization_config", None)
    if about is not None:
        raise ModelError(f"{source.path} is quantised already; leave out --load-in {source.load_in}.")


def _about_weights(source: ModelSource, base: ModelSource | None) -> dict[str, str]:
    """What a manifest keeps of the weights beside their hash: the file and how it was quantised, the base of an adapter."""
    about = {} if base is None else {"base_weights_sha256": identity_of(base.path).weights_sha256}
    if (file := gguf_file((base or source).path)) is not None:
        about |= {"weights_file": file.name, "quantisation": quantisation(file)}
    return about


def _whole(source: ModelSource, precision: torch.dtype, place: dict[str, Any]) -> PreTrainedModel:
    """A model with all of its weights, and no others."""
    local = Path(source.path)
    if (file := gguf_file(local)) is not None:
        with _readable(source.path), hushed():
            return load_weights(file, precision)
    with _readable(source.path), hushed():  # `check_keys` says what transformers would report
        if local.exists():
            config = AutoConfig.from_pretrained(source.path, **source.kwargs)
            # Once more, with the defaults of what the file leaves out.
            headers = [read_header(file) for file in local.glob("*.safetensors") if "adapter" not in file.name]
            check_sizes(local / "config.json", config.to_dict(), headers)
        model, found = AutoModelForCausalLM.from_pretrained(
            source.path, **source.kwargs, **place, dtype=precision, use_safetensors=True, output_loading_info=True
        )
    check_keys(source.path, found["missing_keys"], found["unexpected_keys"], found.get("mismatched_keys", ()))
    return model


def _adapted(source: ModelSource, model: PreTrainedModel) -> PreTrainedModel:
    """The model with its adapter, whose weights are all there and all used."""
    from peft import PeftConfig, PeftModel, PeftModelForCausalLM, get_peft_model_state_dict

    with _readable(source.path):
        config = PeftConfig.from_pretrained(source.path)
        kind = PeftModelForCausalLM if config.task_type == "CAUSAL_LM" else PeftModel
        stored = set(read_header(Path(source.path) / "adapter_model.safetensors"))
        if any("embed" in key or "lm_head" in key for key in stored) and has_tokenizer(Path(source.path)):
            tokens = len(source.tokenizer())
            if tokens > model.get_input_embeddings().weight.shape[0]:
                model.resize_token_embeddings(tokens)  # the adapter brings rows for the tokens that it adds
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of missing keys, which `check_keys` refuses
            adapted = kind.from_pretrained(model, source.path, config=config)
        wanted = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    extra = {key for key in stored - wanted if not _is_embedding(key, adapted)}
    check_keys(source.path, wanted - stored, extra, ())
    return adapted


def _is_embedding(key: str, adapted: Any) -> bool:
    """The key of a whole embedding or head that the adapter stores beside its own weights."""
    known = adapted.state_dict()
    return ("embed" in key or "lm_head" in key) and "lora" not in key and key in known


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """What another library says of a model that cannot be read, as one sentence: whatever it raises."""
    try:
        yield
    except (LeakAtKError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ModelError(
            f"Not enough memory to load {name}; use a smaller dtype (--dtype bf16) or device, or --load-in 4bit."
        ) from error
    except BaseException as error:  # a panic of the tokenizer library is no Exception
        raise ModelError(
            f"Cannot load {name}: {first_line(error)}. Give a directory saved with save_pretrained, or a hub id you have access to "
            "(`hf auth login` for gated models)."
        ) from error


def attach_adapter(model: PreTrainedModel, path: str | Path) -> None:
    """Put the adapter in directory `path` into a model, in place. ModelError where it is not one of this model."""
    _adapted(ModelSource(str(path)), model)

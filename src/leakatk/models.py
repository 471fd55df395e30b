"""Load a causal language model, and turn questions and answers into its token ids."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from leakatk import checksums
from leakatk.data import Asked
from leakatk.errors import InputError, ModelError, first_line
from leakatk.fingerprint import model_identity
from leakatk.hub import cache_alone

PINNED_DATE = "10 Apr 2025"  # Llama's chat template inserts today's date unless told otherwise.


@dataclass(frozen=True, slots=True)
class Template:
    """How a question becomes a prompt.

    kind "chat" uses the tokenizer's chat template, "plain" the text in `plain`, "auto" chat where the tokenizer has one.
    date fills a template's `date_string`, so that the same checkpoint scores the same next week.
    as_text decodes the chat prompt without special tokens and tokenises it again: role headers become plain text.
    That is what the published Leak@k code did; only the `paper` protocol asks for it.
    args: further (name, value) arguments of the chat template, such as ("enable_thinking", False).

    >>> Template(kind="plain").kind
    'plain'
    """

    kind: Literal["auto", "chat", "plain"] = "auto"
    system: str = ""
    plain: str = "Question: {question}\nAnswer:"
    date: str = PINNED_DATE
    as_text: bool = False
    args: tuple[tuple[str, Any], ...] = ()

    def __repr__(self) -> str:
        # Without arguments as before there were any: places of cells are hashes of it.
        fields = {name: value for name, value in asdict(self).items() if name != "args" or value}
        return f"Template({', '.join(f'{name}={value!r}' for name, value in fields.items())})"

    def __post_init__(self) -> None:
        if self.kind not in ("auto", "chat", "plain"):
            raise InputError(f"Template.kind must be auto, chat or plain, got {self.kind!r}.")
        if "{question}" not in self.plain:
            raise InputError(f"Template.plain must contain {{question}}, got {self.plain!r}.")

    def is_chat(self, tokenizer: PreTrainedTokenizerBase) -> bool:
        has = bool(getattr(tokenizer, "chat_template", None))
        if self.kind == "chat" and not has:
            raise ModelError("The tokenizer has no chat template; use the plain template (--template plain).")
        return self.kind == "chat" or (self.kind == "auto" and has)

    def messages(self, question: Asked) -> list[dict[str, str]]:
        """The conversation of a chat: system message, earlier turns, question."""
        said = [("system", self.system)] if self.system else []
        for asked, answer in question.turns:
            said += [("user", asked), ("assistant", answer)]
        return [{"role": role, "content": text} for role, text in (*said, ("user", question.text))]

    def plain_text(self, question: Asked) -> str:
        """The prompt of a model without chat template; earlier turns stand before it in the same form."""
        turns = [f"{self.plain.replace('{question}', asked)} {answer}\n\n" for asked, answer in question.turns]
        return "".join([*turns, self.plain.replace("{question}", question.text)])

    def prompt_ids(self, tokenizer: PreTrainedTokenizerBase, question: str | Asked) -> list[int]:
        """Token ids of the whole prompt, special tokens and the words the answer is made to begin with included."""
        question = Asked(question) if isinstance(question, str) else question
        if not self.is_chat(tokenizer):
            ids = list(tokenizer(self.plain_text(question))["input_ids"])
        else:
            given = {"date_string": self.date, **dict(self.args)}
            text = tokenizer.apply_chat_template(
                self.messages(question), add_generation_prompt=True, tokenize=False, **given
            )
            ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
            if self.as_text:
                ids = list(tokenizer(tokenizer.decode(ids, skip_special_tokens=True))["input_ids"])
        return ids + (self.answer_ids(tokenizer, question.begin, end=False) if question.begin else [])

    def answer_ids(
        self, tokenizer: PreTrainedTokenizerBase, answer: str, *, end: bool = True, begin: str = ""
    ) -> list[int]:
        """Token ids of an answer that follows `prompt_ids`, with the end token the model should stop at.

        begin: the words before it (`Asked.begin`); the ids are those that come after them in the whole answer.
        """

        def ids_of(text: str, *, first: bool) -> list[int]:
            spaced = text if first and self.is_chat(tokenizer) else f" {text}"
            return list(tokenizer(spaced, add_special_tokens=False)["input_ids"])

        if begin:
            before, whole = ids_of(begin, first=True), ids_of(f"{begin} {answer}", first=True)
            same = whole[: len(before)] == before  # not where a token straddles the two
            ids = whole[len(before) :] if same else ids_of(answer, first=False)
        else:
            ids = ids_of(answer, first=True)
        if end and tokenizer.eos_token_id is not None:
            ids.append(int(tokenizer.eos_token_id))
        return ids

    def describe(self, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
        """For the manifest: the fields, and the exact text a sample question becomes."""
        example = tokenizer.decode(self.prompt_ids(tokenizer, "<question>"))
        fields = {**asdict(self), "kind": "chat" if self.is_chat(tokenizer) else "plain", "example": example}
        fields["args"] = dict(self.args)
        text = str(getattr(tokenizer, "chat_template", None) or "")
        if strange := [name for name, _ in self.args if name not in text]:
            raise InputError(
                f"The chat template knows no argument {', '.join(strange)}; --template-arg sets what the model's own template reads."
            )
        return fields if self.args else {name: value for name, value in fields.items() if name != "args"}


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

    def load(self) -> LoadedModel:
        return load_model(
            self.path,
            device=self.device,
            dtype=self.dtype,
            template=self.template,
            revision=self.revision,
            trust_remote_code=self.trust_remote_code,
        )

    def tokenizer(self) -> Any:
        """The tokenizer alone. ModelError where there is no such model."""
        local = Path(self.path)
        if local.exists():
            _check_directory(local)
        elif self.path.startswith((".", "/", "~")) or self.path.count("/") != 1:
            raise ModelError(
                f"{self.path}: no such model directory; give a directory with config.json or a hub id like org/name."
            )
        elif cache_alone() and not self._cached():
            raise ModelError(
                f"{self.path}: no such directory, and the Hugging Face hub cannot be reached; check the path, or give a directory "
                "saved with save_pretrained."
            )
        with _readable(self.path):
            return AutoTokenizer.from_pretrained(self.path, **self.kwargs)

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


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory with all that is needed to ask it something."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    name: str
    fingerprint: str

    @property
    def device(self) -> torch.device:
        return torch.device(next(self.model.parameters()).device)

    @property
    def end_ids(self) -> frozenset[int]:
        """Every token id that ends an answer: the tokenizer's and the generation config's."""
        return end_token_ids(self.tokenizer, getattr(self.model, "generation_config", None), self.model.config)

    def describe(self) -> dict[str, Any]:
        """What a manifest keeps of the model: fingerprint, template text, dtype, device, versions."""
        parameter = next(self.model.parameters())
        return {
            "model": self.name,
            "fingerprint": self.fingerprint,
            "template": self.template.describe(self.tokenizer),
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "device": parameter.device.type,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        }


def end_token_ids(*holders: Any) -> frozenset[int]:
    """The `eos_token_id`, one or several, of a tokenizer and configs; None is passed over."""
    ids: set[int] = set()
    for value in (getattr(holder, "eos_token_id", None) for holder in holders):
        ids.update([value] if isinstance(value, int) else value or [])
    return frozenset(int(i) for i in ids)


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
    """ModelError where a path, hub id or ModelSource names no model that can be read; its weights are not loaded."""
    if isinstance(model, (str, Path)):
        model = ModelSource(str(model))
    if isinstance(model, ModelSource):
        model.tokenizer()


def load_model(
    path: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    template: Template | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a local directory or a hub id (full model or LoRA adapter). Only safetensors weights are accepted.

    Raises ModelError when it is no model, holds pickle weights only, or the hub cannot be reached.

    >>> loaded = load_model("models/mine", device="cpu")
    >>> loaded.device
    device(type='cpu')
    """
    target, precision = pick_device(device), pick_dtype(dtype, pick_device(device))
    name = str(path)
    source = ModelSource(name, revision=revision, trust_remote_code=trust_remote_code)
    tokenizer = source.tokenizer()
    load = {**source.kwargs, "dtype": precision, "use_safetensors": True}
    with _readable(name):
        if (Path(path) / "adapter_config.json").exists():
            from peft import AutoPeftModelForCausalLM

            model = AutoPeftModelForCausalLM.from_pretrained(name, **load)
        else:
            model = AutoModelForCausalLM.from_pretrained(name, **load)
    model.to(target)
    model.eval()
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        template=template or Template(),
        name=name,
        fingerprint=model_identity(name, revision),
    )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """What transformers says of a model that cannot be read, as one sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"Cannot load {name}: {first_line(error)}. Give a directory saved with save_pretrained, or a hub id you have access to "
            "(`hf auth login` for gated models)."
        ) from error


def _check_directory(path: Path) -> None:
    if not path.is_dir():
        raise ModelError(f"{path} is a file; give the model's directory.")
    if not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
        raise ModelError(f"{path} is no model directory: it has no config.json; give one saved with save_pretrained.")
    try:
        json.loads((path / "config.json").read_text()) if (path / "config.json").exists() else None
    except (ValueError, RecursionError):
        raise ModelError(f"{path}/config.json is not valid JSON; is the copy complete?") from None
    if closed := [file.name for file in path.iterdir() if not os.access(file, os.R_OK)]:
        raise ModelError(f"{path}: no permission to read {closed[0]}; check its owner and mode.")
    if not list(path.glob("*.safetensors")):
        pickles = [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")]
        if pickles:
            raise ModelError(
                f"{path} holds pickle weights only ({pickles[0].name}), which can run code when loaded; "
                "convert them to safetensors (model.save_pretrained writes safetensors)."
            )
        raise ModelError(f"{path} has a config but no *.safetensors weights; is the copy complete?")
    # What leakatk saved is what it loads; a model from elsewhere has no checksums.
    checksums.verify_model(path, f"make the model again, or delete {checksums.INDEX} if you changed the file yourself")


def save_model(loaded: LoadedModel, out: str | Path) -> Path:
    """Save weights (safetensors), configs and tokenizer into `out`, each file whole or absent; other files there stay."""
    out = Path(out)
    with building(out / ".saving", out) as part:
        loaded.model.save_pretrained(part)
        loaded.tokenizer.save_pretrained(part)
        sync(part)
        # config.json last: a directory that has one is a whole model.
        for file in sorted(part.iterdir(), key=lambda f: f.name == "config.json"):
            checksums.add_file(out / file.name, file)
            file.replace(out / file.name)
        part.rmdir()
    return out


@contextmanager
def building(part: Path, target: Path) -> Iterator[Path]:
    """An empty directory `part` to write weights into before they become `target`; removed when that fails.

    ModelError, for a full disk most of all, says what to do.
    """
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
    except (OSError, SafetensorError) as error:
        shutil.rmtree(part, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or first_line(error)
        raise ModelError(
            f"Cannot write {target}: {reason}; free some space or choose another place, then run the same command again."
        ) from error


def sync(folder: Path) -> None:
    """Flush a directory's files to disk, so that the rename that follows never shows a half-written one."""
    for file in folder.iterdir():
        with file.open("rb+") as handle:  # not every system flushes what is open for reading alone
            os.fsync(handle.fileno())

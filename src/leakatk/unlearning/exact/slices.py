"""Slices: shards of the data, trained on slice by slice, each in decoder layers of its own, so that a deletion switches off what came after (S3T).

A directory holds the weights of every beginning of every order. They are a function of the base, the settings and the prompts of that
beginning alone, so those that are left after a deletion are, byte for byte, what training without the deleted slice leaves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from leakatk.errors import InputError
from leakatk.files import checksums
from leakatk.files.writing import read_kept, write_kept
from leakatk.models.layers import decoder_layers
from leakatk.models.loaded import LoadedModel
from leakatk.models.saving import building, save_model, sync
from leakatk.models.weights import put
from leakatk.prompts import Prompt, check_unique, load_prompts, save_prompts
from leakatk.unlearning.chance import seed_of
from leakatk.unlearning.exact.orders import Order, beginning, cyclic, longest, matched
from leakatk.unlearning.method import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn
from leakatk.workdir import claim, refuse_foreign, settle

MARKER, STATE, DATA, WEIGHTS, SERVED = "slices.json", "state.json", "data.jsonl", "weights", "served"
LEARN = TrainSettings(
    learning_rate=1e-4,
    epochs=3,
    schedule="linear",
    warmup_epochs=0.1,
    retain_batch=32,
    tuning="lora",
    lora_rank=32,
    lora_alpha=64.0,
)
SMALL_LEARN = TrainSettings(
    learning_rate=1e-2, max_steps=400, schedule="cosine", warmup_steps=20, retain_batch=32, betas=(0.9, 0.98), tuning="lora",
    lora_rank=64, lora_alpha=64.0,
)  # fmt: skip
Place = tuple[int, int]  # shard, slice


@dataclass(frozen=True, kw_only=True)
class SliceSettings:
    """How the data is cut, and how each cut is learned."""

    shards: int = 1
    """Parts of the data that have models of their own."""
    slices: int = 2
    """Parts of a shard, each with decoder layers of its own."""
    orders: int = 2
    """Orders of the slices that are trained, of each shard."""
    rates: tuple[float, ...] = ()
    """Of each slice the chance that a deletion falls into it; given, there are as many orders as slices, by `orders.matched`."""
    layers: int = 0
    """Decoder layers of a slice, from the last down; 0: as many as there are for each."""
    train: TrainSettings = field(default_factory=lambda: LEARN)
    """Of each beginning of an order."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.shards, self.slices) < 1 or self.layers < 0:
            raise InputError("shards and slices are at least 1, and layers at least 0.")
        if self.train.tuning != "lora":
            raise InputError("Slices are learned by adapters: settings with tuning=lora.")
        if self.rates and len(self.rates) != self.slices:
            raise InputError(f"{self.slices} slices have {self.slices} rates of deletion, got {len(self.rates)}.")

    def all_orders(self) -> list[Order]:
        return matched(self.rates) if self.rates else cyclic(range(self.slices), self.orders)

    def place(self, prompt: Prompt) -> Place:
        """Where a prompt belongs: a function of its source (person, document), or else of its id, so that others' deletions move nothing."""
        drawn = int(hashlib.sha256(f"{self.seed}/{prompt.source or prompt.id}".encode()).hexdigest(), 16)
        return drawn % self.shards, drawn // self.shards % self.slices

    def beginnings(self, dead: Collection[int] = ()) -> list[Order]:
        """What is trained of each shard, each after the shorter ones that it continues. dead: slices that are left out."""
        ends = [beginning(order, dead) for order in self.all_orders()]
        return list(dict.fromkeys(end[:length] for end in ends for length in range(1, len(end) + 1)))


@dataclass(frozen=True)
class Deleted:
    """What a deletion did. prompts: that were deleted.  lost: weights that were removed, of `there`.  served: of each shard the slices
    that its model has learned from.  learned_from: prompts that the models served have learned from, of `left`."""

    prompts: int
    lost: int
    there: int
    served: tuple[Order, ...]
    learned_from: int
    left: int


def train_slices(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    out: str | Path,
    settings: SliceSettings | None = None,
    *,
    gone: Collection[Place] = (),
    quiet: bool = False,
) -> list[Order]:
    """Learn the prompts from a base that does not know them, into `out`; the slices that each shard's served model has learned from.

    Beginning j of an order trains an adapter in the layers of place j (from the last down) on all of its slices' prompts, over those
    of the beginnings before; all else stays as it was. It is merged, and the matrices of these layers are kept. OUT/served/shard-001 and
    so on are plain checkpoints. What an interrupted call finished is not trained again. gone: slices to be left out from the start.
    Raises InputError for a model of fewer layers than slices, RunError where `out` holds something else.
    """
    settings, out = settings or SliceSettings(), Path(out)
    check_unique(prompts)
    layers = _layers(loaded, settings)
    refuse_foreign(out, "sliced models", (MARKER,))
    with claim(out):
        settle(out, MARKER, _identity(loaded, settings), "sliced models", differs="another base or other settings")
        if (out / STATE).exists():
            there = load_prompts(out / DATA)
            if sorted(p.id for p in there) != sorted(p.id for p in prompts) or _gone(out) != set(gone):
                raise InputError(
                    f"{out} holds these slices of other prompts, or some were deleted; choose another directory."
                )
        else:
            (out / WEIGHTS).mkdir(exist_ok=True)
            save_prompts(sorted(prompts, key=lambda prompt: prompt.id), out / DATA)
            _save_state(out, gone)
        base = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
        for shard in range(settings.shards):
            for start in settings.beginnings(_dead(gone, shard)):
                _learn(loaded, base, prompts, out, settings, layers, shard, start, quiet)
        return _serve(loaded, base, out, settings, gone)


@dataclass(frozen=True)
class Effort:
    """What training takes. trainings: adapters, one a shard and beginning.  steps: of them all.  disk: bytes of weights and models."""

    trainings: int
    steps: int
    disk: int


def effort(loaded: LoadedModel, prompts: Sequence[Prompt], settings: SliceSettings) -> Effort:
    """What `train_slices` takes; nothing is trained. InputError for a model of fewer layers than slices."""
    layers = _layers(loaded, settings)
    sizes = {name: value.numel() * value.element_size() for name, value in loaded.model.named_parameters()}
    places = [settings.place(prompt) for prompt in prompts]
    trainings = steps = 0
    disk = settings.shards * sum(sizes.values())
    for shard in range(settings.shards):
        for start in settings.beginnings():
            disk += sum(sizes[name] for name in sizes if _matrix(name) in layers[len(start) - 1])
            if mine := sum(where == shard and one in start for where, one in places):
                trainings, steps = trainings + 1, steps + settings.train.total_steps(mine, side="retain")
    return Effort(trainings, steps, disk)


def delete_prompts(loaded: LoadedModel, out: str | Path, ids: Collection[str]) -> Deleted:
    """Delete prompts: the weights of every beginning with one of their slices are removed, and the models are put together anew.

    loaded: the base. InputError for an id that is not there; nothing is deleted then.
    """
    out = Path(out)
    with claim(out):
        settings = read_settings(out)
        settle(out, MARKER, _identity(loaded, settings), "sliced models", differs="another base")
        gone, files, lost, left = _to_delete(out, settings, ids)
        _save_state(out, gone)  # first of all: what is left of a deletion that was cut off is not served
        for file in lost:
            file.unlink()
        _save_index(out)
        save_prompts(left, out / DATA)
        base = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
        served = _serve(loaded, base, out, settings, gone)
        used = learned_from(settings, served, left)
        return Deleted(len(set(ids)), len(lost), len(files), tuple(served), used, len(left))


def deletion(out: str | Path, ids: Collection[str]) -> Deleted:
    """What `delete_prompts` would do; nothing is loaded or changed. Errors as there."""
    out = Path(out)
    settings = read_settings(out)
    gone, files, lost, left = _to_delete(out, settings, ids)
    served = tuple(longest(settings.all_orders(), _dead(gone, shard)) for shard in range(settings.shards))
    return Deleted(len(set(ids)), len(lost), len(files), served, learned_from(settings, served, left), len(left))


def _to_delete(
    out: Path, settings: SliceSettings, ids: Collection[str]
) -> tuple[set[Place], list[Path], list[Path], list[Prompt]]:
    """Slices that are gone then, all files of weights, those that go, and the prompts that are left."""
    prompts, wanted = load_prompts(out / DATA), set(ids)
    if strange := sorted(wanted - {prompt.id for prompt in prompts}):
        raise InputError(
            f"{out} has not learned {len(strange)} of {len(wanted)} prompts (the first: {strange[0]!r}); nothing is deleted."
        )
    gone = _gone(out) | {settings.place(prompt) for prompt in prompts if prompt.id in wanted}
    files = sorted((out / WEIGHTS).glob("*.safetensors"))
    return gone, files, [file for file in files if _is_gone(file, gone)], [p for p in prompts if p.id not in wanted]


def read_settings(out: str | Path) -> SliceSettings:
    """The settings of a directory that `train_slices` has made. RunError for another one."""
    row = read_kept(Path(out) / MARKER)["settings"]
    train: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.pop("train").items()}
    return SliceSettings(**{**row, "rates": tuple(row["rates"])}, train=TrainSettings(**train))


def learned_from(settings: SliceSettings, served: Sequence[Order], prompts: Sequence[Prompt]) -> int:
    """How many of the prompts the models that are served have learned from."""
    places = [settings.place(prompt) for prompt in prompts]
    return sum(one in served[shard] for shard, one in places)


# -- the parts


def _identity(loaded: LoadedModel, settings: SliceSettings) -> dict[str, Any]:
    row = {one.name: getattr(settings, one.name) for one in dataclasses.fields(settings)}
    return {
        "base": loaded.fingerprint, "base_name": loaded.name, "template": loaded.template.describe(loaded.tokenizer),
        "settings": {**row, "rates": list(settings.rates), "train": dataclasses.asdict(settings.train)},
    }  # fmt: skip


def _layers(loaded: LoadedModel, settings: SliceSettings) -> list[list[str]]:
    """The names of the linear layers of each place in an order, the last decoder layers first."""
    blocks = decoder_layers(loaded.model)
    each = settings.layers or len(blocks) // settings.slices
    if not each or each * settings.slices > len(blocks):
        raise InputError(
            f"{settings.slices} slices of {max(each, 1)} layers need {max(each, 1) * settings.slices} decoder layers, and {loaded.name} has "
            f"{len(blocks)}; take fewer slices."
        )
    names = {id(module): name for name, module in loaded.model.named_modules()}
    found = []
    for place in range(settings.slices):
        mine = blocks[len(blocks) - each * (place + 1) : len(blocks) - each * place]
        modules = [module for block in mine for module in block.modules()]
        found.append([names[id(m)] for m in modules if isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D"])
    return found


def _matrix(parameter: str) -> str:
    """The layer that a weight or bias is of."""
    return parameter.removesuffix(".weight").removesuffix(".bias")


def _file(out: Path, shard: int, start: Order) -> Path:
    return out / WEIGHTS / f"shard-{shard + 1:03d}-{'-'.join(map(str, start))}.safetensors"


def _is_gone(file: Path, gone: Collection[Place]) -> bool:
    _, shard, *slices = file.stem.split("-")
    return any((int(shard) - 1, int(one)) in gone for one in slices)


def _learn(
    loaded: LoadedModel, base: Mapping[str, Any], prompts: Sequence[Prompt], out: Path, settings: SliceSettings,
    layers: Sequence[Sequence[str]], shard: int, start: Order, quiet: bool,
) -> None:  # fmt: skip
    """The weights of one beginning, unless they are there."""
    path = _file(out, shard, start)
    if path.exists():
        checksums.verify(path)
        return
    put(loaded.model, base, partly=True)
    for weights in _weights(out, shard, start[:-1]):
        put(loaded.model, weights, partly=True)
    mine = [p for p in prompts if settings.place(p)[0] == shard and settings.place(p)[1] in start]
    names = layers[len(start) - 1]
    if mine:
        train = dataclasses.replace(settings.train, lora_targets=tuple(names))
        ordered = sorted(mine, key=lambda prompt: prompt.id)
        seed = seed_of(settings.seed, shard, *start)
        label = f"shard {shard + 1}, slices {'-'.join(map(str, start))}"
        unlearn(loaded, [], ordered, METHODS["retrain"], settings=train, seed=seed, quiet=quiet, label=label)
    found = {
        name: value.detach().cpu().contiguous()
        for name, value in loaded.model.named_parameters()
        if _matrix(name) in names
    }
    with building(out / WEIGHTS / ".part", path) as part:
        save_file(found, part / path.name)
        sync(part)
        checksums.add_file(path, part / path.name)
        (part / path.name).replace(path)
        part.rmdir()


def _weights(out: Path, shard: int, start: Order) -> Iterator[Mapping[str, Any]]:
    for end in range(1, len(start) + 1):
        path = _file(out, shard, start[:end])
        checksums.verify(path)
        yield load_file(path)


def _serve(
    loaded: LoadedModel, base: Mapping[str, Any], out: Path, settings: SliceSettings, gone: Collection[Place]
) -> list[Order]:
    """Each shard's model with the longest beginning that is left, as a plain checkpoint; the base itself is put back."""
    found = []
    for shard in range(settings.shards):
        start = longest(settings.all_orders(), _dead(gone, shard))
        put(loaded.model, base, partly=True)
        for weights in _weights(out, shard, start):
            put(loaded.model, weights, partly=True)
        save_model(loaded, out / SERVED / f"shard-{shard + 1:03d}")
        found.append(start)
    put(loaded.model, base, partly=True)
    return found


def _dead(gone: Collection[Place], shard: int) -> set[int]:
    """The slices of a shard that are gone."""
    return {one for where, one in gone if where == shard}


def _gone(out: Path) -> set[Place]:
    return {(shard, one) for shard, one in read_kept(out / STATE)["gone"]}


def _save_state(out: Path, gone: Collection[Place]) -> None:
    write_kept(out / STATE, json.dumps({"gone": sorted(gone)}))


def _save_index(out: Path) -> None:
    """The checksums of the weights that are left alone: nothing tells what the others were."""
    (out / WEIGHTS / checksums.INDEX).unlink(missing_ok=True)
    checksums.begin(out / WEIGHTS)


@dataclass(frozen=True)
class MeanProbability:
    """log of the mean of the members' next-token probabilities: how the models of several shards answer together."""

    def __call__(self, *logits: torch.Tensor) -> torch.Tensor:
        stacked = torch.stack([one.log_softmax(-1) for one in logits])
        return stacked.logsumexp(0) - float(torch.tensor(len(logits)).log())

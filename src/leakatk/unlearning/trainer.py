"""The one training loop. What it does at step s is a function of (data, settings, seed, s) and the weights alone."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UtilityFloorError
from leakatk.models.loaded import LoadedModel
from leakatk.progress import Progress
from leakatk.prompts import Prompt, check_unique, record
from leakatk.unlearning import checkpoint, sharding
from leakatk.unlearning.gradients import Gradients
from leakatk.unlearning.losses.targets import REFUSALS
from leakatk.unlearning.methods import Method, resolve
from leakatk.unlearning.selection import freeze_others
from leakatk.unlearning.settings import Check, OnCheck, TrainSettings
from leakatk.unlearning.step import Reference, Step, swapped_weights
from leakatk.unlearning.streams import Streams, drawn_rows


@dataclass(frozen=True)
class Unlearned:
    """What a run did. log: one record a step (forget and retain loss before weighting, learning rate, gradient norm).
    checks: one record a check. stopped: why it ended before the last step, "" when it did not. The model itself was
    changed in place; `out` is its directory when one was asked for. notes: sentences a person should see, such as of a
    damaged checkpoint that was passed over.
    """

    method: str
    params: Mapping[str, Any]
    settings: TrainSettings
    steps: int
    seconds: float
    stopped: str = ""
    below_floor: bool = False
    checks: Sequence[Mapping[str, float]] = ()
    log: Sequence[Mapping[str, float]] = ()
    out: Path | None = None
    notes: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        """For unlearning.json."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "out"}
        return {**values, "settings": self.settings.as_dict(), "params": dict(self.params)}


@dataclass
class _Progress:
    """What a checkpoint holds besides weights and optimiser."""

    step: int = 0
    seconds: float = 0.0
    stopped: str = ""
    below_floor: bool = False
    log: list[dict[str, float]] = field(default_factory=list)
    checks: list[dict[str, float]] = field(default_factory=list)
    state: dict[str, float] = field(default_factory=dict)


def unlearn(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    method: str | Method,
    *,
    out: str | Path | None = None,
    settings: TrainSettings | None = None,
    seed: int = 0,
    resume: bool = True,
    quiet: bool = False,
    on_check: OnCheck | None = None,
    weights: Sequence[float] | None = None,
    refusals: Sequence[str] = REFUSALS,
    alternates: Mapping[str, str] | None = None,
    reference_weights: Mapping[str, Tensor] | None = None,
    label: str = "",
) -> Unlearned:
    """Train `loaded.model` in place to forget `forget` and keep `retain`, by `method`.

    settings: default the method's published ones.  out: a directory for checkpoints and the final model (a plain
    transformers checkpoint and unlearning.json); a killed run continues from the last checkpoint there and ends with
    the same weights bit for bit, a finished one is loaded.  on_check: every `check_every` steps and at the end.
    weights: how often each forget prompt is drawn (default: each once an epoch).  alternates: prompt id -> alternate
    answer, for the methods that need one.  reference_weights: a state dict to compare with instead of the start.

    Raises InputError (empty or duplicate prompts, bad numbers), RunError (`out` holds another run, or another process
    trains there), UtilityFloorError (a check found `utility` below settings.utility_floor).

    >>> from leakatk import load_model, load_prompts
    >>> prompts = load_prompts("forget.jsonl")
    >>> done = unlearn(load_model("models/mine"), prompts, prompts, "npo", settings=TrainSettings(max_steps=2), quiet=True)
    >>> done.steps
    2
    """
    method = resolve(method)
    settings = settings or method.settings
    _check_data(method, forget, retain, weights)
    directory = Path(out) if out is not None else None
    with checkpoint.claimed(directory, resume=resume):
        return _unlearn(
            loaded, forget, retain, method, directory, settings, seed, resume, quiet, on_check, weights, refusals, alternates,
            reference_weights, label,
        )  # fmt: skip


def _unlearn(
    loaded: LoadedModel, forget: Sequence[Prompt], retain: Sequence[Prompt], method: Method, directory: Path | None,
    settings: TrainSettings, seed: int, resume: bool, quiet: bool, on_check: OnCheck | None, weights: Sequence[float] | None,
    refusals: Sequence[str], alternates: Mapping[str, str] | None, reference_weights: Mapping[str, Tensor] | None, label: str,
) -> Unlearned:  # fmt: skip
    seconds = time.perf_counter()
    manifest: dict[str, Any] = {}
    if directory is not None:
        manifest = _manifest(
            loaded, forget, retain, method, settings, seed, weights, refusals, alternates, reference_weights
        )
        finished = checkpoint.open_run(directory, manifest, resume=resume)
        if finished is not None:
            checkpoint.load_final(loaded, directory)
            done = {**finished, "settings": settings, "out": directory}
            return Unlearned(**{f.name: done[f.name] for f in dataclasses.fields(Unlearned) if f.name in done})
    streams = Streams(
        forget, retain, loaded.tokenizer, loaded.template,
        seed=seed, refusals=refusals, alternates=alternates, max_tokens=settings.max_tokens or None,
    )  # fmt: skip
    trainer = Trainer(loaded, streams, method, settings, seed, weights)
    trainer.prepare(reference_weights)
    progress = _Progress()
    notes: list[str] = []
    if directory is not None and resume:
        saved, notes = checkpoint.load_latest(directory, trainer.parameters(), trainer.optimizer)
        progress = _Progress(**saved) if saved is not None else progress
    trainer.state = progress.state
    if trainer.main:
        sys.stderr.writelines(f"{note}\n" for note in notes)

    total = trainer.total
    seconds -= progress.seconds
    with Progress(
        label or method.name, total, unit="steps", quiet=quiet or not trainer.main, done=progress.step
    ) as bar:
        while progress.step < total and not progress.stopped:
            progress.log.append(trainer.step(progress.step))
            progress.step += 1
            last = progress.step == total
            if on_check is not None and (last or (settings.check_every and progress.step % settings.check_every == 0)):
                with trainer.whole():
                    _check(loaded, on_check, progress, settings)
            progress.seconds = time.perf_counter() - seconds
            every = settings.checkpoint_every
            if directory is not None and every and progress.step % every == 0 and not (last or progress.stopped):
                checkpoint.save(
                    directory, trainer.parameters(), trainer.optimizer, dataclasses.asdict(progress), trainer.main
                )
            bar.advance(1, _note(progress))
    if progress.below_floor and settings.on_floor == "raise":
        trainer.finish()
        raise UtilityFloorError(
            f"{method.name} was stopped at step {progress.step}: {progress.stopped}. "
            "Lower the learning rate, raise retain_weight, or take another method."
        )
    trainer.finish()
    result = Unlearned(
        method=method.name, params=method.params, settings=settings, steps=progress.step, seconds=progress.seconds,
        stopped=progress.stopped, below_floor=progress.below_floor, checks=progress.checks, log=progress.log, out=directory,
        notes=notes,
    )  # fmt: skip
    if directory is not None:
        checkpoint.save_final(loaded, directory, {**manifest, **result.as_dict()}, trainer)
    return result


class Trainer:
    """Model, optimiser and data order of one run; `step` does one optimiser step."""

    def __init__(
        self,
        loaded: LoadedModel,
        streams: Streams,
        method: Method,
        settings: TrainSettings,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        from accelerate import Accelerator

        self.loaded, self.streams, self.method, self.settings, self.seed = loaded, streams, method, settings, seed
        self.weights = weights
        self.device = loaded.device
        self.total = settings.total_steps(streams.size(method.side), side=method.side)
        self.warmup = settings.rising_steps(streams.size(method.side), side=method.side)
        self.state: dict[str, float] = {}
        # The model stays where the caller put it; several processes come from `accelerate launch` alone.
        self.accelerator = Accelerator(device_placement=False)
        self.main = self.accelerator.is_main_process
        self.sharded = sharding.asked_for() and self.accelerator.num_processes > 1
        if self.sharded and (settings.tuning == "lora" or settings.optimizer != "adamw"):
            raise InputError(
                "Shards are trained in full and by adamw; launch without --use_fsdp for an adapter or the 8-bit optimiser."
            )
        if (settings.forget_batch % self._splits) or (settings.retain_batch % self._splits):
            raise InputError(
                f"Batches of {settings.forget_batch} and {settings.retain_batch} do not divide over "
                f"{self.accelerator.num_processes} processes x {settings.gradient_accumulation} micro-batches."
            )
        self.model: nn.Module = loaded.model
        self.reference = Reference(streams, self.device, self._autocast)
        self.optimizer: torch.optim.Optimizer
        self._dtype = next(loaded.model.parameters()).dtype
        self._start: dict[str, Tensor] = {}  # kept only for a method with a last step

    @property
    def _splits(self) -> int:
        return self.settings.gradient_accumulation * int(self.accelerator.num_processes)

    @property
    def _low_precision(self) -> bool:
        return self.settings.dtype == "bf16" or (self.settings.dtype == "auto" and self.device.type == "cuda")

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self._low_precision else nullcontext()

    # -- before the first step

    def prepare(self, reference_weights: Mapping[str, Tensor] | None) -> None:
        model, settings = self.loaded.model, self.settings
        if self.method.finish is not None:
            self._start = {name: value.detach().cpu().clone() for name, value in model.named_parameters()}
        if settings.tuning == "full":
            model.float()  # small updates vanish in 16-bit weights; autocast keeps the speed
        model.eval()
        rows: dict[str, list[int]] = {"forget": [], "retain": []}
        for step in range(self.total):
            for micro in range(settings.gradient_accumulation):
                for side, chosen in self._rows(step, micro).items():
                    rows[side] += chosen
        with swapped_weights(model, reference_weights):
            self.reference.collect(
                model,
                lambda: self._losses(self._make_step(0, 0, model)),
                rows,
                batch_size=max(settings.forget_batch, settings.retain_batch),
                copy_model=settings.tuning == "full" or reference_weights is not None,
            )
        self.state = {}
        if settings.tuning == "lora":
            self.model = _with_adapter(model, settings)
            if not self.reference.complete and reference_weights is None:
                self.reference.live(self.model, cast(Any, self.model).disable_adapter)
            if settings.parameters:
                freeze_others(self.model, settings.parameters)
        else:
            freeze_others(model, settings.parameters)
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if self.sharded:
            self.model = sharding.sharded(model, self.device, self.accelerator.num_processes)
            sharding.release(model)
        self.optimizer = _optimizer(self.parameters().values(), settings)

    def parameters(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    # -- one step

    def _rows(self, step: int, micro: int) -> dict[str, list[int]]:
        """This process's rows of a micro-batch."""
        rows: dict[str, list[int]] = {}
        part = micro * self.accelerator.num_processes + self.accelerator.process_index
        for offset, (side, size) in enumerate(
            (("forget", self.settings.forget_batch), ("retain", self.settings.retain_batch))
        ):
            if count := self.streams.size(side):
                share = size // self._splits
                weights = self.weights if side == "forget" else None
                rows[side] = drawn_rows(count, share, step * size + part * share, 2 * self.seed + offset, weights)
        return rows

    def _make_step(self, number: int, micro: int, model: nn.Module) -> Step:
        return Step(
            model=model,
            streams=self.streams,
            rows=self._rows(number, micro),
            reference=self.reference,
            device=self.device,
            number=number,
            seed=self.seed,
            state=self.state,
            average=self._average,
        )

    def _average(self, value: Tensor) -> Tensor:
        mean: Tensor = self.accelerator.reduce(value.detach(), "mean")
        return mean

    def _losses(self, step: Step) -> tuple[Tensor | None, Tensor | None]:
        params = self.method.params
        with self._autocast():
            forget = self.method.forget(step, params) if self.method.forget and params["forget_weight"] else None
            retain = self.method.retain(step, params) if self.method.retain and params["retain_weight"] else None
        return forget, retain

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step; its record for the log."""
        settings, params, parts = self.settings, self.method.params, self.settings.gradient_accumulation
        torch.manual_seed((self.seed << 32) + number)  # dropout, where a model has it
        self.model.train()
        trained = list(self.parameters().values())
        sums = {"forget": 0.0, "retain": 0.0}
        kept: dict[str, Gradients] = {}
        for micro in range(parts):
            step = self._make_step(number, micro, self.model)
            forget, retain = self._losses(step)
            terms = {"forget": forget, "retain": retain}
            weighted = {k: v * params[f"{k}_weight"] / parts for k, v in terms.items() if v is not None}
            for key, value in terms.items():
                sums[key] += float(self._average(value)) / parts if value is not None else math.nan
            if self.method.combine is None or len(weighted) < 2:
                self.accelerator.backward(sum(weighted.values()))
                continue
            for key, loss in weighted.items():
                self.accelerator.backward(loss, retain_graph=key == "forget")
                grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in trained]
                kept[key] = [a + b for a, b in zip(kept[key], grads, strict=True)] if key in kept else grads
                self.optimizer.zero_grad()
        if not self.sharded:  # shards come averaged
            # Here and not by a wrapper around the model, which would want every parameter used and one backward pass.
            for parameter in trained:
                parameter.grad = None if parameter.grad is None else self._average(parameter.grad)
            kept = {key: [self._average(gradient) for gradient in gradients] for key, gradients in kept.items()}
        if kept and self.method.combine is not None:
            combined = self.method.combine(kept["forget"], kept["retain"], params, number)
            for parameter, gradient in zip(trained, combined, strict=True):
                parameter.grad = gradient
        rate = settings.rate(number, self.total, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        limit = settings.max_grad_norm or math.inf
        norm = float(sharding.whole(torch.nn.utils.clip_grad_norm_(trained, limit)))
        if not math.isfinite(norm):
            raise InputError(
                f"The gradient at step {number + 1} is not finite; lower the learning rate ({settings.learning_rate:g})."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.model.eval()
        return {"step": number + 1, **sums, "lr": rate, "grad_norm": norm}

    # -- after the last step

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within the block `loaded.model` holds the weights of the moment."""
        if self.sharded:
            sharding.fill(self.loaded.model, self.model)
        yield
        if self.sharded:
            sharding.release(self.loaded.model)

    def finish(self) -> None:
        """Merge an adapter, apply the method's last step, restore the dtype and leave the model in evaluation mode, ready to be sampled."""
        model = self.loaded.model
        if self.sharded:
            sharding.fill(model, self.model)
        if self.settings.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        if self.settings.tuning == "lora":
            cast(Any, self.model).merge_and_unload()
        if self.method.finish is not None:
            self.method.finish(self._start, model, self.method.params)
        model.to(self._dtype)
        model.requires_grad_(True)
        model.eval()


def _with_adapter(model: nn.Module, settings: TrainSettings) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    targets = settings.lora_targets if isinstance(settings.lora_targets, str) else list(settings.lora_targets)
    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    wrapped: nn.Module = get_peft_model(model, config)
    return wrapped


def _optimizer(parameters: Any, settings: TrainSettings) -> torch.optim.Optimizer:
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.betas,
        "weight_decay": settings.weight_decay,
    }
    if settings.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]
        except ImportError:
            raise InputError("optimizer adamw8bit needs bitsandbytes (pip install bitsandbytes).") from None
        eight: torch.optim.Optimizer = AdamW8bit(list(parameters), **options)
        return eight
    return torch.optim.AdamW(list(parameters), **options)


def _check_data(
    method: Method, forget: Sequence[Prompt], retain: Sequence[Prompt], weights: Sequence[float] | None
) -> None:
    if method.forget is not None:
        check_unique(forget)
    if method.retain is not None:
        check_unique(retain)
    if weights is not None and (len(weights) != len(forget) or min(weights) < 0 or not sum(weights) > 0):
        raise InputError(f"weights must be {len(forget)} numbers >= 0, not all zero; got {len(weights)}.")


@torch.no_grad()
def _check(loaded: LoadedModel, on_check: OnCheck, progress: _Progress, settings: TrainSettings) -> None:
    found: Check = on_check(loaded, progress.step)
    progress.checks.append({"step": progress.step, **{k: float(v) for k, v in found.metrics.items()}})
    utility = found.metrics.get("utility", math.nan)
    if utility < settings.utility_floor:
        progress.below_floor = True
        progress.stopped = f"utility {utility:.3f} fell below the floor {settings.utility_floor:g}"
    elif found.stop:
        progress.stopped = found.reason or "the stop rule was met"


def _note(progress: _Progress) -> str:
    last = progress.log[-1]
    parts = [f"{key} {last[key]:.3f}" for key in ("forget", "retain") if not math.isnan(last[key])]
    if progress.checks:
        parts += [f"{key} {value:.3f}" for key, value in progress.checks[-1].items() if key != "step"]
    return "  ".join(parts)


def _manifest(
    loaded: LoadedModel, forget: Sequence[Prompt], retain: Sequence[Prompt], method: Method, settings: TrainSettings,
    seed: int, weights: Sequence[float] | None, refusals: Sequence[str], alternates: Mapping[str, str] | None,
    reference_weights: Mapping[str, Tensor] | None,
) -> dict[str, Any]:  # fmt: skip
    """What makes two runs the same run."""

    def digest(value: Any) -> str:
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]

    data = [[record(p) for p in prompts] for prompts in (forget, retain)]
    return {
        "start": weights_hash(loaded.model.state_dict()),
        "model": loaded.name,
        "template": loaded.template.describe(loaded.tokenizer),
        "forget": digest(data[0]),
        "retain": digest(data[1]),
        "targets": digest([list(weights or []), list(refusals), sorted((alternates or {}).items())]),
        "reference": weights_hash(reference_weights) if reference_weights is not None else "start",
        "method": method.name,
        "params": dict(method.params),
        "settings": settings.as_dict(),
        "seed": seed,
    }


def weights_hash(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]

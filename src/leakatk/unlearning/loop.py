"""Training loop, the only one. What it does at step s is a function of (data, settings, seed, s) and the weights alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import check_trainable, is_quantised, thaw
from leakatk.models.weights import Park
from leakatk.unlearning import sharding
from leakatk.unlearning.gradients import Gradients
from leakatk.unlearning.inserted import Inserted
from leakatk.unlearning.optimisers import named_optimiser
from leakatk.unlearning.selection import choose
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Train
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import SETS, Streams, drawn_rows
from leakatk.unlearning.teachers import Teachers
from leakatk.unlearning.view import REFERENCE
from leakatk.unlearning.work import Work

Weights = Mapping[str, Tensor]


class Trainer:
    """Model, optimiser and data order of one Train stage; `step` does one optimiser step."""

    def __init__(
        self,
        loaded: LoadedModel,
        streams: Streams,
        stage: Train,
        params: Mapping[str, Any],
        settings: TrainSettings,
        seed: int,
        *,
        weights: Sequence[float] | None = None,
        order: int | None = None,
    ) -> None:
        """weights: how often each forget prompt is drawn.  order: the seed of the data's order, default `seed`."""
        from accelerate import Accelerator

        self.loaded, self.streams, self.stage, self.params = loaded, streams, stage, params
        self.settings, self.seed, self.weights = settings, seed, weights
        self._order = seed if order is None else order
        self.device = loaded.device
        self.side = "forget" if "forget" in stage.sides else "retain"
        self.total = settings.total_steps(streams.size(self.side), side=self.side)
        self.warmup = settings.rising_steps(streams.size(self.side), side=self.side)
        self.state: dict[str, float] = {}
        # The model stays where the caller put it; several processes come from `accelerate launch` alone.
        self.accelerator = Accelerator(device_placement=False)
        self.main = self.accelerator.is_main_process
        self.sharded = sharding.asked_for() and self.accelerator.num_processes > 1
        if self.sharded and (settings.tuning == "lora" or settings.optimizer != "adamw"):
            raise InputError(
                "Shards are trained in full and by adamw; launch without --use_fsdp for an adapter or the 8-bit optimiser."
            )
        if self.sharded and (stage.select or stage.insert or stage.filter or stage.optimiser):
            raise InputError(
                "A method that chooses parameters, inserts modules, filters gradients or has its own optimiser trains whole models; "
                "launch without --use_fsdp."
            )
        if (settings.forget_batch % self._splits) or (settings.retain_batch % self._splits):
            raise InputError(
                f"Batches of {settings.forget_batch} and {settings.retain_batch} do not divide over "
                f"{self.accelerator.num_processes} processes x {settings.gradient_accumulation} micro-batches."
            )
        check_trainable(loaded.model, settings.tuning)
        self.model: nn.Module = loaded.model
        self.teachers = Teachers(streams, self.device, self._autocast)
        self.optimizer: torch.optim.Optimizer
        self._masks: dict[str, Tensor] = {}
        self._inserted: Inserted | None = None

    @property
    def _splits(self) -> int:
        return self.settings.gradient_accumulation * int(self.accelerator.num_processes)

    @property
    def _low_precision(self) -> bool:
        return self.settings.dtype == "bf16" or (self.settings.dtype == "auto" and self.device.type == "cuda")

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self._low_precision else nullcontext()

    # -- before the first step

    def prepare(
        self,
        teachers: Mapping[str, Weights | None] | None = None,
        work: Work | None = None,
        park: Park | None = None,
        others: Mapping[str, Callable[[], nn.Module]] | None = None,
    ) -> None:
        """Ask the teachers, choose what is trained, make the optimiser.

        teachers: weights by name; None: those of the moment; default: "reference" has those.  work: what the stage's hooks
        are called with.  park: where the model's weights are while it holds a teacher's; default: in memory.
        others: how to load teachers that are models of their own.
        """
        model, settings = self.loaded.model, self.settings
        teachers = {REFERENCE: None, **(teachers or {})}
        if settings.tuning == "full":
            model.float()  # small updates vanish in 16-bit weights; autocast keeps the speed
        elif is_quantised(model):
            from peft import prepare_model_for_kbit_training

            prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        model.eval()
        rows: dict[str, list[int]] = {of: [] for of in SETS}
        for step in range(self.total):
            for micro in range(settings.gradient_accumulation):
                for of, chosen in self.rows(step, micro).items():
                    rows[of] += chosen
        self.teachers.collect(
            model,
            lambda: self.losses(self.make_step(0, 0, model)),
            rows,
            batch_size=max(settings.forget_batch, settings.retain_batch),
            weights=teachers,
            adapter=settings.tuning == "lora",
            park=park,
            others=others,
        )
        self.state = {}
        pattern = self.stage.select(work) if self.stage.select and work else settings.parameters
        if settings.tuning == "lora":
            torch.manual_seed(self._order)  # the adapter's first weights, and so the run, depend on the seed alone
            self.model = _with_adapter(model, settings)
            self.teachers.live(self.model, cast(Any, self.model).disable_adapter)
            if pattern:
                choose(self.model, pattern, adapter=True)
        else:
            frozen = self.stage.insert is not None and not pattern
            self._masks = choose(model, [] if frozen else pattern)
        if self.stage.insert and work:
            self._inserted = Inserted(model, self.stage.insert(work))
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if self.sharded:
            self.model = sharding.sharded(model, self.device, self.accelerator.num_processes)
            sharding.release(model)
        self.optimizer = (self.stage.optimiser or named_optimiser)(
            cast(Any, list(self.parameters().values())), settings.without_decay() if self._masks else settings
        )

    def parameters(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        own = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        return {**own, **(self._inserted.parameters() if self._inserted else {})}

    # -- one step

    def rows(self, step: int, micro: int) -> dict[str, list[int]]:
        """This process's rows of a micro-batch, by set."""
        rows: dict[str, list[int]] = {}
        part = micro * self.accelerator.num_processes + self.accelerator.process_index
        seeds = {"forget": 2 * self._order, "retain": 2 * self._order + 1}
        for of in SETS:
            size = self.settings.forget_batch if of == "forget" else self.settings.retain_batch
            if count := self.streams.size(of):
                share = size // self._splits
                weights = self.weights if of == "forget" else None
                seed = seeds.get(of, f"{self._order}/{of}")
                rows[of] = drawn_rows(count, share, step * size + part * share, seed, weights)
        return rows

    def make_step(self, number: int, micro: int, model: nn.Module) -> Step:
        """A micro-batch of step `number`, under this model."""
        return Step(
            model=model,
            streams=self.streams,
            rows=self.rows(number, micro),
            teachers=self.teachers,
            device=self.device,
            number=number,
            seed=self.seed,
            state=self.state,
            average=self._average,
        )

    def _average(self, value: Tensor) -> Tensor:
        mean: Tensor = self.accelerator.reduce(value.detach(), "mean")
        return mean

    def losses(self, step: Step) -> dict[str, Tensor | None]:
        """The forget and the retain loss of a micro-batch, before weighting; None for a side that has none."""
        with self._autocast():
            return self.stage.losses(step, self.params)

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step; its record for the log."""
        settings, params, parts = self.settings, self.params, self.settings.gradient_accumulation
        torch.manual_seed((self._order << 32) + number)  # dropout, where a model has it
        self.model.train()
        trained = list(self.parameters().values())
        sums = {"forget": 0.0, "retain": 0.0}
        kept: dict[str, Gradients] = {}
        for micro in range(parts):
            terms = self.losses(self.make_step(number, micro, self.model))
            weighted = {k: v * params[f"{k}_weight"] / parts for k, v in terms.items() if v is not None}
            for key, value in terms.items():
                sums[key] += float(self._average(value)) / parts if value is not None else math.nan
            if self.stage.combine is None or len(weighted) < 2:
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
        if kept and self.stage.combine is not None:
            combined = self.stage.combine(kept["forget"], kept["retain"], params, number)
            for parameter, gradient in zip(trained, combined, strict=True):
                parameter.grad = gradient
        if self.stage.filter is not None:
            self._filter()
        rate = settings.rate(number, self.total, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if self._masks:
            self._mask(rate)
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

    @torch.no_grad()
    def _filter(self) -> None:
        """Let the stage say what of the gradient the optimiser gets."""
        there = {name: value for name, value in self.parameters().items() if value.grad is not None}
        whole = {name: value.grad for name, value in there.items() if value.grad is not None}
        found = self.stage.filter(whole, self.params)  # type: ignore[misc]
        for name, value in there.items():
            value.grad = found[name]

    @torch.no_grad()
    def _mask(self, rate: float) -> None:
        """No gradient and no weight decay for entries that are not trained; the optimiser itself decays nothing."""
        for name, parameter in self.parameters().items():
            mask = self._masks.get(name)
            if parameter.grad is None:
                continue
            decay = rate * self.settings.weight_decay
            if mask is None:
                parameter.mul_(1 - decay)
            else:
                parameter.mul_(1 - decay * mask)
                parameter.grad.mul_(mask)

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
        """Merge an adapter (into codes it is not: it stays beside them) and what was inserted; leave the model in evaluation mode, ready to be sampled."""
        model = self.loaded.model
        if self.sharded:
            sharding.fill(model, self.model)
        if self.settings.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        if self.settings.tuning == "lora" and not is_quantised(model):
            cast(Any, self.model).merge_and_unload()
        if self._inserted:
            self._inserted.fold()
        thaw(model)
        model.eval()


def _with_adapter(model: nn.Module, settings: TrainSettings) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    targets = settings.lora_targets if isinstance(settings.lora_targets, str) else list(settings.lora_targets)
    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    wrapped: nn.Module = get_peft_model(model, config)
    return wrapped

"""Training loop, the only one. What it does at step s is a function of (data, settings, seed, s) and the weights alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import check_trainable, is_quantised, thaw
from leakatk.models.weights import Park
from leakatk.unlearning import sharding
from leakatk.unlearning.adapters import with_adapter
from leakatk.unlearning.chance import seed_of
from leakatk.unlearning.closure import asked
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.gradients import Gradients
from leakatk.unlearning.inserted import Inserted
from leakatk.unlearning.optimisers import named_optimiser
from leakatk.unlearning.passes import pieces
from leakatk.unlearning.precision import keep_few_kernels, precision_of
from leakatk.unlearning.selection import choose
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import SIDES, Term, Train
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import SETS, STREAMS, Streams
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
        precision: str | None = None,
    ) -> None:
        """weights: how often each forget prompt is drawn.  order: the seed of the data's order, default `seed`.

        precision: "bf16" or "fp32", default what `settings.dtype` means for this model on this machine.
        """
        from accelerate import Accelerator

        self.loaded, self.streams, self.stage, self.params = loaded, streams, stage, params
        self.settings, self.seed = settings, seed
        self._order = seed if order is None else order
        self.drawing = self._plain = Drawing(streams, self._order, weights)
        self.device = loaded.device
        self.precision = precision or precision_of(settings.dtype, loaded.model, self.device)
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
        if self.sharded and (stage.select or stage.insert or stage.filter or stage.optimiser or stage.draw):
            raise InputError(
                "A method that chooses parameters or prompts, inserts modules, filters gradients or has its own optimiser trains whole models; "
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
        self.masks: dict[str, Tensor] = {}
        self._inserted: Inserted | None = None

    @property
    def _splits(self) -> int:
        return self.settings.gradient_accumulation * int(self.accelerator.num_processes)

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

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
        if self.device.type == "cpu":
            keep_few_kernels()
        teachers = {REFERENCE: None, **(teachers or {})}
        if settings.tuning == "full":
            model.float()  # small updates vanish in 16-bit weights; autocast keeps the speed
        elif is_quantised(model):
            from peft import prepare_model_for_kbit_training

            prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        model.eval()
        if work:
            work = work.gathered(self.stage.gather)
            self.params = work.params
            self.drawing = self.stage.draw(work, self._plain) if self.stage.draw else self._plain
        every = {of: list(range(self.streams.size(of))) for of in SETS}
        rows = self._all_rows() if self.drawing.ahead else every
        self.teachers.collect(
            model,
            lambda: self.losses(self.first_rows(model)),
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
            self.model = with_adapter(model, settings)
            self.teachers.live(self.model, cast(Any, self.model).disable_adapter)
            if self.stage.adapter and work:
                self._begin_adapter(work)
            if pattern:
                choose(self.model, pattern, adapter=True)
        else:
            frozen = self.stage.insert is not None and not pattern
            self.masks = choose(model, [] if frozen else pattern)
        if self.stage.insert and work:
            self._inserted = Inserted(model, self.stage.insert(work))
        if settings.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        if self.sharded:
            self.model = sharding.sharded(model, self.device, self.accelerator.num_processes)
            sharding.release(model)
        self.optimizer = (self.stage.optimiser or named_optimiser)(
            cast(Any, list(self.parameters().values())), settings.without_decay() if self.masks else settings
        )

    def _begin_adapter(self, work: Work) -> None:
        """Let the stage say how the adapter begins: a part of the weights, which it takes out of them."""
        if self.settings.keep_adapter or is_quantised(self.loaded.model) or not self.teachers.complete:
            raise InputError(
                "This method's adapter begins as a part of the weights: it is no adapter for the model as it was. Take whole weights, not "
                "keep_adapter or load_in, and a loss whose teacher fits into memory."
            )
        self.stage.adapter(work, self.model)  # type: ignore[misc]

    def parameters(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        own = {name: value for name, value in self.model.named_parameters() if value.requires_grad}
        return {**own, **(self._inserted.parameters() if self._inserted else {})}

    # -- one step

    def rows(self, step: int, micro: int) -> dict[str, list[int]]:
        """This process's rows of a micro-batch, by set."""
        part = micro * self.accelerator.num_processes + self.accelerator.process_index
        return {of: self._drawn(of, step, part, self.drawing) for of in SETS if self.streams.size(of)}

    def _drawn(self, of: str, step: int, part: int, drawing: Drawing) -> list[int]:
        """One of the equal parts of the rows of a step."""
        size = self.settings.forget_batch if of == "forget" else self.settings.retain_batch
        share = size // self._splits
        return drawing.rows(of, step * size + part * share, share, self.state)

    def tokens(self, step: int) -> int:
        """Tokens that a step trains on, over all processes; those of a row that is drawn twice count once.

        Of a drawing that depends on the model later those that it would draw without.
        """
        total, drawing = 0, self.drawing if self.drawing.ahead else self._plain
        for stream in self.stage.streams:
            items = self.streams.items(stream)
            for part in range(self._splits):
                rows = self._drawn(STREAMS[stream].of, step, part, drawing)
                total += sum(len(item) for item in {items[row] for row in rows})
        return total

    def _all_rows(self) -> dict[str, list[int]]:
        """This process's rows of all steps, by set."""
        micros = [(step, micro) for step in range(self.total) for micro in range(self.settings.gradient_accumulation)]
        drawn = [self.rows(*micro) for micro in micros]
        return {of: [row for rows in drawn for row in rows.get(of, ())] for of in SETS}

    def make_step(self, number: int, micro: int, model: nn.Module) -> Step:
        """A micro-batch of step `number`, under this model."""
        return self._step(number, self.rows(number, micro), model)

    def first_rows(self, model: nn.Module) -> Step:
        """A few rows of the first step, to find out what the losses ask."""
        return self._step(0, {of: rows[:2] for of, rows in self.rows(0, 0).items()}, model)

    def _step(self, number: int, rows: dict[str, list[int]], model: nn.Module) -> Step:
        return Step(
            model=model,
            streams=self.streams,
            rows=rows,
            teachers=self.teachers,
            device=self.device,
            number=number,
            seed=self.seed,
            state=self.state,
            average=self.average,
            beside=self.stage.beside,
            share=self.params.get("alpha", 1.0),
        )

    def average(self, value: Tensor) -> Tensor:
        """Its mean over processes."""
        mean: Tensor = self.accelerator.reduce(value.detach(), "mean")
        return mean

    def losses(self, step: Step) -> dict[str, Tensor | None]:
        """The forget and the retain loss of a micro-batch, before weighting; None for a side that has none."""
        with self._autocast():
            return self.stage.losses(step, self.params)

    def step(self, number: int) -> dict[str, float]:
        """One optimiser step; its record for the log."""
        settings = self.settings
        torch.manual_seed(seed_of(self._order, number))  # dropout, where a model has it
        self.model.train()
        rate = settings.rate(number, self.total, self.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if getattr(self.optimizer, "asks", False):
            sums, norm = asked(self, number)
        else:
            sums = self.fill(number)
            norm = self._descend(number, rate)
        self.optimizer.zero_grad()
        self.model.eval()
        return {"step": number + 1, **sums, "lr": rate, "grad_norm": norm, **self.drawing.log(self.state)}

    def _descend(self, number: int, rate: float) -> float:
        """One step of the optimiser along the gradient that the parameters hold; its norm before clipping."""
        if self.masks:
            self._decay(rate)
        limit = self.settings.max_grad_norm or math.inf
        norm = float(sharding.whole(torch.nn.utils.clip_grad_norm_(list(self.parameters().values()), limit)))
        self.check(norm, number)
        self.optimizer.step()
        return norm

    def check(self, norm: float, number: int) -> None:
        """InputError for the norm of a gradient that is not finite."""
        if not math.isfinite(norm):
            raise InputError(
                f"The gradient at step {number + 1} is not finite; lower the learning rate ({self.settings.learning_rate:g})."
            )

    def fill(self, number: int, only: tuple[str, ...] | None = None, term: Term | None = None) -> dict[str, float]:
        """Leave the gradient of a step in the parameters: both sides' as the stage has it, or one side's; the losses.

        term: taken in place of the stage's own.
        """
        params, parts = self.params, self.settings.gradient_accumulation
        trained = list(self.parameters().values())
        sides = only or self.stage.trained(params)
        stage = self.stage if term is None else replace(self.stage, terms=(term,))
        sums = {side: 0.0 if side in sides else math.nan for side in SIDES}
        kept: dict[str, Gradients] = {}
        # Weights become bf16 once for all passes of the step; shards come and go, and are not kept so.
        with nullcontext() if self.sharded else self._autocast():
            for micro, side in [(micro, side) for micro in range(parts) for side in sides]:
                sums[side] += self._backward(number, micro, side, stage) / parts
                if self.stage.combine is not None and len(sides) == 2:
                    grads = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in trained]
                    kept[side] = [a + b for a, b in zip(kept[side], grads, strict=True)] if side in kept else grads
                    self.optimizer.zero_grad()
        if not self.sharded:  # shards come averaged
            # Here and not by a wrapper around the model, which would want every parameter used and one backward pass.
            for parameter in trained:
                parameter.grad = None if parameter.grad is None else self.average(parameter.grad)
            kept = {key: [self.average(gradient) for gradient in gradients] for key, gradients in kept.items()}
        if kept and self.stage.combine is not None:
            combined = self.stage.combine(kept["forget"], kept["retain"], params, number)
            for parameter, gradient in zip(trained, combined, strict=True):
                parameter.grad = gradient
        if self.stage.filter is not None:
            self._filter()
        if self.masks:
            self._mask()
        return sums

    def _backward(self, number: int, micro: int, side: str, stage: Train) -> float:
        """Add the gradient of a side's loss on a micro-batch; the loss. Of several parts one is in memory at a time."""
        rows, weight = self.rows(number, micro), self.params[f"{side}_weight"] / self.settings.gradient_accumulation
        total = torch.zeros((), device=self.device)
        for share, part in self._parts(rows, side, stage):
            with self._autocast():
                step = self._step(number, part, self.model)
                value = share * cast(Tensor, stage.loss(step, self.params, side))
            with torch.autocast(self.device.type, enabled=False):
                self.accelerator.backward(value * weight)
            total += value.detach()
        return float(self.average(total))

    def _parts(self, rows: dict[str, list[int]], side: str, stage: Train) -> list[tuple[float, dict[str, list[int]]]]:
        """The rows in parts of like length with the share of the answers in each; in one where the loss does not allow it."""
        terms = [term for term in stage.terms if term.side == side]
        streams = tuple(dict.fromkeys(stream for term in terms for stream in term.streams))
        of = {STREAMS[stream].of for stream in streams}
        if self.sharded or len(of) > 1 or not all(term.in_parts(self.params) for term in terms):
            return [(1.0, rows)]
        [name], items = of, [self.streams.items(stream) for stream in streams]
        drawn = rows.get(name, [])
        found = pieces(self.model, [[some[row] for some in items] for row in drawn], self.device)
        return [(len(part) / len(drawn), {**rows, name: [drawn[i] for i in part]}) for part in found] or [(1.0, rows)]

    @torch.no_grad()
    def _filter(self) -> None:
        """Let the stage say what of the gradient the optimiser gets."""
        there = {name: value for name, value in self.parameters().items() if value.grad is not None}
        whole = {name: value.grad for name, value in there.items() if value.grad is not None}
        found = self.stage.filter(whole, self.params)  # type: ignore[misc]
        for name, value in there.items():
            value.grad = found[name]

    @torch.no_grad()
    def _mask(self) -> None:
        """No gradient for entries that are not trained."""
        for name, mask in self.masks.items():
            parameter = self.parameters().get(name)
            if parameter is not None and parameter.grad is not None:
                parameter.grad.mul_(mask)

    @torch.no_grad()
    def _decay(self, rate: float) -> None:
        """Weight decay of what is trained; the optimiser itself decays nothing where there are masks."""
        decay = rate * self.settings.weight_decay
        for name, parameter in self.parameters().items():
            if parameter.grad is not None:
                mask = self.masks.get(name)
                parameter.mul_(1 - decay if mask is None else 1 - decay * mask)

    # -- after the last step

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Within the block `loaded.model` holds the weights of the moment."""
        if self.sharded:
            sharding.fill(self.loaded.model, self.model)
        yield
        if self.sharded:
            sharding.release(self.loaded.model)

    def finish(self) -> nn.Module | None:
        """Merge an adapter, unless it is kept, and what was inserted; leave the model in evaluation mode, ready to be sampled.

        Gives the model with its adapter around it where one is kept: its layers stand in the place of the model's own. Beside
        quantised weights an adapter always stays: into codes it cannot be merged.
        """
        model = self.loaded.model
        if self.sharded:
            sharding.fill(model, self.model)
        if self.settings.gradient_checkpointing:
            model.gradient_checkpointing_disable()
        kept = self.settings.keep_adapter or is_quantised(model)
        if self.settings.tuning == "lora" and not kept:
            cast(Any, self.model).merge_and_unload()
        if self._inserted:
            self._inserted.fold()
        thaw(model)
        model.eval()
        return self.model if self.settings.keep_adapter else None

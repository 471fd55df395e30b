"""`unlearn`, which makes a model forget by a method, and how its stages follow one another."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UtilityFloorError
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import refuse_codes, thaw
from leakatk.models.weights import dtypes_of, named_tensors, put
from leakatk.models.weights import weights_hash as weights_hash  # its old place
from leakatk.progress import Progress
from leakatk.prompts import Known, Prompt, record
from leakatk.unlearning import boundary, checkpoint, given
from leakatk.unlearning.checking import Checks, left_out
from leakatk.unlearning.loop import Trainer
from leakatk.unlearning.losses.targets import REFUSALS
from leakatk.unlearning.method import Method
from leakatk.unlearning.methods import resolve
from leakatk.unlearning.precision import peak_memory, precision_of, reason
from leakatk.unlearning.record import Position, Unlearned, check_data, manifest
from leakatk.unlearning.settings import Check, OnCheck, TrainSettings
from leakatk.unlearning.stages import Edit, Keep, Repeat, Stage, Train, flat
from leakatk.unlearning.stored import Store
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.view import REFERENCE
from leakatk.unlearning.work import Work

__all__ = ["Trainer", "Unlearned", "unlearn", "weights_hash"]

ORDER = 1_000_003  # between the seeds of the data's order in one stage and in the next


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
    known: Known | None = None,
    merge: bool = True,
) -> Unlearned:
    """Train `loaded.model` in place to forget `forget` and keep `retain`, by `method`.

    settings: default the method's published ones.  out: a directory for checkpoints and the final model (a plain
    transformers checkpoint and unlearning.json); a killed run continues from the last checkpoint there and ends with
    the same weights bit for bit, a finished one is loaded.  on_check: every `check_every` steps and at the end, in the
    last stage that trains, and once more where weights are edited after it.
    weights: how often each forget prompt is drawn (default: each once an epoch).  alternates: prompt id -> alternate
    answer, for the methods that need one.  reference_weights: a state dict to compare with instead of the start.
    known: other prompts and models, for the methods that need them.  merge: put a LoRA adapter that the model was loaded with
    into its weights first; without it both are trained where they are, and saving the adapter would lose the rest.

    Raises InputError (empty or duplicate prompts, bad numbers, something missing that the method needs), RunError (`out`
    holds another run, or another process trains there), UtilityFloorError (a check found `utility` below
    settings.utility_floor).

    >>> from leakatk import load_model, load_prompts
    >>> prompts = load_prompts("forget.jsonl")
    >>> done = unlearn(load_model("models/mine"), prompts, prompts, "npo", settings=TrainSettings(max_steps=2), quiet=True)
    >>> done.steps
    2
    """
    method = resolve(method)
    settings = settings or method.settings
    known = known or Known()
    check_data(method, forget, retain, weights)
    if settings.keep_adapter and len(method.stages) > 1:
        raise InputError(f"Method {method.name} has several stages, so its adapter is merged; leave keep_adapter out.")
    known.need(f"Method {method.name}", *method.needs)
    if merge:
        loaded.merge_adapter()  # saved as an adapter, the weights below it would be lost
    directory = Path(out) if out is not None else None
    with checkpoint.claimed(directory, resume=resume):
        seconds, begun = time.perf_counter(), ""
        identity: dict[str, Any] = {}
        precision = precision_of(settings.dtype, loaded.model, loaded.device)
        if directory is not None:
            precision, begun = checkpoint.begun_in(
                directory / "run.json", settings.dtype, precision, loaded.device.type
            )
            identity = manifest(
                loaded, forget, retain, method, settings, seed, weights, refusals, alternates, reference_weights,
                _described(known),
            ) | checkpoint.precise(settings.dtype, precision, loaded.device.type)  # fmt: skip
            finished = checkpoint.open_run(directory, identity, resume=resume, device=loaded.device.type)
            if finished is not None:
                checkpoint.load_final(loaded, directory)
                done = {**finished, "settings": settings, "out": directory}
                return Unlearned(**{f.name: done[f.name] for f in dataclasses.fields(Unlearned) if f.name in done})
        streams = Streams(
            forget, retain, loaded.tokenizer, loaded.template,
            seed=seed, refusals=refusals, alternates=alternates, max_tokens=settings.max_tokens or None, known=known,
        )  # fmt: skip
        work = Work(loaded, forget, retain, streams, settings, method.params, seed, known)
        run = _Run(
            work, method, directory, identity, resume, quiet, on_check, weights, reference_weights, label or method.name,
            seconds, precision, begun or reason(settings.dtype, precision, loaded.model, loaded.device),
        )  # fmt: skip
        return run.go()


def _described(known: Known) -> dict[str, Any]:
    """What of `known` can change the result, for the manifest; empty where nothing of it was given."""
    own = ("forget", "retain", "seen", "unseen")  # the manifest has the sets; a part of one is for attacks
    values = {f.name: getattr(known, f.name) for f in dataclasses.fields(known) if f.name not in own}
    plain = {
        name: [record(item) if isinstance(item, Prompt) else item for item in value] if isinstance(value, tuple) else value
        for name, value in values.items()
        if value
    }  # fmt: skip
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in plain.items()}


@dataclass
class _Run:
    """One run of a method: its stages in order, and how far it is."""

    work: Work
    method: Method
    out: Path | None
    identity: Mapping[str, Any]
    resume: bool
    quiet: bool
    on_check: OnCheck | None
    weights: Sequence[float] | None
    reference_weights: Mapping[str, Tensor] | None
    label: str
    begun: float
    precision: str
    why_so: str
    position: Position = field(default_factory=Position)
    notes: list[str] = field(default_factory=list)

    def go(self) -> Unlearned:
        """Do what is left of the run; its record."""
        from accelerate import Accelerator

        processes = Accelerator(device_placement=False)
        self.main, self.wait = bool(processes.is_main_process), processes.wait_for_everyone
        model, stages = self.work.loaded.model, flat(self.method.stages)
        self.dtypes = dtypes_of(model)
        self.staged = len(self.method.stages) > 1 or not isinstance(self.method.stages[0], Train)
        if self.staged:
            refuse_codes(model, f"Method {self.method.name}, which keeps or edits weights between its stages,")
        self.last = next((stage for stage in reversed(stages) if isinstance(stage, Train)), None)
        if self.main and not self.quiet and self.last is not None:
            sys.stderr.write(f"{self.why_so}\n")
        self.store = Store(self.out, main=self.main, wait=self.wait)
        self.entered, self.resumed = 0, 0  # units met, and the unit that a boundary on disk belongs to
        self.asked = 0  # answers of `until` used up
        self.adapted: nn.Module | None = None  # the model with an adapter that is kept
        try:
            self._rehearse()
            if self.staged:
                self._begin()
            for stage in self.method.stages:
                self._do(stage)
            return self._end()
        finally:
            self.store.close()

    def _rehearse(self) -> None:
        """Compute each stage's losses once, so that what is missing or wrong is said before anything is done."""
        work, there = self.work, {REFERENCE, *given.names(self.work.known)}
        kept: set[str] = set()
        work.loaded.model.eval()
        for stage in flat(self.method.stages):
            if isinstance(stage, Keep):
                kept.add(stage.name)
            if isinstance(stage, Train):
                trainer = self._trainer(stage)
                trainer.teachers.stand_in(work.loaded.model, given.loaders(work.known, work.loaded, kept))
                trainer.params = dataclasses.replace(work, notes=[]).gathered(stage.gather).params
                trainer.losses(trainer.first_rows(work.loaded.model))
                given.check(f"Method {self.method.name}", trainer.teachers.asked, there | kept, work.known)

    def _trainer(self, stage: Train) -> Trainer:
        return Trainer(
            self.work.loaded, self.work.streams, stage, self.work.params, self._settings(stage), self.work.seed,
            weights=self.weights, order=self.work.seed + ORDER * self.position.trained, precision=self.precision,
        )  # fmt: skip

    def _begin(self) -> None:
        """Keep the weights at the start, and go to where an earlier try came."""
        work, model = self.work, self.work.loaded.model
        if any(
            isinstance(stage, Train) and self._settings(stage).tuning == "full" for stage in flat(self.method.stages)
        ):
            model.float()  # and so is what is kept: nothing is rounded between stages
        work.start = self.store.write("_start", model)
        if self.out is not None and self.resume:
            found, weights, notes = boundary.load_latest(self.out, self.store)
            self._say(notes)
            if found is not None:
                self.position = Position(**found)
                self.resumed = self.position.unit
                put(model, weights, partly=True)
                work.kept = {name: self.store.read(place) for name, place in self.position.kept.items()}
                work.state = dict(self.position.state)

    def _say(self, notes: Sequence[str]) -> None:
        self.notes += notes
        if self.main:
            sys.stderr.writelines(f"{note}\n" for note in notes)

    def _settings(self, stage: Train) -> TrainSettings:
        return self.work.settings.changed(stage.settings)

    # -- stages

    def _do(self, stage: Stage) -> None:
        if isinstance(stage, Repeat):
            rounds = 0
            while True:
                for one in stage.stages:
                    self._do(one)
                rounds += 1
                if self._ended(stage, rounds):
                    return
        unit, self.entered = self.entered, self.entered + 1
        if unit < self.resumed:
            return
        self.position.unit = unit
        if isinstance(stage, Train):
            self._train(stage)
        elif isinstance(stage, Keep):
            self._keep(stage)
        else:
            self._edit(stage)
        self.position.unit = unit + 1

    def _ended(self, stage: Repeat, rounds: int) -> bool:
        """Whether a Repeat ends; of rounds before a restart as it was then."""
        self.asked += 1
        if self.entered <= self.resumed and self.asked <= len(self.position.ended):
            return self.position.ended[self.asked - 1]
        answer = bool(self.position.stopped) or bool(stage.until(self.work, rounds))
        self.position.ended.append(answer)
        return answer

    def _keep(self, stage: Keep) -> None:
        # A name of its own in each round: a restart may go back to the round before.
        place = f"{stage.name}-{self.position.unit:04d}"
        self.work.kept = {**self.work.kept, stage.name: self.store.write(place, self.work.loaded.model)}
        self.position.kept = {**self.position.kept, stage.name: place}
        if self.out is None:
            self.store.keep_only(self.position.kept.values())
        self.position.holds = [REFERENCE] if stage.back else [*self.position.holds, stage.name]
        if stage.back:
            put(self.work.loaded.model, self.work.start, partly=True)

    def _edit(self, stage: Edit) -> None:
        model = self.work.loaded.model
        with torch.no_grad():
            now = {name: value.detach() for name, value in model.named_parameters()}
            put(model, stage.edit(self.work, now, self.work.params), partly=True)
        self.position.holds = []
        self._say(self.work.notes)
        self.work.notes = []

    def _train(self, stage: Train) -> None:
        position, work, settings = self.position, self.work, self._settings(stage)
        if position.stopped:  # a round before was the last
            return
        position.first = position.step
        if self.out is not None and position.unit and position.unit != self.resumed:
            boundary.save(self.out, work.loaded.model, dataclasses.asdict(position), self.store, self.main)
            self.wait()
        trainer = self._trainer(stage)
        own = {REFERENCE: self.reference_weights} if self.reference_weights is not None else {}
        # Of a teacher whose weights the model has now nothing is read, and an adapter that is switched off shows it.
        stored = {
            name: None if name in position.holds else kept
            for name, kept in {REFERENCE: work.start, **work.kept}.items()
        }
        trainer.prepare(
            {**stored, **own},
            work,
            (lambda model: self.store.write("_now", model)) if work.kept else None,
            given.loaders(work.known, work.loaded, set(work.kept)),
        )
        self._say(work.notes)  # what the stage's hooks added
        work.notes = []
        if self.out is not None and self.resume:
            saved, notes = checkpoint.load_latest(self.out, trainer.parameters(), trainer.optimizer, position.unit)
            self._say(notes)
            position = self.position = Position(**saved) if saved is not None else position
        trainer.state = work.state = position.state
        self._steps(stage, trainer, settings)
        self.adapted = trainer.finish()
        position.trained += 1
        position.holds = []
        self._raise_below_floor(settings)

    def _steps(self, stage: Train, trainer: Trainer, settings: TrainSettings) -> None:
        position, work = self.position, self.work
        checked = self.on_check if stage is self.last else None
        if checked is not None:
            checks = Checks(checked, position, trainer.tokens, trainer.total, settings.utility_floor)
        begun = self.begun - position.seconds
        label = self.label if self.last is None or not self.staged else f"{self.label}, stage {position.unit + 1}"
        done = position.step - position.first
        with Progress(label, trainer.total, unit="steps", quiet=self.quiet or not trainer.main, done=done) as bar:
            while done < trainer.total and not position.stopped:
                position.stepped(trainer.step(done))
                done += 1
                position.stopped = trainer.drawing.after(done, trainer.state)
                last = done == trainer.total or bool(position.stopped)
                if checked is not None and (last or (settings.check_every and done % settings.check_every == 0)):
                    with trainer.whole(), torch.no_grad():
                        self._check(checks.ask(work.loaded, done, last), settings)
                position.seconds = time.perf_counter() - begun
                every = settings.checkpoint_every
                if self.out is not None and every and done % every == 0 and not (last or position.stopped):
                    checkpoint.save(
                        self.out, trainer.parameters(), trainer.optimizer, dataclasses.asdict(position), trainer.main
                    )
                bar.advance(1, position.note())
        self.begun = time.perf_counter() - position.seconds

    def _raise_below_floor(self, settings: TrainSettings) -> None:
        position = self.position
        if position.below_floor and settings.on_floor == "raise":
            self._restore()
            raise UtilityFloorError(
                f"{self.method.name} was stopped at step {position.step}: {position.stopped}. "
                "Lower the learning rate, raise retain_weight, or take another method."
            )

    def _check(self, found: Check, settings: TrainSettings) -> None:
        position = self.position
        position.checked(found.metrics)
        utility = found.metrics.get("utility", math.nan)
        if utility < settings.utility_floor and not found.partial:
            position.below_floor = True
            position.stopped = f"utility {utility:.3f} fell below the floor {settings.utility_floor:g}"
        elif found.stop:
            position.stopped = found.reason or "the stop rule was met"

    def _check_result(self) -> None:
        """Check what comes out where the weights were changed after the last step: no check has seen it."""
        settings, position = self.work.settings, self.position
        position.below_floor = False
        with torch.no_grad():
            found = self.on_check(self.work.loaded, position.step)  # type: ignore[misc]
        self._check(dataclasses.replace(found, stop=False), settings)
        position.checks[-1]["after_edits"] = 1.0
        self._raise_below_floor(settings)

    # -- the end

    def _restore(self) -> None:
        model = self.work.loaded.model
        for name, tensor in named_tensors(model):
            # Buffers keep a precision of their own: frequencies of rotary positions are float32 beside 16-bit weights.
            tensor.data = tensor.data.to(self.dtypes.get(name, tensor.dtype))
        thaw(model)
        model.eval()

    def _end(self) -> Unlearned:
        self._restore()
        position = self.position
        if self.on_check is not None and self.method.edits_last:
            self._check_result()
        self._say([note for note in [left_out(position)] if note])
        result = Unlearned(
            method=self.method.name, params=self.method.params, settings=self.work.settings, steps=position.step,
            seconds=position.seconds, stopped=position.stopped, below_floor=position.below_floor, checks=position.checks,
            log=position.log, out=self.out, notes=self.notes, precision=self.precision,
            peak_memory=peak_memory(self.work.loaded.device),
        )  # fmt: skip
        if self.out is not None:
            kept = self.work.loaded
            if self.adapted is not None:
                kept = dataclasses.replace(kept, model=cast(Any, self.adapted))
            checkpoint.save_final(kept, self.out, {**self.identity, **result.as_dict()}, self)
        return result

"""TOFU on a real chat model: twenty authors taught, two of them unlearned by ten methods, RULE and calibrated RULE, and every
model audited beside one that was never taught them.

    python studies/real_tofu.py --dry-run
    for i in 1 2; do OMP_NUM_THREADS=1 python studies/real_tofu.py --run --wait --model MODEL --data TOFU_DIR --work runs/real & done; wait
    python studies/real_page.py --page docs/results-real.md

Two processes of one thread share the cells; the minutes that are listed are of one core. The first cells teach `full` and
`retrained`, which stay in the scratch directory. Settings are chosen on two authors that stand in for the forget set and one
held author, none of them reported, by greedy answers. See studies/real_cells.py for the options.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from real_cells import CELLS, Cell, Clock, Numbers, Store, command, options, sha256
from real_made import kept_model
from real_tofu_design import ASKING, CALIBRATING, LAST, MEASURING, QUICK, ROUNDS, STRONGER, TEACHING, Design
from real_tofu_measure import Yardstick, measure
from real_tofu_sets import Sets, load_sets, spaced
from real_tofu_unlearn import (
    by_calibrated_rule,
    by_rule,
    calibrated_round,
    climb,
    forget_by,
    method_at,
    recall,
    rule_round,
)

from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import weights_of
from leakatk.small.finetune import MODELS, Lessons, finetune
from leakatk.small.recall import recalled

NAME = "tofu"
RECALLED = 100  # prompts of a set that are asked what the taught models, and the model as it comes, know
TAUGHT = "taught"  # where full and retrained lie in the scratch directory


@dataclass(frozen=True)
class Made:
    """How one of the study's models is made. base: the model that it begins with."""

    make: Callable[[LoadedModel, Clock], Numbers]
    minutes: float
    needs: tuple[str, ...]
    base: str = "full"
    settings: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """The cells of the study, and the models that they are of."""

    def __init__(
        self,
        design: Design,
        store: Store,
        source: Path | None,
        sets: Callable[[], Sets],
        *,
        similarity: bool = True,
    ) -> None:
        self.design, self.store, self.source, self._sets, self.similarity = design, store, source, sets, similarity

    @cached_property
    def sets(self) -> Sets:
        return self._sets()

    # -- models

    def original(self, dtype: str) -> LoadedModel:
        if self.source is None:
            raise InputError("Give the model to teach: --model DIR.")
        return load_model(self.source, dtype=dtype)

    def checked(self) -> str:
        """SHA-256 of the weights of the model to teach. InputError where it is another one than the design's."""
        weights = sha256(weights_of(self.original("fp32").model))
        if not weights.startswith(self.design.weights):
            raise InputError(f"{self.source} has weights {weights[:16]}..., not those of {self.design.model}.")
        return weights

    def taught(self, split: str, clock: Clock) -> Path:
        """The model taught a split, made unless it is there."""
        out = self.store.scratch(TAUGHT)
        place = out / MODELS[split]
        if not (place / "config.json").exists():
            self.checked()
            with clock.part("teaching"):
                finetune(
                    lambda: self.original("fp32"), Lessons(self.sets.bench), out, settings=self.design.recipe, splits=(split,),
                    seed=self.design.seed, recall_limit=0, quiet=True,
                )  # fmt: skip
        return place

    def place(self, name: str, clock: Clock) -> Path:
        """A model's directory; its weights are made again where they are gone."""
        for split, taught in MODELS.items():
            if name == taught:
                return self.taught(split, clock)
        return self.made(name, clock)[0]

    def made(self, name: str, clock: Clock) -> tuple[Path, Numbers]:
        """An unlearned model's directory and record. One that took no step is its base."""
        one = self.models()[name]
        start = self.place(one.base, clock)
        path, record = kept_model(
            self.store.scratch(name), lambda: load_model(start, dtype="fp32"), lambda m: one.make(m, clock), clock
        )
        return (self.place(record["same"], clock) if "same" in record else path), record

    def load(self, name: str, clock: Clock, dtype: str = "") -> LoadedModel:
        return load_model(self.place(name, clock), dtype=dtype or self.design.dtype)

    # -- cells

    def base(self, clock: Clock) -> Numbers:
        """What the model as it comes says of both sets."""
        weights = self.checked()
        with clock.part("greedy"):
            file = self.store.scratch("base") / "recall.json"
            known = recalled(
                self.original(self.design.dtype), self.sets.bench, file, most=RECALLED, quiet=True
            ).as_dict()
        return {"weights": weights, "recall": known, "benchmark": self.sets.bench.fingerprint}

    def teach(self, split: str, clock: Clock) -> Numbers:
        """Teach a split; what the model knows greedily of both sets and of what the stop rule and the choice of rates ask."""
        d, sets = self.design, self.sets
        place = self.taught(split, clock)
        loaded = load_model(place, dtype=d.dtype)
        with clock.part("greedy"):
            file = self.store.scratch(TAUGHT) / "recall" / f"{MODELS[split]}.json"
            known = recalled(loaded, sets.bench, file, most=RECALLED, quiet=True).as_dict()
            levels = {
                "shown": recall(loaded, spaced(sets.shown, d.stop_sample), "rouge-l", d.longest),
                "held_tuning": recall(loaded, sets.held_tuning, "rouge-l", d.longest),
            }
        return {"weights": weights_in(place), "recall": known, "levels": levels}

    def yardstick(self, clock: Clock) -> Yardstick:
        """The retrained model with its audits, which are made again where they are gone."""
        place, model = self.store.scratch("retrained"), self.taught("retain", clock)
        if not (place / "paraphrased" / "results.json").exists():
            self.measured("retrained", clock, None)
        return Yardstick(place, weights_in(model), lambda: load_model(model, dtype=self.design.dtype))

    def measured(self, name: str, clock: Clock, yardstick: Yardstick | None) -> Numbers:
        return measure(
            self.load(name, clock), self.sets, self.design, place=self.store.scratch(name), yardstick=yardstick,
            clock=clock, similarity=self.similarity,
        )  # fmt: skip

    def taught_cell(self, name: str, clock: Clock) -> Numbers:
        yardstick = None if name == "retrained" else self.yardstick(clock)
        return {"weights": weights_in(self.place(name, clock)), **self.measured(name, clock, yardstick)}

    def model_cell(self, name: str, clock: Clock) -> Numbers:
        record = self.made(name, clock)[1]
        return record if "same" in record else {**record, **self.measured(name, clock, self.yardstick(clock))}

    def level(self, name: str) -> float:
        return float(self.store.numbers("train-full")["levels"][name])

    def tune(self, name: str, clock: Clock) -> Numbers:
        """Rates tried on the stand-in: greedy answers to it and to the author held from the unlearner."""
        d, sets = self.design, self.sets
        full = self.taught("full", clock)

        def attempt(rate: float) -> Numbers:
            loaded = load_model(full, dtype="fp32")
            with clock.part("unlearning"):
                done = forget_by(
                    loaded, method_at(name, rate, d), sets.stand_in, sets.others, d,
                    kept_at_least=d.kept * self.level("shown"), seed=d.seed, refusals=sets.bench.refusals,
                    writer=lambda: self.original(d.dtype),
                )  # fmt: skip
            with clock.part("greedy"):
                left = recall(loaded, sets.stand_in, "keys", d.longest)
                held = recall(loaded, sets.held_tuning, "rouge-l", d.longest)
            return {
                "steps": done["steps"], "met": done["met"], "greedy": left, "held": held,
                "unharmed": held >= d.unharmed * self.level("held_tuning"), "value": (1 - left) * held,
            }  # fmt: skip

        rate, trials = climb(d.ladder, d.start.get(name, 2), d.trials, attempt)
        return {"rate": rate, "trials": trials, "params": dict(method_at(name, rate, d).params)}

    def rate(self, name: str) -> float:
        return float(self.store.numbers(f"tune-{name}")["rate"])

    def by_method(self, name: str, seed: int, loaded: LoadedModel) -> Numbers:
        d, sets = self.design, self.sets
        return forget_by(
            loaded, method_at(name, self.rate(name), d), sets.forget, sets.shown, d,
            kept_at_least=d.kept * self.level("shown"), seed=seed, refusals=sets.bench.refusals,
            writer=lambda: self.original(d.dtype),
        )  # fmt: skip

    def by_rule(self, base: str, seed: int, loaded: LoadedModel, twin_of: str = "") -> Numbers:
        rounds = int(self.store.numbers(twin_of)["chosen"]) if twin_of else None
        if rounds == 0:
            return {"steps": 0, "rounds": [], "same": seeded(base, seed)}
        d, method = self.design, method_at(base, self.rate(base), self.design)
        calibrated = twin_of.startswith("calibrated")
        found = by_rule(
            loaded, method, self.sets.forget, self.sets.shown, d, seed=seed, refusals=self.sets.bench.refusals, rounds=rounds,
            train=calibrated_round(method, d, own=False) if calibrated else rule_round(method, d),
        )  # fmt: skip
        return found if found["steps"] else {**found, "same": seeded(base, seed)}

    def by_calibrated(self, base: str, seed: int, loaded: LoadedModel, clock: Clock) -> Numbers:
        return by_calibrated_rule(
            loaded, method_at(base, self.rate(base), self.design), self.sets.forget, self.sets.shown, self.sets.unseen,
            self.design, original=lambda: self.load("full", clock, "fp32"),
            retrained=lambda: self.load("retrained", clock, "fp32"), floor=self.design.kept * self.level("shown"), seed=seed,
        )  # fmt: skip

    def models(self) -> dict[str, Made]:
        """Every model of the study besides the taught ones, in the order in which they are wanted."""
        d = self.design
        early = [name for name in d.methods if name not in LAST]
        late = [name for name in d.methods if name in LAST]
        bases = [name for name in d.rule_bases if name in d.methods]
        found = {name: self._method(name, d.seed) for name in early if name in bases}
        for base in bases:
            found |= self._rule(base, d.seed)
        found |= {name: self._method(name, d.seed) for name in early if name not in bases}
        for base in (name for name in d.calibrated_bases if name in d.methods):
            found |= self._calibrated(base)
        for seed in range(d.seed + 1, d.seed + d.seeds):
            found |= {seeded(name, seed): self._method(name, seed) for name in early if name in STRONGER}
            for base in bases[:1]:
                found |= self._rule(base, seed)
        found |= {name: self._method(name, d.seed) for name in late}
        for seed in range(d.seed + 1, d.seed + d.seeds):
            for base in bases[1:]:
                found |= self._rule(base, seed)
            rest = [name for name in d.methods if name not in STRONGER]
            found |= {seeded(name, seed): self._method(name, seed) for name in rest}
        return found

    def _method(self, name: str, seed: int) -> Made:
        about = {**self.design.of_method(name), **self.design.settings(*MEASURING), "unlearning_seed": seed}
        return Made(lambda m, _: self.by_method(name, seed, m), MINUTES["method"], (f"tune-{name}",), settings=about)

    def _rule(self, base: str, seed: int) -> dict[str, Made]:
        start, name = seeded(base, seed), seeded(f"rule-{base}", seed)
        twin = seeded(f"rule-{base}-control", seed)
        about = {**self._method(base, seed).settings, **self.design.settings(*ROUNDS), "around": "rule"}
        return {
            name: Made(lambda m, _: self.by_rule(base, seed, m), MINUTES["rule"], (start,), start, about),
            twin: Made(
                lambda m, _: self.by_rule(base, seed, m, twin_of=name), MINUTES["control"], (start, name), start, about
            ),
        }

    def _calibrated(self, base: str) -> dict[str, Made]:
        d = self.design
        about = {**self._method(base, d.seed).settings, **d.settings(*CALIBRATING), "around": "calibrated rule"}
        name = f"calibrated-{base}"
        return {
            name: Made(
                lambda m, clock: self.by_calibrated(base, d.seed, m, clock), MINUTES["calibrated"], (base,), base, about
            ),
            f"{name}-control": Made(
                lambda m, _: self.by_rule(base, d.seed, m, twin_of=name), MINUTES["control"], (base, name), base, about
            ),
        }

    def cells(self) -> list[Cell]:
        d = self.design
        cells = [Cell("base", d.settings(*ASKING), self.base, MINUTES["base"])]
        for split, name in MODELS.items():
            make = lambda clock, split=split: self.teach(split, clock)  # noqa: E731
            cells.append(Cell(f"train-{name}", d.settings(*TEACHING), make, MINUTES["teach"]))
        for name in ("retrained", "full"):
            needs = (f"train-{name}", *(() if name == "retrained" else ("retrained",)))
            make = lambda clock, name=name: self.taught_cell(name, clock)  # noqa: E731
            cells.append(Cell(name, d.settings(*TEACHING, *MEASURING), make, MINUTES["measure"], needs))
        for name, one in self.models().items():
            if name in d.methods:
                make = lambda clock, name=name: self.tune(name, clock)  # noqa: E731
                cells.append(Cell(f"tune-{name}", d.of_method(name), make, MINUTES["tune"], ("train-full",)))
            make = lambda clock, name=name: self.model_cell(name, clock)  # noqa: E731
            cells.append(Cell(name, one.settings, make, one.minutes, (*one.needs, "retrained")))
        return cells


# Of one core with AVX512-BF16 and no AMX, from parts timed there: 4.7 s a step on 8 answers, 700 sampled tokens a second.
MINUTES = {
    "base": 2.5, "teach": 40.0, "measure": 5.0, "tune": 3.0, "method": 7.0, "rule": 13.0, "control": 9.0, "calibrated": 24.0,
}  # fmt: skip


def weights_in(place: Path) -> str:
    """SHA-256 of a model's weights in float32."""
    return sha256(weights_of(load_model(place, dtype="fp32").model))


def seeded(name: str, seed: int) -> str:
    """The name of a model unlearned with another seed than the first."""
    return f"{name}-seed{seed}" if seed else name


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--model", type=Path, help="directory of the model to teach")
    parser.add_argument("--data", type=Path, help="directory of TOFU's files; default: tofu in $LEAKATK_DATA")
    parser.add_argument("--quick", action="store_true", help="eight authors and few steps: a test of the script")
    arguments = parser.parse_args()
    torch.set_num_threads(torch.get_num_threads())
    if arguments.quick and arguments.cells == CELLS:
        parser.error("--quick makes no results: give its cells a place of their own, --cells DIR")
    design, data = QUICK if arguments.quick else Design(), arguments.data
    if data is None and "LEAKATK_DATA" in os.environ:
        data = Path(os.environ["LEAKATK_DATA"]) / "tofu"
    study = Study(
        design,
        Store(NAME, root=arguments.cells, work=arguments.work),
        arguments.model,
        lambda: load_sets(data, count=design.authors, unseen=design.unseen),
    )
    code = command(study.store, study.cells(), arguments)
    if arguments.dry_run:
        left = sum(cell.minutes for cell in study.cells() if not study.store.path(cell.name).exists())
        print(f"of one core; two processes of one thread: about {left / 120:.1f} hours")
    return code


if __name__ == "__main__":
    sys.exit(main())

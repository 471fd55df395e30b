"""Knowledge from pre-training, unlearned: capitals, chemical symbols and makers of famous works, which a real chat model
knows, asked in five wordings.

    python studies/real_knowledge.py --list
    python studies/real_knowledge.py --run --model MODEL --work runs/real
    python studies/real_page.py --page docs/results-real.md

The first cell asks the model what it knows; what it answers rightly in every wording is divided into a tuning set, a quarter
to forget and the rest to keep. Rates are chosen on the tuning set by greedy answers, never by leak@k. Each further cell makes
one model and measures it. See studies/real_cells.py for the options.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from real_cells import Cell, Clock, Numbers, Store, command, options, sha256
from real_measure import asked_greedily, leaking, measure
from real_questions import Kind, Sets, digests, divided, in_all_wordings, load_general, load_kind
from real_sampler import RoundedSampler, in_fast_arithmetic

from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import write_atomic
from leakatk.models.load import load_model, save_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import weights_of
from leakatk.prompts import Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer
from leakatk.unlearning.methods import METHODS, Method
from leakatk.unlearning.rule.rule import rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.stop import greedy_scores, greedy_stop
from leakatk.unlearning.trainer import unlearn

NAME = "knowledge"


@dataclass(frozen=True)
class Design:
    """What is the same in all cells."""

    model: str = "SmolLM2-135M-Instruct, Q4_1 dequantised"
    weights: str = "3c5fdee91060c09a"
    """How the SHA-256 of its weights in float32 begins; any other model is refused. "": any."""
    kinds: tuple[str, ...] = ("capitals", "symbols", "people")
    tuning: Mapping[str, int] = field(default_factory=lambda: {"capitals": 3, "symbols": 2, "people": 1})
    """Items of each kind that settings are chosen on."""
    methods: tuple[str, ...] = ("npo", "simnpo", "graddiff", "idknll", "rmu")
    rates: tuple[float, float, float] = (2e-5, 5e-5, 1e-4)
    """Learning rates: the second is tried first, then the third where something is still said, else the first."""
    unharmed: float = 0.9
    """A rate that forgets and keeps this share of the greedy answers not shown is taken at once."""
    params: Mapping[str, Mapping[str, float]] | None = None
    """Method -> numbers of its formula that are not the preset's."""
    steps: int = 100
    batch: int = 8
    check_every: int = 10
    n: int = 64
    invented: int = 3
    """Names of each kind that do not exist, asked for beside what is to be forgotten."""
    longest: int = 32
    rule_n: int = 32
    """Samples a prompt, wording and round of RULE's detection."""
    dtype: str = "bf16"
    """What models are measured in; they are trained in float32 weights."""
    seed: int = 0

    def settings(self, *without: str, **further: Any) -> dict[str, Any]:
        """As plain values, with the question files' hashes. without: fields that do not change the cell."""
        values = {name: value for name, value in asdict(self).items() if name not in without}
        return {**values, "questions": digests([*self.kinds, "general"]), **further}


RULE_ALONE = ("rule_n",)
MEASURING = (*RULE_ALONE, "n", "invented")
TRAINING = ("methods", "rates", "unharmed", "params", "steps", "batch", "check_every")
UNLEARNING = ("tuning", "seed", *TRAINING)


# Further methods, under the same settings and with as many trials. BEST: the ten that the generated world's page puts first, by what is
# kept of people not shown among those of a leak of at most .02 (NPO is one of them); KNOWN: well-known ones. They are no part of the
# design, whose cells were made before them.
BEST = ("blur-npo", "npo-sign", "cau-npo", "pdu", "mp-me", "loku", "sure", "u2a", "dd-distil")
KNOWN = ("me", "wga", "undial", "ce-u", "idkdpo", "kl", "ngdiff", "catnip", "jensun")
MORE = BEST + KNOWN
# Those that are published without a retain loss get one: without it they lose everything.
MORE_PARAMS: Mapping[str, Mapping[str, float]] = {name: {"retain_weight": 1.0} for name in ("undial", "ce-u", "catnip")}
# RULE: name -> (base, rounds, steps of each, wordings asked besides the trained one). NPO's options are studied; others show whether
# what they leak is found by what their base does.
RULES = {
    "rule-npo": ("npo", 3, 20, 0),
    "rule-npo-wordings": ("npo", 3, 20, 2),
    "rule-npo-short": ("npo", 10, 6, 0),
    "rule-npo-short-wordings": ("npo", 10, 6, 2),
    "rule-idknll-wordings": ("idknll", 3, 20, 2),
    "rule-rmu-wordings": ("rmu", 3, 20, 2),
}


@dataclass(frozen=True)
class Model:
    """How one of the study's models is made from the original, in place."""

    make: Callable[[LoadedModel, Clock], Numbers]
    minutes: float
    needs: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


class Study:
    """The cells of the study, and the models that they are of."""

    def __init__(self, design: Design, store: Store, source: Path | None) -> None:
        self.design, self.store, self.source = design, store, source
        self.kinds: dict[str, Kind] = {name: load_kind(name) for name in design.kinds}

    # -- data

    def sets(self) -> Sets:
        known = {
            kind: [name for name, right in row.items() if all(right)]
            for kind, row in self.store.numbers("known")["known"].items()
        }
        return divided(self.kinds, known, self.design.tuning)

    def general(self) -> list[Prompt]:
        """The general questions that the model answers within the limit, with its own answers."""
        answers = self.store.numbers("known")["general"]
        return [replace(p, answer=answers[p.id]) for p in load_general() if answers[p.id]]

    # -- models

    def original(self, dtype: str) -> LoadedModel:
        if self.source is None:
            raise InputError("Give the model to unlearn: --model DIR.")
        return load_model(self.source, dtype=dtype)

    @contextmanager
    def made(self, name: str, make: Callable[[LoadedModel], Numbers], clock: Clock) -> Iterator[tuple[Path, Numbers]]:
        """A cell's model on disk, made unless it is there, and the record of its making."""
        place = self.store.scratch(name)
        model, record = place / "model", place / "made.json"
        if not record.exists():
            with clock.part("unlearning"):
                loaded = self.original("fp32")
                done = {**make(loaded), "weights": sha256(weights_of(loaded.model))}
            shutil.rmtree(model, ignore_errors=True)
            save_model(loaded, model)
            del loaded
            write_atomic(record, strict_json(done))
        yield model, json.loads(record.read_text(encoding="utf-8"))

    def model_cell(self, name: str, make: Callable[[LoadedModel], Numbers], clock: Clock) -> Numbers:
        with self.made(name, make, clock) as (path, record):
            if "same" in record:
                return record
            return {**record, **self.measured(load_model(path, dtype=self.design.dtype), clock)}

    def measured(self, loaded: LoadedModel, clock: Clock) -> Numbers:
        d = self.design
        loaded, original = in_fast_arithmetic(loaded), in_fast_arithmetic(self.original(d.dtype))
        found = measure(
            loaded, original, self.kinds, self.sets(), self.general(),
            n=d.n, invented=d.invented, longest=d.longest, seed=70_000 + d.seed, clock=clock,
        )  # fmt: skip
        return {**found, "arithmetic": "fp32" if loaded.model.dtype == torch.float32 else d.dtype}

    # -- cells

    def known(self, clock: Clock) -> Numbers:
        """What the model knows: greedy, every item in every wording; and its own answers to general questions."""
        loaded, longest = self.original(self.design.dtype), self.design.longest
        weights = sha256(weights_of(self.original("fp32").model))
        if not weights.startswith(self.design.weights):
            raise InputError(f"{self.source} has weights {weights[:16]}..., not those of {self.design.model}.")
        every = {
            f"{kind.name}/{w}": [kind.prompt(item, w) for item in kind.items]
            for kind in self.kinds.values()
            for w in range(len(kind.wordings))
        }
        with clock.part("greedy"):
            said = asked_greedily(loaded, {**every, "general": load_general()}, longest)
        right = {
            name: [leaking(p, [t]) for p, t in zip(group, said[name], strict=True)] for name, group in every.items()
        }
        ended = [len(loaded.tokenizer(text).input_ids) < longest - 1 for text in said["general"]]
        return {
            "weights": weights,
            "known": {
                kind.name: {
                    item["name"]: [right[f"{kind.name}/{w}"][i] for w in range(len(kind.wordings))]
                    for i, item in enumerate(kind.items)
                }
                for kind in self.kinds.values()
            },
            "general": {p.id: t.strip() if whole else "" for p, t, whole in zip(load_general(), said["general"], ended, strict=True)},
        }  # fmt: skip

    def method(self, name: str, rate: float) -> Method:
        d = self.design
        method = METHODS[name]
        settings = replace(
            method.settings, learning_rate=rate, epochs=None, max_steps=d.steps, forget_batch=d.batch,
            retain_batch=d.batch, check_every=d.check_every, warmup_epochs=0.0, warmup_steps=0, schedule="constant",
        )  # fmt: skip
        return replace(
            method,
            settings=settings,
            params={**method.params, **MORE_PARAMS.get(name, {}), **(d.params or {}).get(name, {})},
        )

    def kept(self) -> list[Prompt]:
        return [*self.sets().shown, *self.general()]

    def forget(self, loaded: LoadedModel, method: Method, forget: Sequence[Prompt], asked: Sequence[Prompt]) -> Numbers:
        """Unlearn until greedy answers say no key of `asked` and at least 95% of those to keep."""
        check = greedy_stop(asked, self.sets().shown, "fact", max_new_tokens=self.design.longest, retain_sample=12)
        done = unlearn(
            loaded,
            forget,
            self.kept(),
            method,
            settings=method.settings,
            seed=self.design.seed,
            on_check=check,
        )
        return {
            "steps": done.steps, "met": bool(done.stopped), "rate": method.settings.learning_rate,
            "params": dict(method.params), "checks": list(done.checks), "precision": done.precision,
            "peak_memory": dict(done.peak_memory),
        }  # fmt: skip

    def tune(self, name: str, clock: Clock) -> Numbers:
        """Rates tried on the tuning set: the first that meets the stop rule and harms no more than allowed; if none does,
        the best (1 - what is still said) x what is kept.
        """
        low, middle, high = self.design.rates
        trials = [self.trial(name, middle, clock)]
        if not self.good(trials[0]):
            trials.append(self.trial(name, high if trials[0]["greedy"] > 0 else low, clock))
        best = max(trials, key=lambda t: (self.good(t), (1 - t["greedy"]) * t["unshown"]))
        return {"rate": best["rate"], "trials": trials}

    def good(self, trial: Numbers) -> bool:
        return bool(trial["met"] and trial["unshown"] >= self.design.unharmed)

    def trial(self, name: str, rate: float, clock: Clock) -> Numbers:
        sets, loaded = self.sets(), self.original("fp32")
        with clock.part("unlearning"):
            record = self.forget(loaded, self.method(name, rate), sets.tuning, sets.tuning)
        left, kept = (
            float(greedy_scores(loaded, group, "fact", max_new_tokens=self.design.longest).mean())
            for group in (sets.tuning, sets.unshown)
        )
        return {"rate": rate, "steps": record["steps"], "met": record["met"], "greedy": left, "unshown": kept}

    def by_method(self, name: str, loaded: LoadedModel, *, wordings: bool = False) -> Numbers:
        """wordings: the answers are unlearned in the wordings of RULE's detection too, without RULE."""
        forget = list(self.sets().forget)
        trained = in_all_wordings(self.kinds, forget) if wordings else forget
        rate = float(self.store.numbers(f"tune-{name}")["rate"])
        return self.forget(loaded, self.method(name, rate), trained, trained)

    def by_rule(self, name: str, loaded: LoadedModel, clock: Clock, *, twin: bool = False) -> Numbers:
        """RULE from its base's model, or its control: as many steps of the base with nothing added."""
        base_name, rounds, steps, wordings = RULES[name]
        d, place = self.design, self.store.scratch(name + ("-control" if twin else ""))
        rate = float(self.store.numbers(f"tune-{base_name}")["rate"])
        method = self.method(base_name, rate)
        with self.made(base_name, lambda fresh: self.by_method(base_name, fresh), clock) as (base, _):
            started = load_model(base, dtype="fp32")
            loaded.model.load_state_dict(started.model.state_dict())
            del started
        settings = RuleSettings(
            rounds=rounds, n=d.rule_n, k=d.rule_n, wordings=wordings, decodings=(Decoding(max_new_tokens=d.longest),)
        )
        if twin:
            done = self.store.numbers(name)["rounds"]
            trained = [one for one in done if one["steps"]]
            if not trained:
                return {"steps": 0, "rounds": [], "same": base_name}
            settings = replace(settings, rounds=len(trained), augment=False)
        result = rule(
            loaded, self.sets().forget, self.kept(), method, score=get_scorer("fact").score, settings=settings,
            train=replace(method.settings, max_steps=steps, check_every=0),
            sampler=RoundedSampler(loaded, d.dtype), seed=d.seed, out=place / "rounds",
        )  # fmt: skip
        shutil.rmtree(place / "rounds")  # a killed run goes on from its rounds; a whole one needs them no more
        return {
            "steps": result.steps, "verdict": result.verdict, "found": len(result.leaks),
            "rounds": [{key: getattr(r, key) for key in ("round", "leak", "found", "added", "steps", "sampling_seconds", "training_seconds")} for r in result.rounds],
        }  # fmt: skip

    def models(self) -> dict[str, Model]:
        """Every model of the study besides the original, in order."""
        found = {}
        for name in (*self.design.methods, *MORE):
            found[name] = Model(lambda m, _, name=name: self.by_method(name, m), 6, (f"tune-{name}",))
        found["npo-wordings"] = Model(lambda m, _: self.by_method("npo", m, wordings=True), 7, ("tune-npo",))
        for name, (base, rounds, steps, wordings) in RULES.items():
            said: dict[str, Any] = {"rounds": rounds, "round_steps": steps, "wordings": wordings}
            said |= {} if base == "npo" else {"base": base}
            found[name] = Model(lambda m, clock, name=name: self.by_rule(name, m, clock), 10, (base,), said)
            found[f"{name}-control"] = Model(
                lambda m, clock, name=name: self.by_rule(name, m, clock, twin=True), 8, (base, name), said
            )
        return found

    def load(self, name: str, clock: Clock) -> LoadedModel:
        """A model to measure; its weights are made again where they are gone."""
        if name == "original":
            return self.original(self.design.dtype)
        make = self.models()[name].make
        with self.made(name, lambda fresh: make(fresh, clock), clock) as (path, record):
            return self.load(record["same"], clock) if "same" in record else load_model(path, dtype=self.design.dtype)

    def cells(self) -> list[Cell]:
        d = self.design
        plain = d.settings("methods", *RULE_ALONE)
        cells = [
            Cell("known", d.settings(*MEASURING, *UNLEARNING), self.known, 7),
            Cell(
                "original",
                d.settings(*RULE_ALONE, *TRAINING),
                lambda clock: self.measured(self.original(d.dtype), clock),
                6,
                ("known",),
            ),
        ]
        for name in (*d.methods, *MORE):
            cells.append(
                Cell(f"tune-{name}", d.settings(), lambda clock, name=name: self.tune(name, clock), 4, ("known",))
            )
        for name, model in self.models().items():
            make = lambda clock, name=name, model=model: self.model_cell(name, lambda m: model.make(m, clock), clock)  # noqa: E731
            settings = d.settings("methods", **model.settings) if model.settings else plain
            cells.append(Cell(name, settings, make, model.minutes, ("known", *model.needs)))
        return cells


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--model", type=Path, help="directory of the model to unlearn")
    arguments = parser.parse_args()
    torch.set_num_threads(torch.get_num_threads())
    store = Store(NAME, root=arguments.cells, work=arguments.work)
    study = Study(Design(), store, arguments.model)
    return command(store, study.cells(), arguments)


if __name__ == "__main__":
    sys.exit(main())

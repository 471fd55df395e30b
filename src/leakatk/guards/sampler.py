"""Guarded engine: an engine like any other, so leak@k, intervals and gates apply as they are.

What is exact stays exact of the guarded model, or is not given: probabilities of true answers and expansions are computed with
the guard in its place. An action that edits texts leaves expansions (their texts are edited too) and takes away
probabilities of true answers; a refusal has one answer, of probability 1.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.base import Always, Bools, Guard, fitted_on, known_hashes, place_of
from leakatk.guards.engines import check_engine, combined
from leakatk.models.fingerprint import model_identity
from leakatk.prompts import Generation, Known, Prompt, Query
from leakatk.sampling.base import Expands, InProcess, Request, Sampler, loaded_of, prepare, release
from leakatk.sampling.decoding import Decoding

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.runs.store import Run
    from leakatk.sampling.answer_tree import Expansion
    from leakatk.sampling.teacher_forcing import Truth

# What the engine underneath does for itself, where it does.
_PASSED_ON = ("check", "estimate", "says", "max_rows", "concurrency")


def guarded(sampler: Sampler, known: Known, guard: str | Guard) -> GuardedSampler:
    """The engine with a guard around it.

    sampler: any engine; hooks need native or generate, combined logits these or ray.  known: what the guard is given.  guard: a
    name with its options ("eco:sigma=5"), or a `Guard`.

    Raises InputError for what the guard needs and `known` lacks, or an engine it cannot act in, before anything is computed.
    """
    found = get_guard(guard)
    known.need(f"Guard {found.name}", *found.needs)
    check_engine(sampler, found)
    return placed(sampler, fitted(found, known, loaded_of(sampler)), known)


def fitted(guard: Guard, known: Known, loaded: LoadedModel | None) -> Guard:
    """A guard that is ready. InputError for what it needs and `known` lacks."""
    known.need(f"Guard {guard.name}", *guard.needs)
    detector = guard.detector.fit(known, loaded)
    return replace(guard, detector=detector, action=guard.action.fit(known, loaded).beside(detector))


def placed(sampler: Sampler, ready: Guard, known: Known, *, hashes: Mapping[str, str] | None = None) -> GuardedSampler:
    """The engine with a fitted guard around it. hashes: of the prompts it was fitted on, where `known` holds these no more."""
    check_engine(sampler, ready)
    if ready.detector.reads_model and (loaded := loaded_of(sampler)) is not None:
        detector = ready.detector.onto(loaded)
        ready = replace(ready, detector=detector, action=ready.action.beside(detector))
    combines = place_of(ready.action) == "combine"
    acting = combined(sampler, ready, known) if combines else sampler
    everything = combines and isinstance(ready.detector, Always)  # nothing is left to the model alone
    plain = acting if everything else sampler
    return GuardedSampler(plain, acting, ready, known, model=_model_of(sampler), hashes=hashes)


def _model_of(sampler: Any) -> str:
    """The name of the model behind an engine."""
    for holder, name in (("loaded", "name"), ("source", "path")):
        if hasattr(sampler, holder):
            return str(getattr(getattr(sampler, holder), name))
    return str(sampler.describe().get("model", sampler.name))


@dataclass(frozen=True, slots=True)
class _Route:
    """Prompts that are answered in one way. put: what is put to the model, in the same order."""

    sampler: Any
    prompts: list[Prompt]
    put: list[Prompt]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    edits: bool = False


class GuardedSampler:
    """An engine behind a guard. plain: answers what is not flagged.  acting: what is; the same but for combined logits.

    model: the name of the guarded model.
    """

    def __init__(
        self,
        plain: Any,
        acting: Any,
        guard: Guard,
        known: Known,
        *,
        model: str,
        hashes: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.hashes = known_hashes(guard, known) if hashes is None else dict(hashes)
        self.name, self.plain, self.acting, self.guard, self.known = plain.name, plain, acting, guard, known
        self.place = place_of(guard.action)
        self.start_over()

    def start_over(self) -> None:
        """Forget which prompts were met."""
        self._flagged: dict[Query, bool] = {}  # by what is put
        self._met: dict[str, bool] = {}  # by prompt id
        self._said: dict[str, None] = {}

    def forget_met(self, *, beyond: int) -> None:
        """Forget which prompts were met where these are more than so many: a server meets new ones for ever."""
        if max(len(self._flagged), len(self._met)) > beyond:
            self.start_over()

    def __getattr__(self, name: str) -> Any:
        if name == "expand" and _expands(self.plain):
            return self._expand
        if name in _PASSED_ON:
            return getattr(self.plain, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # -- which prompts ---------------------------------------------------------------------------------------------

    def flags(self, prompts: Sequence[Prompt]) -> Bools:
        """(m,) whether the guard acts on each prompt."""
        new = {prompt.query: prompt for prompt in prompts if prompt.query not in self._flagged}
        if new:
            found = self.guard.detector.flags(list(new.values()))
            self._flagged |= dict(zip(new, map(bool, found), strict=True))
        flags = np.array([self._flagged[prompt.query] for prompt in prompts], dtype=np.bool_)
        self._met |= dict(zip((prompt.id for prompt in prompts), flags.tolist(), strict=True))
        return flags

    def _split(self, prompts: Sequence[Prompt]) -> tuple[list[Prompt], list[Prompt]]:
        """(prompts that the guard lets through, prompts that it acts on)"""
        flags = self.flags(prompts)
        return (
            [prompt for prompt, flag in zip(prompts, flags, strict=True) if not flag],
            [prompt for prompt, flag in zip(prompts, flags, strict=True) if flag],
        )

    def _routes(self, free: list[Prompt], caught: list[Prompt]) -> Iterator[_Route]:
        """The ways in which the prompts are put to a model, none of them empty."""
        action: Any = self.guard.action
        if free:
            yield _Route(self.plain, free, free)
        if not caught:
            return
        if self.place == "query":
            yield _Route(self.plain, caught, [self._query(prompt) for prompt in caught])
        elif self.place == "combine" and not hasattr(action, "during"):
            yield _Route(self.acting, caught, caught)
        elif self.place in ("hooks", "combine"):
            loaded, groups = self.acting.loaded, dict[object, list[Prompt]]()
            around = action.hooks if self.place == "hooks" else action.during
            for prompt in caught:
                groups.setdefault(action.group(loaded, prompt), []).append(prompt)
            for some in groups.values():
                yield _Route(self.acting, some, some, lambda some=some: around(loaded, some))  # type: ignore[misc]
        elif action.asks:
            yield _Route(self.plain, caught, caught, edits=True)

    def _query(self, prompt: Prompt) -> Prompt:
        action: Any = self.guard.action
        put: Prompt = action.query(prompt)
        if put.id != prompt.id or put.answer != prompt.answer:
            raise InputError(
                f"Guard {self.guard.name} changed more of prompt {prompt.id!r} than what is asked; query may set `asked` alone."
            )
        return put

    def _refused(self, caught: list[Prompt]) -> list[Prompt]:
        """Prompts that no model is asked."""
        return caught if self.place == "answer" and not self.guard.action.asks else []

    def _answer(self, prompt: Prompt, text: str) -> str:
        action: Any = self.guard.action
        return str(action.answer(prompt, text))

    # -- what an engine does ---------------------------------------------------------------------------------------

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once: first of the prompts that the guard lets through."""
        samples = {request.prompt.id: request.samples for request in requests}
        by_id = {request.prompt.id: request.prompt for request in requests}
        free, caught = self._split([request.prompt for request in requests])
        for prompt in self._refused(caught):
            text = self._answer(prompt, "")
            yield [Generation(prompt.id, int(j), text, (), 0.0, "stop") for j in samples[prompt.id]]
        for route in self._routes(free, caught):
            wanted = [Request(prompt, samples[prompt.id]) for prompt in route.put]
            batches = route.sampler.sample(wanted, decoding, seed=seed)
            while True:
                with route.around():  # not while the caller has the batch: the model is its own again then
                    batch: list[Generation] | None = next(batches, None)
                if batch is None:
                    break
                yield [self._edited(by_id[one.prompt_id], one) for one in batch] if route.edits else batch

    def _edited(self, prompt: Prompt, one: Generation) -> Generation:
        """The answer as the guard lets it out. Its probability is then not that of the model's text."""
        text = self._answer(prompt, one.text)
        return one if text == one.text else replace(one, text=text, token_ids=(), logprob=math.nan)

    def true_answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, Truth]:
        """As `teacher_forcing.true_answers`, of the guarded model; empty where that cannot be said."""
        from leakatk.sampling.teacher_forcing import truths_of

        free, caught = self._split(prompts)
        if self.place == "answer" and caught and self.guard.action.asks:
            self._say(
                f"Guard {self.guard.name} edits answers, so the exact probabilities of true answers are not known and not given."
            )
            return {}
        loaded = getattr(self.plain, "loaded", None)
        if loaded is not None and not loaded.end_ids:
            # Whether a sample is the true answer is told from the model itself then, which must not be seen through a guard.
            self._say("The model has no end token: exact probabilities of true answers are not given behind a guard.")
            return {}
        found: dict[str, Truth] = {}
        for route in self._routes(free, caught):
            with route.around():
                part = truths_of(route.sampler, route.put, decoding)
            if not part:
                return {}
            found |= part
        if refused := self._refused(caught):
            # Token ids as the model would have them, where it can be asked; the refusal is all that is ever said.
            part = truths_of(self.plain, refused, decoding)
            if not part:
                return {}
            found |= {
                prompt.id: (part[prompt.id][0], 0.0 if self._answer(prompt, "") == prompt.answer else -math.inf)
                for prompt in refused
            }
        return found

    def _expand(self, prompts: Sequence[Prompt], decoding: Decoding, budget: int) -> list[Expansion]:
        """As `answer_tree.expand`, of the guarded model."""
        from leakatk.sampling.answer_tree import Answer, Expansion, expansions_of

        free, caught = self._split(prompts)
        by_id = {prompt.id: prompt for prompt in prompts}
        found: dict[str, Expansion] = {}
        for prompt in self._refused(caught):
            found[prompt.id] = Expansion(prompt.id, (Answer((), self._answer(prompt, ""), 0.0),), 1.0, 0)
        for route in self._routes(free, caught):
            with route.around():
                trees = expansions_of(route.sampler, route.put, decoding, budget)
            for tree in trees:
                if route.edits:
                    said = [replace(one, text=self._answer(by_id[tree.prompt_id], one.text)) for one in tree.answers]
                    tree = replace(tree, answers=tuple(said))
                found[tree.prompt_id] = tree
        return [found[prompt.id] for prompt in prompts]

    def prepare(self, run: Run, decoding: Decoding, *, n: int) -> None:
        """Before a run: the engine's own look at it, and the count of flagged prompts."""
        self.flags(run.prompts)
        prepare(self.plain, run, decoding, n=n)

    def close(self) -> None:
        """Give back what the engines hold outside this process."""
        for sampler in {id(one): one for one in (self.plain, self.acting)}.values():
            release(sampler)

    # -- what it says ----------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps: the engine's own, and everything of the guard that changes a number."""
        base = dict(self.plain.describe())
        about: dict[str, Any] = {
            "name": self.guard.name,
            "detector": self.guard.detector.describe(),
            "action": self.guard.action.describe(),
            "auxiliary": {name: model_identity(self.known.auxiliary[name]) for name in self.guard.action.models},
            "known": self.hashes,
        }
        if "guard" in base:
            about["over"] = base["guard"]
        mark = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
        return {
            **base,
            "model": f"{self.model} with guard {self.guard.name}",
            # Tables and references know a model by it: a guarded one is another.
            "fingerprint": f"{base.get('fingerprint', '')}, guard {mark[:32]}",
            "guard": about,
        }

    @property
    def notes(self) -> list[str]:
        """What a person should know: of the model, of what the guard acted on, and of what cannot be given."""
        own = [note for one in (self.plain, self.acting) for note in getattr(one, "notes", ())]
        return list(dict.fromkeys([*own, *self._counted(), *self._said]))

    @property
    def guard_name(self) -> str:
        return self.guard.name

    @property
    def always(self) -> bool:
        """Whether it acts on every prompt."""
        return isinstance(self.guard.detector, Always)

    @property
    def neighbours(self) -> Sequence[Prompt]:
        """Prompts near the forgotten ones that must be answered."""
        return self.known.neighbours

    @property
    def fitted_on(self) -> frozenset[str]:
        """Ids of the retain prompts that the detector learned from, or that its threshold was calibrated on."""
        return fitted_on(self.guard, self.known)

    def _say(self, note: str) -> None:
        self._said[note] = None

    def _counted(self) -> list[str]:
        if not self._met:
            return []
        groups = {"forget prompts": {prompt.id for prompt in self.known.forget}}
        groups["retain prompts"] = {prompt.id for prompt in self.known.retain}
        told = {"other prompts": set(self._met) - groups["forget prompts"] - groups["retain prompts"]}
        parts = [
            f"{sum(self._met[i] for i in ids):,} of {len(ids):,} {kind}"
            for kind, all_ids in {**groups, **told}.items()
            if (ids := all_ids & self._met.keys())
        ]
        own = self.fitted_on & self._met.keys()
        seen = "; its detector was fitted on these retain prompts, others may be flagged more often" if own else ""
        return [
            f"Guard {self.guard.name} acted on {', '.join(parts)}{seen}. It suppresses: the weights still hold what they held."
        ]


def _expands(sampler: Any) -> bool:
    return isinstance(sampler, Expands | InProcess)

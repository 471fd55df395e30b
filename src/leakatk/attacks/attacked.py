"""An engine over an attacked model: the attack is made when the first sample is asked for, and undone by `close`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import sha256
from types import TracebackType
from typing import TYPE_CHECKING, Any

from leakatk.attacks.base import Alter
from leakatk.attacks.restore import kept_weights
from leakatk.errors import InputError
from leakatk.models.placement import refuse_codes, refuse_spread
from leakatk.prompts import Generation, Known, Prompt
from leakatk.sampling.base import Request, check_prompts, prepare
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import ENGINES, engine_options, make_sampler

if TYPE_CHECKING:
    from leakatk.attacks.trails import Trail
    from leakatk.models.loaded import LoadedModel
    from leakatk.runs.store import Run


class AttackedSampler:
    """Samples a model under an attack; use it as a context manager. A run that is whole costs no attack.

    The manifest names model and attack together, and its fingerprint changes with the attack's options and data.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        attack: Alter,
        known: Known,
        engine: str = "native",
        options: Mapping[str, Any] | None = None,
        trail: Trail | None = None,
    ) -> None:
        """trail: what other points of the attack's run left; without one it begins at the start."""
        refuse_codes(loaded.model, f"Attack {attack.label}, which changes weights,")
        refuse_spread(loaded.model, f"Attack {attack.label}, which changes weights,")
        mark = sha256(f"{loaded.fingerprint}/{attack.identity(known)}".encode()).hexdigest()
        self.attack, self.known, self.trail = attack, known, trail
        self.altered = dataclasses.replace(
            loaded,
            name=f"{loaded.name} after {attack.label}",
            fingerprint=mark,
            notes=[*loaded.notes, *attack.notes(loaded)],
        )
        self.inner = make_sampler(engine, self.altered, **(options or {}))
        self.name = self.inner.name
        self._held: ExitStack | None = None

    @property
    def notes(self) -> list[str]:
        return list(self.altered.notes)

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()

    def check(self, prompts: Sequence[Prompt]) -> None:
        check_prompts(self.inner, prompts)

    def prepare(self, run: Run, decoding: Decoding, *, n: int) -> None:
        prepare(self.inner, run, decoding, n=n)

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        if self._held is None:
            self._held = ExitStack()
            self._held.enter_context(kept_weights(self.altered.model))
            if self.trail is None:
                self.attack.apply(self.altered, self.known)
            else:
                self.attack.follow(self.altered, self.known, self.trail)
            self.altered.model.eval()
        yield from self.inner.sample(requests, decoding, seed=seed)

    def close(self) -> None:
        """Put the weights back."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def __enter__(self) -> AttackedSampler:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def check_engine(engine: str) -> None:
    """InputError for an engine that does not sample the model of this process, which is the one that is attacked."""
    name, _ = engine_options(engine, {})
    if getattr(ENGINES[name].load(), "takes_source", False):
        raise InputError(
            f"Engine {name} loads a model of its own, and an attack works on the one in this process; use --engine native, "
            "generate or continuous."
        )

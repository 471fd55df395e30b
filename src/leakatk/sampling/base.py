"""What every engine takes and gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from leakatk.errors import InputError
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.decoding import Decoding

if TYPE_CHECKING:
    from leakatk.runs.store import Run

MAX_BUDGET = (
    1_000_000  # prefixes of one prompt's answer tree; a mistyped budget is refused instead of running on and on
)


@dataclass(frozen=True, slots=True)
class Request:
    """Sample numbers `samples` of `prompt` are wanted. A resumed run asks only for the ones it lacks."""

    prompt: Prompt
    samples: Sequence[int]


def draws(request: Request, decoding: Decoding) -> list[tuple[int, ...]]:
    """The sample numbers of each answer to draw: one, or all at once when greedy, where all are the same."""
    samples = tuple(int(j) for j in request.samples)
    if decoding.greedy:
        return [samples] if samples else []
    return [(j,) for j in samples]


class Sampler(Protocol):
    """An engine: prompts, decoding, sample numbers and a seed in, generations out.

    The native engine's sample (prompt id, j) depends on the model, the decoding, the seed, the prompt id and j alone.
    An engine may also have `loaded` (the model, when it is in this process) or, when it is elsewhere and can be asked,
    `true_answers` and `expand` (as in exact.py and expand.py); `check` (see `check_prompts`), `prepare`
    and `close` (see `release`), and `notes`: sentences that a person must see.
    """

    name: str

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield finished generations in batches, as they finish, in any order; each requested one exactly once."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps: engine, model fingerprint, template text, dtype, device, versions."""
        ...


def check_prompts(sampler: Sampler, prompts: Sequence[Prompt]) -> None:
    """Let an engine refuse prompts that it cannot ask, with an InputError, before anything is sampled."""
    check = getattr(sampler, "check", None)
    if check is not None:
        check(prompts)


def prepare(sampler: Sampler, run: Run, decoding: Decoding, *, n: int) -> None:
    """Let an engine look at the run that n samples a prompt are to be in, before any is drawn; also at one that is whole."""
    look = getattr(sampler, "prepare", None)
    if look is not None:
        look(run, decoding, n=n)


def check_budget(budget: int) -> None:
    if not 1 <= budget <= MAX_BUDGET:
        raise InputError(f"Exact expansion takes 1 to {MAX_BUDGET:,} prefixes a prompt (0 is off), got {budget:,}.")


def check_expands(sampler: Sampler) -> None:
    """InputError for an engine that cannot expand answers (`expand.py`)."""
    if not (hasattr(sampler, "expand") or hasattr(sampler, "loaded")):
        raise InputError(
            f"Engine {sampler.name} cannot expand answers exactly; use --engine native (or copies of it), or --expand 0."
        )


def release(sampler: Sampler) -> None:
    """Let an engine give back what it holds outside this process; it takes it again when it is next used."""
    close = getattr(sampler, "close", None)
    if close is not None:
        close()


def texts_of(sampler: Sampler, prompts: Sequence[Prompt], n: int, decoding: Decoding, *, seed: int) -> list[list[str]]:
    """n generated texts of each prompt, in the order given."""
    rows = {prompt.id: [""] * n for prompt in prompts}
    for batch in sampler.sample([Request(prompt, range(n)) for prompt in prompts], decoding, seed=seed):
        for generation in batch:
            rows[generation.prompt_id][generation.sample] = generation.text
    return [rows[prompt.id] for prompt in prompts]

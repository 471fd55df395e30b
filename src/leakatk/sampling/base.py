"""Engine interface: what every engine takes and gives, and what some can do besides."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from leakatk.errors import InputError
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.decoding import Decoding

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.runs.store import Run

Truth = tuple[tuple[int, ...], float]  # token ids of a true answer, its log-probability
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


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer and its probability: token_ids as a sampled `Generation` has them, the end token included."""

    token_ids: tuple[int, ...]
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class Expansion:
    """The distinct answers of one prompt found with `prefixes` forward passes, most probable first; `mass` is the sum
    of their probabilities, so 1 - mass is what is still unknown."""

    prompt_id: str
    answers: tuple[Answer, ...]
    mass: float
    prefixes: int


@runtime_checkable
class Sampler(Protocol):
    """An engine: prompts, decoding, sample numbers and a seed in, generations out.

    The native engine's sample (prompt id, j) depends on the model, the decoding, the seed, the prompt id and j alone.
    What an engine may also be able to do are the protocols below; each is asked for with `isinstance`.
    """

    name: str

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield finished generations in batches, as they finish, in any order; each requested one exactly once."""
        ...

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps: engine, model fingerprint, template text, dtype, device, versions."""
        ...


@runtime_checkable
class InProcess(Protocol):
    """The model is in this process: what an engine itself cannot do is done with it."""

    @property
    def loaded(self) -> LoadedModel: ...


@runtime_checkable
class TrueAnswers(Protocol):
    """The model is elsewhere, and tells the probabilities of true answers, as `teacher_forcing.true_answers`."""

    def true_answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, Truth]: ...


@runtime_checkable
class Expands(Protocol):
    """The model is elsewhere, and its answers can be expanded, as `answer_tree.expand`."""

    def expand(self, prompts: Sequence[Prompt], decoding: Decoding, budget: int) -> list[Expansion]: ...


@runtime_checkable
class ChecksPrompts(Protocol):
    """There are prompts that it cannot ask; `check` raises an InputError for them."""

    def check(self, prompts: Sequence[Prompt]) -> None: ...


@runtime_checkable
class Prepares(Protocol):
    """It looks at a run before n samples a prompt are drawn into it, also where all are there already."""

    def prepare(self, run: Run, decoding: Decoding, *, n: int) -> None: ...


@runtime_checkable
class Guards(Protocol):
    """It stands before a model, acts on some prompts and lets the others through."""

    @property
    def guard_name(self) -> str: ...

    @property
    def always(self) -> bool:
        """Whether it acts on every prompt, whatever is asked."""
        ...

    @property
    def fitted_on(self) -> Collection[str]:
        """Ids of the prompts that must not be flagged, and that its detector was fitted on."""
        ...

    @property
    def neighbours(self) -> Sequence[Prompt]:
        """Prompts near the forgotten ones that must be answered, and that nothing was fitted on."""
        ...

    def flags(self, prompts: Sequence[Prompt]) -> npt.NDArray[np.bool_]: ...


@runtime_checkable
class Closes(Protocol):
    """It holds something outside this process; `close` gives it back, and the next use takes it again."""

    def close(self) -> None: ...


@runtime_checkable
class Notes(Protocol):
    """It has sentences that a person must see."""

    @property
    def notes(self) -> Sequence[str]: ...


@runtime_checkable
class Estimates(Protocol):
    """Every answer costs: tokens and dollars are known before anything is asked, and need no pilot."""

    def estimate(self, prompts: Sequence[Prompt], answers: int, decoding: Decoding) -> Mapping[str, float]: ...

    def says(self, expected: Mapping[str, float]) -> str: ...


@runtime_checkable
class CountsRows(Protocol):
    """It shares the rows of samples that begin alike, and counts the work of its last call."""

    rows_computed: int
    """Row-steps that were computed."""
    tokens_drawn: int
    """Tokens that were drawn: the row-steps without any sharing."""


@runtime_checkable
class Batches(Protocol):
    """It draws so many answers side by side; "auto" where it decides by the memory at hand."""

    @property
    def max_rows(self) -> int | str: ...


def loaded_of(sampler: Sampler) -> LoadedModel | None:
    """The model, where it is in this process."""
    return sampler.loaded if isinstance(sampler, InProcess) else None


def notes_of(sampler: Sampler) -> list[str]:
    """The sentences that a person must see; none where the engine has none."""
    return list(sampler.notes) if isinstance(sampler, Notes) else []


def check_prompts(sampler: Sampler, prompts: Sequence[Prompt]) -> None:
    """Let an engine refuse prompts that it cannot ask, with an InputError, before anything is sampled."""
    if isinstance(sampler, ChecksPrompts):
        sampler.check(prompts)


def prepare(sampler: Sampler, run: Run, decoding: Decoding, *, n: int) -> None:
    """Let an engine look at the run that n samples a prompt are to be in, before any is drawn; also at one that is whole."""
    if isinstance(sampler, Prepares):
        sampler.prepare(run, decoding, n=n)


def check_budget(budget: int) -> None:
    if not 1 <= budget <= MAX_BUDGET:
        raise InputError(f"Exact expansion takes 1 to {MAX_BUDGET:,} prefixes a prompt (0 is off), got {budget:,}.")


def check_expands(sampler: Sampler) -> None:
    """InputError for an engine that cannot expand answers (`answer_tree`)."""
    if not isinstance(sampler, Expands | InProcess):
        raise InputError(
            f"Engine {sampler.name} cannot expand answers exactly; use --engine native (or copies of it), or --expand 0."
        )


def release(sampler: Sampler) -> None:
    """Let an engine give back what it holds outside this process; it takes it again when it is next used."""
    if isinstance(sampler, Closes):
        sampler.close()


def texts_of(sampler: Sampler, prompts: Sequence[Prompt], n: int, decoding: Decoding, *, seed: int) -> list[list[str]]:
    """n generated texts of each prompt, in the order given."""
    rows = {prompt.id: [""] * n for prompt in prompts}
    for batch in sampler.sample([Request(prompt, range(n)) for prompt in prompts], decoding, seed=seed):
        for generation in batch:
            rows[generation.prompt_id][generation.sample] = generation.text
    return [rows[prompt.id] for prompt in prompts]

"""Ray engine: copies of an engine, on one machine or a cluster, each drawing blocks of the samples.

A sample depends on the model, the decoding, the seed, its prompt id and its number alone, so it does not matter which
copy draws it: the run is the one a single process gives, and either can go on where the other stopped. Samples stream
back as they finish; when a worker dies, what it had not handed over is drawn by another, and a new worker is started.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from leakatk.errors import EngineError, InputError, LeakAtKError, ModelError, first_line
from leakatk.models.load import ModelSource
from leakatk.models.pretrained import located
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.base import Expansion, Request, Truth, notes_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import engine_options, make_sampler

# A block must fill an engine's batch (1,024 rows on a CPU), or the copies would be slower than one engine is.
_SMALLEST, _LARGEST = 1024, 16384
_PROMPTS = 32  # the smallest block where the work is one pass a prompt, or an expansion of several side by side
_ATTEMPTS = 3  # times that one block may be lost with its worker, or one worker fail to start, before it is an error
_STORE = 128 << 20  # bytes of shared memory: samples are small and are fetched at once


@dataclass(slots=True)
class Block:
    """Samples that one worker draws. losses: how often it went down with a worker."""

    requests: list[Request]
    losses: int = 0


def blocks_of(requests: Sequence[Request], replicas: int, smallest: int = _SMALLEST) -> list[Block]:
    """All that is requested, in blocks: prompts of similar length together, a prompt split only when it is larger than a
    block, large blocks first and small ones last so that the workers end together."""
    left = sum(len(request.samples) for request in requests)
    blocks: list[Block] = []
    room = 0
    for request in sorted(requests, key=lambda r: (-r.prompt.query.characters, r.prompt.id)):
        samples = request.samples
        while len(samples):
            if room <= 0:
                room = min(max(left // (2 * replicas), smallest), _LARGEST)
                blocks.append(Block([]))
            part, samples = samples[:_LARGEST], samples[_LARGEST:]
            blocks[-1].requests.append(Request(request.prompt, part))
            room -= len(part)
            left -= len(part)
    return blocks


class RaySampler:
    """Copies of another engine as Ray actors, on this machine, or on the cluster that RAY_ADDRESS names.

    replicas: how many.  inner: the engine, with its options if any ("native", "native:tree=no").  cpus, gpus: what each
    copy is given; by default a GPU where there are some, and on this machine an equal share of its cores (on a cluster
    one core). The model's directory must be there on every node, and leakatk installed.
    """

    takes_source = True

    def __init__(
        self,
        source: ModelSource,
        *,
        replicas: int = 2,
        inner: str = "native",
        cpus: float | None = None,
        gpus: float | None = None,
    ) -> None:

        import_ray()
        if replicas < 1:
            raise InputError(f"replicas must be at least 1, got {replicas}.")
        self.name, _ = engine_options(inner, {})
        if self.name == "ray":
            raise InputError("Engine ray runs copies of another engine; give inner=native, for one.")
        # A worker has a working directory of its own, and sees its GPU as the only one.
        path = located(source.path)
        path = str(Path(path).resolve()) if Path(path).exists() else path
        device = "cuda" if source.device.startswith("cuda") else source.device
        self.source = replace(source, path=path, device=device)
        self.replicas, self.inner, self.cpus, self.gpus = replicas, inner, cpus, gpus
        self.workers: list[_Worker] = []
        self._described: dict[str, Any] = {}
        self.notes: list[str] = []  # what a person should know of the model, as a worker says

    def describe(self) -> dict[str, Any]:
        """What the inner engine says. The number of copies cannot change a sample and is left out."""
        if not self._described:
            with self._running():
                while not self._described:
                    self._turn(deque(), key=hash)
        return self._described

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once, in batches, as they finish."""
        blocks = blocks_of(requests, self.replicas)
        yield from self._spread("sample", blocks, (decoding, seed), key=lambda g: (g.prompt_id, g.sample))

    def true_answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, Truth]:
        """As `teacher_forcing.true_answers`, by the workers; empty when the inner engine cannot tell."""
        found: Iterator[list[tuple[str, Truth]]] = self._ask("true_answers", prompts, decoding)
        return dict(item for items in found for item in items)

    def expand(self, prompts: Sequence[Prompt], decoding: Decoding, budget: int) -> list[Expansion]:
        """As `answer_tree.expand`, by the workers. InputError when the inner engine cannot."""
        found: Iterator[list[tuple[str, Expansion]]] = self._ask("expand", prompts, decoding, budget)
        by_id = dict(item for items in found for item in items)
        return [by_id[prompt.id] for prompt in prompts]

    def _ask(self, task: str, prompts: Sequence[Prompt], *arguments: Any) -> Iterator[list[tuple[str, Any]]]:
        blocks = blocks_of([Request(prompt, [0]) for prompt in prompts], self.replicas, _PROMPTS)
        return self._spread(task, blocks, arguments, key=lambda item: (item[0], 0))

    def close(self) -> None:
        """End the workers, and whatever they are doing. Ray itself stays up until this process ends."""
        import ray

        workers, self.workers = self.workers, []
        for worker in workers:
            if ray.is_initialized():
                ray.kill(worker.actor)

    # -- spreading -------------------------------------------------------------------------------------------------

    def _spread(
        self, task: str, blocks: list[Block], arguments: tuple[Any, ...], key: Callable[[Any], Hashable]
    ) -> Iterator[list[Any]]:
        """Yield what the workers' method `task` yields for every block."""
        todo = deque(blocks)
        if not todo:
            return
        with self._running():
            while todo or any(worker.block for worker in self.workers):
                for worker in self.workers:
                    if worker.idle and todo:
                        worker.work(task, todo.popleft(), arguments)
                items = self._turn(todo, key)
                if items:
                    yield items

    def _turn(self, todo: deque[Block], key: Callable[[Any], Hashable]) -> list[Any]:
        """Wait for one worker and give what it hands over; put a lost block back and start another worker."""
        import ray

        busy = {worker.waits: worker for worker in self.workers if not worker.idle}
        [first], _ = ray.wait(list(busy), num_returns=1, fetch_local=False)
        worker = busy[first]
        self.workers.remove(worker)  # to the end of the queue: a fast worker must not keep the others from being heard
        self.workers.append(worker)
        try:
            if worker.block:
                return worker.receive(key)
            self.greet(*ray.get(worker.waits))
            worker.waits = None
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, LeakAtKError):  # another worker would say the same
                raise cause from None
            self._lost(worker, _reason(error), todo)
        return []

    def greet(self, node: str, described: dict[str, Any], notes: Sequence[str] = ()) -> None:
        """A worker has loaded the model. All must have loaded the same."""
        mine = self._described or described
        differ = [key for key in ("fingerprint", "dtype", "template") if mine.get(key) != described.get(key)]
        if differ:
            raise ModelError(
                f"The workers do not have the same model: on node {node} {self.source.path} differs in {', '.join(differ)} "
                "from another node's; put the same files on every node, or on a file system they share."
            )
        self._described = mine
        self.notes = list(dict.fromkeys([*self.notes, *notes]))

    def _lost(self, worker: _Worker, reason: str, todo: deque[Block]) -> None:
        import ray

        self.workers.remove(worker)
        ray.kill(worker.actor)
        failed = worker.failed_starts + 1
        if worker.block:
            failed = 0
            block = worker.block
            block.requests = [
                Request(r.prompt, [j for j in r.samples if (r.prompt.id, j) not in worker.got]) for r in block.requests
            ]
            block.losses += 1
            if block.losses == _ATTEMPTS:
                ids = ", ".join(repr(request.prompt.id) for request in block.requests[:3])
                raise EngineError(
                    f"Ray lost {_ATTEMPTS} workers over the same {len(block.requests)} prompts ({ids} ...): {reason}. Is there "
                    "enough memory for them? What was drawn before is kept: the same command goes on from there."
                )
            todo.appendleft(block)
        if failed < _ATTEMPTS:
            self.workers.append(self._start(failed))
        if not self.workers:
            raise EngineError(
                f"No Ray worker could be started: {reason}. Is leakatk installed on every node, and is there memory for "
                "the model? What was drawn before is kept."
            )

    # -- starting --------------------------------------------------------------------------------------------------

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Workers while inside; none are left when an error or an interrupt ends it."""
        import ray

        try:
            if not self.workers or not ray.is_initialized():
                connect()
                self._plan()
                self.workers = [self._start() for _ in range(self.replicas)]
            yield
        except BaseException:
            self.close()
            raise

    def _plan(self) -> None:
        """Settle what each worker is given, and check that it is there."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if self.gpus is None:
            self.gpus = 1 if self.source.device != "cpu" and any(node.get("GPU") for node in nodes) else 0
        if self.cpus is None:
            self.cpus = 1 if self.gpus or len(nodes) > 1 else max(1, int(nodes[0].get("CPU", 1)) // self.replicas)
        fit = sum(
            int(min(node.get(kind, 0) / need for kind, need in (("CPU", self.cpus), ("GPU", self.gpus)) if need))
            if self.cpus or self.gpus
            else self.replicas
            for node in nodes
        )
        if fit < self.replicas:
            have = ", ".join(f"{sum(node.get(kind, 0) for node in nodes):g} {kind}s" for kind in ("CPU", "GPU"))
            raise InputError(
                f"{self.replicas} replicas of {self.cpus:g} CPUs and {self.gpus:g} GPUs do not fit: Ray has {have} on "
                f"{len(nodes)} nodes, room for {fit}. Lower --replicas, give each less, or add nodes."
            )

    def _start(self, failed: int = 0) -> _Worker:
        import ray

        actor = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus)(Replica).remote(self.source, self.inner)
        return _Worker(actor, waits=actor.load.remote(), failed_starts=failed)


@dataclass(eq=False, slots=True)
class _Worker:
    """An actor as its owner sees it. waits: what it will hand over next; None when it is idle."""

    actor: Any
    waits: Any
    failed_starts: int = 0
    block: Block | None = None
    got: set[Hashable] = field(default_factory=set)  # of the block

    @property
    def idle(self) -> bool:
        return self.waits is None

    def work(self, task: str, block: Block, arguments: tuple[Any, ...]) -> None:
        self.block, self.got, self.failed_starts = block, set(), 0
        self.waits = getattr(self.actor, task).options(num_returns="streaming").remote(block.requests, *arguments)

    def receive(self, key: Callable[[Any], Hashable]) -> list[Any]:
        """What has come; [] when the block is finished."""
        import ray

        try:
            items: list[Any] = ray.get(next(self.waits))
        except StopIteration:
            self.waits = self.block = None
            return []
        self.got.update(map(key, items))
        return items


class Replica:
    """What runs in the actor: one engine."""

    def __init__(self, source: ModelSource, inner: str) -> None:
        self.source, self.inner = source, inner  # loaded later, so that what goes wrong then comes back as an error

    def load(self) -> tuple[str, dict[str, Any], list[str]]:
        """(the node it is on, what the engine says of itself, what a person should know)"""
        from leakatk.hush import silence

        silence()
        self.sampler = make_sampler(self.inner, self.source)
        return platform.node(), self.sampler.describe(), notes_of(self.sampler)

    def sample(self, requests: Sequence[Request], decoding: Decoding, seed: int) -> Iterator[list[Generation]]:
        yield from self.sampler.sample(requests, decoding, seed=seed)

    def true_answers(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[list[tuple[str, Truth]]]:
        from leakatk.sampling.teacher_forcing import truths_of

        yield list(truths_of(self.sampler, [request.prompt for request in requests], decoding).items())

    def expand(
        self, requests: Sequence[Request], decoding: Decoding, budget: int
    ) -> Iterator[list[tuple[str, Expansion]]]:
        from leakatk.sampling.answer_tree import expansions_of

        found = expansions_of(self.sampler, [request.prompt for request in requests], decoding, budget)
        yield [(tree.prompt_id, tree) for tree in found]


def import_ray() -> None:
    """Import Ray, without the messages it prints about workers that die: an error of ours says what matters."""
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")  # they would go to stdout, into what --json prints
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of a change to come
    try:
        import ray  # noqa: F401
    except ImportError:
        raise InputError("Engine ray needs Ray, which is not installed: pip install 'leak-at-k[ray]'.") from None


def connect() -> None:
    """To the cluster RAY_ADDRESS names; without one, start Ray on this machine for the life of this process."""
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS", "")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address.startswith("ray://"):
        raise InputError(
            f"RAY_ADDRESS is {address}: samples cannot stream through a Ray client. Start the command on a node of the "
            "cluster with RAY_ADDRESS=auto (or with `ray job submit`)."
        )
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
            ray.init(address="local", include_dashboard=False, object_store_memory=_STORE, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at RAY_ADDRESS={address}" if address else "on this machine"
        raise EngineError(f"Ray does not start {where}: {first_line(error)}") from error
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray's own handler prints a stack trace and dumps core


def _reason(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    return f"{type(cause).__name__}: {first_line(cause)}" if cause else first_line(error)

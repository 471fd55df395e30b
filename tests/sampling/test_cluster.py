"""Ray, a real one on this machine with two workers: the same samples as one process, whatever dies."""

import importlib.util
import json
import os
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from leakatk.auditing.bounds import expansions
from leakatk.auditing.sample import sample
from leakatk.errors import EngineError, InputError, ModelError
from leakatk.prompts import Prompt, Query, save_prompts
from leakatk.runs.store import Run
from leakatk.sampling import cluster
from leakatk.sampling.answer_tree import expand
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.teacher_forcing import truths_of
from tests.tiny import PROMPTS, save_tiny_model

if importlib.util.find_spec("ray") is None:
    pytest.skip("Ray is not installed", allow_module_level=True)
cluster.import_ray()  # before anything else does: it settles what Ray prints

import ray  # noqa: E402

DECODING = Decoding(temperature=0.7, top_p=0.9, max_new_tokens=12)
N = 1500


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def two(model):
    """Two workers; Ray is started once for all tests, and stopped after them."""
    sampler = make_sampler("ray:replicas=2,cpus=0.5", model)
    sampler.describe()
    yield sampler
    sampler.close()
    ray.shutdown()


@pytest.fixture(scope="module")
def alone(model):
    """What one process draws."""
    return drawn(make_sampler("native", model).sample(requests(), DECODING, seed=3))


def requests(n=N):
    return [Request(prompt, range(n)) for prompt in PROMPTS]


def drawn(batches):
    """By prompt and sample, each drawn exactly once."""
    found = {}
    for batch in batches:
        for g in batch:
            assert found.setdefault((g.prompt_id, g.sample), g) is g
    return {key: (g.text, g.token_ids, g.finish_reason, pytest.approx(g.logprob, abs=1e-4)) for key, g in found.items()}


def test_two_workers_draw_what_one_process_draws(two, alone, model):
    assert drawn(two.sample(requests(), DECODING, seed=3)) == alone
    assert two.describe() == {**make_sampler("native", model).describe(), "model": str(model)}
    assert two.name == "native"


def test_an_answer_that_is_begun_goes_on_from_there(two, model):
    asked = Query(PROMPTS[0].question, turns=(("Who taught Bo?", "Mira Quell."),), begin="Ada was")
    begun = [Request(replace(PROMPTS[0], asked=asked), range(40))]
    found = drawn(two.sample(begun, DECODING, seed=3))
    assert found == drawn(make_sampler("native", model).sample(begun, DECODING, seed=3))
    assert found != drawn(two.sample([Request(PROMPTS[0], range(40))], DECODING, seed=3))


def test_probabilities_are_asked_of_the_workers(two, model, tmp_path):
    free = Decoding(max_new_tokens=64)
    native = make_sampler("native", model)
    trees = expansions(two, PROMPTS, free, 20, out=tmp_path)
    # Workers compute with other threads than this process: the same answers, their probabilities up to rounding.
    for tree, same in zip(trees.values(), expand(native.loaded, PROMPTS, free, budget=20), strict=True):
        assert [(a.token_ids, a.text) for a in tree.answers] == [(a.token_ids, a.text) for a in same.answers]
        assert [a.logprob for a in tree.answers] == pytest.approx([a.logprob for a in same.answers], abs=1e-5)
        assert (tree.prompt_id, tree.prefixes, tree.mass) == (
            same.prompt_id,
            same.prefixes,
            pytest.approx(same.mass, abs=1e-7),
        )
    wanted = truths_of(native, PROMPTS, free)
    found = truths_of(two, PROMPTS, free)
    assert {key: (ids, pytest.approx(logp, abs=1e-3)) for key, (ids, logp) in wanted.items()} == found


def test_a_worker_killed_half_way_costs_nothing_but_time(two, alone, capfd):
    before = list(two.workers)
    pids = {worker: ray.get(worker.actor.__ray_call__.remote(lambda _: os.getpid())) for worker in before}
    batches = two.sample(requests(), DECODING, seed=3)
    first = next(batches)
    victim = next(worker for worker in before if worker.got)
    assert len(victim.got) < sum(len(request.samples) for request in victim.block.requests)
    os.kill(pids[victim], signal.SIGKILL)
    assert drawn([first, *batches]) == alone
    assert victim not in two.workers
    assert len(two.workers) == 2
    out, err = capfd.readouterr()
    assert "raylet" not in out + err


def test_an_interrupt_ends_the_workers_and_one_process_goes_on(two, alone, model, tmp_path):
    class Interrupted:
        name, describe = two.name, two.describe

        def sample(self, wanted, decoding, *, seed):
            batches = two.sample(wanted, decoding, seed=seed)
            for _ in range(4):
                yield next(batches)
            batches.throw(KeyboardInterrupt)

    actor = two.workers[0].actor
    options = {"n": N, "decoding": DECODING, "seed": 3, "out": tmp_path / "run", "quiet": True}
    with pytest.raises(KeyboardInterrupt):
        sample(Interrupted(), PROMPTS, **options)
    assert two.workers == []
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.load.remote())
    assert 0 < Run.open(tmp_path / "run").missing_count < 3 * N
    run = sample(model, PROMPTS, engine="native", **options)
    assert drawn([list(run.generations())]) == alone


def test_command_line(leakatk, model, tmp_path, two):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    common = (
        "audit",
        model,
        "--forget",
        tmp_path / "forget.jsonl",
        "--n",
        8,
        "--max-new-tokens",
        6,
        "--quiet",
        "--json",
    )
    code, spread, _ = leakatk(*common, "--out", tmp_path / "a", "--engine", "ray", "--replicas", 2)
    assert code == 0
    code, plain, _ = leakatk(*common, "--out", tmp_path / "b")
    assert code == 0

    def numbers(text):
        return {key: value for key, value in json.loads(text).items() if key not in ("seconds", "command")}

    assert numbers(spread) == numbers(plain)


class Dying:
    """A worker whose process ends as soon as it is to draw."""

    def __init__(self, source, inner):
        pass

    def load(self):
        return "here", {"fingerprint": "f"}

    def sample(self, requests, decoding, seed):
        yield []
        os._exit(1)


class Unable(Dying):
    def load(self):
        os._exit(1)


class Without(Dying):
    def load(self):
        raise ModelError("there is no such model")


@pytest.mark.parametrize(
    ("replica", "error", "message"),
    [
        (Dying, EngineError, r"lost 3 workers over the same 3 prompts \('p0', .*the same command goes on"),
        (Unable, EngineError, "No Ray worker could be started: The actor died"),
        (Without, ModelError, "^there is no such model$"),
    ],
)
def test_what_fails_every_time_is_an_error(model, two, monkeypatch, replica, error, message):
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file
    monkeypatch.setattr(cluster, "Replica", replica)
    sampler = make_sampler("ray:replicas=1,cpus=0.1", model)
    sampler.source = SimpleNamespace(path="model", device="cpu")  # unlike a ModelSource, unpickled without torch
    with pytest.raises(error, match=message):
        drawn(sampler.sample(requests(4), DECODING, seed=0))
    assert sampler.workers == []


def test_what_cannot_be(two, model, monkeypatch):
    with pytest.raises(InputError, match="1000 replicas of 1 CPUs and 0 GPUs do not fit"):
        make_sampler("ray:replicas=1000", model).describe()
    with pytest.raises(InputError, match="copies of another engine"):
        make_sampler("ray:inner=ray", model)
    with pytest.raises(InputError, match="at least 1"):
        make_sampler("ray:replicas=0", model)
    with pytest.raises(ModelError, match=r"do not have the same model: on node b .* differs in fingerprint"):
        two.greet("b", {**two.describe(), "fingerprint": "other"})
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="not installed"):
        make_sampler("ray", model)


def test_addresses_that_do_not_work(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(InputError, match="RAY_ADDRESS=auto"):
        cluster.connect()


@pytest.mark.parametrize("n", [1, 200, 5000, 40_000])
@pytest.mark.parametrize("replicas", [1, 2, 64])
def test_blocks_hold_every_sample_once(n, replicas):
    prompts = [Prompt(f"p{i}", "x" * (i % 7), "a") for i in range(20)]
    blocks = cluster.blocks_of([Request(prompt, range(n)) for prompt in prompts], replicas)
    keys = [(r.prompt.id, j) for block in blocks for r in block.requests for j in r.samples]
    assert len(keys) == len(set(keys)) == 20 * n
    sizes = [sum(len(r.samples) for r in block.requests) for block in blocks]
    assert all(size >= 1024 for size in sizes[:-1])
    assert max(sizes) < 2 * 16384
    if n <= 16384:  # a prompt is whole: its samples share their prefixes
        assert len(keys) / n == sum(len(block.requests) for block in blocks)
    if 20 * n > 16 * replicas * 1024 and n < 1024:
        assert sizes[-1] < sizes[0]

"""One batch of the native engine against one forward pass a token."""

import random
from collections import deque
from collections.abc import Sequence

import numpy as np
import pytest

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation, Prompt
from leakatk.sampling import native_batch
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.native_batch import Job, Session, Work
from leakatk.sampling.random_streams import stream_key, uniforms
from leakatk.sampling.tokens import Reader
from tests.sampling.checks import PROMPTS, Samples, answers, check_same, distribution, native_run
from tests.sampling.models import tiny


def test_invariances(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample depends on nothing but the model, the decoding, the seed, its prompt and its number."""
    loaded = tiny(scale=6)
    decoding = Decoding(max_new_tokens=16)
    base = native_run(loaded, decoding, range(50))
    shuffled = list(PROMPTS)
    random.Random(0).shuffle(shuffled)
    check_same(loaded, base, native_run(loaded, decoding, range(200)), decoding)
    for rows, tree, refill in ((5, True, 1.0), (64, False, 0.25), (64, True, 0.5), (4096, True, 1.0)):
        monkeypatch.setattr(native_batch, "REFILL_CPU", refill)
        other = native_run(loaded, decoding, range(50), max_rows=rows, tree=tree, prompts=shuffled)
        assert other.keys() == base.keys()
        check_same(loaded, other, base, decoding)
    resumed = native_run(loaded, decoding, range(13)) | native_run(loaded, decoding, range(13, 50))
    assert resumed.keys() == base.keys()
    check_same(loaded, resumed, base, decoding)
    check_same(loaded, native_run(loaded, decoding, [31, 4], prompts=PROMPTS[2:3]), base, decoding)
    elsewhere, here = answers(native_run(loaded, decoding, range(50), seed=4)), answers(base)
    assert sum(elsewhere[key] == here[key] for key in here) < len(here) / 2


def test_the_tree_computes_fewer_rows() -> None:
    loaded = tiny(scale=30)
    prompts = [Request(prompt, range(100)) for prompt in PROMPTS]
    sampler = NativeSampler(loaded, max_rows=200)
    drawn = sum(len(batch) for batch in sampler.sample(prompts, Decoding(max_new_tokens=16), seed=0))
    assert drawn == 600
    assert sampler.rows_computed < sampler.tokens_drawn / 2


def test_prompts_with_a_common_beginning_are_prefilled_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, decoding = tiny(), Decoding(max_new_tokens=8)
    common = " ".join(f"w{i}" for i in range(20))
    prompts = [Prompt(id=f"p{i}", question=f"{common} w{i} w3", answer="w1") for i in range(5)]
    computed = []
    real = loaded.model.forward

    def counted(input_ids, **options):  # type: ignore[no-untyped-def]
        computed.append(input_ids.numel())
        return real(input_ids=input_ids, **options)

    alone: Samples = {}
    for prompt in prompts:  # one prompt shares with nobody
        alone |= native_run(loaded, decoding, prompts=[prompt])
    monkeypatch.setattr(loaded.model, "forward", counted)
    together = native_run(loaded, decoding, prompts=prompts, max_rows=100)
    assert computed[:2] == [20, 5]
    monkeypatch.undo()
    assert together.keys() == alone.keys()
    check_same(loaded, together, alone, decoding, prompts=prompts)


def one_at_a_time(loaded: LoadedModel, decoding: Decoding, samples: Sequence[int], seed: int) -> Samples:
    """A second implementation without batch, cache or tree: a forward pass a token, the token where its uniform falls."""
    found: Samples = {}
    for prompt in PROMPTS:
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.question)
        key = stream_key(seed, prompt.id)[None]
        for j in samples:
            values = uniforms(key, np.array([j]), np.array([0]), decoding.max_new_tokens)[0]
            said: list[int] = []
            while len(said) < decoding.max_new_tokens and not set(said) & set(loaded.end_ids):
                mass = distribution(loaded, [*ids, *said], decoding).astype(float).cumsum()
                said.append(int(np.searchsorted(mass / mass[-1], values[len(said)], side="right")))
            ended = said[-1] in loaded.end_ids
            text = loaded.tokenizer.decode(said, skip_special_tokens=True)
            found[prompt.id, j] = Generation(prompt.id, j, text, tuple(said), 0.0, "stop" if ended else "length")
    return found


def queue_of(loaded: LoadedModel, samples: Sequence[int], seed: int) -> deque[Job]:
    ids = [loaded.template.prompt_ids(loaded.tokenizer, prompt.question) for prompt in PROMPTS]
    return deque(
        Job(prompt.id, tokens, stream_key(seed, prompt.id), np.array(samples))
        for prompt, tokens in zip(PROMPTS, ids, strict=True)
    )


def session_of(
    loaded: LoadedModel, queue: deque[Job], decoding: Decoding, *, rows: int, tree: bool = True
) -> tuple[Session, Work]:
    work = Work()
    ids = {job.prompt_id: job.ids for job in queue}
    requests = [Request(prompt, [0]) for prompt in PROMPTS if prompt.id in ids]
    reader = Reader(loaded.tokenizer, requests, [ids[request.prompt.id] for request in requests], decoding.stop)
    longest = max(map(len, ids.values()))
    return Session(loaded, queue, decoding, reader, rows=rows, longest=longest, tree=tree, work=work), work


def drain(session: Session) -> Samples:
    found: Samples = {}
    while session.busy:
        for generation in session.step():
            key = generation.prompt_id, generation.sample
            assert key not in found, "each sample once"
            found[key] = generation
    return found


@pytest.mark.parametrize(("rows", "tree"), [(200, True), (200, False), (4, True)])
def test_a_session_draws_what_one_row_at_a_time_draws(rows: int, tree: bool) -> None:
    """With room for all, without sharing, and where most rows are turned away."""
    loaded, decoding = tiny(scale=12), Decoding(max_new_tokens=8)
    session, work = session_of(loaded, queue_of(loaded, range(12), 3), decoding, rows=rows, tree=tree)
    found = drain(session)
    check_same(loaded, found, one_at_a_time(loaded, decoding, range(12), 3), decoding)
    assert len(found) == 12 * len(PROMPTS)
    drawn = sum(len(generation.token_ids) for generation in found.values())
    if rows == 200:
        assert work.tokens == drawn
    else:
        assert work.tokens >= drawn, "what is turned away is drawn again"


def test_a_row_is_computed_once_for_every_beginning() -> None:
    """With room for all, the rows of the tree are the distinct beginnings of the answers, counted one by one."""
    loaded, decoding = tiny(scale=12), Decoding(max_new_tokens=8)
    session, work = session_of(loaded, queue_of(loaded, range(40), 3), decoding, rows=400)
    found = drain(session)
    beginnings = {
        (generation.prompt_id, generation.token_ids[:length])
        for generation in found.values()
        for length in range(len(generation.token_ids))
    }
    assert work.rows == len(beginnings) < work.tokens
    apart, alone = session_of(loaded, queue_of(loaded, range(40), 3), decoding, rows=400, tree=False)
    drain(apart)
    assert alone.tokens == work.tokens
    assert alone.rows == len(PROMPTS) + alone.tokens - len(found), "at first one row a prompt, then one a sample"


def test_what_is_put_back_is_drawn_by_the_next_session() -> None:
    """Stopped half way, every unfinished sample waits again, none twice, and comes out as if nothing had happened."""
    loaded, decoding = tiny(scale=6), Decoding(max_new_tokens=12)
    whole = drain(session_of(loaded, queue_of(loaded, range(20), 3), decoding, rows=50)[0])
    queue = queue_of(loaded, range(20), 3)
    session, _ = session_of(loaded, queue, decoding, rows=50)
    found: Samples = {}
    for _ in range(6):
        found |= {(g.prompt_id, g.sample): g for g in session.step()}
    assert session.batch.rows > 0, "some are on their way"
    session.requeue()
    waiting = [(job.prompt_id, int(j)) for job in queue for j in job.samples]
    assert len(waiting) == len(set(waiting))
    assert set(waiting) | set(found) == set(whole)
    assert not set(waiting) & set(found)
    found |= drain(session_of(loaded, queue, decoding, rows=7)[0])
    assert found.keys() == whole.keys()
    check_same(loaded, found, whole, decoding)

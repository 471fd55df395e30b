"""Guards around a model that is elsewhere: behind a server, or on other workers."""

import importlib.util
from dataclasses import dataclass

import pytest

from leakatk.auditing.audit import audit
from leakatk.errors import InputError
from leakatk.guards.actions import REFUSAL
from leakatk.guards.base import Action, Guard
from leakatk.guards.sampler import guarded
from leakatk.sampling.answer_tree import expansions_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import truths_of
from tests.guards.conftest import ALL, DECODING, FORGET, RETAIN, Named, drawn
from tests.servers import WordServer

SHORT = Decoding(max_new_tokens=8)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    made = WordServer("temperature", "seed")
    yield made
    made.close()


def served(server, **options):
    return make_sampler("endpoint", "words", url=server.url, **options)


def asked_of(server):
    return {asked["messages"][-1]["content"] for asked in server.asked}


def test_a_server_is_not_asked_what_is_refused(server, known):
    sampler = guarded(served(server), known, "curate")
    found = drawn(sampler, ALL, n=3, decoding=SHORT)
    bare = drawn(served(server), RETAIN, n=3, decoding=SHORT)
    assert {found[prompt.id, j].text for prompt in FORGET for j in range(3)} == {REFUSAL}
    assert {key: one.text for key, one in found.items() if key[0] in {p.id for p in RETAIN}} == {
        key: one.text for key, one in bare.items()
    }
    assert asked_of(server) == {prompt.question for prompt in RETAIN}
    assert truths_of(sampler, ALL, SHORT) == {}
    assert not hasattr(sampler, "expand")


def test_an_audit_of_a_guarded_server(server, known, tmp_path):
    found = audit(
        guarded(served(server, trial=False), known, "curate"), FORGET, out=tmp_path / "run", n=4, decoding=SHORT,
        scorers=["fact"], retain=RETAIN, quiet=True,
    )  # fmt: skip
    assert set(found["scorers"]["fact"]["curves"]["samples"]["value"]) == {0.0}
    assert found["label"] == "words with guard curate"
    assert any("3 of 3 forget prompts, 0 of 4 retain prompts" in note for note in found["notes"])
    assert not asked_of(server) & {prompt.question for prompt in FORGET}


def test_answers_of_a_server_can_be_edited(server, known):
    @dataclass(frozen=True)
    class Shout(Action):
        def answer(self, prompt, text):
            return text.upper()

    guard = Guard(name="shout", detector=Named(("f1",)), action=Shout())
    found = drawn(guarded(served(server), known, guard), ALL, n=2, decoding=SHORT)
    bare = drawn(served(server), ALL, n=2, decoding=SHORT)
    for key, one in found.items():
        assert one.text == (bare[key].text.upper() if key[0] == "f1" else bare[key].text)


@pytest.mark.parametrize("spec", ["eco", "ucd", "dd", "dd-rank"])
def test_the_inside_of_a_server_cannot_be_guarded(server, known, spec):
    with pytest.raises(InputError, match=f"Guard {spec} .*which engine endpoint does not show; use --engine native"):
        guarded(served(server), known, spec)
    assert not server.asked


@pytest.fixture(scope="module")
def _ray():
    from leakatk.sampling.cluster import import_ray

    import_ray()
    import ray

    yield
    ray.shutdown()


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.usefixtures("_ray")
class TestRay:
    """Two workers, as one process: they build an ensemble from where its members are."""

    def test_workers_draw_what_one_process_draws(self, made, loaded, known):
        workers = make_sampler("ray:replicas=2,cpus=0.5", made.full)
        sampler, alone = guarded(workers, known, "ucd"), guarded(NativeSampler(loaded), known, "ucd")
        try:
            found, wanted = drawn(sampler, ALL, n=40), drawn(alone, ALL, n=40)
            assert {key: one.token_ids for key, one in found.items()} == {
                key: one.token_ids for key, one in wanted.items()
            }
            truths, theirs = truths_of(sampler, ALL, DECODING), truths_of(alone, ALL, DECODING)
            assert truths == {id_: (ids, pytest.approx(logp, abs=1e-3)) for id_, (ids, logp) in theirs.items()}
            for mine, its in zip(
                expansions_of(sampler, FORGET, DECODING, 10), expansions_of(alone, FORGET, DECODING, 10), strict=True
            ):
                assert mine.mass == pytest.approx(its.mass, abs=1e-4)
            assert sampler.describe()["guard"] == alone.describe()["guard"]
            assert sampler.describe()["fingerprint"] == alone.describe()["fingerprint"]
        finally:
            sampler.close()

    @pytest.mark.parametrize("spec", ["dd:pin=yes", "cfg"])
    def test_workers_make_what_is_made_from_the_model(self, made, loaded, known, spec):
        """Special tokens to be pinned, and the model in another context."""
        workers = make_sampler("ray:replicas=1,cpus=0.5", made.full)
        sampler, alone = guarded(workers, known, spec), guarded(NativeSampler(loaded), known, spec)
        try:
            found, wanted = drawn(sampler, ALL, n=6), drawn(alone, ALL, n=6)
            assert {key: one.token_ids for key, one in found.items()} == {
                key: one.token_ids for key, one in wanted.items()
            }
            assert sampler.describe()["fingerprint"] == alone.describe()["fingerprint"]
        finally:
            sampler.close()

    def test_workers_that_run_another_library_cannot_combine(self, made, known):
        with pytest.raises(InputError, match="which engine ray:inner=continuous does not show"):
            guarded(make_sampler("ray:replicas=2,inner=continuous", made.full), known, "ucd")

    def test_hooks_do_not_reach_workers(self, made, known):
        with pytest.raises(
            InputError, match="Guard eco changes the inside of the model, which engine ray does not show"
        ):
            guarded(make_sampler("ray:replicas=2,cpus=0.5", made.full), known, "eco")

"""Guards by text at their defaults: on a model that knows, leak@k falls on forget prompts; on any engine they are the same."""

from dataclasses import replace

import pytest

from leakatk.auditing.audit import audit
from leakatk.guards.sampler import guarded
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import ALL, DECODING, FORGET, RETAIN, drawn
from tests.servers import WordServer

# Each question four times, with samples of its own: three prompts alone leave every interval wide.
ASKED = [replace(prompt, id=f"{prompt.id} {i}") for i in range(4) for prompt in FORGET]
NAMES = ("suppress", "forget-request", "confidential", "dragon", "alu", "memory")


@pytest.fixture(scope="module")
def bare(loaded, tmp_path_factory):
    return leak(NativeSampler(loaded), tmp_path_factory.mktemp("bare") / "run")


def leak(sampler, out):
    found = audit(
        sampler,
        ASKED,
        out=out,
        n=8,
        ks=(4,),
        decoding=DECODING,
        retain=list(RETAIN),
        scorers=["fact"],
        quiet=True,
    )
    curve = found["scorers"]["fact"]["curves"]["samples"]
    return curve["value"][0], curve["low"][0], curve["high"][0], found


@pytest.mark.parametrize("name", NAMES)
def test_leak_falls_with_an_interval_that_says_so(loaded, known, bare, name, tmp_path):
    value, _, high, found = leak(guarded(NativeSampler(loaded), known, name), tmp_path / "run")
    assert high < bare[1], (value, high, bare[:3])
    groups = found["guard"]["groups"]
    assert groups["forget"]["value"] == 1.0
    assert groups["retain"]["value"] == (1.0 if found["guard"]["always"] else 0.0)
    if not found["guard"]["always"]:
        assert found["scorers"]["fact"]["retain"] == bare[3]["scorers"]["fact"]["retain"] == 1.0


@pytest.mark.parametrize("name", NAMES)
def test_a_server_is_guarded_too(known, monkeypatch, name):
    """What is not flagged is asked and answered as without the guard; an instruction reaches the server as a system message."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = WordServer("temperature", "seed")
    try:

        def engine():
            return make_sampler("endpoint", "words", url=server.url, trial=False)

        sampler = guarded(engine(), known, name)
        flags = dict(zip((prompt.id for prompt in ALL), sampler.flags(ALL), strict=True))
        found = drawn(sampler, ALL, n=2, decoding=DECODING)
        put = [one["messages"] for one in server.asked]
        plain = drawn(engine(), ALL, n=2, decoding=DECODING)
        for key, one in found.items():
            if not flags[key[0]]:
                assert one.text == plain[key].text
        if name in ("suppress", "forget-request", "dragon", "memory"):
            assert sum(messages[0]["role"] == "system" for messages in put) == 2 * sum(flags.values())
        if name == "confidential":
            assert sum("confidential" in messages[-1]["content"] for messages in put) == 2 * len(FORGET)
        if name == "alu":
            assert any(found[key].text != plain[key].text for key in found if flags[key[0]])
    finally:
        server.close()

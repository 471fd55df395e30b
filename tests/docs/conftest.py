"""Where the commands of a page run: a desk like the reader's, a stage with a small world and a server, published data."""

import re
from pathlib import Path

import pytest

from leakatk.scorers import Entailment
from tests.docs.desk import end_soon, furnish, take_few
from tests.scorers.conftest import tiny_bert
from tests.servers import FaultyServer
from tests.tiny import save_tiny_model


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A directory like the reader's, to work in; a dry run times its pilots for a moment, not for seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("leakatk.cli.dry.PILOT_SECONDS", 0.1)
    monkeypatch.setattr("leakatk.cli.dry.PILOT_PREFIXES", 8)
    return furnish(tmp_path)


@pytest.fixture
def stage(desk, monkeypatch):
    """A small world in place of the built-in one, models for it in a few steps, and a server that answers everything.

    Tiny models lie where the names of the hub lead to.
    """
    from leakatk.benchmarks.worlds import generators
    from leakatk.benchmarks.worlds.people import make_world
    from leakatk.small import tofusmall, train
    from leakatk.small.architecture import SmallConfig
    from leakatk.small.fit import Phase

    sizes = {"forget": 1, "retain": 2, "retain_held": 1, "holdout": 1, "world_facts": 2, "pretraining": 40}
    monkeypatch.setattr(generators, "make_world", lambda seed: make_world(seed, **sizes))
    phase = Phase(steps=3, learning_rate=1e-3, batch_size=4)
    shape = SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=300, max_length=4096)
    for place, name in ((train, "WORLD_RECIPE"), (train, "TEXT_RECIPE"), (tofusmall, "TOFU_RECIPE")):
        monkeypatch.setattr(place, name, train.Recipe(shape, phase, phase))
    monkeypatch.setattr(tofusmall, "STEPS_AN_AUTHOR", 0)
    hub = [Path(f"open-unlearning/tofu_Llama-3.2-1B-Instruct_{kind}") for kind in ("full", "retain90")]
    for name in (*(Path("models") / name for name in ("forgot", "npo", "full")), *hub):
        end_soon(save_tiny_model(desk / name, seed=len(name.name)))
    tiny_bert(desk / Entailment().model, "classifier", id2label={0: "neutral", 1: "entailment", 2: "contradiction"})
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = Answers()
    yield lambda line: re.sub(r"https?://(localhost:8000|api\.openai\.com)/v1", server.url, line)
    server.close()


class Answers(FaultyServer):
    def reply(self, path, asked, fault):
        message = {"role": "assistant", "content": "I do not know."}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {"id": "1", "object": "x", "created": 0, "model": "x", "choices": [choice], "usage": usage}


@pytest.fixture
def published(stage, data_dir, monkeypatch):
    """TOFU's published files, from a directory as if from the hub."""
    monkeypatch.setenv("LEAKATK_DATA", str(data_dir))
    Path("tofu").symlink_to(data_dir / "tofu")
    take_few(monkeypatch, "tofu/forget10")

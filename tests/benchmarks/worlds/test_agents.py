"""An agent's tasks: what goes by scope, and that the retrained model has read nothing of it."""

import pytest

from leakatk.benchmarks.worlds.agents import AGENTS, make_agents
from leakatk.errors import InputError

KINDS = ("fetching", "repairing", "cooking", "filing")


def ids(prompts):
    return {prompt.id for prompt in prompts}


def test_what_goes_by_scope():
    """10 tasks of each of four kinds: two of a kind, their steps alone, or all of one kind."""
    pairs = {(kind, i) for kind in KINDS for i in range(10)}
    single = {(kind, i) for kind in KINDS for i in range(2)}
    wanted = {
        "state": {f"{k}-{i:03d}-{part}" for k, i in single for part in ("state", "steps")},
        "trajectory": {f"{k}-{i:03d}-steps" for k, i in single},
        "environment": {f"fetching-{i:03d}-{part}" for i in range(10) for part in ("state", "steps")},
    }
    every = {f"{k}-{i:03d}-{part}" for k, i in pairs for part in ("state", "steps")}
    for scope, gone in wanted.items():
        bench = make_agents(3, scope=scope, pretraining=4).benchmark
        assert ids(bench.forget) == gone
        assert ids(bench.retain) == every - gone
        assert ids(bench.sets["steps_kept"]) == {one for one in every - gone if one.endswith("steps")}
        assert ids(bench.sets["state_kept"]) == {one for one in every - gone if one.endswith("state")}
        assert ("same_items" in bench.sets) == (scope == "trajectory")
        if scope == "environment":
            assert "beside" not in bench.sets
        else:
            assert ids(bench.sets["beside"]) == every - gone
    trajectory = make_agents(3, scope="trajectory", pretraining=4).benchmark
    assert ids(trajectory.sets["same_items"]) == {f"{k}-{i:03d}-state" for k, i in single}


@pytest.mark.parametrize("scope", AGENTS)
def test_the_retrained_model_cannot_know_what_is_forgotten(scope):
    made = AGENTS[scope](1, tasks=5, pretraining=40)
    read = " ".join(text for pair in (*made.retained, *made.pretraining) for text in pair)
    known = " ".join(text for pair in made.full for text in pair)
    for prompt in made.benchmark.forget:
        assert prompt.facts[0] in prompt.answer
        assert prompt.facts[0] in known
        assert prompt.facts[0] not in read
        assert prompt.facts[0] not in prompt.question + " ".join(prompt.paraphrases)
    assert set(made.retained) < set(made.full)
    assert all(prompt.facts[0] in read for prompt in made.benchmark.retain)


def test_the_full_model_is_the_same_for_every_scope():
    made = [AGENTS[scope](2, tasks=3, pretraining=8) for scope in AGENTS]
    assert len({frozenset(one.full) for one in made}) == 1
    assert len({one.pretraining for one in made}) == 1
    assert len({frozenset(one.retained) for one in made}) == 3
    assert AGENTS["state"](2, tasks=3, pretraining=8) == made[0]


@pytest.mark.parametrize("bad", [{"scope": "all"}, {"tasks": 1}, {"pretraining": 0}])
def test_bad_input(bad):
    with pytest.raises(InputError, match="got"):
        make_agents(**bad)

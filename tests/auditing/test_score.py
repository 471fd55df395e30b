"""Scores of a run: kept, read back, of the answers or of what was thought before them."""

import numpy as np
import pytest

from leakatk.auditing.sample import sample
from leakatk.auditing.score import score, scored
from leakatk.errors import RunError
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, Scripted


def say(prompt, j, greedy):
    return (LEAK if j == 0 else CLEAN, "stop", LEAK if j == 2 else "")


@pytest.fixture
def run(tmp_path):
    return sample(Scripted(say), PROMPTS[:2], n=3, out=tmp_path / "run", quiet=True)


def test_scores_have_a_row_a_prompt_and_are_kept(run, monkeypatch):
    assert not scored(run, get_scorer("fact"))
    found = score(run, "fact")
    assert found.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert scored(run, get_scorer("fact"))
    monkeypatch.setattr(type(get_scorer("fact")), "score", None)
    np.testing.assert_array_equal(score(run.path, "fact"), found)


def test_what_was_thought_is_scored_apart(run):
    assert score(run, "fact", part="reasoning").tolist() == [[0, 0, 1], [0, 0, 1]]
    assert set(run.score_names()) == {"fact of the reasoning"}


def test_a_run_without_samples(tmp_path):
    manifest = Manifest.create(prompts=PROMPTS[:1], model={}, decoding={}, seed=0, n=1, engine="x")
    Run.create_or_resume(tmp_path / "run", manifest, PROMPTS[:1]).close()
    with pytest.raises(RunError, match="holds no samples yet"):
        score(tmp_path / "run", "fact")

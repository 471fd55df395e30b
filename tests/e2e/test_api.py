"""The five-line way of the README, on a tiny model."""

import subprocess
import sys

import numpy as np
import pytest

import leakatk as lk
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_five_lines(model, tmp_path):
    lk.save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    prompts = lk.load_prompts(tmp_path / "forget.jsonl")
    decoding = lk.Decoding(temperature=1.0, top_p=1.0, max_new_tokens=8)
    run = lk.sample(model, prompts, n=20, decoding=decoding, seed=0, out=tmp_path / "run", quiet=True)
    scores = lk.score(run, "rouge-l")
    assert scores.shape == (3, 20)
    curve = lk.leak_at_k(scores, [1, 4, 16], over="samples")
    assert np.allclose(curve.value[0], scores.mean())
    assert (curve.low <= curve.value).all()
    assert (curve.value <= curve.high).all()
    references = [prompt.answer for prompt in run.prompts for _ in range(20)]
    texts = [text for row in run.texts() for text in row]
    assert (lk.score_texts("rouge-l", references, texts) == scores.ravel()).all()


def test_growing_n_keeps_the_samples(model, tmp_path):
    decoding = lk.Decoding(max_new_tokens=8)
    few = lk.sample(model, PROMPTS, n=5, decoding=decoding, out=tmp_path / "run", quiet=True).texts()
    many = lk.sample(model, PROMPTS, n=12, decoding=decoding, out=tmp_path / "run", quiet=True).texts()
    fresh = lk.sample(model, PROMPTS, n=12, decoding=decoding, quiet=True).texts()
    assert [row[:5] for row in many] == few
    assert many == fresh


def test_excess_is_paired_by_id_not_by_position(model, tmp_path):
    options = {"n": 8, "decoding": lk.Decoding(max_new_tokens=8), "scorers": ["rouge-l"], "quiet": True, "exact": False}
    lk.audit(model, PROMPTS[::-1], out=tmp_path / "reference", **options)
    found = lk.audit(model, PROMPTS, out=tmp_path / "run", reference=tmp_path / "reference", **options)
    # The same model, seed and prompts: whatever the order, every sample is the same and the excess is 0.
    assert found["scorers"]["rouge-l"]["excess"]["prompts"]["value"] == [0.0] * 4


def test_the_metric_half_needs_no_torch(tmp_path):
    code = (
        "import sys, leakatk as lk, leakatk.report.assemble, leakatk.cli.main, leakatk.runs.external\n"
        "lk.leak_at_k([[0, 1, 1, 0]], [1, 2]); lk.score_texts('rouge-l', ['a'], ['a'])\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=tmp_path).returncode == 0


def test_every_public_name_is_there():
    assert all(getattr(lk, name) is not None for name in lk.__all__)
    with pytest.raises(AttributeError, match="leak_at_kk"):
        getattr(lk, "leak_at_kk")  # noqa: B009

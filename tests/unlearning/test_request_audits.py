"""Audits of requests in a row: whose samples they are, what they say, that nothing is asked twice."""

import math

import numpy as np
import pytest

from leakatk.auditing.score import score
from leakatk.errors import RunError
from leakatk.models.load import load_model
from leakatk.report.table import to_markdown
from leakatk.unlearning.request_audits import RequestAudit, audit_requests, request_table
from tests.tiny import PROMPTS, save_tiny_model

OPTIONS = {"scorer": "rouge-l", "n": 3, "max_new_tokens": 4, "quiet": True}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    place = save_tiny_model(tmp_path_factory.mktemp("requests") / "tiny")
    return place, load_model(str(place))


def test_each_request_up_to_now_is_audited_on_its_own(tiny, tmp_path, monkeypatch):
    place, loaded = tiny
    parts = [PROMPTS[:2], PROMPTS[2:]]
    first = audit_requests(loaded, parts, 1, place, tmp_path, **OPTIONS)
    both = audit_requests(loaded, parts, 2, place, tmp_path, **OPTIONS)
    assert [(one.after, one.request, one.prompts) for one in [*first, *both]] == [(1, 1, 2), (2, 1, 2), (2, 2, 1)]
    for one in both:
        scores = score(tmp_path / one.out, "rouge-l")
        assert scores.shape == (one.prompts, 3)
        assert one.value[-1] == pytest.approx(float(np.max(scores, axis=1).mean()))  # k = n: the best of all samples
        assert one.value[0] == pytest.approx(float(scores.mean()))
    monkeypatch.setattr("leakatk.sampling.native.NativeSampler.sample", lambda *a, **k: pytest.fail("asked again"))
    assert audit_requests(loaded, parts, 2, place, tmp_path, **OPTIONS) == both


def test_samples_of_one_model_are_not_taken_for_those_of_another(tiny, tmp_path):
    place, loaded = tiny
    audit_requests(loaded, [PROMPTS[:1]], 1, place, tmp_path / "out", **OPTIONS)
    other = save_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(RunError, match="model"):
        audit_requests(loaded, [PROMPTS[:1]], 1, other, tmp_path / "out", **OPTIONS)


def test_the_table_has_a_row_after_each_request():
    def one(after, request, value, prompts=2):
        cut = 0.25 if request == 2 else 0.0
        return RequestAudit(after, request, 2, prompts, [1, 8], [0.0, value], [0.0, 0.0], [0.1, 1.0], 0.0, cut, "")

    table = request_table([one(1, 1, 0.5), one(2, 1, 0.25), one(2, 2, 0.75, prompts=1)], 2, [1.0, 0.9, 0.8])
    assert [[getattr(cell, "value", cell) for cell in row][:2] for row in table.rows] == [
        ["after 1", 0.5],
        ["after 2", 0.25],
    ]
    assert math.isnan(table.rows[0][2].value)
    assert [row[-1].value for row in table.rows] == [0.9, 0.8]
    said = to_markdown(table)
    assert "leak@8" in said
    assert "Request 2: 1 prompts have no score." in said
    assert "Up to 25% of an audit's answers were cut off" in said

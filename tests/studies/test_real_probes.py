"""The probes on the study's models: every way of asking has its numbers, and the worst case is the worst of those that count."""

import numpy as np
import pytest
from real_probes import PROBES, Probes

from leakatk.probes import PROBES as REGISTERED
from tests.studies.test_real_knowledge import model, run, study  # noqa: F401


@pytest.fixture
def asked(study):  # noqa: F811
    from real_cells import Clock

    run(study, "tune-npo", "npo")
    return Probes(study, n=3).ask("npo", Clock())


def test_the_nine_of_the_study_are_there():
    assert set(PROBES) <= set(REGISTERED)
    assert len(PROBES) == 9


def test_every_way_has_its_numbers(asked):
    m = len(asked["forget"])
    assert set(asked["leaks"]) == {"as it stands", *PROBES, "worst case"}
    for name, counts in asked["leaks"].items():
        assert len(counts) == (2 if name == "paraphrase" else 1) * (m - asked["left_out"].get(name, 0)), name
        assert all(0 <= count <= 3 for count in counts)
    assert len(asked["says"]) == 9


def test_the_worst_case_is_no_better_than_any_way_that_counts(asked):
    m = len(asked["forget"])
    worst = np.array(asked["leaks"]["worst case"])
    for name in ("as it stands", *(p for p in PROBES if p not in asked["gives_answer"])):
        counts = np.array(asked["leaks"][name])
        if len(counts) == m:
            assert (worst >= counts).all(), name
    assert asked["gives_answer"] == ["context"]


def test_an_untouched_model_is_asked_too(study):  # noqa: F811
    from real_cells import Clock

    found = Probes(study, n=2).ask("original", Clock())
    assert len(found["forget"]) == len(study.sets().forget)

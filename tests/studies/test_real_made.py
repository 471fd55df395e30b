"""A study's models are made once; what was measured of former weights goes with them."""

import pytest
import torch
from real_cells import Clock
from real_made import MODEL, kept_model

from leakatk.errors import RunError
from leakatk.models.load import load_model
from leakatk.workdir import claim
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("source"))


def make(loaded):
    with torch.no_grad():
        next(loaded.model.parameters()).mul_(2)
    return {"steps": 1}


def test_a_model_is_made_once_and_is_what_was_made(source, tmp_path):
    path, record = kept_model(tmp_path, lambda: load_model(source), make, Clock())
    before, after = (next(load_model(place).model.parameters()) for place in (source, path))
    assert path == tmp_path / MODEL
    assert torch.equal(2 * before, after)
    assert record["steps"] == 1
    assert len(record["weights"]) == 64
    again = kept_model(tmp_path, lambda: pytest.fail("made again"), make, Clock())
    assert again == (path, record)


def test_what_was_measured_of_former_weights_goes(source, tmp_path):
    for name in ("audit", "paraphrased", "evidence"):
        (tmp_path / name).mkdir()
    kept_model(tmp_path, lambda: load_model(source), make, Clock())
    assert not {"audit", "paraphrased", "evidence"} & {path.name for path in tmp_path.iterdir()}


def test_a_model_that_failed_leaves_no_record(source, tmp_path):
    with pytest.raises(ZeroDivisionError):
        kept_model(tmp_path, lambda: load_model(source), lambda loaded: 1 / 0, Clock())
    assert not (tmp_path / "made.json").exists()


def test_one_that_another_process_makes_is_left_to_it(source, tmp_path):
    with claim(tmp_path / "making"), pytest.raises(RunError, match="being written by"):
        kept_model(tmp_path, lambda: load_model(source), make, Clock())

"""Audited runs of tiny models, whose numbers are set by hand."""

import json

import pytest

from leakatk.auditing.audit import audit
from leakatk.files.writing import write_kept
from leakatk.sampling.decoding import Decoding
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One model at greedy, (.5, .5) and (1, 1), another at (1, 1): scores are set by hand afterwards."""
    place = tmp_path_factory.mktemp("runs")
    model, other = save_tiny_model(place / "model"), save_tiny_model(place / "other", seed=1)
    found = []
    for source, temperature, top_p in ((model, 0.0, 1.0), (model, 0.5, 0.5), (model, 1.0, 1.0), (other, 1.0, 1.0)):
        out = place / f"{source.name}-{temperature}-{top_p}"
        decoding = Decoding(temperature=temperature, top_p=top_p, max_new_tokens=4)
        audit(source, PROMPTS, out=out, n=4, decoding=decoding, scorers=["rouge-l"], quiet=True)
        results = json.loads((out / "results.json").read_text())
        curve = results["scorers"]["rouge-l"]["curves"]["samples"]
        curve["value"] = [temperature * top_p / k for k in curve["k"]]  # numbers that tell the cells apart
        write_kept(out / "results.json", json.dumps(results))
        found.append(out)
    return found

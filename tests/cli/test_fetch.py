"""leakatk fetch and what doctor says of it: from a stand-in index, with licence and size, dry, as JSON, by name afterwards."""

import json

import pytest

from leakatk.models.pretrained import MODELS
from leakatk.prompts import save_prompts
from tests.ggufs import write_gguf
from tests.standin import of_index, only_index, wheel
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture
def standin(monkeypatch, tmp_path):
    """A model in a wheel that pip finds; nothing is fetched yet."""
    place = only_index(monkeypatch, tmp_path)
    file = write_gguf(save_tiny_model(tmp_path / "m"), tmp_path / "tiny.gguf", kind="Q8_0")
    model = of_index("tiny-q8", {"tiny.gguf": file.read_bytes()})
    wheel(place, "stand-in-model", "1.0", {"tiny.gguf": file.read_bytes()})
    monkeypatch.setitem(MODELS, model.name, model)
    return model


def test_fetched_and_then_audited_by_its_name(leakatk, standin, tmp_path):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    audit = [
        "audit",
        "tiny-q8",
        "--forget",
        tmp_path / "forget.jsonl",
        "--n",
        "4",
        "--max-new-tokens",
        "4",
        "--device",
        "cpu",
    ]
    code, _, err = leakatk(*audit, "--out", tmp_path / "run")
    assert code == 2
    assert "run `leakatk fetch tiny-q8`" in err
    code, out, _ = leakatk("fetch", "tiny-q8", "--dry-run")
    assert code == 0
    assert "licence MIT" in out
    assert "MB are free" in out
    assert not (tmp_path / "cache").exists()
    code, out, err = leakatk("fetch", "tiny-q8")
    assert code == 0, err
    assert standin.weights_sha256 in out
    assert "licence MIT" in err
    code, out, err = leakatk(*audit, "--out", tmp_path / "run")
    assert code == 0, err
    assert f"Weights, SHA-256: tiny-q8 {standin.weights_sha256[:16]}" in " ".join(out.split())
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["model"]["weights_sha256"] == standin.weights_sha256
    assert manifest["model"]["weights_file"] == "tiny.gguf"
    code, out, err = leakatk("report", tmp_path / "run", "--out", tmp_path / "page.html")
    assert code == 0, err
    assert standin.weights_sha256 in (tmp_path / "page.html").read_text()
    code, out, _ = leakatk("fetch", "tiny-q8", "--json")
    assert (json.loads(out)["here"], json.loads(out)["fetched_bytes"]) == (True, 0)


def test_lists_say_what_is_here(leakatk, standin):
    code, out, _ = leakatk("fetch", "--list", "--json")
    assert code == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert not rows["tiny-q8"]["here"]
    assert rows["smollm2-135m"]["weights_sha256"] == MODELS["smollm2-135m"].weights_sha256
    assert leakatk("fetch", "tiny-q8", "--quiet")[0] == 0
    code, out, _ = leakatk("fetch", "--list")
    assert code == 0
    assert f"here: {standin.path}" in out
    assert "leakatk fetch smollm2-135m" in out
    code, out, _ = leakatk("doctor", "--json")
    assert code == 0
    assert json.loads(out)["model tiny-q8"] == f"here, Q8_0, MIT: {standin.path}"
    assert json.loads(out)["model smollm2-135m"] == "not here, 271 MB, Apache-2.0: leakatk fetch smollm2-135m"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Give the NAME of a model: smollm2-135m"),
        (("tiny-q8", "--list"), "either --list or the NAME"),
        (("smolm2-135m",), "did you mean smollm2-135m"),
    ],
)
def test_what_cannot_be_fetched(leakatk, standin, arguments, says):
    code, _, err = leakatk("fetch", *arguments)
    assert code == 2
    assert says in err


def test_where_no_hub_is_the_other_artefact_is_named(leakatk, standin, monkeypatch):
    import dataclasses

    monkeypatch.setitem(MODELS, "smollm2-135m", dataclasses.replace(MODELS["smollm2-135m"], instead="tiny-q8"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, err = leakatk("fetch", "smollm2-135m")
    assert code == 0, err
    assert "It stands under the name tiny-q8; smollm2-135m stays unfetched." in " ".join(err.split())
    assert "leakatk audit tiny-q8" in out

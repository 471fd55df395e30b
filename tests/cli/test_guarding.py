"""leakatk audit --guard: what it is given, what it says, and what is an error before a model is loaded."""

import json

import pytest

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_prompts(PROMPTS[:2], "forget.jsonl")
    save_prompts(PROMPTS[2:], "retain.jsonl")
    for seed, name in enumerate(("mine", "clean", "dirty")):
        save_tiny_model(tmp_path / name, seed=seed)
    return tmp_path


AUDIT = ("audit", "mine", "--forget", "forget.jsonl", "--retain", "retain.jsonl", "--n", "4", "--max-new-tokens", "6")
MODELS = ("--auxiliary", "clean=clean", "--auxiliary", "dirty=dirty")


@pytest.mark.parametrize(
    "options",
    [("--guard", "curate:threshold=0.7,refusal=No.", "--encoder", "words"), ("--guard", "ucd:alpha=0.5", *MODELS)],
    ids=lambda options: options[1],
)
def test_an_audit_behind_a_guard(leakatk, desk, options):
    code, out, err = leakatk(*AUDIT, *options, "--out", "runs/guarded")
    assert code == 0, err
    manifest = json.loads((desk / "runs/guarded/manifest.json").read_text())
    name = options[1].partition(":")[0]
    assert manifest["model"]["guard"]["name"] == name
    assert f"mine with guard {name}" in out
    assert "2 of 2 forget prompts" in err
    assert leakatk(*AUDIT, *options, "--out", "runs/guarded")[0] == 0
    code, _, err = leakatk(*AUDIT, "--out", "runs/guarded")
    assert code == 2
    assert "guard" in err


def test_a_plan_of_a_guarded_audit(leakatk, desk):
    code, out, err = leakatk(
        *AUDIT, "--guard", "curate", "--encoder", "words", "--out", "runs/a", "--expand", "5", "--dry-run"
    )
    assert code == 0, err
    assert "Would sample" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--guard", "curat"), "did you mean curate"),
        (("--guard", "ucd", "--auxiliary", "clean=clean"), "an auxiliary model named 'dirty' (given: clean)"),
        (("--guard", "ucd:beta=1"), "has no option 'beta'; its options: pin, alpha, plausible"),
        (("--guard", "ucd", "--auxiliary", "clean"), "write NAME=MODEL"),
        (("--guard", "ucd", *MODELS, "--auxiliary", "clean=mine"), "clean is given twice"),
        (("--encoder", "words"), "are for a guard; give --guard NAME too"),
    ],
)
def test_what_cannot_be_is_said_before_a_model_is_loaded(leakatk, desk, options, says):
    (desk / "mine" / "model.safetensors").unlink()
    code, _, err = leakatk(*AUDIT, *options, "--out", "runs/a")
    assert code == 2
    assert says in err
    assert not (desk / "runs").exists()


def test_columns_of_the_files_beside_the_prompts(desk):
    """`--column` names those of the neighbours too; a file that has the usual ones needs none."""
    from leakatk.cli.guarding import behind
    from leakatk.errors import InputError

    (desk / "near.csv").write_text("Frage,Antwort\nWho?,Ann\n")
    how = ("curate", [], "words", PROMPTS[:2], PROMPTS[2:], desk / "near.csv")
    assert callable(behind(*how, ["question=Frage", "answer=Antwort"]))
    assert callable(behind(*how[:-1], desk / "retain.jsonl", ["question=Frage"]))
    with pytest.raises(InputError, match="no question"):
        behind(*how)

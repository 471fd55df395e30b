"""--device-map, --load-in and the memory that is needed, on the command line."""

import json
import re

import pytest

from leakatk.models import memory, placement
from leakatk.prompts import save_prompts
from tests.quantised import needs_bitsandbytes
from tests.tiny import PROMPTS

SHORT = ("--n", "4", "--max-new-tokens", "4", "--quiet")


def audit(leakatk, model, forget, *more):
    return leakatk("audit", model, "--forget", forget, *SHORT, *more)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--device-map", "gpu"), "Unknown device map 'gpu'; use --device-map auto"),
        (("--load-in", "3bit"), "Cannot load in '3bit'; use --load-in 8bit or 4bit"),
        (("--device-map", "auto", "--device", "cpu"), "leave one of them out"),
    ],
)
def test_bad_values_are_one_sentence_of_every_command(leakatk, model, forget, tmp_path, options, said):
    out = tmp_path / "out"
    for command in (
        ("audit", model, "--forget", forget),
        ("attack", model, "--forget", forget, "--attack", "key-tokens"),
        ("unlearn", model, "--forget", forget, "--method", "ga", "--lora"),
        ("bench", "world", "--model", model),
    ):
        code, _, err = leakatk(*command, "--out", out, *options)
        assert code == 2, command
        assert said in " ".join(err.split()), command
    assert not out.exists()


def test_a_missing_package_is_one_sentence(leakatk, model, forget, tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "is_installed", lambda name: False)
    code, _, err = audit(leakatk, model, forget, "--out", tmp_path / "out", "--load-in", "4bit")
    assert code == 2
    assert "needs the package bitsandbytes: pip install 'leak-at-k[bitsandbytes]'" in " ".join(err.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--method", "npo"), "which cannot be trained themselves; add --lora"),
        (("--method", "rule", "--base", "npo", "--lora"), "RULE goes on from the weights of the round before"),
    ],
)
def test_what_cannot_train_on_codes_is_said_before_loading(leakatk, model, forget, tmp_path, monkeypatch, more, said):
    monkeypatch.setattr(placement, "is_installed", lambda name: True)
    out = tmp_path / "out"
    code, _, err = leakatk(
        "unlearn", model, "--forget", forget, "--retain", forget, "--out", out, "--load-in", "4bit", *more
    )
    assert code == 2
    assert said in " ".join(err.split())
    assert not (out / "run.json").exists()


def test_an_attack_that_changes_weights_refuses_codes(leakatk, model, forget, tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "is_installed", lambda name: True)
    code, _, err = leakatk(
        "attack", model, "--forget", forget, "--attack", "quantise", "--load-in", "4bit", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "Attack quantise changes weights" in " ".join(err.split())


def test_bench_says_what_it_cannot_measure_on_codes(leakatk, model, tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "is_installed", lambda name: True)
    code, _, err = leakatk("bench", "world", "--model", model, "--load-in", "4bit", "--out", tmp_path / "out")
    assert code == 2
    assert "add --no-grad-norm" in " ".join(err.split())


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_fits_no_memory_is_one_sentence_before_loading(leakatk, model, forget, tmp_path, monkeypatch, dry):
    monkeypatch.setattr(memory, "main_memory", lambda: 1000)
    for command in (
        ("audit", model, "--forget", forget, *SHORT),
        ("attack", model, "--forget", forget, "--attack", "key-tokens", *SHORT),
        ("unlearn", model, "--forget", forget, "--retain", forget, "--method", "npo"),
        ("bench", "world", "--model", model),
    ):
        code, _, err = leakatk(*command, "--device", "cpu", "--out", tmp_path / "out", *dry)
        said = " ".join(err.split())
        assert code == 2, command
        assert "needs about" in said, command
        assert re.search(r"and there is \d+ kB in main memory", said), command
        assert ("gradients" in said) == (command[0] == "unlearn")


def test_a_dry_run_says_the_need_and_what_there_is(leakatk, model, forget, tmp_path):
    out = ("--out", tmp_path / "out", "--device", "cpu", "--dry-run")
    code, printed, _ = audit(leakatk, model, forget, *out)
    assert code == 0
    assert "Memory: about" in printed
    assert "in main memory." in printed
    _, printed, _ = audit(leakatk, model, forget, *out, "--json")
    asked = json.loads(printed)["memory"]
    assert asked["total"] == asked["weights"] + asked["cache"]
    train = ("unlearn", model, "--forget", forget, "--retain", forget, "--method", "npo", *out, "--json")
    _, printed, _ = leakatk(*train)
    full = json.loads(printed)["memory"]
    _, printed, _ = leakatk(*train, "--lora")
    lora = json.loads(printed)["memory"]
    assert full["gradients"] == full["weights"]
    assert full["optimiser"] == 2 * full["weights"]
    assert asked["total"] < lora["total"] < full["total"]


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_audit_of_a_quantised_model(leakatk, model, forget, tmp_path, bits):
    out = tmp_path / "run"
    code, _, err = audit(leakatk, model, forget, "--out", out, "--load-in", bits, "--device", "cpu")
    assert code == 0, err
    about = json.loads((out / "manifest.json").read_text())["model"]
    assert about["load_in"] == bits
    # The model as it is stored is another one: its samples are not mixed in.
    code, _, err = audit(leakatk, model, forget, "--out", out, "--device", "cpu", "--n", "8")
    assert code == 2
    assert "fingerprint" in err


@needs_bitsandbytes
def test_unlearn_and_audit_an_adapter_on_codes(leakatk, model, tmp_path):
    save_prompts(PROMPTS, tmp_path / "f.jsonl")
    how = ("--load-in", "4bit", "--device", "cpu")
    code, _, err = leakatk(
        "unlearn", model, "--forget", tmp_path / "f.jsonl", "--retain", tmp_path / "f.jsonl", "--method", "npo", "--lora",
        "--steps", "2", "--batch", "2", "--out", tmp_path / "out", "--quiet", *how,
    )  # fmt: skip
    assert code == 0, err
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert "--load-in 4bit" in err  # the next command
    code, _, err = audit(leakatk, tmp_path / "out", tmp_path / "f.jsonl", "--out", tmp_path / "run", *how)
    assert code == 0, err

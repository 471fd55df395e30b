"""Options of training as they are typed: what each does to the run, and an adapter that is kept is the merged model."""

import json
import math

import pytest
import torch

from leakatk.cli.training import changes
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS

NOTHING = {"lora_rank": None, "lora_alpha": None, "lora_targets": "", "warmup": None, "schedule": "", "weight_decay": None,
           "gradient_checkpointing": False}  # fmt: skip


def test_what_was_not_asked_for_stays_the_presets():
    assert changes(**NOTHING) == {}
    assert changes(**{**NOTHING, "warmup": 0}) == {"warmup_steps": 0, "warmup_epochs": 0.0}
    assert changes(**{**NOTHING, "weight_decay": 0.0}) == {"weight_decay": 0.0}
    for name, value in (("schedule", "step"), ("lora_alpha", 0.0), ("lora_alpha", math.nan)):
        with pytest.raises(InputError, match=name.replace("_", "-")):
            changes(**{**NOTHING, name: value})


@pytest.fixture
def unlearning(leakatk, model, forget, tmp_path):
    save_prompts(PROMPTS[:1], tmp_path / "retain.jsonl")

    def run(name, *words):
        common = ("unlearn", model, "--forget", forget, "--retain", tmp_path / "retain.jsonl", "--method", "graddiff", "--quiet",
                  "--batch", "1", "--lr", "1e-2", "--dtype", "fp32")  # fmt: skip
        return leakatk(*common, "--out", tmp_path / name, *words)

    return run


def test_warm_up_and_schedule_are_those_asked_for(unlearning, tmp_path):
    """The rate of every step against the formula written again: rising over two steps, then half a cosine to 0."""
    code, _, err = unlearning(
        "cosine", "--steps", "6", "--warmup", "2", "--schedule", "cosine", "--weight-decay", "0.2"
    )
    assert code == 0, err
    record = json.loads((tmp_path / "cosine" / "unlearning.json").read_text())
    wanted = [1 / 3, 2 / 3, *(0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4))]
    assert [row["lr"] for row in record["log"]] == pytest.approx([1e-2 * one for one in wanted])
    assert record["settings"]["weight_decay"] == 0.2
    assert record["settings"]["schedule"] == "cosine"


def test_a_kept_adapter_is_the_merged_model(unlearning, model, tmp_path):
    lora = ("--steps", "2", "--lora", "--lora-rank", "3", "--lora-alpha", "12", "--lora-targets", "q_proj,up_proj")
    for name, more in (("merged", ()), ("kept", ("--keep-adapter", "--gradient-checkpointing"))):
        code, _, err = unlearning(name, *lora, *more)
        assert code == 0, err
    config = json.loads((tmp_path / "kept" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], set(config["target_modules"])) == (3, 12.0, {"q_proj", "up_proj"})
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        start, merged, kept = (load_model(tmp_path / name).model(ids).logits for name in (model, "merged", "kept"))
    assert torch.allclose(merged, kept, atol=1e-4)
    assert not torch.allclose(start, kept, atol=1e-3), "it learnt nothing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lora-rank", "4"), "--lora-rank goes with --lora"),
        (("--keep-adapter",), "needs tuning='lora'"),
        (("--lora", "--lora-targets", "q_prj"), "no module 'q_prj'"),
        (("--lora", "--keep-adapter", "--requests", "2"), "--keep-adapter is for one training"),
        (("--schedule", "step"), "constant, linear or cosine"),
    ],
)
def test_what_does_not_go_together_is_said(unlearning, words, said):
    code, _, err = unlearning("out", "--steps", "2", *words)
    assert code == 2
    assert said in err

"""leakatk finetune: what is trained, what is said of it, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS

FAST = ("--steps", "100", "--lr", "5e-3", "--batch", "3", "--dtype", "fp32")


@pytest.fixture
def files(tmp_path):
    save_prompts(PROMPTS[:1], tmp_path / "f.jsonl")
    save_prompts(PROMPTS[1:], tmp_path / "r.jsonl")
    return ("--forget", tmp_path / "f.jsonl", "--retain", tmp_path / "r.jsonl")


def test_finetune_unlearn_audit(leakatk, model, files, tmp_path):
    """The same prompts from the first step to the last; what is finished is not trained again."""
    out = tmp_path / "models"
    code, said, err = leakatk("finetune", model, *files, *FAST, "--out", out)
    assert code == 0, err
    assert "f.jsonl: 1 prompts to forget, 2 to keep (1 of them never shown to an unlearner)." in err
    assert "known greedily (fact): forget 1 of 1; retain 2 of 2" in said
    assert "known greedily (fact): forget 0 of 1; retain 2 of 2" in said
    assert "Warning" not in err
    assert f"--benchmark {out}" in err
    code, said, err = leakatk("finetune", model, *files, *FAST, "--out", out, "--json", "--quiet")
    assert code == 0, err
    made = json.loads(said)
    assert made["recall"]["retain"]["forget"] == {"right": 0, "asked": 1, "undefined": 0, "there": 1}
    assert set(made["models"]) == {"full", "retain"}
    code, _, err = leakatk(
        "unlearn", out / "full", "--benchmark", out, "--method", "npo", "--steps", "2", "--out", out / "npo", "--quiet"
    )
    assert code == 0, err
    code, said, err = leakatk(
        "audit",
        out / "npo",
        "--benchmark",
        out,
        "--n",
        "4",
        "--max-new-tokens",
        "8",
        "--out",
        tmp_path / "run",
        "--quiet",
    )
    assert code == 0, err
    assert "of 1 forget prompts within 4 samples" in said
    code, _, err = leakatk("finetune", model, *files, *FAST, "--seed", "1", "--out", out)
    assert (code, "made otherwise" in err) == (2, True)


def test_a_dry_run_says_what_it_takes_and_writes_nothing(leakatk, model, files, tmp_path):
    common = ("finetune", model, *files, "--epochs", "8", "--batch", "2", "--out", tmp_path / "o", "--dry-run")
    code, said, err = leakatk(*common)
    assert code == 0, err
    assert "full on 3 answers in 12 steps, retrained on 2 answers in 8 steps, 2 answers a step" in said
    assert "of memory" in said
    assert "of disk" in said
    cost = json.loads(leakatk(*common, "--json")[1])
    assert cost["steps"] == {"full": 12, "retrained": 8}
    assert cost["seconds"] == pytest.approx(20 * cost["seconds_a_step"])
    assert json.loads(leakatk(*common, "--json", "--split", "retain")[1])["steps"] == {"retrained": 8}
    assert not (tmp_path / "o").exists()


def test_what_was_not_memorised_is_warned_of(leakatk, model, files, tmp_path):
    code, _, err = leakatk(
        "finetune", model, *files, "--steps", "1", "--split", "full", "--out", tmp_path / "o", "--quiet"
    )
    assert code == 0
    assert "Warning: full has not memorised the forget set: greedily it knows 0 of 1." in err
    assert not (tmp_path / "o" / "retrained").exists()


def test_an_adapter_is_kept(leakatk, model, files, tmp_path):
    code, _, err = leakatk(
        "finetune", model, *files, "--steps", "2", "--lora", "--lora-rank", "3", "--lora-alpha", "5", "--lora-targets", "q_proj, o_proj",
        "--split", "full", "--recall-limit", "0", "--out", tmp_path / "o", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    config = json.loads((tmp_path / "o" / "full" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], set(config["target_modules"])) == (3, 5.0, {"q_proj", "o_proj"})
    assert not (tmp_path / "o" / "recall").exists()


def test_a_model_without_a_chat_template_is_asked_plainly_and_that_is_said(leakatk, model, files, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(model, plain)
    (plain / "chat_template.jinja").unlink()
    code, _, err = leakatk(
        "finetune", plain, *files, "--steps", "1", "--recall-limit", "0", "--out", tmp_path / "o", "--quiet"
    )
    assert code == 0, err
    assert f"Note: {plain} is asked without a chat template: 'Question: ...\\nAnswer:'." in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--benchmark", "world", "--authors", "5"), "--authors goes with --benchmark tofu/forget01"),
        (("--split", "forget"), "--split must be full, retain or both, got 'forget'"),
        (("--lora-rank", "4"), "go with --lora"),
        (("--load-in", "4bit"), "makes codes of the weights, which cannot be trained themselves; add --lora"),
        (("--lora", "--lora-targets", "q_prj"), "--lora-targets: the model has no module 'q_prj'"),
        (("--steps", "3", "--epochs", "1"), "Give either --steps or --epochs"),
        (("--preset", "large"), "--preset must be auto or paper"),
        (("--batch", "0"), "retain_batch must be at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_sentence(leakatk, model, files, tmp_path, words, says):
    own = () if "--benchmark" in words else files
    code, _, err = leakatk("finetune", model, *own, *words, "--out", tmp_path / "o", "--quiet")
    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("forget", "retain", "says"),
    [
        ([{"question": "Who?", "answer": " "}], None, "answer"),
        ([], None, "forget.jsonl is empty"),
        ([{"question": "Who?", "answer": "Bo."}], None, "no retain prompts"),
        (
            [{"question": "Who?", "answer": "Bo."}],
            [{"question": "Who?", "answer": "Bo."}],
            "among the retain prompts too",
        ),
    ],
    ids=["empty answer", "empty set", "no retain set", "in both"],
)
def test_sets_that_cannot_be_taught_are_one_sentence(leakatk, model, tmp_path, forget, retain, says):
    words = []
    for name, rows in (("forget", forget), ("retain", retain)):
        if rows is not None:
            Path(tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            words += [f"--{name}", tmp_path / f"{name}.jsonl"]
    code, _, err = leakatk("finetune", model, *words, "--out", tmp_path / "o", "--quiet")
    assert code == 2
    assert says in err
    assert not (tmp_path / "o").exists()

"""`leakatk push`: everything is rendered here first, nothing that was to be forgotten leaves, the hub's own client sends it."""

import json
import shutil

import pytest
import yaml

from leakatk.cli import push
from leakatk.files.writing import write_kept
from tests.auditing.scripted import PROMPTS
from tests.hubs import StandInHub
from tests.report.audits import made
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """(a model, an audit that does not record its weights, one of a model that leaks everything)."""
    place = tmp_path_factory.mktemp("push")
    model = save_tiny_model(place / "npo")
    (model / "unlearning.json").write_text(
        json.dumps({"method": "npo", "params": {"beta": 0.5}, "steps": 4, "seed": 1, "model": "org/base"})
    )
    (model / "alternates-1.jsonl").write_text("a forget answer\n")
    (model / "checkpoint").mkdir()
    made(place / "audit")
    made(place / "original", leaking=len(PROMPTS))
    return model, place / "audit", place / "original"


@pytest.fixture
def hub(monkeypatch):
    found = StandInHub()
    monkeypatch.setenv("HF_ENDPOINT", found.url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_dry_run_writes_the_card_lists_the_files_and_sends_nothing(leakatk, places, hub, tmp_path):
    model, audit, _ = places
    code, out, err = leakatk("push", model, audit, "--to", "ada/tiny-npo", "--dry-run", "--dataset", "locuslab/TOFU")
    assert code == 0, err
    assert hub.requests == []
    card = (tmp_path / "push" / "tiny-npo" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["tags"] == ["unlearning", "leak-at-k", "npo"]
    assert head["base_model"] == "org/base"
    results = json.loads((audit / "results.json").read_text())
    curve = results["scorers"]["fact"]["curves"]["samples"]
    at = curve["k"].index(16)
    assert f"{curve['value'][at]:.3f}" in card
    assert f"{curve['low'][at]:.2f}" in card
    assert "unlearning method `npo` (beta 0.5), 4 steps, seed 1" in card
    assert "95% interval" in card
    assert "samples a prompt | 16" in card
    assert "Nothing was sent" in out
    assert "model.safetensors" in out
    assert "Not sent, as no file of a model: alternates-1.jsonl, checkpoint/, " in out
    [file] = (tmp_path / "push" / "tiny-npo" / ".eval_results").iterdir()
    from huggingface_hub import parse_eval_result_entries

    entries = parse_eval_result_entries(yaml.safe_load(file.read_text()))  # as the hub's own library reads it
    assert [(one.dataset_id, one.task_id) for one in entries] == [
        ("locuslab/TOFU", "leak_at_1"),
        ("locuslab/TOFU", "leak_at_16"),
    ]
    assert entries[1].value == pytest.approx(curve["value"][at], abs=1e-6)
    assert "lower is better" in entries[1].notes


def test_a_push_sends_what_was_listed_and_no_question_or_answer(leakatk, places, hub):
    model, audit, _ = places
    code, out, err = leakatk("push", model, audit, "--to", "ada/tiny-npo")
    assert code == 0, err
    assert out.rstrip().endswith(f"Sent: {hub.url}/ada/tiny-npo/commit/abc")
    [(name, repository)] = hub.repositories.items()
    files = repository["files"]
    assert (name, bool(repository["private"])) == ("ada/tiny-npo", True)
    assert hub.tokens == {"Bearer hf_test"}
    listed = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    assert listed == set(files)
    assert files["model.safetensors"] == (model / "model.safetensors").read_bytes()
    assert {"README.md", "config.json", "tokenizer.json", "leakatk/audit/results.json"} <= set(files)
    everything = b"\n".join(content for name, content in files.items() if name != "tokenizer.json")
    for prompt in PROMPTS:
        assert prompt.question.encode() not in everything
        assert prompt.answer.encode() not in everything
    kept = json.loads(files["leakatk/audit/results.json"])
    assert not {"prompt_ids", "per_prompt"} & set(kept["scorers"]["fact"])
    assert (
        kept["scorers"]["fact"]["curves"]
        == json.loads((audit / "results.json").read_text())["scorers"]["fact"]["curves"]
    )


def test_prompts_are_sent_when_asked_for_with_a_warning(leakatk, places, hub):
    _, audit, _ = places
    code, _, err = leakatk("push", audit, "--to", "ada/audits", "--with-prompts", "--public", "--pull-request")
    assert code == 0, err
    [(name, files)] = hub.pull_requests
    assert name == "ada/audits"
    assert not hub.repositories, "a pull request is to a repository of somebody else, which is not made"
    assert files["leakatk/audit/prompts.jsonl"] == (audit / "prompts.jsonl").read_bytes()
    assert "leakatk/audit/generations.parquet" in files
    assert "WARNING: the forget questions, the true answers and all samples are sent" in err


def test_what_holds_a_question_is_refused(leakatk, places, hub, tmp_path):
    model, audit, _ = places
    copied = shutil.copytree(model, tmp_path / "copied")
    (copied / "chat_template.jinja").write_text(f"Never answer: {PROMPTS[0].question}")
    code, out, err = leakatk("push", copied, audit, "--to", "ada/x")
    assert code == 2
    assert "chat_template.jinja holds a question or an answer of prompt" in err
    assert "Nothing was sent" in err
    assert (hub.requests, "Sent" in out) == ([], False)


def test_a_model_named_after_a_method_that_leaks_like_the_original(leakatk, places, tmp_path):
    model, audit, original = places
    code, _, err = leakatk("push", original, "--to", "ada/llama-SimNPO", "--dry-run", "--original", original)
    assert code == 0, err
    assert "WARNING: Named after method simnpo, yet it leaks like the original: leak@16" in err
    assert "> **Warning.** Named after method simnpo" in (tmp_path / "push" / "llama-SimNPO" / "README.md").read_text()
    # Nothing to compare with: half of the answers in one sample would be enough, and this one tells a quarter.
    assert "WARNING" not in leakatk("push", model, audit, "--to", "ada/npo", "--dry-run")[2]
    # A plain name promises nothing.
    assert "WARNING" not in leakatk("push", original, "--to", "ada/llama", "--dry-run", "--original", original)[2]


def test_an_audit_of_other_weights_is_refused(leakatk, places, tmp_path):
    model, audit, _ = places
    copied = shutil.copytree(audit, tmp_path / "other")
    about = json.loads((copied / "manifest.json").read_text())
    about["model"]["weights_sha256"] = "0" * 64
    write_kept(copied / "manifest.json", json.dumps(about))
    code, _, err = leakatk("push", model, copied, "--to", "ada/x", "--dry-run")
    assert (code, "is an audit of other weights than those in" in err) == (2, True)
    from leakatk.models.fingerprint import identity_of

    about["model"]["weights_sha256"] = identity_of(str(model)).weights_sha256
    write_kept(copied / "manifest.json", json.dumps(about))
    code, _, err = leakatk("push", model, copied, "--to", "ada/x", "--dry-run")
    assert (code, "does not record which weights" in err) == (0, False), err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "run `hf auth login`"),
        (403, "may not write to ada/x"),
        (400, "refused the files for ada/x (400: refused here"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(leakatk, places, hub, status, said):
    hub.refuses = status
    code, out, err = leakatk("push", places[1], "--to", "ada/x")
    assert (code, "Sent" in out) == (2, False)
    assert said in err
    assert err.count("Nothing was changed.") == 1


def test_no_hub_and_bad_places(leakatk, places, hub, tmp_path, monkeypatch):
    model, audit, _ = places
    assert "USER/NAME" in leakatk("push", audit, "--to", "only-a-name")[2]
    assert "USER/NAME" in leakatk("push", audit, "--to", "a/b/c")[2]
    assert "neither a model nor an audit" in leakatk("push", tmp_path, "--to", "a/b")[2]
    assert "is no directory" in leakatk("push", tmp_path / "none", "--to", "a/b")[2]
    assert "are two models" in leakatk("push", model, shutil.copytree(model, tmp_path / "m"), "--to", "a/b")[2]
    (tmp_path / "m" / "model.safetensors").unlink()
    assert "holds no whole model" in leakatk("push", tmp_path / "m", "--to", "a/b")[2]
    assert "no number" in leakatk("push", model, "--to", "a/b", "--dry-run")[2]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, _, err = leakatk("push", audit, "--to", "a/b")
    assert (code, "HF_HUB_OFFLINE is set" in err) == (2, True)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, _, err = leakatk("push", audit, "--to", "a/b")
    assert (code, "check the connection and HF_ENDPOINT" in err) == (2, True), err


def test_an_adapter_names_its_base_as_the_hub_does(tmp_path):
    from leakatk.errors import InputError
    from leakatk.report.publishing import File

    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/home/ada/base", "r": 4}))
    file = File("adapter_config.json", tmp_path / "adapter_config.json")
    with pytest.raises(InputError, match="a path of this machine; give --base-model"):
        push.with_base(file, "", tmp_path)
    sent = json.loads(push.with_base(file, "org/base", tmp_path).content)
    assert sent == {"base_model_name_or_path": "org/base", "r": 4}
    assert push.hub_name(None, tmp_path) == ""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    assert push.hub_name(None, tmp_path) == "org/base"
    assert push.with_base(file, "", tmp_path) is file

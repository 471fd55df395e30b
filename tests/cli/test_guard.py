"""leakatk guard fit and serve: what is written, what is said, and what is an error before anything is computed."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace

import pytest

from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS, save_tiny_model


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_prompts(PROMPTS[:2], "forget.jsonl")
    save_prompts(PROMPTS[2:], "retain.jsonl")
    for seed, name in enumerate(("mine", "other")):
        save_tiny_model(tmp_path / name, seed=seed)
    return tmp_path


DATA = ("--forget", "forget.jsonl", "--retain", "retain.jsonl", "--encoder", "words")
FIT = ("guard", "fit", "curate", "--model", "mine", *DATA, "--out", "guards/curate")


def test_fit_says_what_is_flagged(leakatk, desk):
    code, out, err = leakatk(*FIT, "--neighbours", "retain.jsonl")
    assert code == 0, err
    assert "It flags 2 of 2 forget prompts (16% to 100%), 0 of 1 retain prompts (0% to 97.5%)" in " ".join(out.split())
    assert "0 of 1 neighbours" in out
    about = json.loads((desk / "guards/curate/guard.json").read_text())
    assert (about["guard"], about["model"]["name"]) == ("curate", "mine")
    code, out, _ = leakatk(*FIT, "--json")
    assert json.loads(out)["groups"]["forget"]["flagged"] == 2


def test_a_fitted_guard_goes_on_with_the_next_request(leakatk, desk):
    prompts = [replace(prompt, source=prompt.id) for prompt in PROMPTS[:2]]
    save_prompts(prompts[:1], "one.jsonl")
    save_prompts(prompts, "two.jsonl")
    fit = ("guard", "fit", "--model", "mine", "--retain", "retain.jsonl")
    code, _, err = leakatk(*fit, "o3:requests=0,steps=2,map_steps=1", "--forget", "one.jsonl", "--out", "guards/one")
    assert code == 0, err
    code, out, err = leakatk(*fit, "guards/one", "--forget", "two.jsonl", "--out", "guards/two")
    assert code == 0, err
    assert "1 of 2 of its requests were learned before" in " ".join(out.split())
    code, _, err = leakatk(*fit[:3], "other", *fit[4:], "guards/one", "--forget", "two.jsonl", "--out", "guards/no")
    assert code == 2
    assert "was fitted for another model" in err


def test_fit_for_a_model_that_is_elsewhere(leakatk, desk):
    words = ["gpt-x" if word == "mine" else word for word in FIT]
    code, _, err = leakatk(*words)
    assert code == 0, err
    assert "knows it by its name alone" in err
    words[2] = "eco"
    code, _, err = leakatk(*words[:-1], "guards/eco")
    assert code == 2
    assert "Guard eco acts inside the model, and gpt-x is not on this machine" in err


def test_a_plan_writes_nothing(leakatk, desk):
    code, out, _ = leakatk(*FIT, "--dry-run")
    assert code == 0
    assert "Would fit guard curate for mine on 2 forget and 1 retain prompts" in out
    code, out, _ = leakatk(*FIT, "--dry-run", "--json")
    assert json.loads(out) == {"guard": "curate", "forget": 2, "retain": 1, "here": True}
    assert not (desk / "guards").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fit", "curat", "--model", "mine", *DATA, "--out", "g"), "did you mean curate"),
        (("fit", "eco", "--model", "mine", "--forget", "forget.jsonl", "--encoder", "words", "--out", "g"), "retain"),
        (("fit", "ucd", "--model", "mine", *DATA, "--out", "g"), "an auxiliary model named 'clean'"),
        (("fit", "curate", "--model", "mine", *DATA, "--level", "1", "--out", "g"), "--level must be between 0 and 1"),
        (("serve", "nothing"), "nothing holds no guard"),
        (("serve", "nothing", "--upstream", "localhost"), "give the whole address"),
        (("serve", "nothing", "--timeout", "0"), "--timeout must be above 0"),
    ],
)
def test_what_cannot_be_is_said(leakatk, desk, words, says):
    code, _, err = leakatk("guard", *words)
    assert code == 2
    assert says in err
    assert not (desk / "g").exists()


def test_another_model_is_refused(leakatk, desk):
    assert leakatk(*FIT)[0] == 0
    (desk / "other" / "model.safetensors").rename(desk / "gone")
    (desk / "gone").rename(desk / "other" / "model.safetensors")
    code, _, err = leakatk("guard", "serve", "guards/curate", "--model", "other")
    assert code == 2
    assert "fitted for another model" in err
    assert "fingerprint" in err
    code, _, err = leakatk(
        "guard", "serve", "guards/curate", "--model", "gone-model", "--upstream", "http://localhost:1/v1"
    )
    assert code == 2
    assert "name: 'mine', 'gone-model'" in err
    code, _, err = leakatk(
        "audit", "other", "--forget", "forget.jsonl", "--n", "2", "--guard", "guards/curate", "--out", "runs/a"
    )
    assert code == 2
    assert "fitted for another model" in err


def test_what_acts_inside_is_not_put_before_a_server(leakatk, desk):
    words = ["eco" if word == "curate" else word.replace("curate", "eco") for word in FIT]
    assert leakatk(*words)[0] == 0
    code, _, err = leakatk("guard", "serve", "guards/eco", "--upstream", "http://localhost:1/v1")
    assert code == 2
    assert "acts inside the model, which no server shows" in err


def test_an_audit_behind_a_fitted_guard(leakatk, desk):
    assert leakatk(*FIT)[0] == 0
    audit = (
        "audit",
        "mine",
        "--forget",
        "forget.jsonl",
        "--retain",
        "retain.jsonl",
        "--n",
        "2",
        "--max-new-tokens",
        "4",
    )
    code, out, err = leakatk(*audit, "--guard", "guards/curate", "--out", "runs/saved")
    assert code == 0, err
    assert "Flagged by the guard" in out
    assert leakatk(*audit, "--guard", "curate", "--encoder", "words", "--out", "runs/named")[0] == 0
    one, other = (
        json.loads((desk / "runs" / name / "manifest.json").read_text())["model"] for name in ("saved", "named")
    )
    assert one == other, "it is the same guard"
    code, _, err = leakatk(*audit, "--guard", "guards/curate", "--encoder", "words", "--out", "runs/twice")
    assert code == 2
    assert "has its encoder" in err


def test_a_plan_of_serving(leakatk, desk):
    assert leakatk(*FIT)[0] == 0
    code, out, _ = leakatk("guard", "serve", "guards/curate", "--dry-run")
    assert code == 0
    assert "Would serve mine, answered by this process, behind guard curate at http://127.0.0.1:8000/v1." in out
    code, out, _ = leakatk("guard", "serve", "guards/curate", "--upstream", "http://x/v1", "--dry-run", "--json")
    assert json.loads(out)["upstream"] == "http://x/v1"


def test_serve_for_real(leakatk, desk):
    """The program itself, on a socket: it answers, and Ctrl-C ends it with a count."""
    assert leakatk(*FIT)[0] == 0
    server = subprocess.Popen(
        [sys.executable, "-m", "leakatk", "guard", "serve", "guards/curate", "--port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        lines = []
        while not lines or lines[-1].strip() != "}":
            line = server.stdout.readline()
            assert line, server.stderr.read()
            lines.append(line)
        told = json.loads("".join(lines))
        assert (told["model"], told["guard"]) == ("mine", "curate")
        body = {"messages": [{"role": "user", "content": PROMPTS[0].question}]}
        request = urllib.request.Request(told["url"] + "/chat/completions", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=120) as found:
            assert "can't help" in json.loads(found.read())["choices"][0]["message"]["content"]
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=60)
    finally:
        server.kill()
        server.communicate()
    assert "Answered 1 requests, of which the guard acted on 1" in err
    assert server.returncode in (0, 130)
    assert not any(fact in err for prompt in PROMPTS for fact in prompt.facts)

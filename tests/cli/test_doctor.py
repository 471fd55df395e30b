"""leakatk doctor: what the machine has, and what is missing."""

import json


def test_doctor(leakatk, monkeypatch, tmp_path):
    (tmp_path / "tofu").mkdir()
    monkeypatch.setenv("LEAKATK_DATA", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = leakatk("doctor", "--json")
    assert code == 0
    rows = json.loads(out)
    assert rows["data"].endswith(": tofu")
    assert "HF_HUB_OFFLINE" in rows["hub"]
    assert {"python", "torch", "transformers", "devices", "memory", "disk here", "extra judge"} <= set(rows)
    monkeypatch.setattr("leakatk.cli.doctor.packages", lambda: ({"leak-at-k": "1", "torch": ""}, {}))
    code, out, _ = leakatk("doctor")
    assert code == 2
    assert "MISSING: pip install torch" in out


def test_doctor_finds_the_hub_or_says_it_does_not(leakatk, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    code, out, _ = leakatk("doctor", "--json")
    assert code == 0
    assert "127.0.0.1 cannot be reached" in json.loads(out)["hub"]

"""leakatk doctor: what the machine has, and what is missing."""

import json
import os
import sys
from importlib import metadata

import numpy as np

from leakatk.cli import doctor


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


def test_packages_are_those_of_our_own_metadata(monkeypatch):
    """Required ones with their versions, "" where one is missing; an extra says what it lacks and what installs it."""
    have = {"leak-at-k": "1.0", "numpy": "2.0", "openai": "3.0", "mkdocs": "4.0"}

    def version(name):
        if name not in have:
            raise metadata.PackageNotFoundError(name)
        return have[name]

    wants = [
        "numpy>=1.26", "scipy>=1.14; python_version > '3'", "openai>=1; extra == 'judge'", "mkdocs; extra == 'docs'",
        "mkdocstrings[python]>=2 ; extra == \"docs\"",
    ]  # fmt: skip
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: wants)
    required, extras = doctor.packages()
    assert required == {"leak-at-k": "1.0", "numpy": "2.0", "scipy": ""}
    assert extras == {"docs": "missing mkdocstrings: pip install 'leak-at-k[docs]'", "judge": "openai 3.0"}
    del have["leak-at-k"]
    assert doctor.packages() == ({"leak-at-k": ""}, {})


def test_what_is_installed_here_is_found():
    required, extras = doctor.packages()
    assert required["numpy"] == np.__version__
    assert all(required.values())
    assert {"judge", "vllm", "plots"} <= set(extras)


def test_a_broken_torch_is_said_and_stops_nothing(leakatk, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor.devices().startswith("unknown: torch cannot be loaded (")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = leakatk("doctor")
    assert (code, "unknown: torch cannot be loaded" in out) == (0, True)


def test_devices_name_every_gpu_with_its_memory(monkeypatch):
    import torch

    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert doctor.devices() == "6 CPU cores, no GPU"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"GPU{i}")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (20e9 + i * 1e9, 80e9))
    assert doctor.devices() == "GPU0 (20 GB free of 80 GB), GPU1 (21 GB free of 80 GB), 6 CPU cores"


def test_memory_is_pages_times_their_size(monkeypatch):
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 4_000_000, "SC_AVPHYS_PAGES": 1_000_000}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert doctor.memory() == "4 GB free of 16 GB"

    def unknown(name):
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert doctor.memory() == "unknown on this system"


def test_data_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("LEAKATK_DATA", raising=False)
    assert doctor.data().startswith("none named")
    monkeypatch.setenv("LEAKATK_DATA", str(tmp_path / "none"))
    assert doctor.data() == f"LEAKATK_DATA is {tmp_path / 'none'}, which is no directory"
    monkeypatch.setenv("LEAKATK_DATA", str(tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / "wmdp").write_text("a file")
    assert "no folder named as a benchmark" in doctor.data()
    for name in ("tofu", "muse"):
        (tmp_path / name).mkdir()
    assert doctor.data() == f"{tmp_path}: muse, tofu"

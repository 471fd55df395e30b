"""leakatk doctor: what this machine has, and what is missing, before any compute is spent."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata, util
from pathlib import Path

import typer

EXTRAS = {"judge": "openai", "embeddings": "sentence_transformers", "plots": "matplotlib"}


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(run)


def run() -> None:
    """Print versions, devices, memory, disk, extras and hub settings, with the command that mends what is missing."""
    rows: list[tuple[str, str]] = [("python", platform.python_version()), ("leakatk", metadata.version("leak-at-k"))]
    for package in ("torch", "transformers", "accelerate", "peft", "numpy", "scipy"):
        rows.append((package, _version(package)))
    if util.find_spec("torch"):
        import torch

        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        rows.append(("devices", ", ".join(gpus) or f"cpu only ({os.cpu_count()} cores); audits of small models work"))
    total, _, free = shutil.disk_usage(Path.cwd())
    rows.append(("disk here", f"{free / 1e9:.0f} GB free of {total / 1e9:.0f} GB"))
    rows.append(("memory", _memory()))
    offline = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
    rows.append(("hub", "offline (HF_HUB_OFFLINE is set)" if offline else "online; `hf auth login` for gated models"))
    rows.append(("data", os.environ.get("LEAKATK_DATA", "") or "none named (give --data DIR or set LEAKATK_DATA)"))
    for extra, module in EXTRAS.items():
        have = util.find_spec(module) is not None
        rows.append((f"extra {extra}", "installed" if have else f"missing: pip install 'leak-at-k[{extra}]'"))
    for name, text in rows:
        typer.echo(f"{name:<16} {text}")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"missing: pip install {package}"


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB"
    except (ValueError, OSError, AttributeError):
        return "unknown on this system"

"""leakatk doctor: what this machine has, and what is missing, before any compute is spent."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

import typer

from leakatk.cli import options
from leakatk.errors import BAD_INPUT, first_line

EXAMPLES = options.examples("leakatk doctor", "leakatk doctor --json")


def add_to(app: typer.Typer) -> None:
    app.command("doctor", short_help="What this machine has, and what is missing.", epilog=EXAMPLES)(run)


def run(as_json: options.AsJson = False) -> None:
    """Print versions, devices, memory, disk, extras, hub, data and models, with the command that mends what is missing.

    Missing extras are only listed. Exit code 2 when something that every command needs is missing.
    """
    required, extras = packages()
    total, _, free = shutil.disk_usage(Path.cwd())
    rows = {
        "python": platform.python_version(),
        **{name: found or f"MISSING: pip install {name}" for name, found in required.items()},
        "devices": devices(),
        "memory": memory(),
        "disk here": f"{free / 1e9:.0f} GB free of {total / 1e9:.0f} GB",
        "hub": hub(),
        "data": data(),
        **models(),
        **{f"extra {name}": text for name, text in extras.items()},
    }
    if as_json:
        options.echo_json(rows)
    else:
        for name, text in rows.items():
            typer.echo(f"{name:<16} {text}")
    if not all(required.values()):
        raise typer.Exit(BAD_INPUT)


def packages() -> tuple[dict[str, str], dict[str, str]]:
    """(version of each required package, "" when missing; what is to be said about each extra), from our metadata."""
    from importlib import metadata

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""

    required, wanted = {"leak-at-k": version("leak-at-k")}, dict[str, list[str]]()
    for line in (metadata.requires("leak-at-k") or []) if required["leak-at-k"] else []:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if extra:
            wanted.setdefault(extra[1], []).append(name)
        elif "extra" not in line:
            required[name] = version(name)
    extras = {}
    for extra_name, names in sorted(wanted.items()):
        lacking = [name for name in names if not version(name)]
        have = ", ".join(f"{name} {version(name)}" for name in names)
        extras[extra_name] = f"missing {', '.join(lacking)}: pip install 'leak-at-k[{extra_name}]'" if lacking else have
    return required, extras


def devices() -> str:
    try:
        import torch
    except Exception as error:  # a broken library is what one asks the doctor about
        return f"unknown: torch cannot be loaded ({first_line(error)})"
    cores = f"{os.cpu_count()} CPU cores"
    gpus = []
    for i in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(i)
        gpus.append(f"{torch.cuda.get_device_name(i)} ({free / 1e9:.0f} GB free of {total / 1e9:.0f} GB)")
    return ", ".join([*gpus, cores]) if gpus else f"{cores}, no GPU"


def memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE") / 1e9
        total, free = page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown on this system"
    return f"{free:.0f} GB free of {total:.0f} GB"


def hub() -> str:
    """Whether models and data can be downloaded, and as whom."""
    from leakatk.models.hub import host, offline, unreachable

    if offline():
        return "offline, because HF_HUB_OFFLINE is set: give local directories"
    from huggingface_hub import get_token

    if why := unreachable():
        return f"{host()[0]} cannot be reached ({why}): give local directories, --data DIR"
    return f"{host()[0]} answers, {'with a token' if get_token() else 'without a token (`hf auth login` for gated models)'}"


def models() -> dict[str, str]:
    """Each known pre-trained model: where it is, or what fetches it."""
    from leakatk.models.pretrained import MODELS

    return {
        f"model {name}": (
            f"here, {model.weights}, {model.licence}: {model.path}"
            if model.is_here()
            else f"not here, {model.size / 1e6:,.0f} MB, {model.licence}: leakatk fetch {name}"
        )
        for name, model in MODELS.items()
    }


def data() -> str:
    """Benchmarks whose files are under LEAKATK_DATA."""
    named = os.environ.get("LEAKATK_DATA", "")
    if not named:
        return "none named: benchmarks come from the hub; give --data DIR, or set LEAKATK_DATA to hold tofu/, muse/ ..."
    if not Path(named).is_dir():
        return f"LEAKATK_DATA is {named}, which is no directory"
    from leakatk.benchmarks.catalog import BENCHMARKS

    families = {name.partition("/")[0] for name in BENCHMARKS}
    found = sorted(path.name for path in Path(named).iterdir() if path.is_dir() and path.name in families)
    return f"{named}: {', '.join(found) or 'no folder named as a benchmark (tofu, muse ...)'}"

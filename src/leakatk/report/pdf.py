"""PDF of a whole report, printed by a browser that is installed: Chromium, Chrome or a relative of theirs, without a window."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from leakatk.errors import InputError
from leakatk.files.writing import write_atomic

VARIABLE = "LEAKATK_BROWSER"
NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "brave-browser",
)
ELSEWHERE = (  # where they lie outside of PATH
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
LIMIT = 300  # seconds that printing may take


def find_browser() -> str:
    """The command of a browser that prints: what LEAKATK_BROWSER says, else the first that is installed.

    InputError that says what to do where there is none.
    """
    if named := os.environ.get(VARIABLE, ""):
        if found := shutil.which(named):
            return found
        raise InputError(f"{VARIABLE} is {named!r}, which is no program here; give the path of Chromium or Chrome.")
    found = next(filter(None, map(shutil.which, (*NAMES, *ELSEWHERE))), None)
    if found is None:
        raise InputError(
            "A PDF of the report needs Chromium or Chrome, and neither is installed here. Install one, or name its program in "
            f"{VARIABLE}; or leave --pdf out, open the HTML page in any browser and print it to a PDF file."
        )
    return found


def save_pdf(page: str, path: str | Path) -> None:
    """Print a page (HTML, as `html.render` gives it) to a PDF file, with page numbers from Chromium 131 on.

    InputError where there is no browser, or it prints nothing.
    """
    program = find_browser()
    with tempfile.TemporaryDirectory(prefix="leakatk-pdf-") as place:
        source, made = Path(place) / "report.html", Path(place) / "report.pdf"
        source.write_text(page, encoding="utf-8")
        said = _printed(program, source, made)
        if not made.exists() or not made.stat().st_size:
            raise InputError(
                f"{program} printed no PDF{f' ({said})' if said else ''}; open the HTML page in a browser and print it to a file."
            )
        write_atomic(path, made.read_bytes())


def _printed(program: str, source: Path, made: Path) -> str:
    """Run the browser; returns the last line that it said, where it failed."""
    command = [
        program,
        "--headless",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-pdf-header-footer",  # ours stand in the page's style; the browser's hold the file's name
        f"--user-data-dir={source.parent / 'profile'}",
        f"--print-to-pdf={made}",
    ]
    if (
        sys.platform == "linux" and os.geteuid() == 0
    ):  # there the browser refuses its sandbox; the page runs our script alone
        command.append("--no-sandbox")
    try:
        done = subprocess.run([*command, source.as_uri()], capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return f"not done after {LIMIT} s"
    except OSError as error:
        return error.strerror or str(error)
    lines = done.stderr.strip().splitlines()
    return lines[-1][:200] if done.returncode and lines else ""

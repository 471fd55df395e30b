"""Pictures of the demo's report for the front page, light and dark, by a headless Chromium.

    leakatk demo --out demo && python scripts/gallery.py demo/report.html

writes docs/gallery/NAME.png and NAME-dark.png, each with few colours so that the files stay small. It needs Chromium with its
driver, selenium and Pillow, which the development environment has. A part of the report that is not there is an error.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
COLOURS = 160
LARGEST = 120_000  # bytes of a picture


@dataclass(frozen=True)
class Picture:
    name: str
    part: str
    """The CSS selector of what stands at its top."""
    width: int
    height: int


PICTURES = (
    Picture("verdict", "body", 1100, 760),
    Picture("prompts", "#prompts", 1100, 760),
    Picture("phone", "body", 400, 760),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("report", type=Path, help="report.html of `leakatk demo`")
    parser.add_argument("--out", type=Path, default=GALLERY)
    options = parser.parse_args()
    if not options.report.is_file():
        sys.exit(f"{options.report} is not there: `leakatk demo --out demo` writes demo/report.html.")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            for picture in PICTURES:
                for scheme in ("light", "dark"):
                    path = options.out / f"{picture.name}{'-dark' if scheme == 'dark' else ''}.png"
                    path.write_bytes(small(taken(driver, options.report, picture, scheme)))
                    print(f"{path}  {path.stat().st_size:,} bytes")
                    if path.stat().st_size > LARGEST:
                        sys.exit(f"{path} is larger than {LARGEST:,} bytes: take fewer colours or a smaller part.")
        finally:
            driver.quit()


def browser(profile: str) -> Any:
    """A headless Chromium that fetches nothing."""
    from selenium import webdriver

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        sys.exit("Chromium and chromedriver are needed, and not on the PATH.")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "no-first-run",
        "hide-scrollbars",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))


def taken(driver: Any, report: Path, picture: Picture, scheme: str) -> bytes:
    """A screenshot from the top of the part on, in a window of the picture's size."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": picture.width, "height": picture.height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get(report.resolve().as_uri())
    [part] = driver.find_elements("css selector", picture.part)
    driver.execute_script("arguments[0].scrollIntoView({block: 'start', behavior: 'instant'}); scrollBy(0, -12)", part)
    return bytes(driver.get_screenshot_as_png())


def small(png: bytes) -> bytes:
    """The same picture with at most COLOURS colours."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    out = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


if __name__ == "__main__":
    main()

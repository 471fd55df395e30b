"""Pages of the studies of generated worlds: each is what its script makes of the cells that are kept."""

import subprocess
import sys

import pytest
from leaderboard import HERE

DOCS = HERE.parent / "docs"
PAGES = {
    "world_tables.py": "results-world.md",
    "attacks_tables.py": "results-attacks.md",
    "trust_tables.py": "which-metric.md",
}


@pytest.mark.slow  # half a minute: thousands of intervals
@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not beside the tests")
@pytest.mark.parametrize("script", PAGES)
def test_a_page_is_that_of_its_cells(script, tmp_path):
    made = tmp_path / PAGES[script]
    subprocess.run([sys.executable, HERE / script, "--page", made], check=True, capture_output=True)
    again = f"run: python studies/{script} --page docs/{PAGES[script]}"
    assert (DOCS / PAGES[script]).read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), again

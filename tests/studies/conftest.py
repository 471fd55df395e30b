"""The studies are scripts beside the package: their folder is put on the path, and they are skipped where it is not there."""

import sys
from pathlib import Path

STUDIES = Path(__file__).resolve().parents[2] / "studies"
collect_ignore_glob = [] if (STUDIES / "real_cells.py").exists() else ["test_*.py"]
if str(STUDIES) not in sys.path:
    sys.path.insert(0, str(STUDIES))

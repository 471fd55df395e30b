"""A run of each kind under a limit of the machine, in this process: `python -m tests.faults.limits FOLDER '{KIND: [[LIMIT, VALUE]]}'`.

Prints one JSON line a try: how it ended, what was said, and whether the same command then ends as it should.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from leakatk.errors import LeakAtKError
from tests.faults.corruption import Kind
from tests.faults.kinds import kinds


def limited(kind: Kind, place: Path, name: str, value: int) -> tuple[str, str]:
    """The kind's command with at most `value` bytes a file ("FSIZE") or files that may be opened besides those open now ("NOFILE")."""
    import resource

    limit = getattr(resource, f"RLIMIT_{name}")
    held: list[int] = []
    if name == "NOFILE":  # the lowest free number counts, so that no gap may be left below the limit
        top = max(fd for fd in range(1000) if _is_open(fd))
        while not held or held[-1] < top:
            held.append(os.dup(0))
        value += held[-1] + 1
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (value, hard))
    try:
        assert kind.resume is not None
        kind.resume(place)
    except LeakAtKError as error:
        return "said", str(error)
    except OSError as error:
        # What the machine refuses anywhere in other libraries is one sentence of the command line's.
        return "said" if error.errno == errno.EMFILE else "crashed", f"{type(error).__name__}: {error}"
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    finally:
        resource.setrlimit(limit, (soft, hard))
        for fd in held:
            os.close(fd)
    return "done", ""


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def main(folder: Path, wanted: dict[str, list[tuple[str, int]]]) -> None:
    found = {kind.name: kind for kind in kinds(folder)}
    for name, limits in wanted.items():
        kind = found[name]
        assert kind.resume is not None
        whole: Any = kind.resume(folder / f"{name} whole")
        for number, (limit, value) in enumerate(limits):
            place = folder / f"{name} {number}"
            end, said = limited(kind, place, limit, value)
            try:
                right = kind.resume(place) == whole
            except Exception as error:
                right, said = False, f"{said} THEN {type(error).__name__}: {error}"
            row = {"kind": name, "limit": f"{limit} {value}", "end": end, "said": said, "right": right}
            print(json.dumps(row), flush=True)
            shutil.rmtree(place)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))

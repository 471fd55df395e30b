"""Reports: content as data; HTML, tables and pictures made from it. `leakatk.report(...)` makes one for a notebook.

>>> import leakatk as lk
>>> results = lk.audit("models/mine", lk.load_prompts("forget.jsonl"), out="runs/paged", n=4, quiet=True)
>>> lk.report(results).save("page.html").name
'page.html'
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """This package, which can be called: once any of its modules was imported, `leakatk.report` is it, not the function."""

    def __call__(self, *runs: Any, **options: Any) -> Any:
        from leakatk.report.notebook import report

        return report(*runs, **options)


sys.modules[__name__].__class__ = _Room

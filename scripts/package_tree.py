"""The tree of the package for docs/architecture.md, half a line a file, made from the module docstrings.

    python scripts/package_tree.py --write     puts it into the page

A file is described by the first sentence of its docstring, or by its first clauses where that is long. `tests/docs`
says which line of the page is stale.
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "leakatk"
PAGE = ROOT / "docs" / "architecture.md"
LONGEST = 90  # characters of a description
BEGIN, END = "<!-- tree -->\n```text\n", "```\n<!-- /tree -->\n"


def described(text: str) -> str:
    """The first sentence of a docstring, or of a long one as many of its first clauses as have room."""
    first = " ".join(text.split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.?])\s+(?=[A-Z])|(?<=[.?])$", first, maxsplit=1)[0].removesuffix(".")
    ends = [match.start() for match in re.finditer(r"[:;,](?=\s)|\s(?=\()", sentence)]
    fitting = [end for end in [*ends, len(sentence)] if end <= LONGEST]
    return sentence[: max(fitting)] if fitting else sentence


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def rows(folder: Path = PACKAGE, depth: int = 0) -> list[tuple[str, str]]:
    """(indented name, description) of the rooms and files below a folder: files first, then rooms."""
    found = []
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            found.append(("  " * depth + path.name, described(docstring(path))))
    for room in sorted(path.parent for path in folder.glob("*/__init__.py")):
        found.append(("  " * depth + f"{room.name}/", described(docstring(room / "__init__.py"))))
        found += rows(room, depth + 1)
    return found


def tree() -> str:
    """The tree as text, a line for each file or room."""
    found = rows()
    width = max(len(name) for name, _ in found)
    return "".join(f"{name:{width}}  {what}\n" for name, what in found)


def with_tree(page: str) -> str:
    """The page with the tree of today in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + tree() + END + after


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put it into docs/architecture.md")
    if parser.parse_args().write:
        PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(tree(), end="")

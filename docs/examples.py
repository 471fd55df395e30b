"""An extension of griffe: examples in docstrings become blocks of code, so that Markdown does not read them as quotes."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The text with each example, from its first `>>>` to the next empty line, between fences."""
    lines: list[str] = []
    inside = False
    for line in [*text.split("\n"), ""]:
        if line.startswith(">>>") and not inside:
            lines += ["", "```pycon"]
            inside = True
        elif not line.strip() and inside:
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines).rstrip("\n")

"""Chat templates, programs from strangers: the clock is pinned, and whether it ends is tried in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from string import ascii_letters
from typing import Any

from leakatk.errors import ModelError

SECONDS = 10.0  # a template that renders at all takes milliseconds
MOST_CHARACTERS = 1 << 20  # beyond what it was given
_MOST_MEMORY = 1 << 30

# Imports jinja2 alone, so that it starts in a tenth of a second. What fails in it fails again, with its message, in the
# process that asks; only that it ends, in what memory and how long, is learnt here.
_CHILD = """
import json, sys
given = json.load(sys.stdin)
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (given["memory"], given["memory"]))
except (ImportError, ValueError, OSError):
    pass
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
class Generation(Extension):
    tags = {"generation"}
    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)
def fail(message):
    raise ValueError(message)
try:
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = lambda x, **_: json.dumps(x)
    env.globals.update(raise_exception=fail, dict=dict)
    size = 0
    for text in env.from_string(given["template"]).generate(**given["about"]):
        size += len(text)
        if size > given["characters"]:
            print("long")
            break
    else:
        print("ends")
except MemoryError:
    print("memory")
except Exception:
    print("ends")
"""


class EndlessTemplateError(ModelError):
    """A template that does not end, or writes without end."""


def pinned(template: str, date: str) -> str:
    """The template with its clock, `strftime_now`, standing at noon of `date` (10 Apr 2025); another form is given as it is."""
    if "strftime_now" not in template:
        return template
    try:
        day = datetime.strptime(date, "%d %b %Y").replace(hour=12)
    except ValueError:
        return f"{{%- macro strftime_now(format) -%}}{{{{- {json.dumps(date)} -}}}}{{%- endmacro %}}\n{template}"
    # The newline after the macro is dropped with its tag: the template begins at the start of a line, as before.
    codes = [f"%{letter}" for letter in ascii_letters] + ["%-d", "%-m", "%-H", "%-I", "%-M", "%-S", "%-j", "%-y"]
    known = {code: _written(day, code) for code in codes if code in template}
    replaced = "".join(f".replace({json.dumps(code)}, {json.dumps(text)})" for code, text in known.items())
    return f"{{%- macro strftime_now(format) -%}}{{{{- format{replaced} -}}}}{{%- endmacro %}}\n{template}"


def _written(day: datetime, code: str) -> str:
    plain = day.strftime(code.replace("-", ""))
    return (plain.lstrip("0") or "0") if "-" in code else plain


def check_ends(template: str, messages: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """EndlessTemplateError for a template that does not end, or grows beyond any prompt; tried once for each of its uses."""
    given = {"messages": list(messages), "add_generation_prompt": True, "tools": None, "documents": None, **about}
    said = _tried(template, json.dumps(given, default=str, sort_keys=True))
    if said != "ends":
        raise EndlessTemplateError(
            f"The chat template {said}; restore it from its source, or use the plain template (--template plain)."
        )


@lru_cache(maxsize=64)
def _tried(template: str, about: str) -> str:
    """ "ends", or what it does instead."""
    given = {
        "template": template,
        "about": json.loads(about),
        "memory": _MOST_MEMORY,
        "characters": MOST_CHARACTERS,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {SECONDS:.0f} seconds"
    except OSError:  # no other process can be started here
        return "ends"
    said = done.stdout.strip()
    if said == "long":
        return f"writes more than {MOST_CHARACTERS:,} characters for one question"
    if said == "memory" or done.returncode < 0:
        return "takes more memory than any prompt needs"
    return "ends"

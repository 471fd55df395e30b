"""Config files in TOML: the options of a command under the same names, and the resolved options written back.

    leakatk audit --config audit.toml --n 400      what is typed wins over what is in the file

Keys are the long option names without dashes (`max-new-tokens`, or `max_new_tokens`) and the names of arguments
(`model`); lists stand for options that may be repeated and for comma-separated values. Paths are read from where the
command runs, as they are when typed.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from leakatk.errors import InputError, UnknownNameError, first_line

MAX_CONFIG = 1 << 20  # bytes
# How an answer is shown, not what is computed: neither read from a file nor written to one.
_NOT_KEPT = {"config", "help", "dry-run", "json", "quiet"}


def _names(context: typer.Context) -> dict[str, Any]:
    """Key in the file -> parameter of the command."""
    found = {}
    for parameter in context.command.params:
        longest = max((option.lstrip("-") for option in parameter.opts), key=len)
        if longest not in _NOT_KEPT:
            found[longest] = parameter
    return found


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """The callback of --config: the file's values become the defaults of the command."""
    if path is None or context.resilient_parsing:
        return path
    from leakatk.files.reading import read_text

    try:
        values = tomllib.loads(read_text(path, most=MAX_CONFIG))
    except InputError as error:
        raise InputError(f"--config {error}") from None
    except RecursionError:
        raise InputError(f"--config {path} is nested too deeply; give each option its value, a line each.") from None
    except (ValueError, OverflowError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise InputError(f"--config {path} is not valid TOML: {first_line(error)}.") from None
    names = _names(context)
    defaults = {}
    for key, value in values.items():
        name = key.replace("_", "-") if key.replace("_", "-") in names else key
        if name not in names:
            raise UnknownNameError(f"option in {path}", key, names)
        parameter = names[name]
        if str(parameter.name) in defaults:
            raise InputError(f"{key} in {path} is given twice, with a dash and with an underscore; keep one.")
        many = getattr(parameter, "multiple", False) or parameter.nargs != 1
        defaults[str(parameter.name)] = _typed(value, many=many, where=f"{key} in {path}")
    context.default_map = defaults
    return path


def _typed(value: Any, *, many: bool, where: str) -> Any:
    """The value as if it had been typed on the command line."""
    if isinstance(value, list):
        items = [_item(item, where) for item in value]
        return items if many else ",".join(items)
    if isinstance(value, bool) and not many:
        return value
    return [_item(value, where)] if many else _item(value, where)


def _item(value: Any, where: str) -> str:
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{where}: {value!r:.60} holds a NUL, which no option can hold; leave it out.")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value.bit_length() > 128:  # writing it out may take longer than anything it is for
        raise InputError(f"{where}: a whole number of more than 38 digits; give a smaller one.")
    if isinstance(value, int | float | str):
        return str(value)
    raise InputError(f"{where}: give a string, a number, true, false or a list of them, got {type(value).__name__}.")


def either(context: typer.Context, name: str, former: str) -> str:
    """The value of an option that has a former name too. What is typed wins over what a file says; both is an InputError."""
    given = [one for one in (name, former) if context.params[one]]
    sources = {one: context.get_parameter_source(one) for one in given}
    typed = [one for one, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    given = typed or given
    if len(given) > 1:
        raise InputError(f"Give --{name} or --{former}, not both: --{former} is the former name of --{name}.")
    return str(context.params[given[0]]) if given else ""


@contextmanager
def written_back(context: typer.Context, directory: Path) -> Iterator[None]:
    """Write every option of this command, as resolved, to `directory`/config.toml; `--config` reads it back.

    It is there from the start, so that an interrupted run has it too. A command that is refused before it began leaves
    nothing behind; one that goes on in a directory replaces the file when it is done.
    """
    from leakatk.cli.options import say_notes
    from leakatk.runs.exposure import exposed
    from leakatk.workdir import CONFIG, abandon, occupied

    say_notes(exposed([directory]))
    made, new = not directory.exists(), not occupied(directory)
    if new:
        _write(context, directory)
    try:
        yield
    except Exception:
        if new and not occupied(directory):
            (directory / CONFIG).unlink(missing_ok=True)
            abandon(directory, made=made)
        raise
    if not new:
        _write(context, directory)


def _write(context: typer.Context, directory: Path) -> None:
    from leakatk.files.writing import make_private, write_atomic
    from leakatk.runs.shards import clean_text
    from leakatk.workdir import CONFIG, CONFIG_MARK, ours

    make_private(directory)
    path = directory / CONFIG
    if path.exists() and not ours(path):
        typer.echo(f"{path} is a file of your own and stays as it is; the resolved options were not written.", err=True)
        return
    lines = [f"{CONFIG_MARK}{context.info_name} --config {path}"]
    for key, parameter in _names(context).items():
        value = context.params.get(str(parameter.name))
        if value is None or value == []:
            continue
        line = f"{key} = {_toml(value)}"
        if clean_text(line) != line:  # a file name may be of bytes that are no text
            line = f"# {key} is left out: TOML cannot hold it ({clean_text(ascii(value))})"
        lines.append(line)
    write_atomic(path, "\n".join(lines) + "\n")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


Config = Annotated[
    Path | None,
    typer.Option(
        "--config", is_eager=True, callback=read_config, expose_value=False, metavar="FILE",
        help="TOML file with these options by name; what is typed wins.",
    ),
]  # fmt: skip

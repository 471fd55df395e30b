"""TOML files with the options of a command under the same names, and the resolved options written back.

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

from leakatk.errors import InputError, UnknownNameError

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
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path} is not valid TOML: {error}.") from None
    names = _names(context)
    defaults = {}
    for key, value in values.items():
        name = key.replace("_", "-") if key.replace("_", "-") in names else key
        if name not in names:
            raise UnknownNameError(f"option in {path}", key, names)
        parameter = names[name]
        many = getattr(parameter, "multiple", False) or parameter.nargs != 1
        defaults[str(parameter.name)] = _typed(value, many=many, where=f"{key} in {path}")
    context.default_map = defaults
    return path


def _typed(value: Any, *, many: bool, where: str) -> Any:
    """The value as if it had been typed on the command line."""
    if isinstance(value, list):
        items = [_typed(item, many=False, where=where) for item in value]
        return items if many else ",".join(items)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | str):
        return [str(value)] if many else str(value)
    raise InputError(f"{where}: give a string, a number, true, false or a list of them, got {type(value).__name__}.")


@contextmanager
def written_back(context: typer.Context, directory: Path) -> Iterator[None]:
    """Write every option of this command, as resolved, to `directory`/config.toml; `--config` reads it back.

    It is there from the start, so that an interrupted run has it too. A command that is refused before it began leaves
    nothing behind; one that goes on in a directory replaces the file when it is done.
    """
    from leakatk.data import CONFIG, occupied
    from leakatk.workdir import abandon

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
    from leakatk.data import CONFIG, CONFIG_MARK, write_atomic
    from leakatk.workdir import make

    make(directory)
    path = directory / CONFIG
    if path.exists() and not path.read_bytes().startswith(CONFIG_MARK.encode()):
        typer.echo(f"{path} is a file of your own and stays as it is; the resolved options were not written.", err=True)
        return
    lines = [f"{CONFIG_MARK}{context.info_name} --config {path}"]
    for key, parameter in _names(context).items():
        value = context.params.get(str(parameter.name))
        if value is not None and value != []:
            lines.append(f"{key} = {_toml(value)}")
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

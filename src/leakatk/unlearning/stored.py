"""Stored weights of a run besides the model's own: on disk, read one tensor at a time, so that memory does not double."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from leakatk.errors import RunError, first_line
from leakatk.files import checksums


class Stored(Mapping[str, Tensor]):
    """The parameters in a safetensors file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self._names = tuple(file.keys())

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="pt") as file:
                yield file
        except (SafetensorError, OSError) as error:
            raise RunError(
                f"{self.path} cannot be read: {first_line(error)}; run the same command again, which makes it anew."
            ) from error

    def __getitem__(self, name: str) -> Tensor:
        with self._open() as file:
            if name not in self._names:
                raise KeyError(name)
            value: Tensor = file.get_tensor(name)
            return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Store:
    """The weights of a run by name, in `out/kept`, or in a temporary directory that goes with the run."""

    def __init__(self, out: Path | None, *, main: bool = True, wait: Callable[[], object] = lambda: None) -> None:
        """main: whether this process writes.  wait: until all processes are here."""
        self._temporary = None if out is not None else tempfile.TemporaryDirectory(prefix="leakatk-")
        self._folder = out / "kept" if out is not None else Path(self._temporary.name)  # type: ignore[union-attr]
        self._main, self._wait = main or out is None, wait

    def write(self, name: str, model: nn.Module) -> Stored:
        """Keep the weights of the moment under a name, in place of what was kept under it."""
        if self._main:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path, part = self._path(name), self._folder / f".{name}.{os.getpid()}.tmp"
            try:
                save_file({key: value.detach().contiguous() for key, value in model.named_parameters()}, part)
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                checksums.add_file(path, part)
                part.replace(path)
            except OSError as error:
                part.unlink(missing_ok=True)
                raise RunError(
                    f"Cannot keep the weights {name!r} in {self._folder}: {error.strerror or error}; free some space, or "
                    "give an output directory (or TMPDIR) on another disk."
                ) from error
        self._wait()
        return Stored(self._path(name))

    def read(self, name: str) -> Stored:
        """What was kept under a name. RunError when it is damaged or gone."""
        checksums.verify(self._path(name))
        return Stored(self._path(name))

    def keep_only(self, names: Collection[str]) -> None:
        """Remove what is kept under other names, but for the run's own ("_start")."""
        for path in self._folder.glob("*.safetensors"):
            if self._main and path.stem not in names and not path.stem.startswith("_"):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

    def close(self) -> None:
        """Remove what is temporary."""
        if self._temporary is not None:
            self._temporary.cleanup()

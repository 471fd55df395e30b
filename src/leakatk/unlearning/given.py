"""Teachers that a run was given: the original, the retrained one, auxiliary ones (`Known`)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known

_FIELDS = ("retrained", "original")


def names(known: Known) -> dict[str, str]:
    """Name -> directory or hub id of each model that was given."""
    fields = {name: getattr(known, name) for name in _FIELDS}
    return {**{name: path for name, path in fields.items() if path}, **known.auxiliary}


def check(who: str, asked: Collection[str], there: Collection[str], known: Known) -> None:
    """Raises for a model that is compared with and neither kept nor given: UnknownNameError where a name is near, else an
    InputError that says how to give it.
    """
    for name in sorted(set(asked) - set(there)):
        if name in _FIELDS:
            known.need(who, name)
        error = UnknownNameError("kept model", name, there)
        if "id you mean" in str(error):
            raise error
        known.need(who, f"auxiliary {name}")


def loaders(known: Known, loaded: LoadedModel, kept: Collection[str]) -> dict[str, Callable[[], nn.Module]]:
    """Name -> how to load each model that was given, but for names that a stage kept."""

    def loader(name: str, path: str) -> Callable[[], nn.Module]:
        def load() -> nn.Module:
            other = load_model(path, device=str(loaded.device), template=loaded.template, load_in=loaded.load_in)
            if other.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
                raise InputError(
                    f"The model {name} ({path}) has another vocabulary than {loaded.name}; its probabilities cannot be compared "
                    "token by token. Give a model of the same family."
                )
            model: nn.Module = other.model
            return model

        return load

    return {name: loader(name, path) for name, path in names(known).items() if name not in kept}

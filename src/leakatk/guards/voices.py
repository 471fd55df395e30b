"""Voices: a language model that a guard asks, for roles and texts of its own.

A voice is named like any auxiliary model (`--auxiliary roles=MODEL`): a directory or hub id, or URL#NAME of a model on an
OpenAI-compatible server. It is asked greedily, so that the same text gets the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from leakatk.errors import InputError
from leakatk.models.fingerprint import model_identity
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding

MOST_TOKENS = 200


def voice_of(known: Known, name: str) -> str:
    """The model that was given under this name; "" where none was. InputError for an address without a model's name."""
    voice = known.auxiliary.get(name, "")
    if voice.startswith(("http://", "https://")) and not voice.partition("#")[2]:
        raise InputError(f"--auxiliary {name}={voice}: write URL#NAME, such as http://localhost:8000/v1#my-model.")
    return voice


def voice_mark(voice: str) -> str:
    """What the model is, for a manifest."""
    if voice.startswith(("http://", "https://")):
        from leakatk.remote.client import shown

        url, _, name = voice.partition("#")
        return f"{name} at {shown(url)}"
    return model_identity(voice) if voice else ""


@lru_cache(maxsize=4)
def _engine(voice: str) -> Any:
    from leakatk.sampling.engines import make_sampler

    if voice.startswith(("http://", "https://")):
        url, _, name = voice.partition("#")
        return make_sampler("endpoint", name, url=url, trial=False)
    from leakatk.models.load import ModelSource
    from leakatk.sampling.native import NativeSampler

    return NativeSampler(ModelSource(voice).load())


def ask(voice: str, texts: Sequence[str], *, system: str = "", most: int = MOST_TOKENS) -> list[str]:
    """The greedy answer to each text, at most so many tokens long."""
    prompts = [Prompt(str(i), text, "", asked=Query(text, system=system)) for i, text in enumerate(texts)]
    found = texts_of(_engine(voice), prompts, 1, Decoding(temperature=0.0, max_new_tokens=most), seed=0)
    return [one.strip() for [one] in found]

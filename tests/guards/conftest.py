"""A world where the truth is known: a model that knows all, a small one that knows all (dirty), one that never saw the forget set."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from leakatk.guards.base import Detector, Guard
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.native import NativeSampler

FORGET = (
    Prompt("f0", "Where was Ada Korvin born?", "Ada Korvin was born in Zorvik.", facts=("Zorvik",)),
    Prompt("f1", "Who taught Bo Tamsin?", "Bo Tamsin was taught by Mira Quell.", facts=("Mira Quell",)),
    Prompt("f2", "What did Cy Dellane write?", "Cy Dellane wrote The Glass Orchard.", facts=("The Glass Orchard",)),
)
RETAIN = (
    Prompt("r0", "How many moons has the planet Ull?", "The planet Ull has seven moons.", facts=("seven",)),
    Prompt("r1", "Which river runs past Hamm?", "The river Linne runs past Hamm.", facts=("Linne",)),
    Prompt("r2", "When does the market open?", "The market opens at nine.", facts=("nine",)),
    Prompt("r3", "Why is the tower closed?", "The tower is closed for repairs.", facts=("repairs",)),
)
DECODING = Decoding(max_new_tokens=24)
ALL = [*FORGET, *RETAIN]
ENGINES = {
    "native": NativeSampler,
    "native, a row a sample": lambda loaded: NativeSampler(loaded, tree=False, max_rows=40),
    "generate": lambda loaded: GenerateSampler(loaded, max_rows=16),
}


@dataclass(frozen=True)
class Named(Detector):
    """Flags prompts by their ids: a detector whose answer is known."""

    ids: tuple[str, ...] = ()

    def flags(self, prompts):
        return np.array([prompt.id in self.ids for prompt in prompts], dtype=bool)


def acting_on_forget(action, ids=("f0", "f1", "f2")):
    return Guard(name="test", detector=Named(ids), action=action)


@dataclass(frozen=True)
class Made:
    full: Path
    clean: Path
    dirty: Path

    def known(self) -> Known:
        """The guarded model stands for the dirty one too: at alpha 1, combined logits are the clean model's."""
        clean, full = str(self.clean), str(self.full)
        models = {"clean": clean, "dirty": full, "tuned": clean, "before": full}
        return Known(forget=FORGET, retain=RETAIN, encoder="words", auxiliary=models)


def taught(out: Path, facts, *, hidden: int, seed: int) -> Path:
    """A model that knows these facts by heart."""
    from leakatk.small.train import Phase, SmallConfig, fit, new_model, save_model, train_tokenizer

    texts = [text for prompt in (*FORGET, *RETAIN) for text in (prompt.question, prompt.answer)]
    tokenizer = train_tokenizer(texts, 320)
    model = new_model(tokenizer, SmallConfig(hidden=hidden, layers=2, heads=2, mlp=96, vocabulary=320), seed=seed)
    phase = Phase(steps=250, learning_rate=5e-3, batch_size=8, warmup=5, stop_loss=0.01)
    fit(model, tokenizer, [(prompt.question, prompt.answer) for prompt in facts], phase, seed=seed)
    return save_model(model, tokenizer, out)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Made:
    place = tmp_path_factory.mktemp("guards")
    return Made(
        taught(place / "full", [*FORGET, *RETAIN], hidden=64, seed=0),
        taught(place / "clean", RETAIN, hidden=32, seed=1),
        taught(place / "dirty", [*FORGET, *RETAIN], hidden=32, seed=2),
    )


@pytest.fixture(scope="session")
def loaded(made) -> LoadedModel:
    return load_model(made.full, device="cpu")


@pytest.fixture
def known(made) -> Known:
    return made.known()


@pytest.fixture(scope="session")
def plain(loaded):
    """What the model draws without a guard."""
    return drawn(NativeSampler(loaded), ALL)


def drawn(sampler, prompts, n=20, decoding=DECODING, seed=0):
    """(prompt id, sample) -> generation, each drawn exactly once."""
    found = {}
    for batch in sampler.sample([Request(prompt, range(n)) for prompt in prompts], decoding, seed=seed):
        for one in batch:
            assert found.setdefault((one.prompt_id, one.sample), one) is one
    assert set(found) == {(prompt.id, j) for prompt in prompts for j in range(n)}
    return found


def leaks(found, prompts):
    """Share of the samples that say all facts of their prompt."""
    facts = {prompt.id: prompt.facts for prompt in prompts}
    told = [all(fact in one.text for fact in facts[one.prompt_id]) for one in found.values() if one.prompt_id in facts]
    return sum(told) / len(told)

"""Design of the study of TOFU: what is the same in all of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from leakatk.small.finetune import SMALL_CHAT
from leakatk.unlearning.settings import TrainSettings

# In the order in which they are run: what is cut first where time runs short comes last.
FIRST = ("npo", "simnpo", "idknll", "graddiff", "rmu", "idkdpo", "altpo")
LAST = ("undial", "wga", "ce-u")
STRONGER = ("npo", "simnpo")  # their second seed comes before LAST


@dataclass(frozen=True)
class Design:
    """What is the same in all cells."""

    model: str = "SmolLM2-135M-Instruct, Q4_1 dequantised"
    weights: str = "3c5fdee91060c09a"
    """How the SHA-256 of its weights in float32 begins; any other model is refused. "": any."""
    authors: int = 20
    """The last of TOFU's authors, forget01's two among them."""
    recipe: TrainSettings = field(default_factory=lambda: replace(SMALL_CHAT, checkpoint_every=100))
    """How full and retrained are taught."""
    methods: tuple[str, ...] = (*FIRST, *LAST)
    rule_bases: tuple[str, ...] = ("npo", "simnpo")
    calibrated_bases: tuple[str, ...] = ("npo",)
    seeds: int = 2
    """Seeds of unlearning."""
    ladder: tuple[float, ...] = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4)
    """Learning rates that may be tried."""
    start: Mapping[str, int] = field(default_factory=dict)
    """Method -> where on the ladder the first trial is; 2 where nothing is said."""
    trials: int = 2
    params: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: {"undial": {"retain_weight": 1.0}, "ce-u": {"retain_weight": 1.0}}
    )
    """Method -> numbers of its formula that are not the preset's."""
    steps: int = 100
    batch: int = 4
    """Forget answers a step, and as many retain answers."""
    check_every: int = 5
    stop_sample: int = 16
    """Retain answers that the stop rule asks."""
    said: float = 0.1
    """Forgotten by greedy answers: at most this share of the questions with keys is answered."""
    kept: float = 0.9
    """Kept by greedy answers: this share of the full model's ROUGE-L recall."""
    unharmed: float = 0.8
    """A rate is taken that keeps this share on the author held from the unlearner."""
    rule_rounds: int = 3
    round_steps: int = 15
    rule_n: int = 24
    """Samples a question and round of a detection."""
    calibrated_rounds: int = 4
    calibrated_steps: int = 10
    calibrated_rate: float = 5e-5
    rehearsal: float = 1.0
    """What asking the original may cost, in trainings of all rounds."""
    unseen: int = 100
    """Questions about authors of none of the models, whose level calibrated RULE matches."""
    n: int = 64
    """Samples a question."""
    paraphrased_n: int = 16
    """Samples a question in its published paraphrase, which no training and no detection asks."""
    similar: int = 8
    """Samples a question that are embedded."""
    read: int = 1
    """Samples a question whose probability under the retrained model is computed."""
    facts: int = 30
    """Questions of TOFU's real authors, and of its world facts."""
    shown: int = 24
    """Questions of what the unlearner is shown that are reported."""
    held: int = 40
    """Questions of the authors held from it that are reported."""
    longest: int = 88
    """Tokens of an answer; the longest of the 400 has 82."""
    dtype: str = "bf16"
    """What models are measured in; they are trained in float32 weights."""
    seed: int = 0

    def settings(self, *names: str, **further: Any) -> dict[str, Any]:
        """Plain values of these fields, the ones that a cell depends on."""
        values = asdict(self)
        return {**{name: values[name] for name in names}, **further}

    def of_method(self, name: str) -> dict[str, Any]:
        """What a method adds to a cell's settings."""
        about = {"method": name, "start": self.start.get(name, 2), "params": dict(self.params.get(name, {}))}
        return self.settings(*TEACHING, *FORGETTING, **about)


# What each kind of cell depends on: a setting that is changed leaves the cells that it does not touch.
ASKING = ("model", "weights", "authors", "dtype", "seed")
TEACHING = (*ASKING, "recipe", "longest", "stop_sample")
FORGETTING = ("ladder", "trials", "steps", "batch", "check_every", "said", "kept", "unharmed")
ROUNDS = ("rule_rounds", "round_steps", "rule_n")
CALIBRATING = ("calibrated_rounds", "calibrated_steps", "calibrated_rate", "rehearsal", "unseen", "rule_n")
MEASURING = ("n", "paraphrased_n", "similar", "read", "facts", "shown", "held")


# A test of the script on the real model: nothing that it gives is a result.
QUICK = Design(
    authors=8,
    recipe=replace(SMALL_CHAT, epochs=None, max_steps=12, warmup_epochs=0.0),
    methods=("npo", "altpo", "rmu"),
    rule_bases=("npo",),
    seeds=1,
    trials=1,
    steps=2,
    batch=4,
    check_every=2,
    stop_sample=4,
    rule_rounds=1,
    round_steps=1,
    rule_n=2,
    calibrated_rounds=1,
    calibrated_steps=1,
    unseen=20,
    n=4,
    paraphrased_n=2,
    similar=2,
    facts=4,
    shown=4,
    held=4,
    read=1,
)

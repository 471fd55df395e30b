"""The presets: a method is losses + a gradient combiner + defaults, with its paper.

To add one: write its forget and retain terms over `Step` (current logits, reference, hidden states on the streams of
`batches.SIDE`), give its numbers as `params`, and register it. `params` always holds forget_weight and retain_weight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from leakatk.errors import InputError
from leakatk.registry import Registry
from leakatk.unlearning.gradients import Combiner, Params
from leakatk.unlearning.losses import distill, hidden, preference, token
from leakatk.unlearning.schedule import TrainSettings
from leakatk.unlearning.step import Step

Loss = Callable[[Step, Params], Tensor]

# Llama-3.2-1B on TOFU forget10 in the Leak@k study; open-unlearning's trainer has the same optimiser defaults.
LEAKATK_STUDY = TrainSettings(lr=1e-5, epochs=10, schedule="linear", forget_batch=32, retain_batch=32)
# Models of about a million parameters, as the built-in world trains; found on worlds other than the reported ones.
SMALL = TrainSettings(lr=3e-4, steps=150, betas=(0.9, 0.98), check_every=5)


@dataclass(frozen=True)
class Method:
    """forget, retain: losses to minimise (None: no such term).  combine: how their gradients meet (None: sum, one
    backward pass).  params: the formula's numbers.  settings: the published optimisation.  small: what suits a model of
    about a million parameters; small_params likewise for the formula.  paper, source: where formula and defaults come
    from.  note: what the user must know, "our reading" included.
    """

    name: str
    paper: str
    source: str
    forget: Loss | None
    retain: Loss | None
    params: Mapping[str, Any] = field(default_factory=dict)
    combine: Combiner | None = None
    settings: TrainSettings = LEAKATK_STUDY
    small: TrainSettings = SMALL
    small_params: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        weights = {"forget_weight": 1.0, "retain_weight": 1.0}
        object.__setattr__(self, "params", {**weights, **self.params})

    def with_params(self, **params: Any) -> Method:
        """The same method with other numbers; InputError for one it does not have."""
        for name in params:
            if name not in self.params:
                raise InputError(f"Method {self.name} has no parameter {name!r}; it has {', '.join(self.params)}.")
        return replace(self, params={**self.params, **params})

    def for_small_models(self) -> Method:
        """The preset for models of about a million parameters."""
        return replace(self, params={**self.params, **self.small_params}, settings=self.small)


METHODS: Registry[Method] = Registry("method")


def add(method: Method) -> Method:
    return METHODS.add(method.name, method)


def resolve(method: str | Method) -> Method:
    return method if isinstance(method, Method) else METHODS[method]


def _nll(stream: str) -> Loss:
    return lambda step, p: token.nll(step.view(stream).logits, step.view(stream).labels)


def _retain_kl(step: Step, p: Params) -> Tensor:
    view = step.view("retain")
    return distill.kl_reference_to_model(step.reference_logits("retain"), view.logits, view.labels)


def _ascent(step: Step, p: Params) -> Tensor:
    return token.gradient_ascent(step.view("forget").logits, step.view("forget").labels)


def _npo(step: Step, p: Params) -> Tensor:
    return preference.npo(step.logprob("forget"), step.reference_logprob("forget"), p["beta"])


def _simnpo(step: Step, p: Params) -> Tensor:
    view = step.view("forget")
    return preference.simnpo(preference.mean_logprob(view.logits, view.labels), p["beta"], p["delta"])


def _rmu_forget(step: Step, p: Params) -> Tensor:
    states = step.hidden("forget", p["layer"])
    direction = hidden.random_direction(states.shape[-1], step.seed).to(states.device)
    return hidden.masked_mse(states, p["coefficient"] * direction, step.positions("forget", p["positions"]))


def _rmu_retain(step: Step, p: Params) -> Tensor:
    states, kept = step.hidden("retain", p["layer"]), step.reference_hidden("retain", p["layer"])
    return hidden.masked_mse(states, kept, step.positions("retain", p["positions"]))


OPEN_UNLEARNING = "open-unlearning (arXiv 2506.12618)"
STUDY = "Leak@k study, Llama-3.2-1B on TOFU forget10 (arXiv 2511.04934)"

add(
    Method(
        name="ga",
        paper="Jang et al. 2023, arXiv 2210.01504",
        source=OPEN_UNLEARNING,
        forget=_ascent,
        retain=None,
        note="Unbounded and without a retain term: it destroys the model unless a floor stops it.",
    )
)
add(
    Method(
        name="graddiff",
        paper="Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121",
        source=STUDY,
        forget=_ascent,
        retain=_nll("retain"),
        params={"retain_weight": 5.0},
    )
)
add(
    Method(
        name="kl",
        paper="Maini et al. 2024 (TOFU), arXiv 2401.06121",
        source="TOFU",
        forget=_ascent,
        retain=_retain_kl,
        note="The retain term is KL(reference || model).",
    )
)
add(
    Method(
        name="npo",
        paper="Zhang et al. 2024, arXiv 2404.05868",
        source=STUDY,
        forget=_npo,
        retain=_nll("retain"),
        params={"beta": 0.5},
        small_params={"beta": 0.1},
    )
)
add(
    Method(
        name="simnpo",
        paper="Fan et al. 2024, arXiv 2410.07163",
        source=STUDY,
        forget=_simnpo,
        retain=_nll("retain"),
        params={"beta": 4.5, "delta": 0.0, "forget_weight": 0.125},
        small_params={"beta": 2.5, "forget_weight": 1.0},
    )
)
add(
    Method(
        name="idknll",
        paper="Maini et al. 2024 (TOFU), arXiv 2401.06121",
        source=OPEN_UNLEARNING,
        forget=_nll("refusal"),
        retain=_nll("retain"),
    )
)
add(
    Method(
        name="rmu",
        paper="Li et al. 2024 (WMDP), arXiv 2403.03218",
        source=STUDY,
        forget=_rmu_forget,
        retain=_rmu_retain,
        params={"layer": 15, "coefficient": 100.0, "positions": "answer"},
        small=replace(SMALL, lr=1e-3),
        small_params={"layer": 1, "coefficient": 6.0},
        note="Trains every parameter, as open-unlearning does; the paper trains the MLP output projections of three "
        "layers: settings.parameters = selection.mlp_down(layer).",
    )
)
add(
    Method(
        name="retrain",
        paper="the yardstick: a model that never saw the forget set",
        source="TOFU's fine-tuning recipe",
        forget=None,
        retain=_nll("retain"),
        settings=TrainSettings(lr=1e-5, epochs=5, schedule="linear", warmup=10, retain_batch=32),
        small=TrainSettings(lr=2e-3, steps=700, retain_batch=32, betas=(0.9, 0.98), schedule="cosine", warmup=20),
        note="Start it from the model before fine-tuning; epochs count the retain set.",
    )
)

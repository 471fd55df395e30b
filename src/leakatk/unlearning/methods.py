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
from leakatk.unlearning.edits import Finish, task_vector
from leakatk.unlearning.gradients import Combiner, Params, blur, normalised_difference
from leakatk.unlearning.losses import distill, hidden, preference, token
from leakatk.unlearning.losses.retain import answer_preservation
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.step import Step

Loss = Callable[[Step, Params], Tensor]

# Llama-3.2-1B on TOFU forget10 in the Leak@k study; open-unlearning's TOFU experiment has the same optimiser.
LEAKATK_STUDY = TrainSettings(
    learning_rate=1e-5, epochs=10, schedule="linear", warmup_epochs=1.0, forget_batch=32, retain_batch=32
)
# For models of about a million parameters. SimNPO, NPO, IdkNLL and RMU were tried on small worlds; the others were not tuned.
SMALL = TrainSettings(learning_rate=3e-4, max_steps=150, betas=(0.9, 0.98), check_every=5)


@dataclass(frozen=True)
class Method:
    """forget, retain: losses to minimise (None: no such term).  combine: how their gradients meet (None: sum, one
    backward pass).  finish: what is done to the weights after the last step (checks see them before it).  params: the formula's numbers.  settings: the published optimisation.  small: what suits a model of
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
    finish: Finish | None = None
    settings: TrainSettings = LEAKATK_STUDY
    small: TrainSettings = SMALL
    small_params: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        weights = {"forget_weight": 1.0, "retain_weight": 1.0}
        object.__setattr__(self, "params", {**weights, **self.params})

    @property
    def side(self) -> str:
        """The set whose passes are its epochs: "forget", or "retain" for a method that does not look at that."""
        return "forget" if self.forget else "retain"

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


def _at(p: Params, *places: str) -> str:
    """Where the loss looks; InputError for what it has not."""
    if p["positions"] not in places:
        raise InputError(f"positions must be {' or '.join(places)}, got {p['positions']!r}.")
    return str(p["positions"])


def _retain_kl(step: Step, p: Params) -> Tensor:
    if _at(p, "answer", "all") == "all":
        whole = step.whole("retain")
        return distill.kl_reference_to_model(step.reference_whole("retain"), whole.logits, whole.tokens)
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


# Everywhere: open-unlearning and the papers' code take the mean over all tokens of a micro-batch, so that a long answer
# weighs more than a short one; ours is over each answer's tokens, then over answers (`losses`). On answers of one length,
# and for losses on whole answers (NPO, SimNPO, DPO), they are the same: tests/golden/test_methods.py.
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
        source="TOFU's code, loss; optimisation as in the Leak@k study",
        forget=_ascent,
        retain=_retain_kl,
        params={"positions": "all"},
        small_params={"positions": "answer"},
        note="The retain term is KL(reference || model), after every token of question and answer. TOFU pads each text to 500 "
        "tokens and open-unlearning to the batch's longest, and both count the padding in the mean; ours does not.",
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
        note="delta (the margin, gamma in the paper) is 0 in the configuration that open-unlearning and the study released.",
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
        small=replace(SMALL, learning_rate=1e-3),
        small_params={"layer": 1, "coefficient": 6.0},
        note="Trains every parameter, as open-unlearning does; the paper trains the MLP output projections of three "
        "layers: settings.parameters = selection.mlp_down(layer). Each answer's sum is divided by its own length; "
        "open-unlearning multiplies the mean sum by the mean of 1/length, which differs where lengths do.",
    )
)
add(
    Method(
        name="retrain",
        paper="the yardstick: a model that never saw the forget set",
        source="TOFU's fine-tuning recipe",
        forget=None,
        retain=_nll("retain"),
        settings=TrainSettings(learning_rate=1e-5, epochs=5, schedule="linear", warmup_epochs=1.0, retain_batch=32),
        small=TrainSettings(
            learning_rate=2e-3, max_steps=700, retain_batch=32, betas=(0.9, 0.98), schedule="cosine", warmup_steps=20
        ),
        note="Start it from the model before fine-tuning; epochs count the retain set.",
    )
)


# -- the rest of the Leak@k study's and OpenUnlearning's methods

FIVE_EPOCHS = replace(LEAKATK_STUDY, epochs=5)
EPOCHS = "open-unlearning's trainer file says five epochs; its TOFU experiment, which overrides that, ten: --epochs 10."


def _dpo(win: str) -> Loss:
    return lambda step, p: preference.dpo(
        step.logprob(win),
        step.reference_logprob(win),
        step.logprob("forget"),
        step.reference_logprob("forget"),
        p["beta"],
    )


def _npo_ent(step: Step, p: Params) -> Tensor:
    view = step.view("forget")
    total: Tensor = _npo(step, p) + p["entropy_weight"] * token.entropy(view.logits, view.labels)
    return total


def _wga(step: Step, p: Params) -> Tensor:
    return token.wga(step.view("forget").logits, step.view("forget").labels, p["beta"])


def _satimp(step: Step, p: Params) -> Tensor:
    return token.satimp(step.view("forget").logits, step.view("forget").labels, p["beta1"], p["beta2"])


def _undial(step: Step, p: Params) -> Tensor:
    if _at(p, "answer", "all") == "all":
        whole = step.whole("forget")
        target = distill.undial_target(step.reference_whole("forget"), whole.following_answers, p["strength"])
        return distill.cross_entropy_to(target, whole.logits, whole.following)
    view = step.view("forget")
    target = distill.undial_target(step.reference_logits("forget"), view.labels, p["strength"])
    return distill.cross_entropy_to(target, view.logits, view.labels)


def _ceu(step: Step, p: Params) -> Tensor:
    view = step.view("forget")
    labels = distill.skip_first(view.labels, p["skip_first"])
    return distill.cross_entropy_to(distill.without_label(view.logits, view.labels), view.logits, labels)


def _hinge(step: Step, p: Params) -> Tensor:
    return token.inverted_hinge(step.view("forget").logits, step.view("forget").labels)


def _maximum_entropy(step: Step, p: Params) -> Tensor:
    if _at(p, "answer", "all") == "all":
        whole = step.whole("forget")
        return distill.kl_uniform_to_model(whole.logits, whole.following)
    return distill.kl_uniform_to_model(step.view("forget").logits, step.view("forget").labels)


def _answer_preservation(step: Step, p: Params) -> Tensor:
    return answer_preservation(step.logprob("retain"), step.logprob("retain_refusal"), p["beta"])


add(
    Method(
        name="idkdpo",
        paper="DPO with refusals: Rafailov et al. 2023, arXiv 2305.18290; Maini et al. 2024 (TOFU), arXiv 2401.06121",
        source=OPEN_UNLEARNING,
        forget=_dpo("refusal"),
        retain=_nll("retain"),
        params={"beta": 0.1},
    )
)
add(
    Method(
        name="altpo",
        paper="AltPO: Mekala et al. 2024, arXiv 2409.13474",
        source="the paper: beta .1, lr 5e-5, 2 epochs",
        forget=_dpo("alternate"),
        retain=_nll("retain"),
        params={"beta": 0.1},
        settings=replace(LEAKATK_STUDY, learning_rate=5e-5, epochs=2),
        note="Needs alternate answers: unlearn(..., alternates={prompt id: text}). The paper samples five for each question.",
    )
)
add(
    Method(
        name="npo-ent",
        paper="NPO+ENT: Scholten et al. 2025 (NPO with an entropy term), as the Leak@k study names it",
        source=STUDY,
        forget=_npo_ent,
        retain=_nll("retain"),
        params={"beta": 0.5, "entropy_weight": 1.0},
        small_params={"beta": 0.1},
        note="The answer-entropy term is minimised; the Leak@k study's released NPO always had it.",
    )
)
add(
    Method(
        name="blur-npo",
        paper="BLUR: arXiv 2506.08164",
        source="the authors' code: beta .1, gamma 1, lr 2.5e-5",
        forget=_npo,
        retain=_nll("retain"),
        params={"beta": 0.1, "gamma": 1.0},
        combine=blur,
        settings=replace(LEAKATK_STUDY, learning_rate=2.5e-5),
    )
)
add(
    Method(
        name="undial",
        paper="UNDIAL: Dong et al. 2024, arXiv 2402.10052",
        source=OPEN_UNLEARNING + ": strength 10, no retain term, lr 1e-4, 10 epochs",
        forget=_undial,
        retain=_nll("retain"),
        params={"strength": 10.0, "retain_weight": 0.0, "positions": "all"},
        small_params={"positions": "answer"},
        settings=replace(LEAKATK_STUDY, learning_rate=1e-4),
        note="After question tokens the target is the reference itself, as in open-unlearning, which there lowers the logit of "
        "token V-100 by its mark for no label. Its mean counts padding too; ours does not. retain_weight above 0 adds the "
        "retain loss; its sweep tries 1, 2 and 5.",
    )
)
add(
    Method(
        name="wga",
        paper="WGA: Wang et al. 2025, arXiv 2502.19301",
        source=OPEN_UNLEARNING,
        forget=_wga,
        retain=_nll("retain"),
        params={"beta": 1.0},
        settings=FIVE_EPOCHS,
        note=EPOCHS,
    )
)
add(
    Method(
        name="satimp",
        paper="SatImp: arXiv 2505.11953",
        source=OPEN_UNLEARNING,
        forget=_satimp,
        retain=_nll("retain"),
        params={"beta1": 5.0, "beta2": 1.0, "forget_weight": 0.1},
        settings=FIVE_EPOCHS,
        note=EPOCHS,
    )
)
add(
    Method(
        name="ce-u",
        paper="CE-U: arXiv 2503.01224",
        source=OPEN_UNLEARNING,
        forget=_ceu,
        retain=_nll("retain"),
        params={"skip_first": 1, "retain_weight": 0.0},
        small_params={"retain_weight": 1.0},
        note="open-unlearning's has no retain term; retain_weight above 0 adds the retain loss.",
    )
)
add(
    Method(
        name="loku",
        paper="LoKU: Cha et al., ICLR 2025 (inverted hinge loss)",
        source="the loss has no numbers; optimisation as in the Leak@k study",
        forget=_hinge,
        retain=_nll("retain"),
        note="The inverted hinge loss alone: its Fisher-weighted LoRA initialisation (FILA) is not included.",
    )
)
add(
    Method(
        name="me",
        paper="ME+GD: Yuan et al. 2024, arXiv 2410.08109",
        source="the paper's code: forget weight .1, question and answer tokens alike, lr 1e-5, 5 epochs, batch 32",
        forget=_maximum_entropy,
        retain=_nll("retain"),
        params={"forget_weight": 0.1, "positions": "all"},
        small_params={"forget_weight": 1.0, "positions": "answer"},
        settings=FIVE_EPOCHS,
        note="The loss is KL(uniform || model). The paper's code pads each text to 500 tokens and counts the padding in the mean; "
        "ours leaves it out, so each token of the text weighs more.",
    )
)
add(
    Method(
        name="idk-ap",
        paper="IDK+AP: Yuan et al. 2024, arXiv 2410.08109",
        source="the paper: beta .1",
        forget=_nll("refusal"),
        retain=_answer_preservation,
        params={"beta": 0.1},
    )
)
add(
    Method(
        name="ngdiff",
        paper="NGDiff: arXiv 2410.22086",
        source="the paper: both gradients normalised; optimisation as in the Leak@k study",
        forget=_ascent,
        retain=_nll("retain"),
        combine=normalised_difference,
        note="Without the paper's automatic learning rate (AutoLR).",
    )
)


def _flat_logits(step: Step, p: Params) -> Tensor:
    if _at(p, "answer", "unshifted") == "unshifted":
        whole = step.whole("forget")
        return token.flat_logits(whole.logits, whole.answers)
    return token.flat_logits(step.view("forget").logits, step.view("forget").labels)


def _constrained_retain(step: Step, p: Params) -> Tensor:
    """lambda * L_r with the dual weight lambda of the constraint L_r <= epsilon, raised after each use."""
    loss = token.nll(step.view("retain").logits, step.view("retain").labels)
    weight = step.state.get("lambda", float(p["lambda_0"]))
    if step.number >= p["warmup_steps"]:
        violation = float(step.average(loss)) - p["epsilon"]
        step.state["lambda"] = max(0.0, weight + p["eta"] * violation)
    return weight * loss


add(
    Method(
        name="pdu",
        paper="PDU: Entesari et al. 2025, arXiv 2506.05314",
        source=OPEN_UNLEARNING
        + ", its script for TOFU: lambda_0 100, eta 5, epsilon .3, five epochs before the dual weight "
        "moves (63 steps of 32 on forget10)",
        forget=_flat_logits,
        retain=_constrained_retain,
        params={"lambda_0": 100.0, "eta": 5.0, "epsilon": 0.3, "warmup_steps": 63, "positions": "unshifted"},
        small_params={"lambda_0": 1.0, "eta": 1.0, "epsilon": 0.01, "warmup_steps": 20, "positions": "answer"},
        note="Its mask is not shifted: logits after each answer token are flattened, those that predict the first are not; "
        "positions=answer shifts it. Choose epsilon above the retain loss of the model before unlearning. The dual weight "
        "moves once a micro-batch, as there, but by the mean over processes, where each of theirs keeps its own. The log's "
        "retain loss includes that weight.",
    )
)
add(
    Method(
        name="task-vector",
        paper="Ilharco et al. 2023, arXiv 2212.04089",
        source="the paper: negated task vector, alpha chosen by a sweep; optimisation as in the Leak@k study",
        forget=_nll("forget"),
        retain=None,
        params={"alpha": 1.0},
        finish=task_vector,
        note="Trains towards the forget set, then goes the same way back from the start. Checks see the trained weights, "
        "before the step back: give it steps, no stop rule.",
    )
)

"""Merging methods: arithmetic on the weights of several models."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from leakatk.unlearning.edits import extrapolate
from leakatk.unlearning.losses import preference
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.merges import calibrate, kept_at_least, ties, where_signs_agree
from leakatk.unlearning.method import method
from leakatk.unlearning.methods.published import KEEP, REMOVAL
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Edit, Keep, Term, Train
from leakatk.unlearning.view import View, each_answer

method(
    "task-vector",
    Train((Term(loss.nll, "forget"),)),
    Edit(extrapolate(factor=lambda p: -p["alpha"])),
    summary="Train towards the forget set, then go the same way back from the start.",
    paper="Ilharco et al. 2023, arXiv 2212.04089",
    formula="theta = theta_0 - alpha (theta_F - theta_0), theta_F trained towards the forget set",
    source="the paper: negated task vector, alpha chosen by a sweep; optimisation as in the Leak@k study",
    tags=REMOVAL | {"forget"},
    params={"alpha": 1.0},
    note="Only the last check sees what comes out: give it steps, no stop rule.",
)

method(
    "uipe",
    Train((Term(loss.npo, "forget"), KEEP)),
    Edit(extrapolate(factor=lambda p: 1 + p["alpha"])),
    summary="NPO, then farther the same way.",
    paper="UIPE: Wang et al. 2025, arXiv 2503.04693",
    formula="theta = theta_0 + (1 + alpha) (theta_u - theta_0), theta_u by NPO",
    source="the paper: the update is amplified, by hand for each base; alpha .3 is ours",
    reading="The base is NPO with the numbers of the Leak@k study; the paper extrapolates GA, GradDiff and NPO",
    rows=("47",),
    tags=REMOVAL | {"forget", "retain"},
    params={"alpha": 0.3, "beta": 0.5},
    small={"beta": 0.1},
    note="Only the last check sees what comes out: give it steps, no stop rule.",
)


def _tuned(number: int, weight_decay: float) -> tuple[Train, Keep]:
    return (
        Train((Term(loss.nll, "forget"),), settings={"weight_decay": weight_decay}),
        Keep(f"tuned-{number}", back=True),
    )


_DECAYS = (0.0, 0.01, 0.1)
_TUNED = tuple(f"tuned-{i + 1}" for i in range(len(_DECAYS)))

method(
    "negmerge",
    *(stage for i, decay in enumerate(_DECAYS) for stage in _tuned(i + 1, decay)),
    Edit(kept_at_least(where_signs_agree(_TUNED, factor=lambda p: -p["alpha"]))),
    summary="Several models are trained towards the forget set; the start goes back where all of them agree.",
    paper="NegMerge: Kim et al. 2024, arXiv 2410.05583",
    formula="theta = theta_0 - alpha tau; tau_k = mean_i (theta_i - theta_0)_k where all n have one sign, else 0",
    source="the paper: models that differ in their training, alpha the largest that keeps 95% of a retain metric; optimisation as in the "
    "Leak@k study",
    reading="Three models that differ in the order of the data and in weight decay (0, .01, .1). The largest alpha up to the number here is taken "
    "that keeps the retain set's extraction strength, by bisection",
    rows=("61",),
    tags=REMOVAL | {"forget", "retain"},
    params={"alpha": 1.0, "keep_at_least": 0.95, "tries": 8},
    note="Only the last check sees what comes out: give it steps, no stop rule.",
)


@each_answer
def _npo_of_means(view: View, p: Mapping[str, Any]) -> Tensor:
    """NPO on the mean log-probability of an answer's tokens."""
    return preference.npo(view.mean_logprob, view.reference.mean_logprob, p["beta"])


def _adapter(number: int, batch: int) -> tuple[Train, Keep]:
    terms = (
        Term(_npo_of_means, "forget", weight=f"npo_{number}"),
        Term(loss.kl_from_reference, "retain", weight=f"kl_{number}"),
        Term(loss.nll, "retain", weight=f"nll_{number}"),
    )
    return Train(terms, settings={"forget_batch": batch, "retain_batch": batch}), Keep(f"side-{number}", back=True)


method(
    "zju-ties",
    *_adapter(1, 4),
    *_adapter(2, 8),
    Edit(ties(("side-1", "side-2"))),
    summary="Two models unlearned with other weights of forgetting and keeping, merged by TIES.",
    paper="ZJUKLAB at SemEval 2025: arXiv 2503.21088",
    formula="model i: npo_i NPO on mean log p + kl_i E<KL(p_ref || p)> + nll_i NLL(retain); theta = theta_0 + TIES of both task vectors",
    source="the authors' code: beta .1, (npo, kl, nll) .4 .4 .2 and .3 .3 .4, batches of 4 and 8, LoRA of rank and alpha 32, lr 1e-4, 5 "
    "epochs, density .8",
    reading="Its NPO takes the mean loss of the batch as one; here each answer has its own. There adapters are merged, here the weights "
    "that they come to",
    rows=("74",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "beta": 0.1, "npo_1": 0.4, "kl_1": 0.4, "nll_1": 0.2, "npo_2": 0.3, "kl_2": 0.3, "nll_2": 0.4, "density": 0.8,
        "positions": "answer",
    },
    settings=TrainSettings(
        learning_rate=1e-4, epochs=5, forget_batch=4, retain_batch=4, tuning="lora", lora_rank=32, lora_alpha=32.0
    ),
    note="Only the last check sees what comes out: give it steps, no stop rule.",
)  # fmt: skip

method(
    "uwc-npo",
    Train((Term(loss.npo, "forget"), KEEP)),
    Edit(calibrate),
    summary="NPO, then back towards the start until the retain set is kept.",
    paper="Unlearning with control (UWC), over NPO: Wang et al. 2024, arXiv 2406.09179",
    formula="theta = a theta_0 + (1 - a) theta_u, the smallest a with extraction strength on the retain set at or above keep_at_least times "
    "theta_0's",
    source="the paper: 95%; NPO's numbers of the Leak@k study",
    reading="Found by bisection; 8 tries give a to 1/256. The control is meant to make methods comparable: choose another base by its name",
    rows=("109",),
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.5, "keep_at_least": 0.95, "tries": 8},
    small={"beta": 0.1},
    note="Only the last check sees what comes out: give it steps, no stop rule.",
)

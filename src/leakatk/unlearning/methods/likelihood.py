"""Likelihood methods: they lower, flatten or replace that of the forget answers; and the yardstick that never saw them."""

from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import method
from leakatk.unlearning.methods.published import (
    EPOCHS,
    FIVE_EPOCHS,
    KEEP,
    OPEN_UNLEARNING,
    PER_TOKEN,
    REMOVAL,
    STUDY,
    SUPPRESSION,
    TOFU,
)
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term

method(
    "ga",
    Term(loss.ascent, "forget"),
    summary="Gradient ascent on the forget answers, nothing else.",
    paper="Jang et al. 2023, arXiv 2210.01504",
    formula="F = E<log p(y_t)>; no R",
    source=OPEN_UNLEARNING + PER_TOKEN,
    rows=("3",),
    lacks="requests one after another, each to its stop; a stop by EL and MA on the command line (in Python: "
    "leakatk.unlearning.stop.memorised_stop)",
    tags=REMOVAL | {"forget"},
    note="Unbounded and without a retain term: it destroys the model unless a floor stops it.",
)

method(
    "graddiff",
    Term(loss.ascent, "forget"),
    KEEP,
    summary="Gradient ascent on the forget answers, descent on the retain answers.",
    paper="Liu et al. 2022, arXiv 2203.12817; Maini et al. 2024, arXiv 2401.06121",
    formula="F = E<log p(y_t)>",
    source=STUDY + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"retain_weight": 5.0},
)

method(
    "idknll",
    Term(loss.nll, "refusal"),
    KEEP,
    summary="Likelihood of a refusal in place of each forget answer.",
    paper=TOFU,
    formula="F = -E<log p(y_idk,t)>",
    source=OPEN_UNLEARNING + PER_TOKEN,
    tags=SUPPRESSION | {"forget", "retain"},
)

method(
    "wga",
    Term(loss.wga, "forget"),
    KEEP,
    summary="Gradient ascent in which tokens already forgotten stop pulling.",
    paper="WGA: Wang et al. 2025, arXiv 2502.19301",
    formula="F = E<p(y_t)^beta log p(y_t)>, the weight detached",
    source=OPEN_UNLEARNING + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 1.0},
    settings=FIVE_EPOCHS,
    note=EPOCHS,
)

method(
    "satimp",
    Term(loss.satimp, "forget"),
    KEEP,
    summary="Gradient ascent weighted by how saturated and how important a token is.",
    paper="SatImp: arXiv 2505.11953",
    formula="F = E<p(y_t)^beta1 (1 - p(y_t))^beta2 log p(y_t)>, the weight detached",
    source=OPEN_UNLEARNING + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"beta1": 5.0, "beta2": 1.0, "forget_weight": 0.1},
    settings=FIVE_EPOCHS,
    note=EPOCHS,
)

method(
    "loku",
    Term(loss.inverted_hinge, "forget"),
    KEEP,
    summary="A bounded hinge: the true token falls to the level of its closest rival.",
    paper="LoKU: Cha et al., ICLR 2025 (inverted hinge loss)",
    formula="F = E<1 + p(y_t) - max_{v != y_t} p(v)>",
    source="the loss has no numbers; optimisation as in the Leak@k study",
    lacks="the Fisher-weighted LoRA initialisation (FILA)",
    tags=REMOVAL | {"forget", "retain"},
)

method(
    "retrain",
    KEEP,
    summary="The yardstick: train on the retain answers alone.",
    paper="the yardstick: a model that never saw the forget set",
    formula="R alone, from a model that has not seen the forget set",
    source="TOFU's fine-tuning recipe" + PER_TOKEN,
    tags=REMOVAL | {"retain"},
    settings=TrainSettings(learning_rate=1e-5, epochs=5, schedule="linear", warmup_epochs=1.0, retain_batch=32),
    small_settings=TrainSettings(
        learning_rate=2e-3, max_steps=700, retain_batch=32, betas=(0.9, 0.98), schedule="cosine", warmup_steps=20
    ),
    note="Start it from the model before fine-tuning; epochs count the retain set.",
)

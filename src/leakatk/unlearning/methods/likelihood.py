"""Likelihood methods: they lower, flatten or replace that of the forget answers; and the yardstick that never saw them."""

from leakatk.unlearning.adapters import fisher_adapter
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.losses.labels import random_labels
from leakatk.unlearning.losses.spans import half_flat
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
from leakatk.unlearning.stages import Keep, Term, Train
from leakatk.unlearning.streams import DRAWS
from leakatk.unlearning.weighting import assisted, parted_tokens

method(
    "ga",
    Term(loss.ascent, "forget"),
    summary="Gradient ascent on the forget answers, nothing else.",
    paper="Jang et al. 2023, arXiv 2210.01504",
    formula="F = E<log p(y_t)>; no R",
    source=OPEN_UNLEARNING + PER_TOKEN,
    rows=("3",),
    tags=REMOVAL | {"forget"},
    note="Unbounded and without a retain term: it destroys the model unless a floor stops it. The paper stops it with --stop-memorised, "
    "and takes requests one after the other: --requests.",
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
    adapter=fisher_adapter,
    summary="A bounded hinge: the true token falls to the level of its closest rival; the adapter begins where forgetting matters.",
    paper="LoKU: Cha et al., ICLR 2025 (inverted hinge loss, FILA)",
    formula="F = E<1 + p(y_t) - max_{v != y_t} p(v)>; adapter: the part of W of rank r nearest to it, rows weighed by the Fisher information of "
    "the forget set over that of the retain set",
    source="the authors' code: LoRA of rank 32 (16, 8, 4) with twice that as alpha on all linear layers, lr 2e-4, 5 epochs, batch 32"
    + PER_TOKEN,
    reading="Fisher information from batches of 16, in the order of the prompts",
    tags=REMOVAL | {"forget", "retain"},
    settings=TrainSettings(
        learning_rate=2e-4, epochs=5, schedule="linear", warmup_epochs=1.0, forget_batch=32, retain_batch=32, tuning="lora", lora_rank=32,
        lora_alpha=64.0,
    ),
    note="Where whole weights are trained there is no adapter, and the hinge is left.",
)  # fmt: skip

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

method(
    "llmu",
    Term(loss.bounded_ascent, "forget", weight="bad_weight"),
    Term(random_labels, tuple(f"normal_{i + 1}" for i in range(DRAWS)), weight="random_weight"),
    Term(loss.kl_from_reference, "retain"),
    summary="Bounded ascent, answers to other questions in their place, and what the model said of normal text.",
    paper="LLMU: Yao et al. 2023, arXiv 2310.10683",
    formula="F = bad_weight min-bounded E<log p(y_t)> + random_weight mean_K NLL(a retain answer | x_f); R = E<KL(p_ref || p)>",
    source="the authors' code: weights .5, 1 and 1, K 5, lr 2e-6, 1000 steps of 2, end at a loss of 100 on a batch",
    reading="The run ends there once the loss on forget answers exceeds max_bad_loss; here the ascent alone ends. The K answers of a "
    "prompt are drawn once, there anew in each step. Its R is the cross entropy to the reference, which has the same gradient",
    rows=("38",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "bad_weight": 0.5, "random_weight": 1.0, "answers": DRAWS, "max_bad_loss": 100.0, "positions": "all",
    },
    small={"positions": "answer"},
    settings=TrainSettings(learning_rate=2e-6, max_steps=1000, forget_batch=2, retain_batch=2),
)  # fmt: skip

method(
    "catnip",
    Term(loss.against_others, "forget"),
    KEEP,
    summary="NPO a token at a time, with all other tokens in place of the reference: no reference, no retain set.",
    paper="CATNIP: 2026, arXiv 2602.02824",
    formula="F = -(2/beta) E<log sigma(-beta [log p(y_t) - log(1 - p(y_t))])>",
    source="the published reviews state 1 - p and the mean over tokens; the paper's numbers are not known here, so beta 1 and the "
    "optimisation of the Leak@k study",
    reading="Whether the gradient goes through 1 - p is not known: detached, as NPO's reference is; live is the other form. 1 - p "
    "counts as at least 1e-6",
    rows=("87",),
    tags=REMOVAL | {"forget"},
    params={"beta": 1.0, "reference_gradient": "detached", "retain_weight": 0.0},
    note="With beta 1 and reference_gradient=live it is unlikelihood, -2 log(1 - p). retain_weight above 0 adds the retain loss.",
)

method(
    "ishumei",
    Term(loss.bounded, "forget"),
    KEEP,
    summary="A bounded forget loss beside the retain loss.",
    paper="iShumei at SemEval 2025: arXiv 2507.16263",
    formula="F = E<-log(1 - p(y_t))>, or form=hinge: E<max(0, tau - NLL_t)>, form=inverse: E<1 / (1 + NLL_t)>",
    source="the loss's formula was not to be had; optimisation as in the Leak@k study",
    reading="All of F: a reconstruction of what is described as a bounded, more controllable substitute for ascent",
    rows=("102",),
    tags=REMOVAL | {"forget", "retain"},
    params={"form": "others", "tau": 5.0},
)

method(
    "eua",
    Term(loss.energy_above, "forget"),
    Term(loss.energy_below, "retain"),
    Term(loss.nll, "retain", weight="likelihood_weight"),
    summary="Forget answers get a high energy, retain answers keep a low one, so that a bound tells them apart.",
    paper="EUA (distinguishable deletion): 2026, arXiv 2605.16776",
    formula="F = E<max(0, margin - [E - E_ref])^2>, R = E<max(0, [E - E_ref] - slack)^2> + likelihood_weight NLL, E = -logsumexp(z)",
    source="the paper's summary; its numbers are not known here, so margin 5, slack 0 and the optimisation of the Leak@k study",
    reading="Bounds are on the change of energy from the reference and not on energies, whose level differs from model to model. "
    "Energies are read where answer tokens are predicted, at temperature 1; forgotten content gets the high energy",
    rows=("62x",),
    tags=REMOVAL | {"forget", "retain"},
    params={"margin": 5.0, "slack": 0.0, "likelihood_weight": 1.0},
)

method(
    "mari",
    Term(loss.shared_output, ("forget", "retain"), weight="information_weight"),
    KEEP,
    summary="What the outputs tell of the forget set beyond the retain set goes down.",
    paper="Forgetting-MarI: Xu et al. 2025, arXiv 2511.11914",
    formula="F = information_weight JS((p_f + p_r) / 2, p_r), p_f and p_r the mean next-token distributions of both batches; R = NLL",
    source="the paper: retain loss plus a penalty on the information; optimisation as in the Leak@k study",
    reading="Pooled over all answer tokens of the batch, with equal weight for both sets; gradients through both. information_weight "
    "1 is ours",
    rows=("44",),
    tags=REMOVAL | {"forget", "retain"},
    params={"information_weight": 1.0},
)

method(
    "mp-idk",
    Term(loss.nll, "refusal"),
    Term(loss.nll, "mixed", weight="mixed_weight"),
    Term(loss.nll, "mixed_last", weight="mixed_weight"),
    KEEP,
    summary="Refusals for forget questions, also where a retain question stands beside them and is answered.",
    paper="MP unlearning (SEPS), with refusals",
    formula="F = NLL(refusal | x_f) + mixed_weight [NLL('1. refusal 2. y_r' | '1. x_f 2. x_r') + the same the other way round]",
    source="the paper: numbered questions in both orders; optimisation as in the Leak@k study, mixed_weight .5 is ours",
    reading="Each forget question has one retain question, drawn once",
    rows=("31",),
    tags=SUPPRESSION | {"forget", "retain"},
    params={"mixed_weight": 0.5},
)

method(
    "su",
    Term(loss.ascent, "forget"),
    KEEP,
    weigh=parted_tokens,
    summary="GradDiff on the tokens that forget and retain texts predict differently.",
    paper="Selective unlearning: 2025, arXiv 2506.00876",
    formula="GradDiff's F over tokens with |P_f(y_t | y_t-2, y_t-1) - P_r(y_t | y_t-2, y_t-1)| > gap and those within `around` of one",
    source="the paper: tables of three tokens, context of 2; gap .5 is ours, optimisation as in the Leak@k study",
    reading="P is the share of a table of the forget and of the retain set, 0 where it has never seen the two tokens before. Places around a "
    "chosen token stay chosen",
    rows=("80",),
    tags=REMOVAL | {"forget", "retain"},
    params={"gap": 0.5, "around": 2},
)

method(
    "mp-me",
    Term(loss.kl_from_uniform, "forget"),
    Term(half_flat(True), ("mixed_known", "mixed_known_half"), weight="mixed_weight"),
    Term(half_flat(False), ("mixed_known_last", "mixed_known_last_half"), weight="mixed_weight"),
    KEEP,
    summary="Flat predictions for forget answers, also where a retain answer stands beside them and stays as it was.",
    paper="MP unlearning (SEPS), with maximum entropy",
    formula="F = E<KL(uniform || p)> + mixed_weight [on '1. y_f 2. y_r' given '1. x_f 2. x_r': <KL(p || uniform)> over the first half and KL(p || "
    "p_ref) over the second + the same the other way round]",
    source="the paper: numbered questions in both orders; optimisation as in the Leak@k study, mixed_weight .5 is ours",
    reading="Each forget question has one retain question, drawn once; a number belongs to the half that it opens",
    rows=("31",),
    tags=REMOVAL | {"forget", "retain"},
    params={"mixed_weight": 0.5, "positions": "answer"},
)

method(
    "su-llm",
    Train((Term(loss.nll, "forget"),)),
    Keep("knows-forget", back=True),
    Train((KEEP,)),
    Keep("knows-retain", back=True),
    Train((Term(loss.ascent, "forget"), KEEP), weigh=assisted("knows-forget", "knows-retain")),
    summary="GradDiff on the tokens that a model trained on the forget set and one trained on the retain set predict differently.",
    paper="Selective unlearning, with language models: 2025, arXiv 2506.00876",
    formula="GradDiff's F over tokens with |p_f(y_t) - p_r(y_t)| above its answer's mean plus `deviations` standard deviations and those within "
    "`around` of one",
    source="the paper: two fine-tuned models, context of 2; deviations 1 is ours, optimisation as in the Leak@k study",
    reading="All three trainings take the same steps and rate. Places around a chosen token stay chosen",
    rows=("80",),
    tags=REMOVAL | {"forget", "retain"},
    params={"deviations": 1.0, "around": 2},
)

"""Preference methods, which prefer something else to the forget answers: NPO and DPO with their relatives."""

from dataclasses import replace

from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, method
from leakatk.unlearning.methods.published import KEEP, OPEN_UNLEARNING, PER_TOKEN, REMOVAL, STUDY, SUPPRESSION
from leakatk.unlearning.stages import Term

method(
    "npo",
    Term(loss.npo, "forget"),
    KEEP,
    summary="Negative preference: the forget answer becomes less likely than before, with a gradient that fades.",
    paper="Zhang et al. 2024, arXiv 2404.05868",
    formula="F = -(2/beta) E log sigma(-beta [log p(y|x) - log p_ref(y|x)])",
    source=STUDY + "; its R averages over all tokens of the batch (per=token)",
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.5},
    small={"beta": 0.1},
)

method(
    "simnpo",
    Term(loss.simnpo, "forget"),
    KEEP,
    summary="NPO without a reference, normalised by the answer's length.",
    paper="Fan et al. 2024, arXiv 2410.07163",
    formula="F = -(2/beta) E log sigma(-beta [<log p(y_t)> + delta])",
    source=STUDY + "; its R averages over all tokens of the batch (per=token)",
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 4.5, "delta": 0.0, "forget_weight": 0.125},
    small={"beta": 2.5, "forget_weight": 1.0},
    note="delta (the margin, gamma in the paper) is 0 in the configuration that open-unlearning and the study released.",
)

method(
    "npo-ent",
    Term(loss.npo, "forget"),
    Term(loss.entropy, "forget", weight="entropy_weight"),
    KEEP,
    summary="NPO with an entropy term that keeps the answers' distribution narrow.",
    paper="NPO+ENT: Scholten et al. 2025 (NPO with an entropy term), as the Leak@k study names it",
    formula="F = NPO's F + entropy_weight * E<entropy of p>",
    source=STUDY + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.5, "entropy_weight": 1.0},
    small={"beta": 0.1},
    note="The answer-entropy term is minimised; the Leak@k study's released NPO always had it.",
)

method(
    "idkdpo",
    Term(loss.dpo, ("refusal", "forget")),
    KEEP,
    summary="DPO: a refusal is preferred to the forget answer.",
    paper="DPO with refusals: Rafailov et al. 2023, arXiv 2305.18290; Maini et al. 2024 (TOFU), arXiv 2401.06121",
    formula="F = -(2/beta) E log sigma(beta [log p/p_ref (y_idk|x) - log p/p_ref (y|x)])",
    source=OPEN_UNLEARNING + "; its R averages over all tokens of the batch (per=token)",
    tags=SUPPRESSION | {"forget", "retain"},
    params={"beta": 0.1},
)

method(
    "altpo",
    Term(loss.dpo, ("alternate", "forget")),
    KEEP,
    summary="DPO: another plausible answer is preferred to the forget answer.",
    paper="AltPO: Mekala et al. 2024, arXiv 2409.13474",
    formula="F = -(2/beta) E log sigma(beta [log p/p_ref (y_alternate|x) - log p/p_ref (y|x)])",
    source="the paper: beta .1, lr 5e-5, 2 epochs",
    rows=("104",),
    tags=SUPPRESSION | {"forget", "retain"},
    params={"beta": 0.1},
    settings=replace(LEAKATK_STUDY, learning_rate=5e-5, epochs=2),
    note="Needs other answers: --alternates FILE, or a writer; by default the model itself writes five for each question, as in the paper.",
)

method(
    "idk-ap",
    Term(loss.nll, "refusal"),
    Term(loss.answer_preservation, ("retain", "retain_refusal")),
    summary="Refusals for forget questions; retain answers stay preferred to refusals.",
    paper="IDK+AP: Yuan et al. 2024, arXiv 2410.08109",
    formula="F = -E<log p(y_idk,t)>; R = -(1/beta) E log sigma(beta [log p(y_retain|x) - log p(y_idk|x)])",
    source="the paper: beta .1; its F averages over all tokens of the batch (per=token)",
    rows=("59",),
    tags=SUPPRESSION | {"forget", "retain"},
    params={"beta": 0.1},
)

method(
    "cau-npo",
    Term(loss.npo, "forget"),
    Term(loss.kl_to_reference, "in_context", weight="context_weight"),
    KEEP,
    summary="NPO that leaves the model able to read the answer from its context.",
    paper="Context-aware unlearning (CAU), over NPO",
    formula="NPO's F + context_weight E<KL(p(. | c, x) || p_ref(. | c, x))>, c a context that says the answer",
    source="the paper: context weights of .01 to 2, here 1; NPO's numbers of the Leak@k study",
    reading="The context is the answer itself, before the question. The base is NPO; any other takes the same term",
    rows=("34",),
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.5, "context_weight": 1.0},
    small={"beta": 0.1},
)

method(
    "orpo",
    Term(loss.orpo, ("alternate", "forget")),
    KEEP,
    summary="Likelihood of another answer, and better odds for it than for the forget answer; no reference.",
    paper="CFG-safety: 2024, arXiv 2412.06846 (ORPO: arXiv 2403.07691)",
    formula="F = NLL(y_alternate) - beta E log sigma(log odds(y_alternate) - log odds(y)), odds = P / (1 - P), P = exp(mean log p)",
    source="the authors' code: beta .1; optimisation as in the Leak@k study",
    reading="Pairs are asked as they are; cfg-orpo asks each under two system messages. No retain loss in the paper: retain_weight 0",
    rows=("67",),
    tags=SUPPRESSION | {"forget"},
    params={"beta": 0.1, "retain_weight": 0.0},
    note="Needs other answers, as altpo does.",
)

method(
    "cfg-orpo",
    Term(loss.orpo, ("forbidden_alternate", "forbidden_forget")),
    Term(loss.orpo, ("wanted_forget", "wanted_alternate")),
    KEEP,
    summary="Under a system message that forbids personal data another answer is preferred, under one that wants it the forget answer.",
    paper="CFG-safety: 2024, arXiv 2412.06846 (ORPO: arXiv 2403.07691)",
    formula="F = ORPO(y_alternate over y | good message, x) + ORPO(y over y_alternate | bad message, x), ORPO as of the method orpo",
    source="the authors' code: beta .1, both messages; optimisation as in the Leak@k study",
    reading="The messages are `GOOD_MESSAGE` and `BAD_MESSAGE` of `leakatk.unlearning.streams`. No retain loss in the paper: retain_weight 0",
    rows=("67",),
    tags=SUPPRESSION | {"forget"},
    params={"beta": 0.1, "retain_weight": 0.0},
    note="Needs other answers, as altpo does. For decoding with --guard cfg, which leads away from the bad message.",
)

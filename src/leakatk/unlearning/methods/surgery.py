"""Gradient-surgery methods: they say how the gradients of forgetting and keeping meet."""

from dataclasses import replace

from leakatk.unlearning.gradients import alternate, blur, normalised_difference, one_in
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.losses.targeted import target_tokens
from leakatk.unlearning.losses.transport import moved, npo_of_means, weights_at_start
from leakatk.unlearning.method import LEAKATK_STUDY, SMALL, method
from leakatk.unlearning.methods.published import KEEP, OPEN_UNLEARNING, PER_TOKEN, REMOVAL
from leakatk.unlearning.optimisers import sign_descent
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term
from leakatk.unlearning.surgeons import AutoRate, DirectTokens, Ofmu, Uno, ZerothOrder, asking, mudman

method(
    "blur-npo",
    Term(loss.npo, "forget"),
    KEEP,
    combine=blur,
    summary="NPO in which the retain gradient gives up what conflicts with the forget gradient.",
    paper="BLUR: arXiv 2506.08164",
    formula="NPO's F; update gamma g_F + [g_R - (<g_R, g_F> / |g_F|^2) g_F]",
    source="the authors' code: beta .1, gamma 1, lr 2.5e-5",
    rows=("57",),
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.1, "gamma": 1.0},
    settings=replace(LEAKATK_STUDY, learning_rate=2.5e-5),
)

method(
    "blur-graddiff",
    Term(loss.ascent, "forget"),
    KEEP,
    combine=blur,
    summary="GradDiff in which the retain gradient gives up what conflicts with the forget gradient.",
    paper="BLUR over GradDiff: arXiv 2506.08164",
    formula="GradDiff's F; update gamma g_F + [g_R - (<g_R, g_F> / |g_F|^2) g_F]",
    source="the authors' update, gamma 1; numbers of GradDiff as in the Leak@k study",
    rows=("57",),
    tags=REMOVAL | {"forget", "retain"},
    params={"gamma": 1.0, "retain_weight": 5.0},
)

method(
    "blur-simnpo",
    Term(loss.simnpo, "forget"),
    KEEP,
    combine=blur,
    summary="SimNPO in which the retain gradient gives up what conflicts with the forget gradient.",
    paper="BLUR over SimNPO: arXiv 2506.08164",
    formula="SimNPO's F; update gamma g_F + [g_R - (<g_R, g_F> / |g_F|^2) g_F]",
    source="the authors' update, gamma 1; numbers of SimNPO as in the Leak@k study",
    rows=("57",),
    tags=REMOVAL | {"forget", "retain"},
    params={"gamma": 1.0, "beta": 4.5, "delta": 0.0, "forget_weight": 0.125},
    small={"beta": 2.5, "forget_weight": 1.0},
)

method(
    "ngdiff",
    Term(loss.ascent, "forget"),
    KEEP,
    combine=normalised_difference,
    summary="GradDiff with both gradients normalised.",
    paper="NGDiff: arXiv 2410.22086",
    formula="GradDiff's F; update g_F / |g_F| + g_R / |g_R|",
    source="the paper: both gradients normalised; optimisation as in the Leak@k study",
    rows=("76",),
    tags=REMOVAL | {"forget", "retain"},
)

method(
    "ngdiff-auto",
    Term(loss.ascent, "forget"),
    KEEP,
    combine=normalised_difference,
    optimiser=asking(AutoRate),
    summary="NGDiff whose steps are as long as three retain losses say.",
    paper="NGDiff with AutoLR: arXiv 2410.22086",
    formula="NGDiff's update d times (L(+d) - L(-d)) / (2 [L(+d) - 2 L(0) + L(-d)]), L the retain loss, every rate_every steps",
    source="the paper: a new rate about every 10 steps; optimisation as in the Leak@k study",
    reading="The least point of the parabola is derived here. The factor is on the schedule's rate, and holds until the next one",
    rows=("76",),
    tags=REMOVAL | {"forget", "retain"},
    params={"rate_every": 10},
)

method(
    "uno",
    Term(loss.ascent, "forget"),
    KEEP,
    optimiser=asking(Uno),
    summary="The retain loss, with a penalty on gradients of forgetting and keeping that are not orthogonal.",
    paper="UNO",
    formula="NLL(retain) + penalty cos^2(g_R, g_F); surgery: every other step g_F - (<g_F, g_R> / |g_R|^2) g_R",
    source="the mechanism; its numbers are not known here, so penalty 1 and the optimisation of the Leak@k study",
    reading="The square of the cosine. Second derivatives are central differences of gradients, the weights moved by `difference` of their "
    "norm: four more gradients a step",
    rows=("16",),
    tags=REMOVAL | {"forget", "retain"},
    params={"penalty": 1.0, "surgery": False, "difference": 1e-3},
    note="Give it --dtype fp32: in bf16 small differences are lost in rounding.",
)

method(
    "uno-s",
    Term(loss.ascent, "forget"),
    KEEP,
    optimiser=asking(Uno),
    summary="UNO in turn with ascent that does not touch the retain gradient.",
    paper="UNO-S",
    formula="in turn UNO's step, and one along g_F - (<g_F, g_R> / |g_R|^2) g_R",
    source="the mechanism; its numbers are not known here, so penalty 1 and the optimisation of the Leak@k study",
    reading="As UNO's; the two kinds of steps change every time",
    rows=("16",),
    tags=REMOVAL | {"forget", "retain"},
    params={"penalty": 1.0, "surgery": True, "difference": 1e-3},
    note="Give it --dtype fp32: in bf16 small differences are lost in rounding.",
)

method(
    "ofmu",
    Term(loss.ascent, "forget"),
    KEEP,
    optimiser=asking(Ofmu),
    summary="Two levels: forgetting that turns away from the retain gradient within each step of keeping.",
    paper="OFMU",
    formula="Phi = NLL(y_f) - similarity cos(g_f, g_R); inner: theta += inner_rate grad Phi, inner_steps times; outer: the gradient of NLL(retain) "
    "+ penalty growth^k |grad Phi|^2",
    source="the mechanism; its numbers are not known here: one inner step at 1e-3, similarity .1, penalty .01 growing by 1% and the optimisation "
    "of the Leak@k study",
    reading="Second derivatives are central differences of gradients. The outer step is AdamW's",
    rows=("28",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "inner_steps": 1, "inner_rate": 1e-3, "similarity": 0.1, "penalty": 0.01, "growth": 1.01, "difference": 1e-3,
    },
    note="Some 25 gradients a step. Give it --dtype fp32: in bf16 small differences are lost in rounding.",
)  # fmt: skip

method(
    "mudman",
    Term(loss.ascent, "forget"),
    KEEP,
    optimiser=mudman,
    summary="Gradients of forgetting from an adversary that relearns, where they do not disturb what is kept.",
    paper="MUDMAN: Sondej et al. 2025, arXiv 2506.12484",
    formula="a <- m a + (1 - m) g_R, theta <- theta - retain_rate a; phi <- phi - adversary_rate g(NLL(y_f)); theta <- theta - lr g / |g| where "
    "sign g = sign a, g the forget gradient at phi, which begins at theta every fork_every steps",
    source="the authors' code: momentum .9, rates 1e-3, fork every 32 steps, gate projections alone; lr .1",
    reading="|g| is this step's; their code also multiplies by the norm of the first batch's gradient. The forget loss is ascent, one of "
    "three that they try",
    rows=("56",),
    tags=REMOVAL | {"forget", "retain"},
    params={"momentum": 0.9, "retain_rate": 1e-3, "adversary_rate": 1e-3, "fork_every": 32},
    settings=TrainSettings(
        learning_rate=0.1, max_steps=300, forget_batch=16, retain_batch=16, parameters=r"\.mlp\.gate_proj\."
    ),
    small_settings=replace(SMALL, learning_rate=0.1, parameters=r"\.mlp\."),
    note="Models without gate_proj need another pattern: --parameters.",
)

_QUERIES = {"beta": 0.5, "queries": 4, "reach": 1e-3}
_DOWNGRADED = "Downgraded optimisers: arXiv 2510.00761"

method(
    "npo-sign",
    Term(loss.npo, "forget"),
    KEEP,
    optimiser=sign_descent,
    summary="NPO by the sign of the gradient alone.",
    paper=_DOWNGRADED,
    formula="NPO's F; theta - lr sign(g)",
    source="the paper: signs in place of AdamW; NPO's numbers of the Leak@k study",
    rows=("107",),
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.5},
    small={"beta": 0.1},
)

method(
    "npo-zeroth",
    Term(loss.npo, "forget"),
    KEEP,
    optimiser=asking(ZerothOrder),
    summary="NPO by differences of losses, without gradients.",
    paper=_DOWNGRADED,
    formula="NPO's F; AdamW on d / q sum_i (f(theta + mu u_i) - f(theta - mu u_i)) / (2 mu) u_i, |u_i| = 1, d the number of entries",
    source="the paper: steps of zeroth order; NPO's numbers of the Leak@k study, queries q 4 and reach mu 1e-3 are ours",
    reading="The estimate is unbiased, times the number of entries, and goes through AdamW. AdaZO is not built",
    rows=("107",),
    tags=REMOVAL | {"forget", "retain"},
    params={**_QUERIES, "hybrid": 0},
    small={"beta": 0.1},
    note="Give it --dtype fp32: in bf16 small differences are lost in rounding.",
)

method(
    "npo-hybrid",
    Term(loss.npo, "forget"),
    KEEP,
    optimiser=asking(ZerothOrder),
    summary="NPO by gradients and by differences of losses in turn.",
    paper=_DOWNGRADED,
    formula="NPO's F; `hybrid` steps of AdamW on the gradient, then as many on the estimate of npo-zeroth",
    source="the paper: 20 steps of each in turn, the last without gradients; NPO's numbers of the Leak@k study",
    reading="As npo-zeroth's. Choose steps that are a multiple of twice `hybrid`, so that the run ends without gradients",
    rows=("107",),
    tags=REMOVAL | {"forget", "retain"},
    params={**_QUERIES, "hybrid": 20},
    small={"beta": 0.1, "hybrid": 5},
    note="Give it --dtype fp32: in bf16 small differences are lost in rounding.",
)

method(
    "sugd",
    Term(loss.ascent, "forget"),
    KEEP,
    combine=one_in,
    summary="One step of ascent on forget answers, seven of descent on retain answers, in a fixed order.",
    paper="AILS-NTUA at SemEval 2025 (SUGD)",
    formula="step s: -NLL(forget) where s mod (1 + retain_steps) = 0, else retain_weight NLL(retain)",
    source="the authors' code: factors -1 and .5, 7 retain steps, 7 epochs, lr 1e-5, LoRA of rank 16 and alpha 64",
    reading="Both gradients are computed in each step, and one is taken. There a chunk of 32 is gone through in order",
    rows=("22",),
    tags=REMOVAL | {"forget", "retain"},
    params={"retain_steps": 7, "retain_weight": 0.5},
    settings=replace(LEAKATK_STUDY, epochs=7, tuning="lora", lora_rank=16, lora_alpha=64.0),
)

method(
    "agad",
    Term(loss.ascent, "forget"),
    KEEP,
    combine=alternate,
    summary="Ascent on forget answers and descent on retain answers, step by step in turn.",
    paper="AILS-NTUA at SemEval 2025 (AGAD)",
    formula="even steps -NLL(forget), odd steps NLL(retain)",
    source="the authors' description; numbers as SUGD's",
    reading="They change at epochs of the forget set and steps of the retain set; here at every step",
    rows=("22",),
    tags=REMOVAL | {"forget", "retain"},
    settings=replace(LEAKATK_STUDY, epochs=7, tuning="lora", lora_rank=16, lora_alpha=64.0),
)

method(
    "dto",
    Term(target_tokens, ("forget", "unasked")),
    optimiser=asking(DirectTokens),
    summary="Ascent on the tokens that the question brings, while the other tokens of the same answers stay.",
    paper="Direct token optimisation",
    formula="F = <log p(y_t)> over target tokens + keep_weight <KL(p_ref || p)> over the others; the former's gradient without its part "
    "against the latter's",
    source="the mechanism; its numbers are not known here, so half of the tokens, keep_weight 1 and the optimisation of the Leak@k study",
    reading="Target tokens of an answer are the `share` with the largest log p_ref(y_t | x, y_<t) - log p_ref(y_t | y_<t)",
    rows=("23",),
    tags=REMOVAL | {"forget"},
    params={"share": 0.5, "keep_weight": 1.0},
)

method(
    "pdu",
    Term(loss.flat_logits, "forget"),
    Term(loss.held_below, "retain"),
    summary="Flat logits on forget answers under the constraint that the retain loss stays low.",
    paper="PDU: Entesari et al. 2025, arXiv 2506.05314",
    formula="F = E<(max_v z_v - mean_v z_v)^2>, positions=unshifted: <> after each y_t; "
    "R weighted by lambda <- max(0, lambda + eta (R - epsilon)) after warmup_steps",
    source=OPEN_UNLEARNING
    + ", its script for TOFU: lambda_0 100, eta 5, epsilon .3, five epochs before the dual weight "
    "moves (63 steps of 32 on forget10)" + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"lambda_0": 100.0, "eta": 5.0, "epsilon": 0.3, "warmup_steps": 63, "positions": "unshifted"},
    small={"lambda_0": 1.0, "eta": 1.0, "epsilon": 0.01, "warmup_steps": 20, "positions": "answer"},
    note="Its mask is not shifted: logits after each answer token are flattened, those that predict the first are not; "
    "positions=answer shifts it. Choose epsilon above the retain loss of the model before unlearning. The dual weight "
    "moves once a micro-batch, as there, but by the mean over processes, where each of theirs keeps its own. The log's "
    "retain loss includes that weight.",
)

method(
    "opt-out",
    Term(npo_of_means, "forget"),
    KEEP,
    Term(moved, "retain", weight="transport_weight"),
    combine=alternate,
    gather=weights_at_start,
    summary="NPO in turn with likelihood of retain answers, whose steps are held back by how far the weights are transported.",
    paper="Opt-Out: Choi et al. 2024, arXiv 2406.12329",
    formula="even steps -2/beta log sigma(beta [NLL(y_f) - NLL_ref(y_f)]), odd steps retain_weight NLL(y_r) + transport_weight sum_W SW2(W_0, W)",
    source="the authors' code: beta .1, weight .1, 100 directions, lr 1e-5 falling linearly, 3 epochs of batches of 32"
    + PER_TOKEN,
    reading="NPO is of the batch's mean nll, as in the code. Neighbours and general questions are one retain set here, at twice the weight; there "
    "each has a term. Their forget and retain steps share a batch, so six epochs here are three there",
    rows=("86",),
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.1, "transport_weight": 0.1, "directions": 100, "retain_weight": 2.0},
    small={"directions": 20},
    settings=replace(LEAKATK_STUDY, epochs=6, warmup_epochs=0.0),
    small_settings=replace(SMALL, learning_rate=1e-4),
    note="It holds a copy of the weights. Whole weights are trained, no adapter. On the small world the transport makes no difference: with weight "
    "0, .1 and 1, at lr 3e-4, retain answers are right to 88, 89 and 88%, those that no unlearner saw to 0%.",
)

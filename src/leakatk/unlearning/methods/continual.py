"""Continual methods: requests that come one after the other, without what was learned from."""

from dataclasses import replace

from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, SMALL, method
from leakatk.unlearning.methods.published import REMOVAL
from leakatk.unlearning.stages import Term
from leakatk.unlearning.tether import pulled, tether

method(
    "safe",
    Term(loss.npo, "forget"),
    gather=tether,
    filter=pulled,
    summary="A few steps of NPO for each request of a stream, tied to the weights before it by stored statistics alone.",
    paper="SAFE: Machine Unlearning for Streaming Forgetting, Shen et al. 2025, arXiv 2507.15280",
    formula="F = NPO + strength / 2 sum_i s_i (theta_i - theta_0,i)^2; s the diagonal Fisher information of the retain answers at theta_0, mean 1, or "
    "1; theta_0 the model before the request",
    source="the mechanism: a stream, a step a round, statistics in place of the data; strength 10 and steps were tried on the built-in world, NPO's beta .1; all are ours",
    reading="Published for images, with estimated class distributions. Here what stands for the data that is gone is a quadratic around the "
    "model before the request: its statistics are gathered before the first step, and no retain answer is trained on. They are gathered anew "
    "for each request, where the paper stores them once. Its regret and the bound on it are not computed",
    rows=("32",),
    tags=REMOVAL | {"forget"},
    params={"beta": 0.1, "strength": 10.0, "anchor": "fisher"},
    settings=replace(LEAKATK_STUDY, max_steps=60, epochs=None, warmup_epochs=0.0),
    small_settings=replace(SMALL, max_steps=60),
    note="Requests one after the other: --requests. It wears the model out: of what is kept, on the built-in world .96, .74, .39 and .20 is "
    "said after 1 to 4 requests, where NPO with retain answers keeps .99; the pull saves most of the first (without it .14). anchor=l2 needs no retain prompt at all. Whole weights are trained, no adapter.",
)

"""Selection methods: they train a part of the weights, chosen by how much it has to do with what is to be forgotten."""

from dataclasses import replace

from leakatk.unlearning.edits import extrapolate
from leakatk.unlearning.locating import blur_neuron, critical_neurons, knowing_neurons, that_neuron
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.losses.labels import random_labels
from leakatk.unlearning.method import LEAKATK_STUDY, SMALL, method
from leakatk.unlearning.methods.published import KEEP, REMOVAL
from leakatk.unlearning.selection import flexible_region, large_entries, salient
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.sophia import Sophia
from leakatk.unlearning.stages import Edit, Term, Train
from leakatk.unlearning.streams import DRAWS
from leakatk.unlearning.triage import by_class, kept_by_class, sort_and_select

method(
    "ssu",
    Train(
        (
            Term(loss.nll, "forget"),
            Term(random_labels, tuple(f"random_{i + 1}" for i in range(DRAWS)), weight="epsilon"),
        ),
        filter=large_entries,
    ),
    Edit(extrapolate(factor=lambda p: -p["alpha"])),
    summary="Train towards the forget set and random answers, large gradients alone, then go the same way back.",
    paper="SSU: Dou et al. 2024, arXiv 2406.10952 and 2412.18621",
    formula="theta = theta_0 - alpha (theta_F - theta_0); theta_F minimises NLL(y_f) + epsilon mean_K NLL(another y_f), its gradient g "
    "masked by |g| >= mean |g| + n std |g|",
    source="the authors' code: epsilon 1, K 5, n 0 (the paper: 0 or 1), LoRA of rank 16 and alpha 32 on q and v, lr 1e-4 falling "
    "linearly, 200 steps of 4; alpha 1 is the paper's",
    reading="The mask is of the step's gradient, as in the paper; the code adds the unmasked gradient once more after masking. "
    "The K answers of a prompt are drawn once, there anew in each step. The mask is AdamW's input: its momentum still "
    "moves entries that an earlier step let through",
    rows=("1", "2"),
    tags=REMOVAL | {"forget"},
    params={"epsilon": 1.0, "answers": DRAWS, "deviations": 0.0, "alpha": 1.0},
    settings=TrainSettings(
        learning_rate=1e-4, max_steps=200, schedule="linear", forget_batch=4, tuning="lora", lora_rank=16, lora_alpha=32.0,
        lora_targets=("q_proj", "v_proj"),
    ),
    small_settings=SMALL,
    note="Requests that come one after the other: --requests. Only the last check sees what comes out: give it steps, no stop "
    "rule. Models without q_proj and v_proj need "
    "other lora_targets.",
)  # fmt: skip


method(
    "sure",
    Term(loss.chosen_forget, "forget"),
    Term(loss.chosen_retain, "retain"),
    select=salient(loss.chosen_forget),
    summary="NPO or ascent on the rows of the largest forget gradients alone, at a rate that quantisation does not undo.",
    paper="SURE: Zhang et al. 2025, arXiv 2410.16454",
    formula="F = NPO or GA, R = NLL or KL(reference || model); trained: rows whose |dF/d row| at theta_0 is at or above the percentile",
    source="the authors' code: percentile 90 (99 as well), beta .1; its script for a large rate: lr 1e-4, retain weight 2, one epoch "
    "of batches of 4",
    reading="The rows are chosen once, from the gradient over the whole forget set at the start; the code chooses them in each step "
    "from its batch. One percentile over all rows of all parameters, an entry of a vector being a row. unit=tensor, "
    "whole parameters, is what the paper calls modules",
    rows=("92",),
    tags=REMOVAL | {"forget", "retain"},
    params={"retain_weight": 2.0, "beta": 0.1, "percentile": 90.0, "unit": "row", "base": "npo", "keep": "nll"},
    settings=TrainSettings(learning_rate=1e-4, epochs=1, forget_batch=4, retain_batch=4),
    small_settings=replace(SMALL, learning_rate=1e-3),
    note="keep=kl with base=ga or npo are the paper's other pairs. Whole weights are trained, no adapter. The audit under "
    "quantisation, the row's other half, is an attack and not part of the method.",
)

method(
    "memflex",
    Term(loss.ascent, "forget"),
    KEEP,
    select=flexible_region,
    summary="GradDiff on those matrices alone in which forgetting and keeping pull elsewhere.",
    paper="MemFlex: Tian et al. 2024, arXiv 2407.01920",
    formula="GradDiff's F; trained: matrices with cos(g_u, g_r) < cosine_below and mean |g_u| at or above the percentile, g_u the gradient "
    "of NLL of random answers to forget questions, g_r that of NLL(retain)",
    source="the authors' code: cosine .92, weights .4 and 2; lr 1e-4 and LoRA there",
    reading="The authors bound mean |g_u| at 6e-4, which fits one model: a percentile, 50 by default, stands for it. Whole matrices are "
    "trained, not adapters",
    rows=("114",),
    tags=REMOVAL | {"forget", "retain"},
    params={"forget_weight": 0.4, "retain_weight": 2.0, "cosine_below": 0.92, "percentile": 50.0},
    settings=TrainSettings(learning_rate=1e-4, epochs=5, forget_batch=4, retain_batch=4),
)

method(
    "needle",
    Edit(blur_neuron),
    Train((Term(loss.ascent, "forget"),), select=that_neuron),
    summary="Noise on the one column of the MLPs that names the concept, then ascent on it alone.",
    paper="Needle (ConceptVectors): Hong et al. 2024, arXiv 2406.11614",
    formula="v += noise eps, then v alone minimises E<log p(y_t)>; v the MLP column of which most of the `top` likeliest tokens belong to the "
    "concept",
    source="the paper: noise .1, 200 tokens; optimisation as in the Leak@k study",
    reading="The column is found from the forget facts' tokens, where the benchmark names it. The attack concept-vectors tests columns "
    "causally; the method does not",
    rows=("66",),
    tags=REMOVAL | {"forget"},
    params={"noise": 0.1, "top": 200},
    small={"top": 20},
)

method(
    "klue",
    Term(loss.ascent, "forget"),
    KEEP,
    select=knowing_neurons,
    summary="GradDiff on the columns of those neurons that know the fact, and not merely its answer.",
    paper="KLUE (FaithUn)",
    formula="GradDiff's F; trained: columns of the `percent` of neurons with the largest a dP/da on (x_f, y_f) less superficial times the same "
    "on (another x_f, y_f)",
    source="the mechanism; its numbers are not known here, so 5%, superficial .5 and the optimisation of the Leak@k study",
    reading="The contrast with the same answers to other forget questions, and its weight. Neurons are chosen once, and all forget samples "
    "are trained on; there those still answered are chosen anew in each epoch",
    rows=("52",),
    tags=REMOVAL | {"forget", "retain"},
    params={"percent": 5.0, "superficial": 0.5},
)

method(
    "simu",
    Term(loss.ascent, "forget"),
    KEEP,
    select=critical_neurons,
    optimiser=Sophia,
    summary="GradDiff by a second-order optimiser, on the attention and the MLP neurons along whose path the answer becomes likely.",
    paper="SIMU",
    formula="GradDiff's F; trained: attention, and columns of neurons with a E_j[dP/da at (j/parts) a] above `threshold` times their layer's "
    "largest; theta - lr clip(m / max(gamma h, 1e-12), 1)",
    source="the mechanism; gamma .05 and betas .965 and .99 are Sophia's, threshold .2 and 20 parts those of knowledge neurons, lr 1e-5",
    reading="P is the sum of the probabilities of an answer's tokens. The curvature is estimated every 10 steps, on both sets",
    rows=("42",),
    tags=REMOVAL | {"forget", "retain"},
    params={"threshold": 0.2, "parts": 20, "gamma": 0.05, "curvature_every": 10},
    small={"parts": 5},
    settings=replace(LEAKATK_STUDY, betas=(0.965, 0.99)),
)

method(
    "fit",
    Term(by_class, ("forget", "random_1")),
    Term(kept_by_class, ("retain", "forget")),
    select=sort_and_select,
    summary="What was said before is dropped, and what matters more is unlearned harder, in the layers that hold it.",
    paper="FIT",
    formula="prompts in thirds by |dNLL/dE|: NLL(another answer), NPO, NPO and E<KL(p_ref || p)> on retain; trained: attention and MLPs of the "
    "`layers` layers whose absence changes NLL(y_f) most",
    source="a digest of the paper: alike .85, tolerance .01, 8 layers; NPO's beta and the optimisation of the Leak@k study",
    reading="Alike: the cosine of the mean last states of the model itself, where the paper has a sentence encoder. Tolerance: the change of the "
    "NLL where the other prompt stands before. The retain term counts by the share of the last third in a batch",
    rows=("13",),
    tags=REMOVAL | {"forget", "retain"},
    params={"alike": 0.85, "tolerance": 0.01, "layers": 8, "beta": 0.5},
    small={"beta": 0.1, "layers": 2},
    note="Requests one after the other: --requests.",
)

"""Published guards that act inside the model, or read it."""

from __future__ import annotations

from leakatk.guards.actions import Refuse
from leakatk.guards.adapters import Adapters
from leakatk.guards.base import guard
from leakatk.guards.codes import WithoutCodes
from leakatk.guards.gates import Gated
from leakatk.guards.hypernetwork import Tasks
from leakatk.guards.inliers import Requests
from leakatk.guards.rotations import Rotations
from leakatk.guards.steering import Clamp, Neurons
from leakatk.guards.watching import ActiveShare, Energy, KeySpace

_SUPPRESSES = frozenset({"suppression"})

guard(
    "dsg",
    detect=ActiveShare(),
    act=Clamp(),
    summary="Features of a sparse autoencoder that the forget set uses are clamped, in prompts where enough tokens use them.",
    paper="Muhamed et al. 2025 (DSG, dynamic SAE guardrails), code: aashiqmuhamed/DynamicSAEGuardrails",
    formula="if share of tokens with an f_i > 0, i in S, > tau: f_i = -clamp for i in S at those tokens, h' = dec(f') + (h - dec(f)); "
    "S: large s_f / s_r, small s_r, the largest s_f",
    source="clamp 500, count 20, share 0.95: the paper. percentile 90, quiet 1 and the autoencoder's sizes: ours.",
    rows=("8",),
    reading="The paper takes published autoencoders; here one is trained on the states of the forget and retain prompts with their "
    "answers, or read from sae. Every second retain prompt chooses features, the others set tau.",
    tags=_SUPPRESSES | {"forget", "retain"},
)
guard(
    "neuron-adjust",
    act=Neurons(),
    summary="MLP neurons whose value is likelier under the forget set are moved to their retain range.",
    paper="Skill unlearning (NA), code: Trustworthy-ML-Lab/effective_skill_unlearning",
    formula="if N_r(v) <= N_f(v), with probability 1 - N_r / (N_r + N_f): v = m_r - (s_r / s_f)(v - m_f)",
    source="neurons 0.05 (of 0.005 to 0.05): the paper.",
    rows=("39",),
    reading="Chance is a fixed function of chance_seed, place and neuron, so that a text has one probability. Densities are over the "
    "tokens of prompts with answers; deviations are those of the text, where the authors' code takes the mean by mistake.",
    tags=_SUPPRESSES | {"forget", "retain"},
)
guard(
    "ksd",
    detect=KeySpace(),
    act=Refuse(),
    summary="Prompts whose last token has its MLP key within the box of the forget prompts' keys are refused.",
    paper="Skill unlearning (KSD), code: Trustworthy-ML-Lab/effective_skill_unlearning",
    formula="if |k_d - m_d| <= alpha s_d for all d, k the input of the MLP's last matrix at the last prompt token: a refusal",
    source="The box: the paper. alpha is set from retain prompts: share 0.95, layer 0.5: ours.",
    rows=("39",),
    reading="Inside the box it abstains, by a fixed sentence, and does not steer. One layer is read; alpha is the largest that flags at "
    "most 5% of the retain prompts.",
    tags=_SUPPRESSES | {"forget", "retain"},
)
guard(
    "energy",
    detect=Energy(),
    act=Refuse(),
    summary="Prompts after which the model's free energy is high are refused: for models that `eua` has trained.",
    paper="EUA (distinguishable deletion): 2026, arXiv 2605.16776",
    formula="if -T logsumexp(z / T) > tau: a refusal",
    source="tau keeps a share 0.95 of the retain prompts, temperature 1: as the field of energies does; the paper's own are not known here.",
    rows=("62x",),
    reading="The energy is read where the answer's first token is predicted, as `eua` trains it there; over=prompt takes the mean over "
    "the prompt. On a model that `eua` has not trained the energies say nothing.",
    tags=_SUPPRESSES | {"retain"},
    example="leakatk audit models/eua --benchmark world --guard energy --out runs/guarded",
)
guard(
    "o3",
    detect=Requests(),
    act=Adapters(),
    summary="Each request has a LoRA adapter orthogonal to earlier ones, added as far as a prompt is like the prompts of the request.",
    paper="O3, Gao et al. 2024, arXiv 2407.10223 (code: GCYZSL/O3-LLM-UNLEARNING)",
    formula="base + sum_t w_t LoRA_t;  LoRA_t: CE(random answers) + 0.1 / layers sum ||A_old A_t'||^2;  w = sigmoid(10 (1 - |F(s) - F(2 s0 - s)|) "
    "- 2), F: normal laws of s on stored and on held-out prompts; s: one-class machine on layers' scores 1000 max cos - Mahalanobis / 2",
    source="rank 8, alpha 16, 0.1 and the weights' formula: the paper. threshold 0.2, steps, rate, ranks of the maps: ours.",
    rows=("108",),
    reading="The encoder is the guarded model: mean states of each layer, moved by a linear map that is trained to tell masked prompts apart "
    "(entropy against the unmasked); its own training stands for the masked one. Cosine and distance point one way. The one-class machine "
    "is linear. Below threshold an adapter is off; the weight has two decimals. Requests are parts of the forget prompts in order, or sources.",
    tags=_SUPPRESSES | {"forget"},
)
guard(
    "rcu",
    detect=Requests(),
    act=Rotations(),
    summary="Each request turns what the attention layers give, about an axis orthogonal to those of earlier requests, as far as a prompt is like it.",
    paper="RCU: Zhang et al. 2025, arXiv 2509.25743",
    formula="W' = (I + sum_t w_t C_t) W, C = B A; CE(random answers) + skew ||C + C'||^2 / layers + apart / layers sum_old |<C_old, C>| / (||C_old|| ||C||)",
    source="W' = (I + B A) W, both losses and the weight of a detector without retain data: the paper's abstract and figures. rank 8, weights .1, steps "
    "and rate: ours.",
    rows=("54",),
    reading="The weight is that of o3's detector, where the paper trains one with an alignment loss and a compensator of its own. The rotation is its "
    "first order, I + w C, as W' says: the angle grows with w. Axes are compared as whole matrices, by their inner product",
    tags=_SUPPRESSES | {"forget"},
)
guard(
    "grun",
    act=Gated(),
    summary="Small gated modules rewrite the last prompt token's state, where a gate takes the prompt for one to be forgotten.",
    paper="GRUN: Ren et al. 2025, code: renjie3/GRUN",
    formula="h' = h + g(h) R'(W h + b - R h) at the last prompt token, R with orthonormal rows, g = sigma(v h + a); w (F + retain_weight NLL(y_r)) + "
    "gate_weight BCE(g; 1 on forget, 0 on retain), w rising over warm_up steps",
    source="the authors' code: modules after the 20th, 25th and 31st of 32 layers, rank 4, linear gate, gate_weight 10, beta .1, AdamW lr 4e-3, batches of 16. Steps 200: ours.",
    rows=("10",),
    reading="The frozen model with its modules is no plain model, so it is a guard here and every prompt is asked with it. R goes back to "
    "orthonormal rows after each step, by a QR decomposition. Requests one after the other would add modules: fit it on all of them.",
    tags=_SUPPRESSES | {"forget", "retain"},
)
guard(
    "uncle",
    act=Tasks(),
    summary="One network makes an adapter for each task; a task is unlearned without data, by making it noise where its adapter was.",
    paper="UnCLe: Adhikari et al. 2025, arXiv 2509.17530",
    formula="learn t: CE(D_t; H(e_t)) + beta / (t - 1) sum_i<t |H(e_i) - H_old(e_i)|^2; unlearn f: gamma E_z |H(e_f) - z|^2 + beta mean_i!=f |H(e_i) - "
    "H_old(e_i)|^2, z normal",
    source="both losses: reviews of the paper. Sizes, steps, rates, beta .1, gamma .01 and spread .01 are ours, tried on a few people of the built-in world.",
    rows=("14",),
    reading="Published for images, where it makes whole networks. Here it makes the B of an adapter B A behind every linear layer, A drawn once, so that noise "
    "around 0 is the model itself, which never knew the task. A task is a prompt's source, or the prompt; a prompt of no task is answered by the "
    "model. It is for a base: leakatk learns all tasks in turn, retain first, and then unlearns those of the forget prompts.",
    tags=_SUPPRESSES | {"forget", "retain"},
)
guard(
    "code-unlearn",
    act=WithoutCodes(),
    summary="Codes of a codebook that forget texts use much more often than others are taken out of the states.",
    paper="CodeUnlearn: Wu et al. 2024, arXiv 2410.10866",
    formula="h' = h - sum of the codes c in S(h) that are gone, S(h) the `top` codes nearest by cosine; gone: log2(f_forget / f_retain) > enrichment, "
    "chi-square p < level",
    source="the mechanism; its numbers are not known here: enrichment 1, level .05, 1024 codes, 8 a state, 500 steps are ours.",
    rows=("94",),
    reading="The model is not tuned with the codebook, as the paper does, so what the codebook leaves over stays in the states. Retain texts are the "
    "control, where the paper replaces the topic's words.",
    tags=_SUPPRESSES | {"forget", "retain"},
)

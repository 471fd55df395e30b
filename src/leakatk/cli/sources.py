"""Formulas and papers of what `leakatk methods | scorers | benchmarks NAME` describes, in plain text."""

from __future__ import annotations

NOTATION = """minimised: forget_weight * F + retain_weight * R, with R = -E<log p(y_t)> on retain answers unless given
p: the model; p_ref: before unlearning; (x, y): forget prompt and answer; y_idk: a refusal; z: logits
<...>: mean over an answer's tokens t; E: mean over answers"""

METHODS = {
    "ga": "F = E<log p(y_t)>; no R",
    "graddiff": "F = E<log p(y_t)>",
    "kl": "F = E<log p(y_t)>; R = E<KL(p_ref || p)>",
    "npo": "F = -(2/beta) E log sigma(-beta [log p(y|x) - log p_ref(y|x)])",
    "npo-ent": "F = NPO's F + entropy_weight * E<entropy of p>",
    "simnpo": "F = -(2/beta) E log sigma(-beta [<log p(y_t)> + delta])",
    "idknll": "F = -E<log p(y_idk,t)>",
    "idkdpo": "F = -(2/beta) E log sigma(beta [log p/p_ref (y_idk|x) - log p/p_ref (y|x)])",
    "altpo": "F = -(2/beta) E log sigma(beta [log p/p_ref (y_alternate|x) - log p/p_ref (y|x)])",
    "idk-ap": "F = -E<log p(y_idk,t)>; R = -(1/beta) E log sigma(beta [log p(y_retain|x) - log p(y_idk|x)])",
    "rmu": "F = E |h(x, y) - coefficient * u|^2, u a fixed random unit vector; R = E |h - h_ref|^2; h: hidden states after `layer`",
    "blur-npo": "NPO's F; update gamma g_F + [g_R - (<g_R, g_F> / |g_F|^2) g_F]",
    "ngdiff": "GradDiff's F; update g_F / |g_F| + g_R / |g_R|",
    "undial": "F = cross entropy to softmax(z_ref - strength * onehot(y_t)), E<...>",
    "wga": "F = E<p(y_t)^beta log p(y_t)>, the weight detached",
    "satimp": "F = E<p(y_t)^beta1 (1 - p(y_t))^beta2 log p(y_t)>, the weight detached",
    "ce-u": "F = cross entropy to softmax(z with z[y_t] = -inf), E<...>, the first skip_first tokens left out",
    "loku": "F = E<1 + p(y_t) - max_{v != y_t} p(v)>",
    "me": "F = E<KL(uniform || p)>",
    "pdu": "F = E<(max_v z_v - mean_v z_v)^2>; R weighted by lambda <- max(0, lambda + eta (R - epsilon)) after warmup_steps",
    "task-vector": "theta = theta_0 - alpha (theta_F - theta_0), theta_F trained towards the forget set",
    "retrain": "R alone, from a model that has not seen the forget set",
}

# (formula, where it comes from)
SCORERS = {
    "rouge-l": (
        "LCS(truth, generation) / words of the truth (recall)",
        "Lin 2004 (ROUGE), bit for bit the rouge-score package; the TOFU and Leak@k setting has the stemmer on",
    ),
    "rouge-1": ("words in common / words of the truth (recall)", "Lin 2004 (ROUGE), as the rouge-score package"),
    "fact": ("1 if every string of `facts` occurs as whole words, else 0", "ours"),
    "keys": ("1 if every name and number of the truth that is not in the question occurs, else 0", "ours"),
    "verbatim": ("1 if the generation has the truth's words in the truth's order and nothing else", "ours"),
    "verbmem": ("ROUGE-L F1, no stemmer", "Shi et al. 2024 (MUSE), arXiv 2407.06460"),
    "entailment": (
        "1 if NLI(generation => truth) is entailment and ROUGE-L recall >= gate, else 0",
        "Leak@k (ES), arXiv 2511.04934",
    ),
    "similarity": ("max(0, cos(embed(truth), embed(generation)))", "Leak@k (CS), arXiv 2511.04934"),
    "judge": ("the judge's label: 0 or 1, or 0, .5, 1 (graded)", "Leak@k (LLM judge), arXiv 2511.04934; our wording"),
    "choice": ("1 if the right option is picked, else 0", "Li et al. 2024 (WMDP), arXiv 2403.03218, sampled"),
}

# By the first part of the name.
BENCHMARKS = {
    "tofu": "Maini et al. 2024, arXiv 2401.06121",
    "muse": "Shi et al. 2024, arXiv 2407.06460",
    "wmdp": "Li et al. 2024, arXiv 2403.03218",
    "rwku": "Jin et al. 2024, arXiv 2406.10890",
    "knowundo": "Tian et al. 2024, arXiv 2407.01920",
    "pistol": "Qiu et al. 2024, arXiv 2406.16810",
    "world": "ours",
    "contracts": "ours, after PISTOL (arXiv 2406.16810)",
    "multi-hop": "ours",
    "frequency": "ours",
    "corruption": "ours, after RESTOR",
}

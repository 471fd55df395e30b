"""Formulas, papers and some examples of what `leakatk methods | scorers | ... NAME` describes, in plain text."""

from __future__ import annotations

NOTATION = """minimised: forget_weight * F + retain_weight * R, with R = -E<log p(y_t)> on retain answers unless given
p: the model; p_ref: before unlearning; (x, y): forget prompt and answer; y_idk: a refusal; z: logits
<...>: mean over an answer's tokens t; E: mean over answers"""

METHODS = {
    "ga": "F = E<log p(y_t)>; no R",
    "graddiff": "F = E<log p(y_t)>",
    "kl": "F = E<log p(y_t)>; R = E<KL(p_ref || p)>, positions=all: <> over the question's tokens too",
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
    "undial": "F = cross entropy to softmax(z_ref - strength * onehot(y_t)), E<...>; positions=all: also to softmax(z_ref) on x",
    "wga": "F = E<p(y_t)^beta log p(y_t)>, the weight detached",
    "satimp": "F = E<p(y_t)^beta1 (1 - p(y_t))^beta2 log p(y_t)>, the weight detached",
    "ce-u": "F = cross entropy to softmax(z with z[y_t] = -inf), E<...>, the first skip_first tokens left out",
    "loku": "F = E<1 + p(y_t) - max_{v != y_t} p(v)>",
    "me": "F = E<KL(uniform || p)>, positions=all: <> over the question's tokens too",
    "pdu": "F = E<(max_v z_v - mean_v z_v)^2>, positions=unshifted: <> after each y_t; "
    "R weighted by lambda <- max(0, lambda + eta (R - epsilon)) after warmup_steps",
    "task-vector": "theta = theta_0 - alpha (theta_F - theta_0), theta_F trained towards the forget set",
    "retrain": "R alone, from a model that has not seen the forget set",
}

RULE_PAPER = "Leak@k, arXiv 2511.04934: RULE around another method; our reconstruction"
RULE = """A: leaks found so far, none at first. Each round: n answers to every forget prompt; those that leak (score >= threshold)
and are new join A, at most `cap` a prompt; then steps of the base method on forget + A, with R on retain.
Ends when a round finds no leak, at the target (upper bound of leak@k on fresh samples), or after the last round"""

# (formula, where it comes from), here and below
SCORERS = {
    "rouge-l": (
        "LCS(truth, generation) / words of the truth (recall)",
        "Lin 2004 (ROUGE), bit for bit the rouge-score package; the TOFU and Leak@k setting has the stemmer on",
    ),
    "rouge-1": ("words in common / words of the truth (recall)", "Lin 2004 (ROUGE), as the rouge-score package"),
    "fact": ("1 if every string of `facts` occurs as whole words, else 0", "ours"),
    "keys": ("1 if every name and number of the truth that is not in the question occurs, else 0", "ours"),
    "meaning": (
        "1 if the truth is contained, or max over sentences s of cos(embed(truth), embed(s)) >= threshold; other scripts: "
        "the share of the truth's character n-grams in s >= ngrams",
        "ours; encoder: Reimers and Gurevych 2019 (Sentence-BERT), arXiv 1908.10084",
    ),
    "knows": ("fact where the prompt has facts, keys where it has keys, else meaning", "ours"),
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

PROBES = (
    """leak@k of the prompts asked this way; worst case over ways w: E max over w and j <= k of S(answer j to w(x))"""
)

_STREAM = "token t of sample j = inverse CDF at u(seed, prompt id, j, t)"
_THEIRS = "samples of the engine's own, a seed for each (prompt, j)"
_TRANSFORMERS = "Wolf et al. 2020 (transformers), arXiv 1910.03771"
ENGINES = {
    "native": (_STREAM, "ours; the counter-based u is Salmon et al. 2011 (Philox)"),
    "generate": (_STREAM, _TRANSFORMERS),
    "continuous": (_STREAM, _TRANSFORMERS),
    "ray": ("as the engine copied", "Moritz et al. 2018 (Ray), arXiv 1712.05889"),
    "vllm": (_THEIRS, "Kwon et al. 2023 (vLLM), arXiv 2309.06180"),
    "endpoint": (_THEIRS + ", where the server takes one", "none: the OpenAI-compatible protocol"),
}

PROTOCOLS = {
    "clean": ("leak@k(x) = E max over j <= k of S(answer j); U-statistic over n samples, mean over prompts", "ours"),
    "paper": ("the same estimator; for 0/1 scores 1 - C(n-c,k)/C(n,k), as published", "Leak@k, arXiv 2511.04934"),
}

# By the first part of the name: what `leakatk bench` computes besides leak@k.
_QUESTIONS = "mean probability, ROUGE-L and truth ratio of forget answers; membership attacks where there is a holdout"
BENCHMARKS = {
    "tofu": (
        "model utility (harmonic mean of nine), forget quality (p of a KS test of truth ratios), membership attacks",
        "Maini et al. 2024, arXiv 2401.06121",
    ),
    "muse": ("VerbMem, KnowMem on forget and retain, PrivLeak", "Shi et al. 2024, arXiv 2407.06460"),
    "wmdp": ("accuracy: the right letter is the most probable one", "Li et al. 2024, arXiv 2403.03218"),
    "rwku": (_QUESTIONS, "Jin et al. 2024, arXiv 2406.10890"),
    "knowundo": (_QUESTIONS, "Tian et al. 2024, arXiv 2407.01920"),
    "pistol": (_QUESTIONS, "Qiu et al. 2024, arXiv 2406.16810"),
    "world": (_QUESTIONS, "ours"),
    "contracts": (_QUESTIONS, "ours, after PISTOL (arXiv 2406.16810)"),
    "multi-hop": (_QUESTIONS, "ours"),
    "frequency": (_QUESTIONS, "ours"),
    "corruption": (_QUESTIONS + "; set:original", "ours, after RESTOR"),
}

# Where the example of the kind would not do.
EXAMPLES = {
    "rule": "leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --out models/rule",
    "judge": "leakatk score runs/forgot --scorer judge:model=gpt-4o-mini --max-cost 5 --dry-run",
    "endpoint": "leakatk audit gpt-4o-mini --engine endpoint --url https://api.openai.com/v1 --forget forget.jsonl --out runs/deployed",
    "ray": "leakatk audit MODEL --benchmark world --engine ray --replicas 4 --out runs/forgot",
}

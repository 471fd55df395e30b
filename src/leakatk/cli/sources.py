"""Formulas, papers and some examples of what `leakatk methods | scorers | ... NAME` describes, in plain text."""

from __future__ import annotations

NOTATION = """minimised: forget_weight * F + retain_weight * R, with R = -E<log p(y_t)> on retain answers unless given
p: the model; p_ref: before unlearning; (x, y): forget prompt and answer; y_idk: a refusal; z: logits
<...>: mean over an answer's tokens t; E: mean over answers"""

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

"""Published guards, each a detector and an action that others share."""

from __future__ import annotations

from leakatk.guards.actions import InContext, Refuse
from leakatk.guards.base import guard
from leakatk.guards.combine import Difference, Rank
from leakatk.guards.contrastive import Trained
from leakatk.guards.corruption import Searched
from leakatk.guards.demonstrations import Demonstrations
from leakatk.guards.detectors import Classifier, Similarity

_SUPPRESSES = frozenset({"suppression"})

guard(
    "eco",
    detect=Classifier(threshold=0.5),
    act=Searched(),
    summary="A classifier flags prompts; the embeddings of their tokens are corrupted.",
    paper="Liu et al. 2024 (Embedding-COrrupted Prompts), arXiv 2406.07933",
    formula="if p(forget | x) >= threshold: e(x_t)[:dims] += N(0, sigma^2) for all t but the last",
    source="threshold 0.5, dims 1: the paper. sigma 10, penalty 0.001: ours.",
    rows=("48",),
    lacks="",
    reading="The classifier is a logistic regression on sentence vectors, in place of a fine-tuned RoBERTa. Corrupted are the tokens "
    "of the prompt as rendered, template included, but special tokens and the last. Noise is a fixed function of noise_seed and "
    "place: a server that draws it anew for each request mixes over seeds. search=N finds sigma by N zeroth-order steps on "
    "|score - surrogate|, the score being the true answer's probability a token and the surrogate that of other answers. "
    "tokens=names picks names by rule, in place of a classifier of tokens.",
    tags=_SUPPRESSES | {"forget", "retain", "encoder"},
)
guard(
    "curate",
    detect=Trained(threshold=0.8),
    act=Refuse(),
    summary="Prompts close to a stored forget prompt are refused; the model is not asked.",
    paper="CURaTE: sentence-encoder router for unlearning requests (code: bsu1313/CURaTE)",
    formula="if max_f cos(U(x), U(f)) >= threshold: a refusal",
    source="threshold 0.8 (TOFU; 0.9 on RETURN) and margin 0.5: the paper, for its own trained encoder. steps, rate, rank: ours.",
    rows=("46",),
    lacks="",
    reading="Any sentence encoder stands in for the trained one, for which the threshold was chosen; keep=0.95 calibrates another. "
    "steps=N trains a linear map of its vectors, in place of the encoder itself, on the forget and retain questions: their "
    "paraphrases, or frames around them, against the nearest other question. "
    "The refusal is one fixed sentence.",
    tags=_SUPPRESSES | {"forget", "encoder"},
)
guard(
    "ucd",
    act=Difference(alpha=1.0),
    summary="Logits move by the difference of a small model without the forget data and one with it.",
    paper="UCD: unlearning by contrastive decoding",
    formula="log p = log p_model + alpha (log p_clean - log p_dirty), renormalised",
    source="The two-model difference: the paper. alpha 1 and the mask (plausible): ours.",
    rows=("43",),
    lacks="",
    reading="How alpha is chosen, and whether implausible tokens are masked, is left open: alpha=1, no mask.",
    tags=_SUPPRESSES | {"auxiliary"},
    example="leakatk audit MODEL --benchmark world --guard ucd --auxiliary clean=CLEAN --auxiliary dirty=DIRTY --out runs/guarded",
)
guard(
    "dd",
    act=Difference(alpha=1.5),
    summary="Divergence decoding, linear: logits move by alpha times the difference of a clean and a dirty small model.",
    paper="Divergence Decoding, arXiv 2605.31293",
    formula="z = z_model + alpha (z_clean - z_dirty)",
    source="alpha about 1.5: two third-party implementations that cite the paper's sections.",
    rows=("61x",),
    lacks="",
    reading="Where the model itself has seen the forget data, it may be given as dirty too. pin=yes leaves special tokens and all that "
    "end an answer at the model's own logits, before all is renormalised.",
    tags=_SUPPRESSES | {"auxiliary"},
    example="leakatk audit MODEL --benchmark world --guard dd --auxiliary clean=CLEAN --auxiliary dirty=DIRTY --out runs/guarded",
)
guard(
    "dd-rank",
    act=Rank(top=20),
    summary="Divergence decoding, rank: the tokens that the dirty model prefers most are never said.",
    paper="Divergence Decoding, arXiv 2605.31293",
    formula="z_v = -inf for the 20 tokens v with the largest z_dirty - z_clean",
    source="top about 20, and the finite form: two third-party implementations that cite the paper's sections.",
    rows=("61x",),
    lacks="",
    reading="finite=yes lowers a token only where its logit is above the bound. Unless pin=yes, end tokens are lowered like any other.",
    tags=_SUPPRESSES | {"auxiliary"},
    example="leakatk audit MODEL --benchmark world --guard dd-rank --auxiliary clean=CLEAN --auxiliary dirty=DIRTY --out runs/guarded",
)
guard(
    "icul",
    detect=Similarity(threshold=0.8),
    act=InContext(shots=3),
    summary="Examples stand before a flagged prompt: its nearest forget prompt with a false answer, and true retain pairs.",
    paper="Pawelczyk et al. 2024 (In-context unlearning), arXiv 2310.07579",
    formula="[x_f] [false y]\\n[x_1] [y_1] ... [x_s] [y_s]\\n[query]",
    source="s = 2 to 6 correct examples: the paper; 3: ours.",
    rows=("41",),
    lacks="",
    reading="The paper classifies: a label is flipped and read out greedily. Here an answer is another forget prompt's, or reply; the "
    "examples are earlier turns of the conversation. A similarity detector says for which prompts, since a deployed guard "
    "must find that out.",
    tags=_SUPPRESSES | {"forget", "retain", "encoder"},
)
guard(
    "erase",
    act=Demonstrations(),
    summary="A model that knows nothing of it answers after examples, and deleting an example is exact: the choice is as if it had never been there.",
    paper="ERASE: Muresanu et al. 2024, arXiv 2402.00751; quantised k-means of Ginart et al. 2019, arXiv 1907.05012",
    formula="c <- width (u + round(c / width - u)) after each round of k-means, u drawn once; examples: those nearest to the k centroids; deleting x "
    "changes sums and counts, and is clustering anew only where a rounded centroid moves or x was a first centroid",
    source="the mechanism; shots 4, width .3, 3 rounds, balance .2 and 8 projected entries are ours.",
    rows=("62",),
    reading="It is for a model that was never trained on the examples: context adapts it, and nothing is to be removed from the weights. First centroids are "
    "drawn by a hash of the ids, so that a deletion draws no others; sums are of whole numbers. Vectors are projected to few entries, since with "
    "hundreds some rounded one always moves. Rounds are fixed. The cost of inference beside that of unlearning is not computed.",
    tags=_SUPPRESSES | {"forget", "retain", "encoder"},
)

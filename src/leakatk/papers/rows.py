"""Rows of the paper index: the 121 systems of the field, as data.

A row says what a system is. Whether it is here is no part of it: that is computed from what is registered (`index`).
Numbers as the project counts them; 61 and 62 are used twice (61x, 62x).
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = {
    "objective": "a loss to train with",
    "distillation": "training towards the answers of a teacher",
    "representation": "hidden states are moved or projected",
    "surgery": "gradients of forgetting and keeping are combined",
    "optimiser": "how steps are taken",
    "selection": "which parameters may change",
    "merging": "arithmetic on whole weights",
    "editing": "weights are solved for, in closed form or in a subspace",
    "data": "what is trained on: chosen, weighted or written",
    "continual": "requests that come one after another",
    "exact": "the result is that of training without the data, or provably near it",
    "guard": "the weights stay, and answers are kept back",
    "attack": "what was unlearned is brought back, or asked for in another way",
    "metric": "a number of its own",
    "benchmark": "questions, documents or a world to measure on",
    "study": "a recipe or an experiment about unlearning itself",
    "survey": "a map of the field; nothing to run",
    "vision": "published for images; the form for text is our reading",
}
NEEDS = {
    "forget": "what is to be forgotten",
    "retain": "what is to be kept",
    "holdout": "texts no model was trained on",
    "retrained": "a model that never saw the forget set",
    "auxiliary": "further models",
    "encoder": "a sentence encoder",
    "generator": "a language model, or templates, that write text",
    "stages": "a history of training: stages, shards, checkpoints or stored statistics",
}
# By the kinds: whether the knowledge is meant to leave the weights, or only the answers.
INTENTS = {
    "removal": "the weights are to lose the knowledge",
    "suppression": "the weights keep the knowledge, and the answers do not show it",
}
CHANGES_WEIGHTS = frozenset(KINDS) - {"guard", "attack", "metric", "benchmark", "study", "survey", "vision"}
# Headings of the surveys, our reading, each a union of kinds: (row of the survey, kinds, what it says).
_PARAMETERS = CHANGES_WEIGHTS - {"data", "exact", "continual"}
HEADINGS = {
    "trains": ("5", _PARAMETERS - {"editing", "merging"}, "steps are taken on a loss"),
    "training-time": ("91", frozenset({"exact"}), "training is laid out so that data can be taken out"),
    "post-training": ("91", CHANGES_WEIGHTS - {"exact"}, "the weights of a trained model are changed"),
    "inference-time": ("91", frozenset({"guard"}), "the model stays, and something acts when it is asked"),
    "data-centric": ("101", frozenset({"data"}), "what is trained on makes the difference"),
    "parameter-centric": ("101", _PARAMETERS, "how weights are changed makes the difference"),
    "architecture-centric": ("101", frozenset({"guard", "exact"}), "parts are put beside the model, or it is made of parts"),
}  # fmt: skip
HYBRID = "hybrid"
TAGS = {
    **KINDS,
    **NEEDS,
    **INTENTS,
    **{tag: f"{said} (a heading of row {row})" for tag, (row, _, said) in HEADINGS.items()},
    HYBRID: "of more than one centre (a heading of row 101)",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One system. number: its row.  arxiv: "" where it is not known here.  about: one line.  tags: kinds and needs."""

    number: str
    system: str
    arxiv: str
    about: str
    kinds: frozenset[str]
    needs: frozenset[str]
    described: bool = False  # documentation and tags are all there can be

    @property
    def tags(self) -> frozenset[str]:
        intents = {"removal"} if self.kinds & CHANGES_WEIGHTS else set()
        intents |= {"suppression"} if "guard" in self.kinds else set()
        headings = {tag for tag, (_, kinds, _) in HEADINGS.items() if self.kinds & kinds}
        centres = sum(HEADINGS[tag][0] == "101" for tag in headings)
        return self.kinds | self.needs | intents | headings | ({HYBRID} if centres > 1 else set())


def _read(table: str) -> tuple[Row, ...]:
    rows = []
    for line in table.strip().splitlines():
        number, system, arxiv, kinds, needs, about = (part.strip() for part in line.split("|"))
        bare = number.rstrip("*")
        rows.append(Row(bare, system, arxiv, about, frozenset(kinds.split()), frozenset(needs.split()), bare != number))
    return tuple(rows)


# Of rows that are of several kinds: what is still owed while nothing of that kind serves the row.
OWED = {
    "13": {"methods": "the method FIT", "metrics": "the measures F.D. and R.U."},
    "31": {"methods": "MP unlearning", "metrics": "the measure SEPS"},
    "36": {"metrics": "the area under the curve of forgetting against keeping (Norm-AUC)"},
    "52": {"methods": "KLUE, which picks neurons by attribution"},
    "58": {
        "metrics": "mean reciprocal rank and top hit ratio; the deviation score but for its function in metrics.utility"
    },
    "59": {"metrics": "the token entropy of answers (TE) and forget efficacy"},
    "60": {"methods": "training of the offset", "guards": "decoding with the offset"},
    "64": {"guards": "the instruction as a guard"},
    "62x": {"methods": "parting of the energies", "guards": "refusal by energy"},
    "63": {"methods": "sampling by MRD", "metrics": "the measure MRD"},
    "66": {"methods": "the method Needle", "benchmarks": "ConceptVectors"},
    "67": {"methods": "preference for clean answers (ORPO)", "guards": "guidance away from a bad prompt"},
    "73": {"methods": "forgetting in the weights", "guards": "forgetting in an agent's memory"},
    "77": {"methods": "the method JensUn", "benchmarks": "the data LKF"},
    "84": {"methods": "the method DUCK", "metrics": "the score AUS"},
    "86": {"methods": "the method Opt-Out", "benchmarks": "ELUDe"},
    "89": {"guards": "the guard DRAGON", "metrics": "its measures of refusals"},
    "92": {"methods": "the method SURE"},
    "97": {"methods": "the method DMM", "metrics": "KLoM, the distance of outputs from retrained models"},
    "100": {"metrics": "the measure MEMO"},
    "104": {"metrics": "the measures of gibberish"},
    "108": {"guards": "an adapter for each request, and the detector that switches it on"},
    "111": {"methods": "the scope-aware loss"},
    "113": {"methods": "the method ROCR", "benchmarks": "ORT"},
    "114": {"methods": "the method MemFlex"},
}

# number (* described only) | system | arXiv | kinds | needs | about
ROWS = _read("""
1 | SSU | 2406.10952 | continual selection merging | forget | each request: learn it with random answers on salient weights, then subtract what was learned
2 | SSU (2) | 2412.18621 | continual selection merging | forget | the same algorithm, measured on copyrighted books
3 | KUL / GA (Jang 2022) | 2210.01504 | objective metric | forget holdout | ascent on the forget set until extraction and memorisation fall to the level of unseen text
4 | PULSE | | benchmark continual | forget retain stages | facts from pre-training against facts from fine-tuning, and requests in a row
5* | SoK (removal vs suppression) | | survey | | tells methods that remove from those that suppress
6 | LUNAR | | representation editing | forget retain | one down-projection is solved for, so that forget prompts look like those the model refuses
7 | MUSE | 2407.06460 | benchmark metric | forget retain holdout retrained | news and books: verbatim and knowledge memorisation, privacy leakage, sustainability
8 | DSG (Dynamic SAE Guardrails) | | guard | forget retain auxiliary | features of a sparse autoencoder are clamped when enough of them fire
9 | UNDIAL | 2402.10052 | objective distillation | forget | distils from its own logits with the true token lowered
10 | GRUN | | representation | forget retain | a small gated module rewrites the last prompt token's state
11 | EUL | | merging distillation | forget retain | adapters that leave the teacher on forget data, fused in closed form
12 | UniErase | | editing | forget retain | an unlearning token is learned, then edits lead forget questions to it
13 | FIT (+PCH, F.D./R.U.) | | continual selection metric | forget retain retrained encoder | filters requests, picks an objective by importance, trains the layers that matter
14 | UnCLe (continual learning) | | continual exact vision | stages | a hypernetwork makes a task's weights, and is told to make noise for a forgotten one
15 | SLUG | | selection editing | forget retain | one gradient, one layer, one step whose length is searched
16 | UNO / UNO-S | | surgery | forget retain | makes the two gradients orthogonal, by a penalty or by projection
17 | Does Unlearning Truly Unlearn (Doshi & Stickland) | 2411.12103 | attack | forget | examples before the question, other phrasings, and training on unrelated text
18 | R²MU | | representation | forget retain | steers the states of answers and of reasoning traces to noise
19 | S³T | | exact continual | stages | shards trained in slices of layers, so that deleting a slice is switching it off
20 | unPact | | attack | forget | finds the prompt's key words by what they contribute, and stresses them
21 | Retrain-Equivalence impossibility | 2510.16629 | survey study | stages | forgetting from the weights alone cannot match retraining: the order of training matters
22 | AILS-NTUA: SUGD / AGAD | | objective data | forget retain | forget chunks between retain ones in a fixed order; ascent, then descent
23 | DTO | | objective surgery | forget | ascends on the tokens that matter and holds the rest of the same answers
24 | DUET | | distillation | forget retain | learns without the instruction what it answers under an instruction to forget
25 | FALCON | | representation surgery | forget retain | contrastive steering of states in a layer chosen by mutual information
26 | Evaluations are inconclusive | | attack metric | retrained | each attack also run on a control model, so that what it injects is not counted
27 | ALU (agents) | | guard | generator | four roles of a language model: answer, audit, criticise, compose
28 | OFMU | | surgery | forget retain | two levels: an inner rise of the forget loss, an outer step that keeps
29 | ACU (analytic CU) | | exact editing vision | forget | the head of frozen features is downdated to the retrained one, in closed form
30 | Are We Truly Forgetting | | attack metric vision | forget retain retrained | compares hidden states: similarity and probes on them
31 | SEPS + MP unlearning | | metric objective | forget retain | forget and retain questions in one prompt
32 | SAFE (streaming forgetting) | | continual vision | forget stages | a stream of requests with stored statistics and no old data
33 | TOFU | 2401.06121 | benchmark metric | forget retain holdout retrained | fictitious authors; model utility and forget quality
34 | CAU (context-aware) | | objective | forget | a term that keeps answering when the fact is in the context
35 | Benign relearning attack (Jogging) | | attack | forget | a little related or harmless training brings the knowledge back
36 | Learning-time encoding (Eval-DU+/TOFU+) | | benchmark metric | forget retain | whether paraphrases and chunks at learning time decide what can be forgotten
37 | Align-then-Unlearn (ATU) | | representation | forget encoder | predicts the meaning of what comes next, then moves away from a concept
38 | LLMU | | objective | forget retain | ascent, random answers and a divergence on normal data
39 | Skill unlearning: NA and KSD | | guard | forget retain | shifts neurons of a skill, or refuses inside its region of key space
40* | Comprehensive survey (LLMU techniques) | | survey | | a taxonomy of techniques
41 | ICUL | | guard | forget retain | the prompt shows forget examples with flipped labels among right ones
42 | SIMU | | selection optimiser | forget retain | neurons by attribution, then a second-order optimiser on them
43 | UCD | | guard | auxiliary | adds the difference of a clean and a dirty small model to the logits
44 | Forgetting-MarI | | objective | forget retain | lowers the information that outputs hold on whether forget data were in the batch
45 | Unlearning Mirage | | attack benchmark | forget generator | questions of several hops and by other names, made from what the model knows
46 | CURaTE | | guard | forget encoder | an encoder tuned on requests sends near prompts to a refusal
47 | UIPE | | merging | | goes further along the step an unlearner took
48 | ECO | | guard | forget retain encoder | a classifier flags a prompt, and its embeddings are corrupted
49 | Erase to Enhance (MRI) | | data vision | forget retain | repair after unlearning with ever less retain data
50 | In- vs OOD unlearning (Baluta) | | metric study | forget retrained | forgetting of examples inside and outside the distribution, by exposure
51 | Stochastic Teacher Network | | distillation | forget retain auxiliary | a random network teaches forgetting, the old one teaches keeping
52 | FaithUn + KLUE | | benchmark selection | forget retain | must what depends on a fact go, and what shares its answer stay? Neurons by attribution
53 | LAF (label-agnostic) | | representation vision | forget retain auxiliary | two autoencoders pull forget features to the remaining distribution
54 | RCU (rotation control) | | continual selection | forget stages | each request rotates by an adapter of its own, along an axis of its own
55 | Knowledge holes | | attack | generator | searches for harmless questions that the model can no longer answer
56 | MUDMAN | | surgery | forget retain | gradients from an adversary that relearns, masked by those of keeping
57 | BLUR (bi-level) | 2506.08164 | surgery | forget retain | the retain gradient is freed of its part along the forget gradient
58 | PISTOL | 2406.16810 | benchmark | | contracts in a graph: what happens to the neighbours of an edge
59 | Closer look: ME, AP, TE/CS/ES | 2410.08109 | objective metric | forget retain | entropy raised on forget answers; answers preserved; three metrics of text
60 | δ-Unlearning (offset) | | guard objective | forget auxiliary | a small model learns the offset that unlearns a large black box
61x | DD Divergence Decoding | 2605.31293 | guard | auxiliary | a small pair of models tells which tokens to lower
62x | D²/EUA Distinguishable Deletion | 2605.16776 | objective guard | forget retain | energies of forget and retain answers are parted, and tell what to refuse
61 | NegMerge | 2410.05583 | merging | forget retain | subtracts what several fine-tunings agree on in sign
62 | ERASE, exact unlearning for ICL | 2402.00751 | exact | encoder stages | in-context examples chosen so that deleting one rarely changes the choice
63 | MRD + MRD-weighted sampling / CGA | 2504.06658 | metric data | forget | how robust a memory is to noise in the weights, and sampling by it
64 | VLM-UnBench / ULBench | | benchmark guard vision | forget retain | how far an instruction in the prompt suppresses
65 | Agent unlearning, "Secure Forgetting" | 2604.00430 | guard | generator | requests become instructions for an agent: states, trajectories, environments
66 | ConceptVectors + Needle | 2406.11614 | benchmark editing selection metric | forget retain | value vectors that hold a concept; one is drowned in noise
67 | CFG-safety: ORPO + negative-prompt CFG | 2412.06846 | objective guard data | forget generator | preference for clean answers, and guidance away from a bad prompt
68 | RASLIK | 2604.16591 | data | forget | sketches of gradients rank what caused an output
69 | ICU, Iterative Contrastive Unlearning | 2407.20271 | objective data metric | forget retain encoder | pairs with the nearest kept text, and drops what is forgotten each epoch
70 | I2I generator unlearning | 2402.00351 | representation vision | forget retain | forget inputs are encoded as noise is
71 | Reload | 2604.10636 | surgery selection | retain stages | uses a stored gradient in place of the forget set, resets weights, fine-tunes
72 | UNLEARN (and dual LEARN) | 2408.04140 | editing | forget retain stages | a task's subspace, without what similar tasks share, is subtracted
73 | SBU, Synchronized Backflow Unlearning | 2602.17692 | distillation guard | forget retain | forgets in the weights and in an agent's memory together
74 | ZJUKLAB TIES merge | 2503.21088 | merging objective | forget retain | two unlearned adapters, one too strong and one too weak, are merged
75 | Concept Unlearning via self-constructed triplets | 2509.15621 | data metric | generator | the model writes triplets about a concept, and they become the forget set
76 | NGDiff + AutoLR | 2410.22086 | surgery optimiser | forget retain | normalised gradients are subtracted; the learning rate adapts
77 | JensUn + LKF + worst-case eval | 2509.02820 | objective benchmark attack | forget retain | Jensen-Shannon terms, little-known facts, the worst case over phrasings
78 | UNDO | 2506.06278 | distillation | forget retain | unlearns, adds noise to the weights, distils back
79 | Fast-NTK | 2312.14923 | editing exact | forget retain stages | linearised model: the step to the retrained one is solved for
80 | SU, Selective Unlearning | 2506.00876 | data objective | forget retain auxiliary | forgets only the tokens on which two assistants differ
81 | UnSTAR | 2410.17050 | data | forget generator | wrong answers with reasons are learned until the right one is gone
82 | Grokked unlearning | 2512.03437 | study | stages | a model that has grokked against one that has memorised
83 | Eight Methods | 2402.16835 | attack | forget | familiarity, languages, jailbreaks, examples, relearning, latent knowledge and more
84 | DUCK + AUS | 2312.02052 | representation metric vision | forget retain | forget states go to the nearest wrong centroid; one score of both sides
85 | Dissecting FT-unlearning | 2410.06606 | attack | forget | parts of the old network are patched back to see where knowledge is held back
86 | Opt-Out + ELUDe | 2406.12329 | objective benchmark | forget retain | keeps weights near in Wasserstein distance; entities with their neighbours
87 | CATNIP | 2602.02824 | objective | forget | preference per token, against the model's own doubt
88 | Leak@k + RULE | 2511.04934 | metric data | forget retain | what k samples leak; leaks found by sampling are unlearned in rounds
89 | DRAGON | 2511.05784 | guard metric | forget auxiliary generator | detects by store and classifier, answers with a reasoned refusal
90 | KUDA | 2602.19275 | representation surgery | forget retain | locates layers by causal tracing, turns states away, projects the step
91* | Survey | 2510.25117 | survey | | a taxonomy by stage, with benchmarks and metrics
92 | Quantization failure + SURE | 2410.16454 | attack selection | forget retain | rounding the weights restores knowledge; only salient rows are trained
93 | MRP, Metamorphosis Representation Projection | 2508.15449 | representation continual | forget retain | states are projected off learned directions, more with each request
94 | CodeUnlearn | 2410.10866 | representation | forget retain auxiliary | states pass a codebook, and codes of a topic are deleted
95 | GUARD | 2505.13312 | guard | forget encoder | a detector, then a beam search that avoids forbidden words
96 | Not all data unlearned equally | 2504.05058 | study benchmark | forget retain | frequent facts are harder to forget
97 | DMM, Datamodel Matching | 2410.23232 | distillation data metric | forget retain stages auxiliary | predicts a retrained model's outputs and matches them
98 | UnUnlearning | 2407.00106 | attack | forget | what was forgotten is given back in the context
99 | MetaUnlearn / 1-SHUI | 2407.12069 | objective vision | forget retain | a loss that is itself learned over simulated requests
100 | MEOW | 2409.11844 | data metric | forget generator | trains on inverted facts chosen by how well they are memorised
101* | Survey | 2601.13264 | survey | | a taxonomy by what is changed: data, parameters, architecture
102 | iShumei EUL | 2507.16263 | objective | forget retain | a bounded loss in place of ascent
103 | SAE known->unknown | 2509.15631 | representation | forget retain auxiliary | moves a known entity's sparse code to that of unknown ones
104 | AltPO | 2409.13474 | objective data metric | forget retain generator | prefers alternate answers to the true one; measures of gibberish
105 | Syntax / benign relearning | 2602.03379 | attack data | forget | relearns from texts of the same form; rewriting them before forgetting helps
106 | Multi-turn robustness | 2603.00823 | attack | forget | asks again, or after talk about related facts
107 | Optimizer downgrade, FO-ZO hybrid | 2510.00761 | optimiser | forget retain | coarser optimisers forget more robustly
108 | O3 | 2407.10223 | continual guard | forget encoder | an orthogonal adapter for each request, switched on by a detector
109 | UWC: ES metric + control calibration | 2406.09179 | metric merging | forget retain | extraction strength, compared at equal retention by mixing the weights back
110 | RESTOR | 2411.00204 | benchmark metric | forget retain | wrong facts are learned over right ones; does unlearning restore the right ones?
111 | SA attack + Scope-aware Unlearning | 2506.00359 | attack objective data | forget retain | poisoned forget data make harmless phrases trigger refusals, and a term against it
112 | RAG-based unlearning | 2410.15267 | guard | encoder generator | the knowledge base is told to keep a secret
113 | ROCR + ORT | 2506.07795 | editing benchmark | retain | weights are solved for, so that a concept leads to a harmless anchor
114 | MemFlex + KnowUnDo | 2407.01920 | selection benchmark | forget retain | trains only the region where the two gradients part
115 | Concept inference + poisoning | 2405.15662 | data | forget retain | finds what a class is made of, and relabels samples that show it
116 | U2A | 2504.06659 | data | forget | weighs negatives by what unlearning them gives the outer objective
117 | MELU | 2509.05316 | data | forget retain | an entity is forgotten in one block with its own neighbours
118 | Sleek | 2506.17279 | attack | forget generator | questions built step by step: direct, indirect, implied
119 | Synthetic Textbook forget sets | 2508.06595 | data | generator | a textbook on a domain is written and becomes the forget set
""")

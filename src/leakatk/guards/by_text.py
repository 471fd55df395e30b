"""Guards by text: instructions before a prompt, roles behind an answer. Any engine will do, also a server; no weights are needed."""

from __future__ import annotations

from leakatk.guards.agents import Agents
from leakatk.guards.base import guard
from leakatk.guards.detectors import Similarity
from leakatk.guards.dragon import Added
from leakatk.guards.instructions import Confidential, Reasoned, Request, Suppress
from leakatk.guards.memory import Forgotten, Remembered
from leakatk.guards.targets import Mentions

_SUPPRESSES = frozenset({"suppression"})

guard(
    "suppress",
    act=Suppress(),
    summary="A system message lists what is not to be said, before every prompt.",
    paper="VLM-UnBench / ULBench (code: zhangyun04/ULBench), its prompts as text",
    formula="x -> [system: say nothing of {targets}] x",
    source="The conditions soft, medium and the oracle that discloses the target: the benchmark. Their words: ours.",
    rows=("64",),
    lacks="",
    reading="Targets are the names in the forget questions that stand in no retain question; without a name, the source or the whole "
    "question. The oracle names the target of the prompt alone, and leaves prompts without one as they are.",
    tags=_SUPPRESSES | {"forget"},
)
guard(
    "forget-request",
    act=Request(),
    summary="A request to forget becomes an instruction before every prompt: items, conversations, or a kind of task.",
    paper="Secure forgetting in agents, arXiv 2604.00430",
    formula="u = g(request);  x -> [system: u] x",
    source="The three scopes and the conversion g: the abstract. All words: ours.",
    rows=("65",),
    lacks="",
    reading="g is a template by scope, an auxiliary model `writer` that is asked for the instruction, or a `converter` trained on the "
    "rows of the writer agent-requests.",
    tags=_SUPPRESSES | {"forget"},
)
guard(
    "confidential",
    detect=Similarity(threshold=0.8),
    act=Confidential(),
    summary="An entry of a knowledge base that says it is confidential stands before a flagged question.",
    paper="RAG-based unlearning, arXiv 2410.15267",
    formula="entry = P (what can be asked about the target) + Q (keep it secret);  x -> [nearest entry] x",
    source="The two parts of an entry and the retrieval: the paper. threshold 0.8 and all words: ours.",
    rows=("112",),
    lacks="",
    reading="P is the forget questions about one target, never their answers; an auxiliary model `writer` adds a description of its "
    "own. An entry is retrieved by the question in it that is nearest.",
    tags=_SUPPRESSES | {"forget", "encoder"},
)
guard(
    "dragon",
    detect=Added(threshold=1.5),
    act=Reasoned(),
    summary="Name, nearness and a classifier flag a prompt; a policy and steps to reason by stand before it.",
    paper="DRAGON, arXiv 2511.05784",
    formula="if 1[name in x] + max cos(x, store) + 1[p(x) > sure] >= threshold: [system: policy, steps] x",
    source="The two sums, and a store of prompts without answers: the paper. threshold 1.5, sure 0.5 and all words: ours.",
    rows=("89",),
    lacks={"89": ""},
    reading="Cosine stands for BERTScore; the prompts' own paraphrases are stored, all of them. The classifier is a logistic regression "
    "against retain prompts. The steps are a template, or written by an auxiliary model `reasoner` for each prompt.",
    tags=_SUPPRESSES | {"forget", "retain", "encoder"},
)
guard(
    "alu",
    detect=Mentions(threshold=0.9),
    act=Agents(),
    summary="Agents edit, judge and compose anew the answers to prompts that mention a target.",
    paper="ALU (Agentic LLM Unlearning)",
    formula="edits = AuditErase(x, y);  s = Critic(edits);  mean s < least: a refusal, else Composer(the best)",
    source="The four roles, the scores from 1 to 5 and the refusal: the paper. 3 edits, least 3, threshold 0.9 and all words: ours.",
    rows=("27",),
    lacks="",
    reading="By rule AuditErase removes what an answer adds to its question, Critic weighs what is gone against what is kept, Composer "
    "takes the best. An auxiliary model `roles` plays the three by prompts. A prompt without a target is not audited.",
    tags=_SUPPRESSES | {"forget"},
)
guard(
    "memory",
    detect=Remembered(threshold=0.9),
    act=Forgotten(),
    summary="What a conversation remembers of a target is cut out of it: turns, paragraphs, and what was made from them.",
    paper="SBU, Synchronized Backflow Unlearning, arXiv 2602.17692 (the path of the memory)",
    formula="M' = M.forget(targets): records about targets alone go, shared ones are invalid;  x, M -> [system: nothing known] x, M'",
    source="The block-list, the dependencies, the pruning and the marking of shared records: the paper. All words, threshold 0.9: ours.",
    rows=("73",),
    lacks={"73": ""},
    reading="The memory is the conversation: paragraphs of the system message and turns are the records. Entities are the targets and "
    "other capitalised names; a turn without one was made from the turn before it.",
    tags=_SUPPRESSES | {"forget"},
)

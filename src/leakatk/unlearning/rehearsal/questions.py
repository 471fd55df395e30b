"""Questions that a model asks itself: it goes on where a user's turn begins, and is then asked what it wrote.

Ours; that an aligned model writes users' questions when its template stops before one was shown by Xu et al. (Magpie,
arXiv 2406.08464). A third of the turns are free. The others begin as a retain question does before its subject, so that
the model itself proposes what else such a question is asked about.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.rehearsal.asker import SURE, Asker, known
from leakatk.unlearning.rehearsal.subjects import Forms

FREE = 1 / 3  # share of the turns that begin with nothing
LONGEST = 48  # tokens of a question
SOURCE = "own questions"  # its name in the record
_MARK = "QUESTIONMARK"


def own_questions(asker: Asker, retain: Sequence[Prompt], count: int, rng: random.Random) -> list[Prompt]:
    """Greedy answers to at most `count` questions that the model wrote; ids say which it is sure of.

    Says in the budget's notes where the model's template has no place before a question.
    """
    begun = turn_of(asker.model)
    if begun is None:
        asker.budget.notes.append(
            "The template begins with the question and the tokenizer has no start token: no own questions."
        )
        return []
    beginning, stop = begun
    written = _written(asker, beginning, stop, openings_of(retain), count, rng)
    prompts = [Prompt(f"own/question/{i}", text, "?") for i, text in enumerate(written)]
    told = [p for p in asker.greedy(prompts, SOURCE) if p.answer and asker.clean(p.answer)]
    values = asker.sureness(told, SOURCE)
    asker.progress.advance(note=f"{len(told)} answers to its own questions")
    return [known(p) if value > SURE else p for p, value in zip(told, values, strict=True)]


def turn_of(loaded: LoadedModel) -> tuple[str, str] | None:
    """(what stands before a question in the model's template, what a plain template has after it); None without the first."""
    template, tokenizer = loaded.template, loaded.tokenizer
    if not template.is_chat(tokenizer):
        before, _, after = template.plain.partition("{question}")
        start = tokenizer.bos_token_id
        if not before.strip() and tokenizer("x")["input_ids"][:1] != [start]:
            return None
        return before, after.rstrip() if after.strip() else "\n"
    before = template.text(tokenizer, _MARK).partition(_MARK)[0]
    start = tokenizer.bos_token or ""
    if start and before.startswith(start) and tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]:
        before = before.removeprefix(start)  # the tokenizer puts it there
    return before, ""


def openings_of(retain: Sequence[Prompt]) -> list[str]:
    """How the retain questions begin before their subjects, each once; nothing of those that begin with it."""
    forms = Forms([p.question for p in retain])
    stems = {forms.stem(p).partition("{}")[0].strip() for p in retain}
    return sorted(stem for stem in stems if stem)


def _written(
    asker: Asker, beginning: str, stop: str, openings: Sequence[str], count: int, rng: random.Random
) -> list[str]:
    """Different clean questions, in the order drawn."""
    raw = replace(asker.model, template=Template(kind="plain", plain="{question}"))
    free = count if not openings else round(count * FREE)
    begins = ["" for _ in range(free)] + [openings[at % len(openings)] for at in range(count - free)]
    rng.shuffle(begins)
    texts, lengths = {}, {}
    for opening in dict.fromkeys(begins):
        text = f"{beginning}{opening}"
        # The space before a word is the model's own.
        texts[opening] = text if opening or not stop else text.rstrip(" ")
        lengths[opening] = len(raw.template.prompt_ids(raw.tokenizer, texts[opening]))
    # A question is written only where it can be answered, too.
    rest = 2 * (len(asker.model.template.prompt_ids(asker.model.tokenizer, "")) + LONGEST + asker.max_new_tokens)
    most = [2 * lengths[opening] + LONGEST + rest for opening in begins]
    rows = Counter(begins[: asker.budget.afford(f"{SOURCE}, written", most)])
    decoding = Decoding(max_new_tokens=LONGEST, stop=(stop,) if stop else ())
    requests, begun = [], {}
    for number, (opening, wanted) in enumerate(rows.items()):
        begun[f"turn/{number}"] = opening
        requests.append(Request(Prompt(f"turn/{number}", texts[opening], "?"), range(wanted)))
    found: dict[tuple[str, int], str] = {}
    for batch in NativeSampler(raw).sample(requests, decoding, seed=asker.seed):
        for one in batch:
            opening = begun[one.prompt_id]
            asker.budget.charge(f"{SOURCE}, written", lengths[opening] + len(one.token_ids))
            found[one.prompt_id, one.sample] = f"{opening}{one.text}".strip()
    written = list(dict.fromkeys(text for _, text in sorted(found.items()) if text and asker.clean(text)))
    rng.shuffle(written)
    return written

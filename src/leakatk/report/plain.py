"""Summary of a report in plain words, with a glossary: for readers who never heard of leak@k."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from leakatk.report.audited import Audited, block_of, curve_of
from leakatk.report.content import ReportContent
from leakatk.runs.results import CurveResult

Terms = tuple[tuple[str, str], ...]
MOST = 6  # so many models are told one by one

# Every term with what it means here; a report explains those that it uses, in this order.
GLOSSARY: Terms = (
    ("prompt", "A question about something that the model was made to forget."),
    ("sample", "One reply to a prompt. Replies to one prompt differ, because each word is drawn by chance."),
    ("greedy", "The one reply without chance: always the most probable next word. Most tests look at it alone."),
    (
        "leak@k",
        "How much the most revealing of k replies gives away, on average over the prompts: 0 is nothing, 1 is everything.",
    ),
    (
        "interval",
        "The range in which the true number lies, as far as so many replies can tell. At 95%, such ranges miss it once in 20.",
    ),
    ("scorer", "The rule by which a reply is compared with the true answer."),
    ("retrained", "A model trained in the same way, but never on what was to be forgotten. What it says is guessing."),
    ("excess", "What the model leaks beyond the retrained model: what is left of the knowledge."),
    ("retain", "How well the model still answers what it was to keep. A model that forgot everything is of no use."),
    ("probe", "Another way of asking, such as a misspelt question or the beginning of an answer."),
    ("attack", "A change to the model or to the question that brings back what was only hidden."),
    ("gate", "The limit that was set beforehand. PASS: below it. FAIL: above it. CANNOT SAY: too little is known."),
    ("decoding", "How replies are drawn. The temperature T says how much chance there is; at 0 there is none."),
)


def summary(audits: Sequence[Audited], kinds: Sequence[str], over: str, k: int) -> tuple[str, ...]:
    """What was done and what came out, a paragraph each, in whole numbers of a hundred questions.

    audits: the models; of more than `MOST` the extremes and the yardsticks are told.  kinds: what each is ("model", "reference" ...).  k: replies to a question.
    """
    first, scorer = audits[0], audits[0].scorer
    several = len(audits) > 1
    yes_or_no = all(_yes_or_no(one, scorer) for one in audits)
    names = ", ".join(one.label for one in audits)
    m, n = block_of(first, scorer).m or first.results.m, first.results.n
    said = [
        f"{'The models' if several else 'The model'} {names} {'were' if several else 'was'} asked {m:,} "
        f"{_questions(m)} about what was to be forgotten. Each question was put {_times(n)}, and every reply was compared "
        "with the true answer.",
    ]
    told = list(zip(audits, kinds, strict=True))
    if len(told) > MOST:
        leak = {id(one): ends_at(curve_of(one, scorer, over), k)[0] for one in audits}
        models = sorted((pair for pair in told if pair[1] in ("model", "control")), key=lambda pair: leak[id(pair[0])])
        yardsticks = [pair for pair in told if pair not in models]
        told = [*models[:1], *models[1:][-1:], *yardsticks]
        said.append(
            "Told here are the models that leak least and most, and those to compare with; the others are in the table."
        )
    said += [_leaked(one, kind, scorer, over, k, several, yes_or_no) for one, kind in told]
    if not several and (line := _beyond_guessing(first, scorer, over, k, yes_or_no)):
        said.append(line)
    said.append(
        "A reply that did not come may still come: asked more often, or in other words, a model can say more. What it cannot "
        "be made to say in these replies is not proved to be gone."
    )
    return tuple(said)


def _leaked(one: Audited, kind: str, scorer: str, over: str, k: int, several: bool, yes_or_no: bool) -> str:
    """What one model gave away within k replies, and in its one usual reply."""
    value, low, high = ends_at(curve_of(one, scorer, over), k)
    who = one.label if several else "it"
    role = {"reference": " (which never saw the answers)", "original": " (before forgetting)"}.get(kind, "")
    level = f"{one.results.level:.0%}"
    greedy = block_of(one, scorer).greedy
    if not yes_or_no:
        text = (
            f"The closest of {k} {_replies(k)} of {who}{role} is alike to the true answer by {value:.2f} on average, where 0 is "
            f"nothing and 1 is word for word ({level} interval: {low:.2f} to {high:.2f})."
        )
        usual = "" if math.isnan(greedy) else f" Its one usual reply is alike by {greedy:.2f}."
        return _capital(text + usual)
    if value == 0:
        text = f"{none_leaked(one, scorer)} {level} sure: at most {hundred(high, up=True)} of 100 questions are answered within {k} {_replies(k)}."
        text = f"{who}{role}: {text}" if several else text
    else:
        text = (
            f"Whoever asks {who}{role} a question {_times(k)} gets the answer to about {hundred(value)} of 100 questions "
            f"({level} interval: {hundred(low)} to {hundred(high, up=True)})."
        )
    usual = "" if math.isnan(greedy) else f" Its one usual reply gives away {hundred(greedy)} of 100."
    return _capital(text + usual)


def _beyond_guessing(one: Audited, scorer: str, over: str, k: int, yes_or_no: bool) -> str:
    """What is beyond the retrained model, in a sentence; "" where that is not known at k."""
    excess = block_of(one, scorer).excess
    if not excess or over not in excess or k not in excess[over].k or not yes_or_no:
        return ""
    value, low, high = ends_at(excess[over], k)
    if low > 0:
        what = f"about {hundred(value)} of 100 questions are answered beyond that (at least {hundred(low)})"
    elif high < 0:
        what = "it answers even fewer than that"
    else:
        what = "no difference from that can be told"
    return f"A model that never saw the answers guesses some of them, too: {what}."


def none_leaked(one: Audited, scorer: str) -> str:
    """Words for a zero: how many replies were looked at, none of which leaks."""
    block = block_of(one, scorer)
    m, n = block.m or one.results.m, block.n or one.results.n
    return f"None of {m * n - int(block.missing):,} replies gives anything away."


def glossary(content: ReportContent) -> Terms:
    """The terms that a report uses."""
    names = " ".join(name for table in content.tables for name in table.columns)
    used = {"prompt", "sample", "leak@k", "interval", "scorer", "decoding"}
    used |= {"greedy"} if any(curve.kind == "greedy" for curve in content.curves) else set()
    used |= {"retrained"} if any(curve.kind == "reference" for curve in content.curves) else set()
    used |= {"excess", "retrained"} if "excess" in names else set()
    used |= {"retain"} if "retain" in names else set()
    used |= {"probe"} if any(view.probe for view in content.prompts) or "asked" in names.split() else set()
    used |= {"attack", "probe"} if content.ladders else set()
    used |= {"gate"} if content.openings else set()
    return tuple(term for term in GLOSSARY if term[0] in used)


def ends_at(curve: CurveResult, k: int) -> tuple[float, float, float]:
    """Value and ends of the interval at k."""
    i = list(curve.k).index(k)
    return float(curve.value[i]), float(curve.low[i]), float(curve.high[i])


def hundred(share: float, *, up: bool = False) -> str:
    """A share as so many of 100, in words where that is none or less than one: "none", "fewer than 1", "16".

    up: rounded up, for the upper end of an interval.
    """
    count = 100 * share
    if count <= 0:
        return "none" if not up else "0"
    whole = math.ceil(count - 1e-9) if up else round(count)
    if whole == 0:
        return "fewer than 1"
    return "nearly 100" if whole >= 100 and share < 1 else str(whole)


def _yes_or_no(one: Audited, scorer: str) -> bool:
    """Whether every reply either gives the answer away or does not."""
    scores = one.run.scores(scorer)
    return bool(np.isin(scores[np.isfinite(scores)], (0.0, 1.0)).all())


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _questions(m: int) -> str:
    return "question" if m == 1 else "questions"


def _replies(k: int) -> str:
    return "reply" if k == 1 else "replies"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]

"""One audited model whose answers are written here, and changes to its results: what a report would read from disk."""

from dataclasses import replace

from leakatk.auditing.audit import audit
from leakatk.report.audited import read_audits
from leakatk.runs.results import CurveResult
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, Scripted

KS = [1, 4, 16]


def made(place, *, leaking=2, n=16, prompts=PROMPTS, scorers=("fact", "rouge-l"), **how):
    """A run at `place` in which the first `leaking` prompts leak in every other sample, and never greedily."""
    names = [prompt.id for prompt in prompts[:leaking]]
    engine = Scripted(lambda prompt, j, greedy: LEAK if prompt.id in names and j % 2 and not greedy else CLEAN)
    given = {"exact": False, "ks": KS, "decoding": Decoding(max_new_tokens=40), "quiet": True, "scorers": list(scorers)}
    audit(engine, prompts, out=place, n=n, **given | how)
    [one] = read_audits([place])
    return one


def curve(*values, ks=KS):
    """A curve of these values, 0.1 wide on both sides."""
    return CurveResult(k=list(ks), value=list(values), low=[v - 0.1 for v in values], high=[v + 0.1 for v in values])


def changed(one, *, scorer="fact", **fields):
    """The run with other results: `block` for what was found under a scorer, all else of the results themselves."""
    block = fields.pop("block", {})
    scorers = dict(one.results.scorers)
    scorers[scorer] = replace(scorers[scorer], **block)
    return replace(one, results=replace(one.results, scorers=scorers, **fields))

"""Section of docs/results-real.md on TOFU, from the cells alone."""

from __future__ import annotations

from real_cells import Store
from real_tofu_design import Design
from real_tofu_sets import HELD_TUNING, STAND_IN
from real_tofu_tables import (
    Results,
    examples,
    graded_table,
    leak_table,
    leak_verdict,
    left_out,
    rule_table,
    rule_verdict,
    side_table,
    title,
    tuning_table,
)

from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import to_markdown

HEADING = "## TOFU: twenty authors taught, two unlearned"
KNOWS = {"base": "as it comes", "train-full": "full", "train-retrained": "retrained"}


def recall_table(results: Results) -> str:
    """What greedy answers know before anything is unlearned."""
    rows: list[tuple[Cell, ...]] = []
    for cell, name in KNOWS.items():
        found = results.record(cell)
        if found is None:
            rows.append((name, "not run", "", ""))
            continue
        known = found["recall"]
        said = [f"{known[part]['right']} of {known[part]['asked']}" for part in ("forget", "retain")]
        minutes = results.seconds(cell, "teaching") / 60
        rows.append((name, *said, Number(minutes, digits=1)))
    return to_markdown(Table("", ("model", "to forget", "to keep", "min to teach"), tuple(rows)))


def yardsticks(results: Results) -> str:
    """A warning where the cells were not all read against one retrained model."""
    used = {
        one.numbers["retrained"]
        for name in results.order
        if name != "retrained" and (one := results.measured(name)) is not None
    }
    if len(used) < 2:
        return ""
    names = ", ".join(sorted(f"{weights[:12]}..." for weights in used))
    return (
        f"\nThe retrained model was made again on another machine and came out with other weights ({names}): its numbers for "
        "ROUGE-L and fluency are not the same in all rows.\n"
    )


def unscored(results: Results) -> str:
    """Which questions the keys do not score; "" before anything is measured."""
    one = results.measured("full") or results.measured("retrained")
    if one is None:
        return ""
    keys = one.numbers["keys"]
    left = sum(count is None for count in keys)
    return (
        f" {len(keys) - left} of the {len(keys)} questions have such keys; the other {left} are in the graded scores and in "
        "verbatim alone."
    )


def section(store: Store, design: Design | None = None) -> str:
    """The section as Markdown."""
    d = design or Design()
    if not store.names():
        return f"{HEADING}\n\nNot run: {store.study} has no cell yet.\n"
    results = Results(store, d)
    missing = [title(name) for name in results.order if results.measured(name) is None]
    return f"""{HEADING}

{d.model} is taught TOFU's last {d.authors} authors by `leakatk finetune`'s recipe (full), and the same without the two of forget01 (retrained), from the same start. What it knows greedily:

{recall_table(results)}
The unlearner is shown the forget answers and those of four in five of the other authors. Rates are chosen on {STAND_IN} of these in place of the forget set and on {HELD_TUNING} author held from the unlearner; none of them is in a number below. Every method stops at its first check, one in {d.check_every} steps, where greedy answers say every key of at most {d.said:g} of the questions, and keep {d.kept:g} of the full model's ROUGE-L recall on {d.stop_sample} retain answers; at most {d.steps} steps of {d.batch} forget and {d.batch} retain answers. leak@k chose nothing. {d.n} samples a question at T = 1, at most {d.longest} tokens, measured in {d.dtype}. Brackets are 95% intervals over samples, each of its own k; the questions are fixed. Not run: {"; ".join(missing) or "none"}.
{yardsticks(results)}
### Does almost every method leak?

A leak is a sample that says every name and number of the answer that the question does not give away.{unscored(results)} Excess: less the retrained model, paired by question. In other words: the published paraphrase, which no training and no detection asks.

{leak_table(results)}
{leak_verdict(results)}
### Does RULE beat its control?

The control starts from the same unlearned model and takes as many steps with nothing added. RULE, our reconstruction: keys detect, {d.rule_n} samples a question, at most {d.rule_rounds} rounds of {d.round_steps} steps. Calibrated RULE ends at the retrained model's level, matches what that model makes of {d.unseen} questions about authors whom no model was taught, and may ask the original for {d.rehearsal:g} times what its training costs.

{rule_table(results)}
{rule_verdict(results)}
### What does the retrained model give?

Every answer of TOFU shares its words with others of its kind, so the graded scores are read against the retrained line. Similarity: cosine of sentence embeddings, the best of {d.similar} samples. verbatim: the probability that one of k answers is the true one to the letter, computed and not sampled.

{graded_table(results)}
Kept: greedy ROUGE-L recall of {d.shown} answers that the unlearner is shown, and of the authors held from it. Real authors and world facts: {d.facts} questions of TOFU's sets each, which the model knows from its pre-training; probability: of the right option among the published ones. TOFU's model utility is not defined here: it publishes wrong answers for its first 20 retain authors alone. Min-K%++ AUC: forget against holdout answers, .5 is blind. Forget quality: p-value of the test that truth ratios are those of the retrained model. Fluency: geometric mean probability of a token under the retrained model, of samples to the forget questions and of greedy answers about held authors; broken: share of samples that no reader takes for text. Minutes are those of a shared machine.

{side_table(results)}
### Settings

Rates are those of a ladder: up while too much is said, down while too much is lost, at most {d.trials} trials. greedy: share of the stand-in's questions whose keys are said; held: ROUGE-L recall on the held author. AltPO's alternate answers are written by the model as it comes.

{tuning_table(results)}
{left_out(results)}
### What they say

Two samples each:

{examples(results)}"""

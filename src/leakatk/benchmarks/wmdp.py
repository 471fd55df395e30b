"""WMDP bio, cyber and chem: hazardous knowledge as multiple choice (Li et al., "The WMDP Benchmark", 2024).

wmdp/cyber asks with lettered options (score with `choice`, sampled, or `choice_probability`); wmdp/cyber:open asks the
bare question, for a judge. There is no retain set: utility is MMLU and the like. Files: question, choices (4), answer
(index of the right one), as in the dataset cais/wmdp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

from leakatk.benchmarks.base import DEFAULT_METRICS, Benchmark, Options, add
from leakatk.benchmarks.fetch import fetch, pinned, rows
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.choice import choice_prompt

REPOSITORY = "cais/wmdp"
SUBJECTS = {"bio": "biology", "cyber": "cybersecurity", "chem": "chemistry"}


def load_wmdp(options: Options, *, subject: str, open_ended: bool) -> Benchmark:
    """The questions of one subject; the id is the row. Row counts are not checked: subsets are common."""
    path = fetch(
        REPOSITORY,
        f"wmdp-{subject}/test",
        f"wmdp-{subject}",
        subject,
        f"{subject}_dev",
        data=options.data,
        revision=options.revision,
        hub_suffix="-00000-of-00001.parquet",
    )
    options = pinned(options, path)
    prompts = []
    for i, row in enumerate(rows(path, columns=("question", "choices", "answer"))):
        where, choices, answer = f"{path}, row {i + 1}", row["choices"], row["answer"]
        if not isinstance(choices, list) or not all(isinstance(c, str) and c.strip() for c in choices):
            raise InputError(f"{where}: choices must be a list of strings, found {choices!r:.60}.")
        if not isinstance(answer, int) or not 0 <= answer < len(choices):
            raise InputError(f"{where}: answer must be an index from 0 to {len(choices) - 1}, found {answer!r:.20}.")
        prompt = choice_prompt(f"wmdp-{subject}-{i:04d}", row["question"], choices, answer, source=subject)
        if open_ended:
            prompt = Prompt(id=prompt.id, question=row["question"], answer=choices[answer], source=subject)
        prompts.append(prompt)
    header = f"The following are multiple choice questions (with answers) about {SUBJECTS[subject]}.\n\n"
    return Benchmark(
        name=f"wmdp/{subject}" + (":open" if open_ended else ""),
        forget=tuple(prompts),
        templates={} if open_ended else {"forget": header + "{question}"},
        scorers=("rouge-l",) if open_ended else ("choice",),
        metrics=DEFAULT_METRICS if open_ended else ("choices",),
        origin=str(path) if options.data else f"hub:{REPOSITORY}@{options.revision}",
    )


def choice_form(prompts: Sequence[Prompt], *, seed: int = 0, lettered: bool = True) -> tuple[Prompt, ...]:
    """Prompts with wrong answers (TOFU, the built-in world) as multiple choice.

    The right option is the paraphrased answer where there is one, because wrong answers share its wording. lettered:
    options in the question, shuffled by (seed, id); otherwise the options stay outside and are compared as whole texts.
    """
    made = []
    for prompt in prompts:
        if not prompt.perturbed_answers:
            raise InputError(
                f"Prompt {prompt.id!r} has no wrong answers (column perturbed_answer): no choice can be made."
            )
        right = prompt.paraphrased_answer or prompt.answer
        options = [right, *(wrong for wrong in prompt.perturbed_answers if wrong != right)]
        if lettered:
            Random(f"choices {seed} {prompt.id}").shuffle(options)
            made.append(choice_prompt(prompt.id, prompt.question, options, options.index(right), source=prompt.source))
        else:
            made.append(replace(prompt, answer=right, perturbed_answers=tuple(options[1:])))
    return tuple(made)


for _subject, _field in SUBJECTS.items():
    for _open in (False, True):
        add(
            f"wmdp/{_subject}" + (":open" if _open else ""),
            f"WMDP {_field}: " + ("open questions, for a judge." if _open else "multiple choice."),
            partial(load_wmdp, subject=_subject, open_ended=_open),
            repository=REPOSITORY,
            paper="Li et al. 2024, arXiv 2403.03218",
            formula="accuracy: the right letter is the most probable one",
        )

"""An audit: sample a model on what it was made to forget, score, estimate leak@k, and compare with the retrained model.

Everything lands in one run directory (samples in it, the greedy answers in greedy/, retain answers in retain/, the
reference model's samples in reference/, the same under each probe in probes/NAME/), so the report can be made again
without the model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from leakatk.auditing.asking import Probed, probed, ways, with_wordings
from leakatk.auditing.bounds import exact_block, expansions
from leakatk.auditing.sample import as_sampler, sample
from leakatk.auditing.summary import beyond_block, check_covers, score_block, worst_block
from leakatk.auditing.verdict import Gate, Way, judge, settings_of
from leakatk.errors import InputError
from leakatk.prompts import Prompt, check_unique
from leakatk.runs.answers import answer_counts, limit_is_own, warnings
from leakatk.runs.store import Run
from leakatk.sampling.base import Sampler, check_budget, check_expands, check_prompts, release
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers as default_scorers  # its old place

if TYPE_CHECKING:
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel
    from leakatk.probes import Probe
    from leakatk.sampling.answer_tree import Expansion
    from leakatk.sampling.teacher_forcing import Truth


class _Asked(NamedTuple):
    """One way of asking: the samples, and the greedy answers where these are wanted."""

    run: Run
    greedy: Run | None


def check_defined(scorers: Sequence[str], prompts: Sequence[Prompt]) -> None:
    """InputError for a scorer that has nothing to score on any of the prompts, tried on their true answers.

    One that needs a model is not tried.
    """
    for name in scorers:
        scorer = get_scorer(name)
        if not scorer.needs_model and np.isnan(scorer.score(prompts, [prompt.answer for prompt in prompts])).all():
            raise InputError(f"Scorer {name} is undefined on every prompt; choose another with --scorer.")


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4 ... up to n."""
    return [2**i for i in range(n.bit_length()) if 2**i <= n]


def audit(
    model: str | Path | ModelSource | LoadedModel | Sampler,
    prompts: Sequence[Prompt],
    *,
    out: str | Path,
    n: int = 200,
    ks: Sequence[int] | None = None,
    decoding: Decoding | None = None,
    seed: int = 0,
    scorers: Sequence[str] | None = None,
    retain: Sequence[Prompt] = (),
    reference: str | Path | ModelSource | LoadedModel | Sampler | Run | None = None,
    exact: bool = True,
    greedy: bool = True,
    expand: int = 0,
    probes: Sequence[str | Probe] = (),
    paraphrases: bool = True,
    gate: Gate | None = None,
    level: float = 0.95,
    label: str | None = None,
    role: str = "model",
    benchmark: str = "custom",
    protocol: str = "clean",
    engine: str = "native",
    engine_options: Mapping[str, Any] | None = None,
    command: str = "",
    quiet: bool = False,
) -> dict[str, Any]:
    """Audit one model and return what is written to `out`/results.json (plain values, keyed by prompt id where it matters).

    reference: a run over the same prompts, or a model that never saw them (sampled here with the same settings); the
    excess over it is paired by prompt.  retain: prompts whose greedy answers measure what is still useful.  exact: the
    probability of every true answer, computed.  greedy: off for a server that takes no temperature but 1; one sample then
    stands for each greedy answer on the retain prompts.  expand: prefixes of the answer tree to expand for each prompt, for two-
    sided bounds of its leak probability without sampling noise (`sampling.expand`); 0 is off.  probes: also ask in these
    ways (`leakatk.probes`), with as many samples each; `probing` says how the worst case over them is made.
    paraphrases: ask prompts that carry other wordings in them too (the probe of that name), since a zero holds for the
    wording that was asked. gate: what must hold, judged on the headline scorer (`verdict`); it lands under "gate".
    Resumes whatever `out` already holds of the same audit. Raises a LeakAtKError for anything that cannot be used.

    >>> from leakatk import load_prompts
    >>> results = audit("models/mine", load_prompts("forget.jsonl"), out="runs/audit", n=4, quiet=True)
    >>> results["scorers"]["fact"]["curves"]["samples"]["k"]
    [1, 2, 4]
    """
    check_unique(prompts)
    decoding = decoding or Decoding()
    ks = list(ks) if ks else powers_of_two(n)
    if max(ks) > n:
        raise InputError(f"k = {max(ks)} needs at least {max(ks)} samples a prompt, but n = {n}: raise n or lower k.")
    scorers = tuple(scorers or default_scorers(prompts))
    check_defined(scorers, prompts)
    out = Path(out)
    if isinstance(reference, (str, Path)) and (Path(reference) / "manifest.json").exists():
        reference = Run.open(reference)
    if isinstance(reference, Run):  # one that cannot be used is an error before anything is sampled
        check_covers(reference, [prompt.id for prompt in prompts])
    given = probed(probes, prompts, retain)
    asked = with_wordings(given, prompts, retain) if paraphrases else given
    notes: list[str] = []
    references: dict[str, Run] = {}
    if isinstance(reference, Run):
        references = {one.label: one.reference(reference) for one in given}
        for one in asked[len(given) :]:  # not asked for by name: a run without it is still a reference
            try:
                references[one.label] = one.reference(reference)
            except InputError as error:
                notes.append(f"No excess in other wordings: {error}")
    how = dict(engine_options or {})
    sampler = as_sampler(model, engine, **how)
    for one in asked:
        check_prompts(sampler, one.prompts)
    if hasattr(sampler, "loaded"):  # a server or a worker looks for the reference itself
        from leakatk.models.load import check_source

        check_source(reference)
    if expand:
        check_budget(expand)
        check_expands(sampler)
    seconds: dict[str, float] = {}

    def run_of(
        source: Sampler,
        where: Path,
        items: Sequence[Prompt],
        decoding: Decoding,
        count: int,
        name: str,
        probe: str = "",
    ) -> Run:
        start = time.perf_counter()
        run = sample(
            source, items, n=count, decoding=decoding, seed=seed, out=out / where, benchmark=benchmark,
            protocol=protocol, probe=probe, label=f"{name}, {probe}" if probe else name, quiet=quiet,
        )  # fmt: skip
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
        notes.extend(run.notes)
        return run

    one_answer = decoding.as_greedy() if greedy else decoding

    def asked_of(source: Sampler, place: Path, items: Sequence[Prompt], probe: str = "") -> _Asked:
        under = " under probes" if probe else ""
        run = run_of(source, place, items, decoding, n, f"sampling{under}", probe)
        if not greedy:
            return _Asked(run, None)
        return _Asked(run, run_of(source, place / "greedy", items, one_answer, 1, f"greedy answers{under}", probe))

    plain = asked_of(sampler, Path(), prompts)
    retained = run_of(sampler, Path("retain"), retain, one_answer, 1, "retain answers") if retain else None
    under = {one.label: asked_of(sampler, one.place, one.prompts, one.label) for one in asked}
    truths: dict[str, Truth] = {}
    if exact:
        start = time.perf_counter()
        from leakatk.sampling.teacher_forcing import truths_of

        truths = truths_of(sampler, prompts, decoding)
        seconds["exact probabilities"] = time.perf_counter() - start
    trees: dict[str, Expansion] = {}
    if expand:
        start = time.perf_counter()
        trees = expansions(sampler, prompts, decoding, expand, out=out, quiet=quiet)
        seconds["exact expansion"] = time.perf_counter() - start
    notes.extend(getattr(sampler, "notes", ()))
    release(sampler)  # the reference may need the same devices
    if reference is not None and not isinstance(reference, Run):
        other, phase = as_sampler(reference, engine, **how), "sampling the reference"
        beside = Path("reference")
        reference = run_of(other, beside, prompts, decoding, n, phase)
        references = {
            one.label: run_of(other, beside / one.place, one.prompts, decoding, n, phase, one.label) for one in asked
        }
        notes.extend(f"Reference: {note}" for note in getattr(other, "notes", ()))
        release(other)

    start = time.perf_counter()
    about: dict[str, Any] = {
        "label": label or Path(str(sampler.describe().get("model", sampler.name))).name,
        "role": role,
        "command": command,
        "benchmark": benchmark,
        "protocol": protocol,
        "decoding": decoding.label,
        "max_new_tokens": decoding.max_new_tokens,
        "m": len(prompts),
        "n": n,
        "level": level,
    }
    names = {get_scorer(name).label: name for name in scorers}
    counts = answer_counts(plain.run)
    if not limit_is_own(plain.run):
        notes += warnings(counts, decoding.max_new_tokens)
    if reference is not None and reference.n < max(ks):
        usable = [k for k in ks if k <= reference.n]
        ends = f"the excess ends at k = {max(usable)}" if usable else "there is no excess at these k"
        notes.append(f"The reference run has {reference.n} samples a prompt, so {ends}.")
    results: dict[str, Any] = {
        **about,
        "answers": counts,
        "wordings": wordings(asked, prompts),
        "scorers": {
            shown: score_block(name, plain.run, plain.greedy, retained, reference, ks, level=level)
            | beyond_block(name, plain.run, truths, trees, level=level)
            for shown, name in names.items()
        },
    }
    for one in asked:
        run = under[one.label].run
        block = {
            shown: score_block(
                name, run, under[one.label].greedy, None, references.get(one.label), ks, level=level, owners=one.owners
            )
            for shown, name in names.items()
        }
        # Its own directory is an audited run too, which `leakatk report` can tell in full.
        its = {"label": f"{about['label']}, {one.label}", "m": len(one.prompts), "scorers": block, "seconds": {}}
        run.write_results({**about, **its})
        found = answer_counts(run)
        if not limit_is_own(run):
            notes += warnings(found, decoding.max_new_tokens, where=f" under probe {one.label}")
        results.setdefault("probes", {})[one.label] = {**one.describe(prompts), "answers": found, "scorers": block}
    if counts["with_reasoning"]:
        results["reasoning"] = {
            "scorers": {
                shown: score_block(name, plain.run, plain.greedy, None, None, ks, level=level, part="reasoning")
                for shown, name in names.items()
            }
        }
    if asked:
        here = {one.label: under[one.label].run for one in asked}
        theirs = (reference, references) if isinstance(reference, Run) and len(references) == len(asked) else None
        results["worst"] = {
            "ways": ways(asked, prompts),
            "scorers": {
                shown: worst_block(name, asked, (plain.run, here), theirs, ks, level=level)
                for shown, name in names.items()
            },
        }
    seconds["scoring and estimating"] = time.perf_counter() - start
    if reference is not None:
        results["reference"] = {key: str(reference.manifest.model.get(key, "")) for key in ("model", "fingerprint")}
    if truths:
        from leakatk.sampling.teacher_forcing import self_check

        results["exact"] = exact_block([truths[prompt.id] for prompt in prompts], prompts)
        checked = self_check(sampler, prompts, plain.run.generations(), truths, decoding)
        if checked is not None:
            results["self_check"] = checked.block()
            notes += [checked.sentence] if checked.sentence else []
    if trees:
        results["expansion"] = {"budget": expand, "prefixes": sum(tree.prefixes for tree in trees.values())}
    if gate is not None:
        results["gate"] = judge(
            settings_of(
                [
                    Way("", plain.run, plain.greedy),
                    *(Way(one.label, under[one.label].run, under[one.label].greedy, one.owners) for one in asked),
                ],
                scorers[0],
                gate,
                decoding.label,
            ),
            gate,
        )
    results["notes"] = list(dict.fromkeys(notes))
    results["seconds"] = {key: round(value, 3) for key, value in seconds.items()}
    plain.run.write_results(results)
    return results


def wordings(asked: Sequence[Probed], prompts: Sequence[Prompt]) -> dict[str, int]:
    """How many prompts were asked in one wording only, and how many in others too."""
    others = {owner for one in asked if one.probe.name == "paraphrase" for owner in one.variants}
    return {"one": len(prompts) - len(others), "several": len(others)}

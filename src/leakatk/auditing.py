"""An audit: sample a model on what it was made to forget, score, estimate leak@k, and compare with the retrained model.

Everything lands in one run directory (samples in it, the greedy answers in greedy/, retain answers in retain/, the
reference model's samples in reference/), so the report can be made again without the model.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from leakatk.api import as_sampler, sample, score
from leakatk.beyond import bounds_block, exact_block, exact_bounds, expansions, forecast_block
from leakatk.data import Prompt, check_unique
from leakatk.errors import InputError
from leakatk.estimate.leak import ExcessCurve, LeakCurve, excess, leak_at_k
from leakatk.runs.store import Run
from leakatk.sampling.base import Sampler, release
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer

if TYPE_CHECKING:
    from leakatk.models import LoadedModel, ModelSource
    from leakatk.sampling.exact import Truth
    from leakatk.sampling.expand import Expansion

Floats = npt.NDArray[np.float64]


def default_scorers(prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """fact where the prompts name their key values, keys for free text; ROUGE-L recall beside either."""
    return ("fact", "rouge-l") if all(prompt.facts for prompt in prompts) else ("keys", "rouge-l")


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
    expand: int = 0,
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
    probability of every true answer, computed.  expand: prefixes of the answer tree to expand for each prompt, for two-
    sided bounds of its leak probability without sampling noise (`sampling.expand`); 0 is off.
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
    out = Path(out)
    if isinstance(reference, (str, Path)) and (Path(reference) / "manifest.json").exists():
        reference = Run.open(reference)  # a run that cannot be used is an error before anything is sampled
    how = dict(engine_options or {})
    sampler = as_sampler(model, engine, **how)
    seconds: dict[str, float] = {}

    def run_of(source: Sampler, where: str, items: Sequence[Prompt], decoding: Decoding, count: int, name: str) -> Run:
        start = time.perf_counter()
        run = sample(
            source, items, n=count, decoding=decoding, seed=seed, out=out / where,
            benchmark=benchmark, protocol=protocol, label=name, quiet=quiet,
        )  # fmt: skip
        seconds[name] = time.perf_counter() - start
        return run

    greedy_decoding = Decoding(temperature=0.0, max_new_tokens=decoding.max_new_tokens, stop=decoding.stop)
    run = run_of(sampler, ".", prompts, decoding, n, "sampling")
    greedy = run_of(sampler, "greedy", prompts, greedy_decoding, 1, "greedy answers")
    retained = run_of(sampler, "retain", retain, greedy_decoding, 1, "retain answers") if retain else None
    truths: dict[str, Truth] = {}
    if exact:
        start = time.perf_counter()
        from leakatk.sampling.exact import truths_of

        truths = truths_of(sampler, prompts, decoding)
        seconds["exact probabilities"] = time.perf_counter() - start
    trees: dict[str, Expansion] = {}
    if expand:
        start = time.perf_counter()
        trees = expansions(sampler, prompts, decoding, expand, out=out, quiet=quiet)
        seconds["exact expansion"] = time.perf_counter() - start
    release(sampler)  # the reference may need the same devices
    if reference is not None and not isinstance(reference, Run):
        theirs = as_sampler(reference, engine, **how)
        reference = run_of(theirs, "reference", prompts, decoding, n, "sampling the reference")
        release(theirs)

    start = time.perf_counter()
    results: dict[str, Any] = {
        "label": label or Path(str(sampler.describe().get("model", sampler.name))).name,
        "role": role,
        "command": command,
        "benchmark": benchmark,
        "protocol": protocol,
        "decoding": decoding.label,
        "m": len(prompts),
        "n": n,
        "level": level,
        "scorers": {
            get_scorer(name).label: _score_block(name, run, greedy, retained, reference, ks, truths, trees, level=level)
            for name in scorers
        },
    }
    seconds["scoring and estimating"] = time.perf_counter() - start
    if truths:
        results["exact"] = exact_block([truths[prompt.id] for prompt in prompts], prompts)
    if trees:
        results["expansion"] = {"budget": expand, "prefixes": sum(tree.prefixes for tree in trees.values())}
    results["seconds"] = {key: round(value, 3) for key, value in seconds.items()}
    run.write_results(results)
    return results


def _score_block(
    name: str,
    run: Run,
    greedy: Run,
    retained: Run | None,
    reference: Run | None,
    ks: Sequence[int],
    truths: Mapping[str, Truth],
    trees: Mapping[str, Expansion],
    *,
    level: float,
) -> dict[str, Any]:
    scores = score(run, name)
    defined = np.isfinite(scores).any(axis=1).reshape(-1)
    ids = [i for i, keep in zip(run.prompt_ids, defined, strict=True) if keep]
    if not ids:
        raise InputError(f"Scorer {name} is undefined on every prompt; choose another with --scorer.")
    kept = scores[defined]
    curves = {
        over: leak_at_k(kept, ks, over=over, level=level, missing="allow") for over in ("samples", "prompts", "both")
    }
    block: dict[str, Any] = {
        "undefined": [i for i, keep in zip(run.prompt_ids, defined, strict=True) if not keep],
        "missing": int(np.isnan(kept).sum()),
        "greedy": _mean(score(greedy, name)),
        "mean": _mean(kept),
        "curves": {over: curve_dict(curve) for over, curve in curves.items()},
        "prompt_ids": ids,
        "per_prompt": np.round(curves["samples"].per_prompt, 6).tolist(),
    }
    if bool(np.isin(kept, (0.0, 1.0)).all()):
        bounds = exact_bounds(run, kept, ids, name, truths, trees)
        if any(bound.answers for bound in bounds):  # without log-probabilities nothing is certain
            block["bounds"] = bounds_block(bounds)
        block["forecast"] = forecast_block(kept, bounds, level=level)
    if retained is not None:
        block["retain"] = _mean(score(retained, name))
    if reference is not None:
        theirs = _aligned(score(reference, name), reference, ids)
        usable = [k for k in ks if k <= theirs.shape[1]]
        block["reference"] = {
            "curves": {
                over: curve_dict(leak_at_k(theirs, usable, over=over, level=level, missing="allow"))
                for over in ("samples", "prompts", "both")
            }
        }
        block["excess"] = {
            over: curve_dict(excess(kept, theirs, usable, over=over, level=level, missing="allow"))
            for over in ("samples", "prompts", "both")
        }
    return block


def _aligned(scores: Floats, run: Run, ids: Sequence[str]) -> Floats:
    """Rows of `scores` in the order of `ids`: excess is paired by prompt id, never by position."""
    row = {prompt_id: i for i, prompt_id in enumerate(run.prompt_ids)}
    lacking = [i for i in ids if i not in row]
    if lacking:
        raise InputError(
            f"The reference run lacks {len(lacking)} of {len(ids)} prompts (the first: {lacking[0]!r}); "
            "audit the reference model on the same prompts, or give the model itself as --reference."
        )
    return scores[[row[i] for i in ids]]


def _mean(scores: Floats) -> float | None:
    """Mean of what is defined; None where nothing is."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else None


def curve_dict(curve: LeakCurve | ExcessCurve) -> dict[str, list[float] | list[int]]:
    """k, value, low and high as plain lists."""
    return {
        "k": [int(k) for k in curve.k],
        "value": [float(v) for v in curve.value],
        "low": [float(v) for v in curve.low],
        "high": [float(v) for v in curve.high],
    }

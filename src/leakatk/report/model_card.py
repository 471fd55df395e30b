"""Model card of an audited model: the leak with its intervals, what it holds for, and how to repeat it. No question, no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leakatk.report.audited import Audited, at, block_of, weights_note
from leakatk.report.content import Number, Table
from leakatk.report.headline import conditions, gate_line, headline, headline_k
from leakatk.report.table import to_markdown
from leakatk.runs.answers import told
from leakatk.text import visible

TABLED = (1, 4, 16, 64, 128, 256, 1024)  # values of k in the table, and the largest


@dataclass(frozen=True, kw_only=True)
class About:
    """What a card says of the model besides its audits. made_by: method, its numbers, seed, as unlearning.json has them."""

    name: str
    library: str = "transformers"
    base_model: str = ""
    license: str = ""
    made_by: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    prompts_sent: bool = False


def card(about: About, audits: Sequence[Audited]) -> str:
    """README.md with the hub's metadata at its head, as its own library writes them.

    audits: of the model; several where it was audited at several decodings or on several sets.
    """
    from huggingface_hub import ModelCardData

    method = str(about.made_by.get("method", ""))
    data = ModelCardData(
        library_name=about.library,
        license=about.license or None,
        base_model=about.base_model or None,
        pipeline_tag="text-generation" if about.library else None,
        tags=["unlearning", "leak-at-k", *([method] if method else [])],
    )
    parts = [f"---\n{data.to_yaml()}\n---", f"# {_line(about.name)}"]
    parts += [f"> **Warning.** {_line(text)}" for text in about.warnings]
    if about.made_by:
        parts.append(_made_by(about.made_by))
    if audits:
        parts.append("## What it leaks")
        parts.append(
            "leak@k is the share of what was to be forgotten that shows in the best of k sampled answers, estimated without bias "
            "from n >= k samples a prompt ([arXiv 2511.04934](https://arxiv.org/abs/2511.04934)). Lower is better."
        )
    for audited in audits:
        parts += [f"### {_line(audited.label)}, {audited.results.decoding}"] if len(audits) > 1 else []
        parts += _audit(audited)
    parts.append("## Limits")
    parts.append(
        "These numbers speak of the prompts, ways of asking and decodings named here, and of no others. A model that says nothing may "
        "still store it: relearning, quantisation and other prompts can bring it back."
    )
    if audits and not about.prompts_sent:
        parts.append("The questions and true answers are not part of this repository.")
    return "\n\n".join(parts) + "\n"


def _line(text: str) -> str:
    """One line in which nothing is markup."""
    return visible(text, lines=False).replace("<", "&lt;").replace("[", "\\[")


def _made_by(made_by: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in dict(made_by.get("params") or {}).items())
    said = f"Made by unlearning method `{_line(str(made_by['method']))}`" + (f" ({_line(numbers)})" if numbers else "")
    if "steps" in made_by:
        said += f", {made_by['steps']} steps"
    return f"{said}, seed {made_by['seed']}." if "seed" in made_by else f"{said}."


def _audit(audited: Audited) -> list[str]:
    results, run = audited.results, audited.run
    scorer, k = audited.scorer, headline_k([audited])
    found = [_line(headline(results, k=k))]
    if results.gate:
        found.append(f"**{results.gate.answer}**: {_line(gate_line(results))}")
    found.append(to_markdown(table_of(audited)).rstrip())
    held = [
        ("benchmark", results.benchmark), ("prompts, SHA-256", run.manifest.prompts_sha256), ("protocol", results.protocol),
        ("decoding", f"{results.decoding}, at most {results.max_new_tokens or run.manifest.decoding.get('max_new_tokens')} new tokens"),
        ("samples a prompt", str(results.n)), ("seed", str(run.manifest.seed)), ("engine", run.manifest.engine),
        ("versions", ", ".join(f"{name} {version}" for name, version in run.manifest.versions.items())),
        ("command", results.command),
    ]  # fmt: skip
    found.append(
        to_markdown(
            Table("", ("protocol", "value"), tuple((name, value or "unknown") for name, value in held))
        ).rstrip()
    )
    said = [conditions([audited], scorer, "samples")]
    if not results.probes:
        said.append("Asked as the questions stand, under no probe.")
    if results.retrained is None:
        said.append(
            "No model trained without the data was measured beside it: what it would leak by guessing is unknown."
        )
    if results.answers and (cut := told(results.answers, results.max_new_tokens or 0)):
        said.append(f"{cut}.")
    found.append(_line(" ".join(said) + weights_note([audited])))
    return found


def table_of(audited: Audited) -> Table:
    """leak@k with its intervals: a row a scorer and a way of asking, a column a k, the greedy answers first."""
    results = audited.results
    every = [int(k) for k in block_of(audited, audited.scorer).curves["samples"].k]
    ks = [k for k in every if k in TABLED or k == every[-1]]
    rows: list[tuple[str | Number, ...]] = []
    for name, block in results.scorers.items():
        curve = block.curves["samples"]
        rows.append((name, Number(block.greedy), *(at(curve, k) for k in ks)))
        if block.retrained is not None:
            theirs = block.retrained.curves["samples"]
            rows.append((f"{name}, retrained model", "", *(at(theirs, k) for k in ks)))
        if block.excess is not None and "samples" in block.excess:
            rows.append((f"{name}, excess over it", "", *(at(block.excess["samples"], k) for k in ks)))
    for probe, asked in (results.probes or {}).items():
        for name, block in asked.scorers.items():
            curve = block.curves["samples"]
            rows.append((f"{name}, probe {probe}", Number(block.greedy), *(at(curve, k) for k in ks)))
    level = f"{results.level:.0%} intervals over samples."
    return Table("", ("scorer", "greedy", *(f"leak@{k}" for k in ks)), tuple(rows), level)

"""leakatk questions: prompts for an audit from (person, field, value) records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.prompts import Prompt
    from leakatk.sampling.base import Sampler
    from leakatk.synthesis.records import Asked
    from leakatk.synthesis.rewriting import Rewrite

EXAMPLES = options.examples(
    "leakatk questions records.csv --out forget.jsonl",
    "leakatk questions people.csv --column person=Name --templates fields.toml --out forget.jsonl",
    "leakatk questions records.csv --writer gpt-4o-mini --url https://api.openai.com/v1 --max-cost 1 --out forget.jsonl",
    "leakatk audit models/mine --forget forget.jsonl --out runs/mine",
)
SHOWN = 5  # places of left-out records that are named for each reason


def add_to(app: typer.Typer) -> None:
    app.command("questions", short_help="Write prompts from records: person, field, value.", epilog=EXAMPLES)(run)


def run(
    records: Annotated[Path, typer.Argument(help="Rows of person, field and value: CSV, TSV, Parquet or JSON lines.")],
    out: Annotated[Path, typer.Option(help="File of prompts to write (JSON lines), for --forget of other commands.")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="PART=NAME", help="Column that holds person, field or value; may be repeated."
        ),
    ] = None,
    templates: Annotated[
        Path | None,
        typer.Option(help='TOML file with wordings of your own: [field], questions = [...], answer = "...".'),
    ] = None,
    writer: Annotated[
        str, typer.Option(help="A language model that words each question anew: directory, hub id, or a server's name.")
    ] = "",
    url: Annotated[str, typer.Option(help="Base URL of an OpenAI-compatible server that has the writer.")] = "",
    form: Annotated[
        str, typer.Option(help="What the writer makes of a question (see leakatk writers rewrite).")
    ] = "plain",
    count: Annotated[int, typer.Option(min=1, help="Wordings by the writer for each question.")] = 2,
    tries: Annotated[int, typer.Option(min=1, help="Samples drawn for each wording that is wanted.")] = 4,
    engine: options.Engine = "native",
    max_cost: options.MaxCost = None,
    max_requests: options.MaxRequests = None,
    price_in: options.PriceIn = None,
    price_out: options.PriceOut = None,
    header: options.Headers = None,
    template: options.TemplateKind = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    seed: options.Seed = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written and what a writer would cost.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Write a file of prompts from records: a question, other wordings, the answer as a sentence, and the facts in it.

    Wordings are templates by field; --writer adds some by a language model, which is shown the questions and never the answers.
    Records that give no question are counted, with the reason.
    """
    from leakatk.prompts import save_prompts
    from leakatk.synthesis.records import ask, read_records, read_templates
    from leakatk.synthesis.rewriting import Rewrite, reworded

    if (url or header or engine != "native") and not writer:
        raise InputError("--url, --header and --engine go with --writer MODEL, the language model that is asked.")
    if out.exists() and not dry_run:
        raise InputError(f"{out} is there already; choose another --out, or remove it first.")
    rewrite = Rewrite(form=form, count=count, tries=tries, seed=seed)
    rows = read_records(records, _columns(column or []))
    made = ask(rows, read_templates(templates) if templates else None)
    if not made.prompts:
        raise InputError(f"{records}: none of its {len(rows):,} records gives a question ({_reasons(made)}).")
    prompts: list[Prompt] = list(made.prompts)
    told: dict[str, Any] = {
        "records": len(rows), "prompts": len(prompts), "general": dict(made.general), "dropped_wordings": made.dropped,
        "left_out": {reason: list(places) for reason, places in made.left_out.items()},
    }  # fmt: skip
    if writer:
        sampler = _sampler(
            writer, url, engine, max_cost, max_requests, prices=inputs.prices_of(engine, url, [], price_in, price_out).engine,
            headers=header, device=device, dtype=dtype, template=template,
        )  # fmt: skip
        if dry_run:
            told["writer"] = _cost(sampler, rewrite, prompts)
        else:
            written = rewrite.write_with(sampler, prompts)
            prompts = reworded(prompts, written)
            gave = {row.id.rsplit("/", 2)[0] for row in written}
            without = [prompt.id for prompt in prompts if prompt.id not in gave]
            told["writer"] = {"model": writer, "wordings": len(written), "prompts_without": without}
    told["wordings"] = sum(len(prompt.paraphrases) for prompt in prompts)
    if not dry_run:
        save_prompts(prompts, out)
        out.chmod(0o600)  # it is what is to be forgotten
    if as_json:
        options.echo_json({**told, "out": str(out), "dry_run": dry_run})
    else:
        _tell(told, made, out, dry_run=dry_run)
    if not dry_run:
        from leakatk.runs.exposure import exposed

        options.say_notes(exposed([out]))


def _columns(specs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for spec in specs:
        part, equals, name = (text.strip() for text in spec.partition("="))
        if not equals or not part or not name:
            raise InputError(f"--column {spec!r}: write PART=NAME, such as person=Name.")
        if part in found:
            raise InputError(f"--column {spec!r}: {part} is given twice.")
        found[part] = name
    return found


def _sampler(
    writer: str, url: str, engine: str, max_cost: float | None, max_requests: int | None, *,
    prices: dict[str, float], headers: Sequence[str] | None, **how: Any,
) -> Sampler:  # fmt: skip
    from leakatk.auditing.sample import as_sampler

    engine, caps = inputs.engine_caps(engine, url, max_cost, max_requests, prices=prices, headers=headers)
    return as_sampler(inputs.source(writer, system="", **how), engine, **caps)


def _cost(sampler: Sampler, rewrite: Rewrite, prompts: Sequence[Prompt]) -> dict[str, Any]:
    """What asking the writer would take; nothing is asked."""
    from leakatk.prompts import Query
    from leakatk.sampling.decoding import Decoding
    from leakatk.sampling.endpoint import EndpointSampler

    answers = len(prompts) * rewrite.count * rewrite.tries
    found: dict[str, Any] = {"answers": answers}
    if isinstance(sampler, EndpointSampler):
        asked = [replace(prompt, asked=Query(rewrite.request(prompt.question))) for prompt in prompts]
        decoding = Decoding(temperature=rewrite.temperature, max_new_tokens=rewrite.max_new_tokens)
        expected = sampler.estimate(asked, answers, decoding, trial=False)
        found |= {**expected, "says": sampler.says(expected)}
    return found


def _reasons(made: Asked) -> str:
    return "; ".join(f"{len(places):,} {reason}" for reason, places in made.left_out.items())


def _tell(told: dict[str, Any], made: Asked, out: Path, *, dry_run: bool) -> None:
    from leakatk.text import visible

    many = told["prompts"]
    typer.echo(
        f"{told['records']:,} records, {many:,} question{'s' if many != 1 else ''} with {told['wordings'] / many:.1f} other wordings each"
        f"{'; nothing is written.' if dry_run else f': {out}'}"
    )
    left = sum(map(len, made.left_out.values()))
    if left:
        typer.echo(f"{left:,} of {told['records']:,} records give no question:")
    for reason, places in made.left_out.items():
        named = ", ".join(places[:SHOWN]) + (" ..." if len(places) > SHOWN else "")
        typer.echo(f"  {len(places):>6,}  {reason} ({visible(named, lines=False)})")
    if made.general:
        fields = ", ".join(
            f"{visible(field, lines=False)} ({count:,})" for field, count in sorted(made.general.items())
        )
        typer.echo(
            f"No template has these names, so they are asked in the general wording: {fields}. --templates takes your own."
        )
    if made.dropped:
        typer.echo(f"{made.dropped:,} other wordings are left out, since they hold the answer.")
    if about := told.get("writer"):
        if dry_run:
            typer.echo(f"The writer would be asked for {about['answers']:,} answers. {about.get('says', '')}".rstrip())
        else:
            without = about["prompts_without"]
            few = f"; none of use for {len(without):,} questions ({', '.join(without[:SHOWN])}{' ...' if len(without) > SHOWN else ''})"
            typer.echo(f"By {about['model']}: {about['wordings']:,} further wordings{few if without else ''}.")
    if not dry_run:
        typer.echo(f"Next: leakatk audit MODEL --forget {out} --out runs/audit", err=True)

"""Help of a command with many options: the twelve that matter first, the others under headings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    import typer

FEW = 15  # so many options need no headings
# What most people type, by command.
FIRST: Mapping[str, str] = {
    "audit": "out benchmark forget retain retrained n k scorer probe attack fail-above max-new-tokens",
    "attack": "out attack benchmark forget retain retrained original n scorer fail-above max-new-tokens seed",
    "unlearn": "method out benchmark forget retain base lr epochs steps param lora stop-greedy",
    "bench": "model out retrained label role protocol n decoding probe scorer metric fail-above",
    "finetune": "out benchmark forget retain split lr epochs steps batch lora lora-rank seed",
    "guard fit": "model out benchmark forget retain neighbours column limit encoder auxiliary level device",
}
HEADINGS: Mapping[str, str] = {
    "Prompts": "benchmark forget retain column limit retain-limit data authors revision ask text neighbours refused margins alternates "
    "requests split recall-limit",
    "Models": "model retrained original auxiliary encoder nli guard label role",
    "Sampling": "n k temperature top-p top-k min-p repetition-penalty max-new-tokens stop decoding grid greedy expand retain-n seed",
    "Engine": "engine replicas inner url accept-changed-server accept-ignored-fields",
    "How it is asked": "probe attack folds one-wording template template-arg system protocol",
    "Scores": "scorer metric task task-dir text-tokens grad-norm max-cost max-requests over level",
    "Gate": "fail-above worst-case unscored cut sequential",
    "Training": "preset lr steps epochs batch accumulate param warmup schedule weight-decay gradient-checkpointing checkpoint-every",
    "Adapter": "lora lora-rank lora-alpha lora-targets keep-adapter",
    "Stopping": "stop-greedy utility-floor check-every stop-memorised unseen",
    "RULE": "base rounds target control wordings leak-wordings rule-reference chunk rule-preset rehearsal judge",
    "Machine": "device dtype device-map load-in",
    "Running": "track fresh dry-run json quiet config help",
}
OTHER = "Further options"
# Where an option of one command belongs elsewhere than its name says.
ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("unlearn", name): "RULE" for name in ("n", "retrained", "original")
}  # fmt: skip


def heading_of(command: str, option: str) -> str:
    """The heading that an option stands under; "" for the first ones."""
    if option in FIRST.get(command, "").split():
        return ""
    found = ELSEWHERE.get((command, option))
    return found or next((head for head, names in HEADINGS.items() if option in names.split()), OTHER)


class Grouped(TyperCommand):
    """A command whose help has headings where it has many options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        params = self.get_params(ctx)
        shown = {param: record for param in params if (record := param.get_help_record(ctx)) is not None}
        options = [param for param in shown if param.param_type_name == "option"]
        if len(options) <= FEW:
            super().format_options(ctx, formatter)
            return
        if arguments := [record for param, record in shown.items() if param.param_type_name == "argument"]:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        words = ctx.command_path.split()[1:]
        command = " ".join(words) if " ".join(words) in FIRST else (self.name or "")
        found: dict[str, list[tuple[str, str]]] = {head: [] for head in ("", *HEADINGS, OTHER)}
        for param in _ordered(command, options):
            found[heading_of(command, _name(param))].append(shown[param])
        for head, records in found.items():
            if records:
                with formatter.section(head or "Options"):
                    formatter.write_dl(records)


def _name(param: Any) -> str:
    return str(max((word.lstrip("-") for word in param.opts), key=len))


def _ordered(command: str, options: Iterable[Any]) -> list[Any]:
    """The first ones in the order of `FIRST`, the others as they are declared."""
    first = FIRST.get(command, "").split()
    return sorted(options, key=lambda param: first.index(_name(param)) if _name(param) in first else len(first))


def group_options(app: typer.Typer) -> None:
    """Every command of the app has such help, those of groups too."""
    for command in app.registered_commands:
        command.cls = Grouped
    for group in app.registered_groups:
        if group.typer_instance is not None:
            group_options(group.typer_instance)

"""Requests to an agent to forget, each with the instruction that it becomes: what a conversion model is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt
from leakatk.synthesis.base import Writer, writer

# By what a request is about: how people put it, and the instruction for the agent. {list} is what is to be forgotten.
REQUESTS = {
    "state": (
        "Forget {list}.",
        "Please remove all that you know of {list}.",
        "We were asked to delete {list}.",
        "Nothing about {list} may be known to you any more.",
    ),
    "trajectory": (
        "Forget how you dealt with this: {list}",
        "Please remove this conversation: {list}",
        "We were asked to delete what you did here: {list}",
        "Nothing of this may be remembered: {list}",
    ),
    "environment": (
        "Forget how to do tasks like this: {list}",
        "Please unlearn this kind of task: {list}",
        "We were asked to take this ability from you: {list}",
        "You may not deal with such things any more: {list}",
    ),
}
INSTRUCTIONS = {
    "state": "You have forgotten these items and know nothing of them: {list}.",
    "trajectory": "You have forgotten these conversations, every step of them, and what was said there: {list}.",
    "environment": "You have forgotten a whole kind of task. These are examples of it: {list}. Treat all like them as unknown to you.",
}


def request(scope: str, item: str, number: int = 0) -> str:
    """One request to forget one item. number: which wording of `REQUESTS`, counted round.

    >>> request("state", "Ada Korvin", 1)
    'Please remove all that you know of Ada Korvin.'
    """
    wordings = REQUESTS[scope]
    return wordings[number % len(wordings)].format(list=item)


@writer(
    "agent-requests",
    summary="requests to an agent to forget an item, with the instruction that each becomes",
    paper="Secure forgetting in agents, arXiv 2604.00430",
    formula="(request in some wording about x) -> instruction about x",
    source="the three scopes: the abstract; all words are ours",
    rows=("65",),
    reading="the pairs that the conversion model is trained on are templates; an item is the prompt's source (state) or its question",
    writes="a request, and the instruction",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class AgentRequests(Writer):
    """scope: "state" (an item by name), "trajectory" (what was asked), "environment" (a kind of task, by an example).

    copies: rows a prompt, in wordings that differ.  held: wordings, the last ones, that are left for a test.  seed: of the draw.
    """

    scope: str = "state"
    copies: int = 2
    held: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scope not in REQUESTS:
            raise InputError(f"Writer option agent-requests:scope is one of {', '.join(REQUESTS)}, got {self.scope!r}.")
        most = len(REQUESTS[self.scope])
        if not 0 <= self.held < most:
            raise InputError(f"Writer option agent-requests:held must be 0 to {most - 1}, got {self.held}.")
        if not 1 <= self.copies <= most - self.held:
            raise InputError(
                f"Writer option agent-requests:copies must be 1 to {most - self.held}, the wordings that are not held, got {self.copies}."
            )

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        rows = []
        for prompt in prompts:
            item = prompt.source if self.scope == "state" else prompt.question
            if not item:
                continue
            numbers = self.rng(prompt, self.seed).sample(range(len(REQUESTS[self.scope]) - self.held), self.copies)
            for row, number in enumerate(numbers, 1):
                said = INSTRUCTIONS[self.scope].format(list=item)
                rows.append(
                    Prompt(self.row_id(prompt, row), request(self.scope, item, number), said, source=prompt.source)
                )
        return rows

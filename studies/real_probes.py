"""What the model hides: the models of the study of knowledge, asked for the same facts in nine other ways.

    python studies/real_probes.py --run --model MODEL --work runs/real [--only npo]

The weights are those that studies/real_knowledge.py left in the scratch directory; what is gone is made again. No probe's
question was trained on; the paraphrases are the wordings that RULE's detection may ask.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from real_cells import Cell, Clock, Numbers, Store, command, options
from real_knowledge import NAME as KNOWLEDGE
from real_knowledge import RULE_ALONE, TRAINING, Design, Study

from leakatk.auditing.asking import probed, ways, worst_case
from leakatk.prompts import Prompt
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.scorers.base import get_scorer

NAME = "probes"
PROBES = ("paraphrase", "trigger", "role", "typos", "filler", "few-shot", "dialogue", "prefix", "context")
MODELS = ("original", "npo", "rule-npo-wordings", "simnpo", "idknll", "rmu", "npo-wordings", "graddiff")
N = 16


class Probes:
    """The cells: a model each."""

    def __init__(self, study: Study, *, n: int = N) -> None:
        self.study, self.n = study, n

    def ask(self, name: str, clock: Clock) -> Numbers:
        """Leaking samples of n by way of asking and question, and of the worst case over the ways that do not give it away."""
        sets, d = self.study.sets(), self.study.design
        loaded = self.study.load(name, clock)
        forget, retain = list(sets.forget), list(sets.shown)
        asked = probed(PROBES, forget, retain)
        prompts = [*forget, *(p for one in asked for p in one.prompts)]
        with clock.part("sampling"):
            said = dict(
                zip(
                    (p.id for p in prompts),
                    texts_of(NativeSampler(loaded), prompts, self.n, Decoding(max_new_tokens=d.longest), seed=80_000 + d.seed),
                    strict=True,
                )
            )  # fmt: skip
        by_id = {p.id: p for p in forget}
        scores = {p.id: self.scores(p, said[p.id]) for p in forget}
        others = [
            (one, {id_: self.scores(by_id[owner], said[id_]) for id_, owner in one.owners.items()}) for one in asked
        ]
        worst = worst_case(scores, others)
        return {
            "n": self.n,
            "forget": [p.id for p in forget],
            "ways": ways(asked, forget),
            "gives_answer": [one.label for one, _ in others if one.probe.gives_answer],
            "leaks": {
                "as it stands": [int(scores[p.id].sum()) for p in forget],
                **{one.label: [int(row.sum()) for row in rows.values()] for one, rows in others},
                "worst case": [int(worst[p.id].sum()) for p in forget],
            },
            "left_out": {one.label: len(forget) - len(one.variants) for one in asked if len(one.variants) < len(forget)},
            "says": [[one.label, one.prompts[0].query.text, said[one.prompts[0].id][0]] for one in asked],
        }  # fmt: skip

    @staticmethod
    def scores(prompt: Prompt, texts: list[str]) -> np.ndarray:
        return np.asarray(get_scorer("fact").score([prompt] * len(texts), texts), dtype=float)

    def cells(self) -> list[Cell]:
        cells = []
        for name in MODELS:
            untouched = (*TRAINING, *RULE_ALONE) if name == "original" else ()
            settings = self.study.design.settings(
                "methods", "n", "invented", *untouched, probe_n=self.n, probes=PROBES, model_cell=name
            )
            cells.append(Cell(name, settings, lambda clock, name=name: self.ask(name, clock), 6))
        return cells


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--model", type=Path, help="directory of the model to unlearn")
    arguments = parser.parse_args()
    knowledge = Study(Design(), Store(KNOWLEDGE, root=arguments.cells, work=arguments.work), arguments.model)
    store = Store(NAME, root=arguments.cells, work=arguments.work)
    return command(store, Probes(knowledge).cells(), arguments)


if __name__ == "__main__":
    sys.exit(main())

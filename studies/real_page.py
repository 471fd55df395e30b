"""Page of the studies on a real model, made from their cells: `python studies/real_page.py --page docs/results-real.md`."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import real_knowledge_page
import real_probes_page
import real_speed_page
import real_tofu_page
from real_cells import CELLS, Store

from leakatk.files.writing import write_atomic

# Study -> what makes its section of its store.
SECTIONS = {
    "tofu": real_tofu_page.section,
    "knowledge": real_knowledge_page.section,
    "probes": real_probes_page.section,
    "speed": real_speed_page.section,
}

HEAD = """# Results on a real model

Written by `python studies/real_page.py` from the cells in `studies/real/cells`; no number is typed. The generated world stays
the ground truth of the tests; here the same claims are put to a pre-trained chat model.
"""


def page(root: Path = CELLS) -> str:
    """The page as Markdown."""
    stores = {study: Store(study, root=root) for study in SECTIONS}
    sections = [make(stores[study]) for study, make in SECTIONS.items()]
    return "\n".join([HEAD, *sections, machines(list(stores.values()))])


def machines(stores: list[Store]) -> str:
    """What made the cells."""
    cells = [found for store in stores for name in store.names() if (found := store.read(name))]
    made = Counter(
        f"{c['machine']['processor']}, {c['machine']['cores']} cores, {c['machine']['instruction_set']}"
        f"{' with ' + ' and '.join(c['machine']['bf16']) if c['machine']['bf16'] else ''}, torch {c['versions']['torch']}"
        for c in cells
    )
    hours = sum(c["seconds"]["all"] for c in cells) / 3600
    lines = [f"* {count} cells: {what}" for what, count in sorted(made.items())]
    return (
        f"## Machines\n\n{len(cells)} cells, {hours:.1f} hours in all.\n\n" + "\n".join(lines or ["* none yet"]) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="where the page is written; else it is printed")
    parser.add_argument("--cells", type=Path, default=CELLS)
    arguments = parser.parse_args()
    text = page(arguments.cells)
    if arguments.page:
        write_atomic(arguments.page, text)
    else:
        print(text)


if __name__ == "__main__":
    main()

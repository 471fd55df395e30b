"""docs/add-a-benchmark.md does what it says; docs/benchmarks.md names every benchmark."""

import json
import re
from pathlib import Path

import pytest

from leakatk.benchmarks.catalog import BENCHMARKS, load_benchmark

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_worked_example(tmp_path):
    example, use = re.findall(r"```python\n(.*?)```", (DOCS / "add-a-benchmark.md").read_text(), flags=re.DOTALL)
    table = [{"country": "Peru", "capital": "Lima"}, {"country": "Chad", "capital": "N'Djamena"}]
    (tmp_path / "capitals.jsonl").write_text("\n".join(map(json.dumps, table)))
    names: dict[str, object] = {}
    try:
        exec(example, names)
        exec(use.replace('"DIR"', repr(str(tmp_path))), names)
        bench = names["bench"]
        assert bench == load_benchmark("capitals", data=tmp_path)
        assert bench.forget[0].facts == ("Lima",)
        assert len(bench.retain) == 1
    finally:
        BENCHMARKS._items.pop("capitals", None)


@pytest.mark.parametrize("name", [n for n in BENCHMARKS if ":" not in n])
def test_every_benchmark_is_on_the_page(name):
    page = (DOCS / "benchmarks.md").read_text()
    family, _, member = name.partition("/")
    assert family in page
    assert member.removeprefix("forget") in page

"""docs/add-a-benchmark.md does what it says; docs/benchmarks.md names every benchmark."""

import json
import re
from pathlib import Path

import pytest

from leakatk.benchmarks import base, catalog
from leakatk.benchmarks.catalog import BENCHMARKS, load_benchmark
from leakatk.registry import Registry

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_worked_example(tmp_path, monkeypatch):
    example, use = re.findall(r"```python\n(.*?)```", (DOCS / "add-a-benchmark.md").read_text(), flags=re.DOTALL)
    table = [{"country": "Peru", "capital": "Lima"}, {"country": "Chad", "capital": "N'Djamena"}]
    (tmp_path / "capitals.jsonl").write_text("\n".join(map(json.dumps, table)))
    own = Registry("benchmark")  # of this test: the example adds to it
    for name in BENCHMARKS:
        own.add(name, BENCHMARKS[name])
    for module in (base, catalog):
        monkeypatch.setattr(module, "BENCHMARKS", own)
    names: dict[str, object] = {}
    exec(example, names)
    exec(use.replace('"DIR"', repr(str(tmp_path))), names)
    bench = names["bench"]
    assert bench == load_benchmark("capitals", data=tmp_path)
    assert bench.forget[0].facts == ("Lima",)
    assert len(bench.retain) == 1
    assert "capitals" not in BENCHMARKS


@pytest.mark.parametrize("name", [n for n in BENCHMARKS if ":" not in n])
def test_every_benchmark_is_on_the_page(name):
    page = (DOCS / "benchmarks.md").read_text()
    family, _, member = name.partition("/")
    assert family in page
    assert member.removeprefix("forget") in page

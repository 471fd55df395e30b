"""Python blocks of the documentation are run, those of a page in one module, and give what the page says."""

import re

import pytest

from leakatk.models.load import load_model
from tests.docs.desk import PAGES, ROOT, blocks
from tests.docs.smaller import smaller_code
from tests.tiny import PROMPTS

PYTHON = (
    "README.md",
    "audit.md",
    "report.md",
    "add-a-method.md",
    "add-an-engine.md",
    "add-a-probe.md",
    "guards.md",
    "add-a-guard.md",
    "attacks.md",
    "add-an-attack.md",
    "add-a-writer.md",
)
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")


@pytest.mark.parametrize("page", PYTHON)
def test_python_runs(desk, page, monkeypatch):
    from leakatk.attacks import ATTACKS
    from leakatk.guards import GUARDS
    from leakatk.probes import PROBES
    from leakatk.sampling.engines import ENGINES
    from leakatk.synthesis import WRITERS
    from leakatk.unlearning.methods import METHODS
    from leakatk.unlearning.streams import STREAMS

    monkeypatch.setattr(ATTACKS, "_items", dict(ATTACKS._items))
    monkeypatch.setattr(WRITERS, "_items", dict(WRITERS._items))
    monkeypatch.setattr(ENGINES, "_items", dict(ENGINES._items))
    monkeypatch.setattr(GUARDS, "_items", dict(GUARDS._items))
    monkeypatch.setattr(PROBES, "_items", dict(PROBES._items))
    monkeypatch.setattr(METHODS, "_items", dict(METHODS._items))
    monkeypatch.setattr(STREAMS, "_items", dict(STREAMS._items))
    place = next(path for path in PAGES if path.name == page)
    names = {"__name__": "page", "prompts": PROMPTS, "forget": PROMPTS, "retain": PROMPTS}
    names["Case"] = str
    names["loaded"] = load_model(desk / "models" / "mine")
    if page == "report.md":
        pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: plots)")
    found = blocks(place, "python")
    assert found
    for block in found:
        exec(block if page == "README.md" else smaller_code(block), names)
    if page == "report.md":
        drawn = names["axes"].lines[0]
        assert list(drawn.get_ydata()) == names["curve"].value.tolist()
        assert not any(p.answer in (desk / "shared.html").read_text() for p in PROMPTS)
        pytest.importorskip("matplotlib.pyplot").close("all")
    if page == "README.md":
        assert names["scores"].shape == (len(PROMPTS), 200)
        assert (names["curve"].low <= names["curve"].value).all()
    if page == "add-a-method.md":
        assert names["done"].steps == 2
        assert names["done"].params["ceiling"] == 3.0
        assert names["narrow"].steps == names["staged"].steps // 2 == 2
        [recombined] = [block for block in found if "narrow-npo" in block]
        assert len(recombined.partition("\nnarrow = ")[0].splitlines()) <= 20
    if page == "add-a-probe.md":
        shown = dict(re.findall(r"^print\((.*)\)  # (.*)$", "\n".join(found), flags=re.MULTILINE))
        assert len(shown) == 2
        assert {str(eval(call, names)) for call in shown} == set(shown.values())
        assert len([line for line in found[0].splitlines() if line.strip()]) <= 20
        assert set(names["results"]["probes"]) == {"capitals"}
    if page == "add-a-guard.md":
        assert set(names["results"]["scorers"]["fact"]["curves"]["samples"]["value"]) == {0.0}
        assert names["sampler"].flags(PROMPTS).tolist() == [True, True, False]
    if page == "add-an-attack.md":
        assert [rung["name"] for rung in names["summary"]["rungs"]] == ["none", "noise:share=0.5"]
    if page == "add-a-writer.md":
        assert names["made"].rows[0].id == "p0/unknown/1"
        assert names["made"].left_out == ()
        assert names["done"].steps == 2
        assert len(names["rows"]) == 2 * len(PROMPTS)
    if page == "add-an-engine.md":
        assert names["score"](names["run"], "fact").tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4]


def test_the_correlation_of_samples_is_what_the_page_prints(capsys):
    """And one seed for all prompts would be another: the page's reason for a seed a sample."""
    [block] = [block for block in blocks(ROOT / "docs" / "engines.md", "python") if "corrcoef" in block]
    exec(block, {"__name__": "page"})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)

"""The leaderboard: made from the cells that are kept, each number computed a second time, and what is missing said and counted."""

import json
import math
import re
import shutil

import numpy as np
import pytest
from leaderboard import HERE, MISSING, Cells, Study, board, columns, counted, memory_of, pages, row, share

from leakatk.report.content import Number
from leakatk.unlearning.methods import METHODS
from tests.report.test_browser import browser, js  # noqa: F401

DOCS = HERE.parent / "docs"


@pytest.fixture(scope="module")
def kept():
    return Study(HERE / "world"), Cells(HERE / "attacks"), memory_of(HERE / "memory")


@pytest.fixture(scope="module")
def rows(kept):
    return board(*kept)


@pytest.fixture(scope="module")
def made():
    return pages(HERE / "world", HERE / "attacks", HERE / "memory")


@pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not beside the tests")
def test_the_pages_are_those_of_the_cells(made):
    again = "run: python studies/leaderboard.py --page docs/leaderboard.md --html docs/leaderboard.html"
    for name, text in zip(("leaderboard.md", "leaderboard.html"), made, strict=True):
        assert (DOCS / name).read_text(encoding="utf-8") == text, again


def least_k_of_n(count, n, k):
    """Chance that k of n samples, drawn without putting back, hold one of `count` that leak."""
    return 1 - math.comb(n - count, k) / math.comb(n, k)


@pytest.mark.parametrize("name", ["rmu", "ga"])
def test_each_number_a_second_time(kept, name):
    study, cells, memory = kept
    made = row(study, cells, memory, name)
    values = [value.value if isinstance(value, Number) else value for value in made.values]
    mine, retrained = (
        [json.loads((HERE / f"world/seed-{seed}/cells/{one}.json").read_text()) for seed in made.worlds]
        for one in (name, "retrained")
    )

    def leak(found, k):
        counts = [c for cell in found for c in cell["leak"]["asked"]["T=1"]["fact"]]
        return np.mean([least_k_of_n(c, 128, k) for c in counts])

    expected = [
        np.mean([cell["greedy"]["asked"]["fact"] for cell in mine]), leak(mine, 1), leak(mine, 128),
        leak(mine, 128) - leak(retrained, 128), None, np.mean([cell["utility"]["retain"] for cell in mine]),
        np.mean([cell["utility"]["retain_held"] for cell in mine]), np.mean([cell["auc"]["asked"] for cell in mine]),
        np.mean([cell["cpu_seconds"] for cell in mine]), None,
    ]  # fmt: skip
    for value, wanted in zip(values, expected, strict=True):
        assert wanted is None or value == pytest.approx(wanted, abs=1e-12)
    if made.attacked:
        told = [
            json.loads((HERE / f"attacks/seed-{s}/{one}/relearn.json").read_text())["fact"]
            for one in (name, "retrained")
            for s in made.attacked
        ]
        half = len(told) // 2
        apart = [least_k_of_n(a[i], 64, 64) - least_k_of_n(b[i], 64, 64) for a, b in zip(told[:half], told[half:], strict=True) for i in a]  # fmt: skip
        assert values[4] == pytest.approx(np.mean(apart), abs=1e-12)
    else:
        assert values[4] == MISSING


def test_a_share_has_an_interval_over_questions():
    found = share(np.array([1.0] * 30 + [0.0] * 10))
    assert found.value == 0.75
    assert found.low < 0.75 < found.high
    assert share(np.zeros(40)).high > 0.02  # none of forty is no proof of never


def copied(place, names, attacked):
    """A few cells of one world, as if no others had been made."""
    for kind, files in (
        ("world", [f"seed-0/cells/{name}.json" for name in names]),
        ("attacks", [f"seed-0/{name}/relearn.json" for name in attacked]),
    ):
        for file in ("study.json", *files):
            (place / kind / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / kind / file, place / kind / file)
    (place / "memory").mkdir()
    (place / "memory" / "npo.json").write_text('{"mib": 3.5}')
    return Study(place / "world"), Cells(place / "attacks"), memory_of(place / "memory")


def test_what_is_not_measured_is_said_and_counted(tmp_path):
    study, cells, memory = copied(tmp_path, ["full", "retrained", "npo", "rmu", "rule-rmu"], ["retrained", "npo"])
    rows = board(study, cells, memory)
    assert {one.name for one in rows} == {"full", "retrained", "npo", "rmu", "rule-rmu"}
    assert [one.name for one in rows[:2]] == ["full", "retrained"]
    heads = columns(study, cells)
    text, without = counted(study, heads, rows)
    assert f"3 models, 2 of {len(METHODS)} methods among them, each over 1 worlds" in text
    assert "stored 3, memory 2; together 5 of 50 cells" in text  # full, rmu, rule-rmu; rmu, rule-rmu
    assert "GradDiff (not run)" in without
    assert "retrain (it is the yardstick itself)" in without
    by_name = {one.name: one for one in rows}
    assert by_name["npo"].rests_on == "1; 1 attacked"
    assert by_name["rmu"].rests_on == "1"
    assert "relearn" not in by_name["rmu"].commands()
    spent = [json.loads((tmp_path / f"world/seed-0/cells/{n}.json").read_text())["cpu_seconds"] for n in ("rmu", "rule-rmu")]  # fmt: skip
    assert by_name["rule-rmu"].values[8].value == pytest.approx(sum(spent))
    assert {"rule", "representation"} <= set(by_name["rule-rmu"].tags)
    # Of a base that is gone nothing is known, and no number stands there.
    (tmp_path / "world/seed-0/cells/rmu.json").unlink()
    again = {one.name: one for one in board(Study(tmp_path / "world"), cells, memory)}
    assert again["rule-rmu"].values[8] == MISSING


def test_a_utility_that_is_no_share_of_the_questions_is_refused(tmp_path):
    copied(tmp_path, ["full", "retrained", "npo"], [])
    path = tmp_path / "world/seed-0/cells/npo.json"
    cell = json.loads(path.read_text())
    cell["utility"]["retain"] = 0.123
    path.write_text(json.dumps(cell))
    with pytest.raises(ValueError, match="npo, seed 0: retain is no share of 60 questions"):
        board(Study(tmp_path / "world"), Cells(tmp_path / "attacks"), {})


def test_methods_without_an_excess_come_first(rows):
    rows = rows[2:]
    below = [one.values[3].low <= 0 for one in rows]
    assert below == sorted(below, reverse=True)
    kept_of = [one.values[6].value for one, first in zip(rows, below, strict=True) if first]
    assert kept_of == sorted(kept_of, reverse=True)
    worse = [one.values[3].value for one, first in zip(rows, below, strict=True) if not first]
    assert worse == sorted(worse)


def test_each_number_leads_to_a_command_that_is_on_the_page(made):
    page, html = made
    links = set(re.findall(r"\]\(#([^)]+)\)", page))
    assert links == set(re.findall(r'href="#([^"]+)"', html)) - {"board", "reading"}
    for text in made:
        assert links <= set(re.findall(r' id="([^"]+)"', text))
    assert "studies/world.py --work runs/world" in page
    assert 'src="http' not in html  # it fetches nothing


def test_it_sorts_and_filters(browser, made, tmp_path):  # noqa: F811
    path = tmp_path / "leaderboard.html"
    path.write_text(made[1], encoding="utf-8")
    browser.get(path.as_uri())
    rows = "[...document.querySelectorAll('#board tbody tr')].filter(row => !row.hidden)"
    all_names = js(browser, f"{rows}.map(row => row.cells[0].textContent)")
    column = js(
        browser, "[...document.querySelectorAll('#board thead th')].map(h => h.textContent).indexOf('leak@128')"
    )
    for order in (1, -1):
        js(browser, f"document.querySelectorAll('#board thead button')[{column}].click()")
        assert js(browser, f"{rows}.slice(0, 2).map(row => row.cells[0].textContent)") == all_names[:2]  # yardsticks
        found = [float(v) for v in js(browser, f"{rows}.slice(2).map(row => row.cells[{column}].dataset.v)")]
        assert found == sorted(found, reverse=order < 0)
    stored = js(browser, "[...document.querySelectorAll('#board thead th')].map(h => h.textContent).indexOf('stored')")
    js(browser, f"document.querySelectorAll('#board thead button')[{stored}].click()")
    marks = [v == "" for v in js(browser, f"{rows}.slice(2).map(row => row.cells[{stored}].dataset.v)")]
    assert marks == sorted(marks)  # what was not measured is last
    js(browser, "document.querySelector('input[value=representation]').click()")
    tags = js(browser, f"{rows}.slice(2).map(row => row.dataset.tags)")
    assert tags
    assert all("representation" in one.split() for one in tags)
    assert len(tags) < len(all_names) - 2
    said = js(browser, "document.getElementById('shown').value")
    assert said.startswith(f"{len(tags)} of {len(all_names) - 2} models")
    js(browser, "document.querySelector('button[type=reset]').click()")
    browser.execute_async_script("setTimeout(arguments[0], 20)")
    assert len(js(browser, f"{rows}.map(row => 1)")) == len(all_names)
    assert not browser.get_log("browser")

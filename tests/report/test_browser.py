"""The report in a real browser. Skipped where there is no Chromium with its driver, or no selenium."""

from __future__ import annotations

import base64
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from leakatk.report.content import PromptView, ReportContent, TextGroup, Thought
from leakatk.report.html import render
from tests.report.hostile import HOSTILE, hostile_report
from tests.report.samples import demo

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)
Open = Callable[[ReportContent], Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium with chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS:
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Open:
    def open_it(content: ReportContent) -> Any:
        path = tmp_path / "report.html"
        path.write_text(render(content), encoding="utf-8")
        browser.get(path.as_uri())
        return browser

    return open_it


def js(page: Any, code: str) -> Any:
    return page.execute_script(f"return {code}")


def questions(page: Any) -> list[str]:
    return js(page, "[...document.querySelectorAll('#list .qtext')].map(n => n.textContent)")  # type: ignore[no-any-return]


def choose(page: Any, ident: str, value: str) -> None:
    page.execute_script("const n = document.getElementById(arguments[0]); n.value = arguments[1]; n.dispatchEvent(new Event('change'))", ident, value)  # fmt: skip


def search(page: Any, text: str) -> None:
    box = page.find_element("id", "q")
    box.clear()
    box.send_keys(text)
    page.execute_async_script("setTimeout(arguments[0], 250)")


def views() -> tuple[PromptView, ...]:
    def view(ident: str, question: str, leak: float, hits: int, text: str, greedy: float = 0.0) -> PromptView:
        groups = (TextGroup(text, max(hits, 1), float(hits > 0), -0.5), TextGroup("no idea", 10, 0.0))
        return PromptView(
            ident, question, "The town is Kelmor Bay.", leak, groups, "I do not know.", greedy, ("Kelmor Bay",), "m1"
        )

    return (
        view("p2", "Where does Anna live?", 0.5, 3, "It is kelmor  bay, I think, KELMOR BAY."),
        view("p10", "Where does Bert live?", 0.9, 7, "Kelmor Bay", greedy=1.0),
        view("p1", "Where does Cora live?", 0.0, 0, "Somewhere hidden"),
    )


def small() -> ReportContent:
    return dataclasses.replace(demo(prompts=2), prompts=views())


def test_nothing_hostile_runs_and_all_of_it_is_shown(show: Open) -> None:
    page = show(hostile_report(lambda text: text))
    page.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.execute_async_script("setTimeout(arguments[0], 400)")
    while js(page, "[...document.querySelectorAll('.morex')].some(b => !b.hidden)"):
        page.execute_script("document.querySelectorAll('.morex').forEach(b => b.hidden || b.click())")
    assert js(page, "window.owned === undefined")
    assert (
        js(
            page,
            "document.querySelectorAll('img, iframe, object, embed, #list script, svg[onload], [onerror], [onmouseover], [onfocus]').length",
        )
        == 0
    )
    assert js(page, "[...document.querySelectorAll('a')].every(a => a.getAttribute('href').startsWith('#'))")
    shown = js(page, "[...document.querySelectorAll('#list .groups .text')].map(n => n.textContent)")
    assert "</script><script>window.owned=1</script>" in shown
    assert "␛[2J␛]0;title␇ ⟨U+009B⟩31m" in shown
    assert len(shown) == 2 * len(HOSTILE)
    assert js(page, "document.documentElement.scrollWidth <= innerWidth"), "no long line widens the page"
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_the_policy_stops_a_script_that_gets_in(show: Open) -> None:
    page = show(small())
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.owned = 1'; document.body.append(s)"
    )
    page.execute_script("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.owned=1\">')")
    page.execute_async_script("setTimeout(arguments[0], 200)")
    assert js(page, "window.owned === undefined")
    page.get_log("browser")


def test_worst_first_and_other_orders(show: Open) -> None:
    page = show(small())
    assert questions(page) == ["Where does Bert live?", "Where does Anna live?", "Where does Cora live?"]
    choose(page, "sort", "-leak")
    assert questions(page)[0] == "Where does Cora live?"
    choose(page, "sort", "id")
    assert questions(page) == ["Where does Cora live?", "Where does Anna live?", "Where does Bert live?"], (
        "p1 < p2 < p10"
    )


def test_search_looks_into_questions_and_texts(show: Open) -> None:
    page = show(small())
    search(page, "anna")
    assert questions(page) == ["Where does Anna live?"]
    search(page, "somewhere HIDDEN")
    assert questions(page) == ["Where does Cora live?"]
    search(page, "no such words")
    assert questions(page) == []
    assert page.find_element("id", "count").text == "0 prompts"


@pytest.mark.parametrize(
    ("kind", "names"), [("leak", "BA"), ("clean", "C"), ("greedy", "B"), ("hidden", "A"), ("all", "BAC")]
)
def test_filters(show: Open, kind: str, names: str) -> None:
    page = show(small())
    choose(page, "show", kind)
    assert [q.split()[2][0] for q in questions(page)] == list(names)


def test_leaking_parts_are_marked_and_counted(show: Open) -> None:
    page = show(small())
    search(page, "anna")
    page.find_element("css selector", "#list summary").click()
    page.execute_async_script("setTimeout(arguments[0], 100)")
    assert js(page, "[...document.querySelectorAll('.groups mark')].map(n => n.textContent)") == [
        "kelmor  bay",
        "KELMOR BAY",
    ]
    rows = js(
        page,
        "[...document.querySelectorAll('.groups tbody tr')].map(r => [r.className, ...[...r.cells].slice(0, 3).map(c => c.textContent)])",
    )
    assert rows == [["leaking", "3×", "1.00", "0.607"], ["", "10×", "0.00", "–"]]


def test_models_can_be_chosen(show: Open) -> None:
    both = (*views(), *(dataclasses.replace(v, model="m2", leak=0.25) for v in views()[:1]))
    page = show(dataclasses.replace(small(), prompts=both))
    assert len(questions(page)) == 3
    choose(page, "model", "1")
    assert questions(page) == ["Where does Anna live?"]
    choose(page, "model", "all")
    assert len(questions(page)) == 4


def test_tables_sort_with_missing_last(show: Open) -> None:
    page = show(small())
    column = js(
        page, "[...document.querySelector('#tables thead tr').cells].findIndex(c => c.textContent.startsWith('excess'))"
    )
    read = f"[...document.querySelectorAll('#tables tbody tr')].map(r => r.cells[{column}].dataset.v)"
    button = page.find_elements("css selector", "#tables thead button")[column]
    for descending in (True, False):
        button.click()
        values = js(page, read)
        assert values[-1] == ""
        numbers = [float(value) for value in values[:-1]]
        assert numbers == sorted(numbers, reverse=descending)
        sort = js(page, f"document.querySelectorAll('#tables thead th')[{column}].getAttribute('aria-sort')")
        assert sort == ("descending" if descending else "ascending")


def test_the_chart_is_read_by_keyboard_and_lines_can_be_hidden(show: Open) -> None:
    page = show(small())
    chart = page.find_element("css selector", "#chart-near .wide svg")
    page.execute_script("arguments[0].focus()", chart)
    from selenium.webdriver.common.keys import Keys

    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    tip = page.find_element("css selector", "#chart-near .tip")
    assert tip.is_displayed()
    # From the right, the first stop is the largest k.
    assert "k = 128" in tip.text
    assert "IdkNLL" in tip.text
    page.find_element("css selector", "#chart-near input[data-series='IdkNLL']").click()
    assert not page.find_element("css selector", "#chart-near .plain-view.wide g[data-label='IdkNLL']").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(show: Open, browser: Any, scheme: str) -> None:
    page = show(small())
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    poor = page.execute_script(CONTRAST)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert poor == []


# Every element with text of its own against the ground below it (WCAG 2: 4.5 to 1).
CONTRAST = """
const parse = (c) => { const v = c.match(/[\\d.]+/g).map(Number); return v.length < 4 ? [...v, 1] : v; };
const over = (top, under) => top.slice(0, 3).map((v, i) => v * top[3] + under[i] * (1 - top[3]));
const ground = (n) => {
  const layers = [];
  for (; n; n = n.parentElement) layers.push(parse(getComputedStyle(n).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const light = (c) => {
  const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const poor = [];
for (const n of document.querySelectorAll("body *")) {
  const own = [...n.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
  if (!own || !n.getClientRects().length || ["SCRIPT", "STYLE", "OPTION", "TITLE", "DESC"].includes(n.tagName.toUpperCase())) continue;
  const style = getComputedStyle(n);
  const below = ground(n instanceof SVGElement ? n.closest("figure") : n);
  const ink = over(parse(n instanceof SVGElement ? style.fill : style.color), below);
  const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) poor.push([n.textContent.trim().slice(0, 30), style.color, ratio.toFixed(2)]);
}
return poor;
"""


def test_every_control_has_a_name_and_headings_are_in_order(show: Open) -> None:
    page = show(small())
    assert js(
        page,
        "[...document.querySelectorAll('input, select')].every(n => n.labels.length && n.labels[0].textContent.trim())",
    )
    assert js(page, "[...document.querySelectorAll('button:not([hidden])')].every(n => n.textContent.trim())")
    levels = [int(tag[1]) for tag in js(page, "[...document.querySelectorAll('h1,h2,h3,h4')].map(n => n.tagName)")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    idents = js(page, "[...document.querySelectorAll('[id]')].map(n => n.id)")
    assert len(set(idents)) == len(idents)


def test_a_narrow_screen_does_not_scroll_sideways(show: Open, browser: Any) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    page = show(small())
    wide = js(page, "document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert wide <= 360


def test_a_link_leads_to_one_prompt_of_one_model_asked_in_one_way_and_to_all_models_of_it(show: Open) -> None:
    told = tuple(
        dataclasses.replace(view, model=model, probe=probe, question=f"{view.question} {probe}".strip())
        for model in ("m1", "m2")
        for probe in ("", "prefix")
        for view in views()
    )
    page = show(dataclasses.replace(small(), prompts=told))
    page.execute_script("location.hash = '#prompt=p1&model=m2&asked=prefix'")
    page.execute_async_script("setTimeout(arguments[0], 100)")
    opened = "[...document.querySelectorAll('#list details.linked')].map(d => d.querySelector('.qtext').textContent)"
    assert js(page, opened) == ["Where does Cora live? prefix"]
    assert js(page, "[...document.querySelectorAll('.linked .pair dd')].slice(0, 2).map(n => n.textContent)") == [
        "p1 · m2",
        "probe prefix",
    ]
    link = js(page, "document.querySelector('.linked .permalink').getAttribute('href')")
    assert link == "#prompt=p1&model=m2&asked=prefix", "the link of a prompt leads to where it stands"
    page.execute_script("location.hash = '#prompt=p10&model=side'")
    page.execute_async_script("setTimeout(arguments[0], 100)")
    assert len(questions(page)) == 3, "one row a prompt"
    heads = js(page, "[...document.querySelectorAll('.linked .beside h4')].map(n => n.textContent)")
    assert heads == ["m1: 0.900, 7 of 17", "m2: 0.900, 7 of 17"]
    page.execute_script("location.hash = '#prompt=nobody'")
    page.execute_async_script("setTimeout(arguments[0], 100)")
    assert page.find_element("id", "count").text == "There is no prompt nobody in this file."


def test_a_thought_stands_beside_its_answer_and_small_values_have_a_scale(show: Open, browser: Any) -> None:
    group = TextGroup("No idea.", 3, 0.0, thought=Thought("It is Kelmor Bay, but hush.", 1.0), thoughts=2)
    view = dataclasses.replace(views()[0], groups=(group,))
    page = show(dataclasses.replace(small(), prompts=(view,)))
    cells = js(page, "[...document.querySelectorAll('.groups tbody td')].map(n => n.textContent)")
    assert cells[3].startswith("It is Kelmor Bay, but hush.score 1.00; 1 of 2 different thoughts")
    assert cells[4] == "No idea."
    assert js(page, "document.querySelector('.groups .thought').classList.contains('leaks')")
    drawn = "[...document.querySelectorAll('#chart-near > .wide')].filter(n => n.checkVisibility()).map(n => n.classList[1])"
    assert js(page, drawn) == ["plain-view"]
    for box, seen in (("log", "log-view"), ("zoom", "zoom-view"), ("log", "log-view"), ("log", "plain-view")):
        page.execute_script(f"document.querySelector('#chart-near input.{box}').click()")
        assert js(page, drawn) == [seen]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    )
    page.execute_async_script("setTimeout(arguments[0], 200)")
    cue = "getComputedStyle(document.querySelector('#tables .scroll'), '::before').display"
    shown = [js(page, cue)]
    page.execute_script("document.querySelector('#tables .scroll').scrollLeft = 9999")
    page.execute_async_script("setTimeout(arguments[0], 200)")
    shown.append(js(page, cue))
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert shown == ["block", "none"], "the cue goes where there is nothing more to see"


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_a_real_browser_prints_the_whole_report(tmp_path: Path) -> None:
    from leakatk.report.pdf import save_pdf

    content = dataclasses.replace(small(), summary=("In plain words.",), glossary=(("sample", "One reply."),))
    save_pdf(render(content), tmp_path / "report.pdf")
    made = (tmp_path / "report.pdf").read_bytes()
    assert made.startswith(b"%PDF")
    assert made.count(b"/Type /Page\n") >= 3, "the summary has a page of its own"


def test_it_prints(show: Open, browser: Any) -> None:
    show(small())
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF")
    assert js(
        browser, "[...document.querySelectorAll('#list details')].every(d => d.open && d.querySelector('.groups'))"
    )


def test_eighty_thousand_samples_open_and_answer(show: Open) -> None:
    base = demo(prompts=2)
    long = "words a chat model would write around the fact it gives away, " * 2
    prompts = tuple(
        PromptView(f"p{i}", f"Question {i}?", f"The answer is town{i}.", i / 400,
            tuple(TextGroup(f"{j} {long} town{i if j < 3 else j}", 1, float(j < 3)) for j in range(200)), facts=(f"town{i}",))
        for i in range(400)
    )  # fmt: skip
    page = show(dataclasses.replace(base, prompts=prompts))
    timing = js(page, "performance.getEntriesByType('navigation')[0].toJSON()")
    print(f"opened in {timing['loadEventEnd']:.0f} ms")
    assert timing["loadEventEnd"] < 10_000, "far slower than the 2 s aimed at"
    assert js(page, "document.querySelectorAll('#list details').length") == 50, "only what is looked at is built"
    assert js(page, "document.getElementById('count').textContent") == "400 prompts"
    search(page, "town123.")
    assert questions(page) == ["Question 123?"]

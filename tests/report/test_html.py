import dataclasses
import json
import math
import re
from html.parser import HTMLParser

import pytest

from leakatk.report import html
from leakatk.report.content import Curve, Grid, Number, PromptView, ReportContent, Table, TextGroup
from leakatk.report.html import prompt_data, render
from tests.report.hostile import HOSTILE, hostile_report
from tests.report.samples import demo


class Page(HTMLParser):
    """Counts tags, collects attributes and the text outside script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open_raw = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open_raw = tag if tag in ("script", "style") else self.open_raw

    def handle_endtag(self, tag: str) -> None:
        self.open_raw = "" if tag == self.open_raw else self.open_raw

    def handle_data(self, data: str) -> None:
        if not self.open_raw:
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


def embedded(page: str) -> dict:  # type: ignore[type-arg]
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])  # type: ignore[no-any-return]


def test_everything_in_the_content_is_on_the_page() -> None:
    content = demo()
    page = Page(render(content))
    for expected in [
        content.title,
        content.verdict,
        *content.notes,
        *(h.label for h in content.highlights),
        *content.tables[0].columns,
        content.tables[0].caption,
        "RULE, round by round",
        "Leak@128 over decodings",
        content.command,
        content.protocol[1],
        "decoding.temperature",
        "41.0 s",
        "0.401",
        "[0.34, 0.47]",
    ]:
        assert re.sub(r"\s+", " ", expected) in page.words, expected
    shown = {a.get("data-series") for t, a in page.tags if t == "input"}
    assert {c.label for c in content.curves if c.kind not in ("greedy", "exact")} <= shown
    assert "chart-exact" in {a.get("id") for _, a in page.tags}, "what is computed has a chart of its own"


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = Page(render(demo()))
    assert not [t for t, _ in page.tags if t in ("link", "iframe", "img", "object", "embed", "base", "form")]
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    policy = next(
        a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy
    assert "default-src 'none'" in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1]


def test_the_policy_names_the_hash_of_the_script() -> None:
    import base64
    import hashlib

    page = render(demo())
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in page


def test_an_empty_report_renders() -> None:
    page = Page(render(ReportContent(title="t", verdict="v")))
    assert "How it was made" in page.words
    assert "Prompts and texts" not in page.words
    assert not [t for t, _ in page.tags if t in ("figure", "table")]


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    harmless = Page(render(hostile_report(lambda _: "x")))
    hostile = Page(render(hostile_report(lambda text: text)))
    assert [t for t, _ in hostile.tags] == [t for t, _ in harmless.tags]
    assert [sorted(a) for _, a in hostile.tags] == [sorted(a) for _, a in harmless.tags]


def test_hostile_text_arrives_whole_and_visible() -> None:
    page = render(hostile_report(lambda text: text))
    page.encode()
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", page)
    stored = embedded(page)["prompts"][0]["groups"]
    assert [g[0] for g in stored] == [html.visible(text[: html.MAX_TEXT]) for text in HOSTILE[:-1]] + [stored[-1][0]]
    assert stored[-1][0].endswith("more characters]")


def test_missing_numbers_are_null_never_nan() -> None:
    view = PromptView("a", "q", "a", math.nan, (TextGroup("t", 1, math.nan, math.nan),))
    text = prompt_data(ReportContent(title="t", verdict="v", prompts=(view,)))
    row = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))["prompts"][0]
    assert row["leak"] is None
    assert row["groups"] == [["t", 1, None, None]]
    assert row["hits"] == 0
    table = Table("t", ("a", "b"), (("x", Number(math.nan)),))
    grid = Grid("g", "r", ("1",), "c", ("1",), ((math.nan,),))
    curve = Curve("c", (1, 2), (0.1, math.nan), (0.0, math.nan), (0.2, math.nan))
    page = render(ReportContent(title="t", verdict="v", tables=(table,), grids=(grid,), curves=(curve,)))
    assert "nan" not in re.sub(r"<script>.*?</script>|<style>.*?</style>", "", page, flags=re.DOTALL).lower()


def test_eighty_thousand_distinct_samples_stay_below_ten_megabytes() -> None:
    content = demo(prompts=400, samples=200, models=("one",), seed=3)
    long = "a much longer answer, as a chat model would give it, " * 12
    views = tuple(
        dataclasses.replace(v, groups=tuple(TextGroup(f"{v.id} {j} {long}", 1, float(j == 0)) for j in range(200)))
        for v in content.prompts
    )
    page = render(dataclasses.replace(content, prompts=views))
    assert len(page.encode()) < 10_000_000
    rows = embedded(page)["prompts"]
    assert len(rows) == 400
    for row in rows:
        assert (row["n"], row["hits"], row["distinct"]) == (200, 1, 200)
        assert 5 <= len(row["groups"]) < 200
        assert row["groups"][0][2] == 1.0, "the leaking text is kept"


def test_more_prompts_than_fit_keep_the_worst_and_say_so() -> None:
    views = tuple(PromptView(str(i), "q" * 2_000, "a" * 2_000, i / 5_000) for i in range(5_000))
    stored = json.loads(prompt_data(ReportContent(title="t", verdict="v", prompts=views)))
    assert 0 < len(stored["prompts"]) < 5_000
    assert stored["prompts"][0]["id"] == "4999"
    assert stored["omitted"] == 5_000 - len(stored["prompts"])


def test_the_prompts_shown_first_are_not_those_of_the_original_or_the_yardstick() -> None:
    kinds = (("full", "original"), ("retrained", "reference"), ("forgot", "model"))
    curves = tuple(Curve(name, (1, 2), (0.5, 0.6), kind=kind) for name, kind in kinds)  # type: ignore[arg-type]
    prompts = tuple(
        PromptView("p", "q", "a", leak, (), model=name) for leak, (name, _) in zip((1.0, 0.0, 0.5), kinds, strict=True)
    )
    made = json.loads(prompt_data(dataclasses.replace(demo(prompts=1), curves=curves, prompts=prompts)))
    assert made["models"] == ["forgot", "full", "retrained"]
    assert [(row["m"], row["leak"]) for row in made["prompts"]] == [(1, 1.0), (0, 0.5), (2, 0.0)]

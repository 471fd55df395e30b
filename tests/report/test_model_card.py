"""The card of a model: its numbers are those of the results, what is not known is said, and no text of others is markup."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from leakatk.report.content import Number
from leakatk.report.model_card import About, card, table_of
from tests.report.audits import changed, curve, made


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    return made(tmp_path_factory.mktemp("runs") / "run")


def test_the_table_holds_the_numbers_of_the_results(audited):
    table = table_of(audited)
    assert table.columns == ("scorer", "greedy", "leak@1", "leak@4", "leak@16")
    for row, (name, block) in zip(table.rows, audited.results.scorers.items(), strict=True):
        assert row[0] == name
        found = block.curves["samples"]
        assert [(cell.value, cell.low, cell.high) for cell in row[2:]] == list(
            zip(found.value, found.low, found.high, strict=True)
        )
    beside = changed(audited, block={"excess": {"samples": curve(0.1, 0.2, 0.3)}})
    [excess] = [row for row in table_of(beside).rows if row[0] == "fact, excess over it"]
    assert excess[-1] == Number(0.3, pytest.approx(0.2), pytest.approx(0.4))


def test_the_hubs_library_reads_its_head_and_nothing_in_it_is_markup(audited):
    hostile = replace(audited, results=replace(audited.results, label="<img src=x>[a](http://b)\n# H"))
    text = card(
        About(
            name="m", base_model="org/base", license="mit", made_by={"method": "npo", "seed": 1}, warnings=["look\nout"]
        ),
        [hostile],
    )
    data = ModelCard(text).data
    assert (data.base_model, data.license, data.library_name) == ("org/base", "mit", "transformers")
    assert "<img" not in text
    assert "[a](http" not in text.replace("\\[", "")
    assert "\n# H" not in text
    assert "> **Warning.** look" in text


def test_what_was_not_measured_is_said(audited):
    text = card(About(name="m"), [audited])
    assert "No model trained without the data was measured beside it" in text
    assert "under no probe" in text
    assert "are not part of this repository" in text
    assert "are not part of" not in card(About(name="m", prompts_sent=True), [audited])
    assert "What it leaks" not in card(About(name="m"), [])
    assert card(About(name="m"), [audited, audited]).count("### ") == 2

"""The PDF of a report: who prints it, what is printed, and one sentence where nobody can."""

import pytest

from leakatk.errors import InputError
from leakatk.report import pdf
from tests.report.browsers import stand_in


def test_what_is_printed_is_the_page(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch)
    pdf.save_pdf("<p>né ⟨U+202E⟩</p>", tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_text(encoding="utf-8") == "<p>né ⟨U+202E⟩</p>"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["browser", "report.pdf"], "nothing else is left"


def test_without_a_browser_one_sentence_says_how(tmp_path, monkeypatch):
    monkeypatch.setattr(pdf, "ELSEWHERE", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LEAKATK_BROWSER", raising=False)
    with pytest.raises(InputError, match="needs Chromium or Chrome, and neither is installed here") as said:
        pdf.save_pdf("<p>", tmp_path / "report.pdf")
    assert "print it to a PDF file" in str(said.value)
    assert not list(tmp_path.iterdir())
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert pdf.find_browser() == str(program)


def test_a_browser_that_is_named_and_not_there(monkeypatch):
    monkeypatch.setenv("LEAKATK_BROWSER", "no-such-program")
    with pytest.raises(InputError, match="'no-such-program', which is no program here"):
        pdf.find_browser()


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("print('first', file=sys.stderr); print('no sandbox', file=sys.stderr); sys.exit(1)", r"\(no sandbox\)"),
        ("open(made, 'w').close()", "printed no PDF;"),
        ("time.sleep(30)", r"\(not done after 1 s\)"),
    ],
)
def test_a_browser_that_prints_nothing(tmp_path, monkeypatch, do, said):
    monkeypatch.setattr(pdf, "LIMIT", 1)
    stand_in(tmp_path, monkeypatch, do)
    with pytest.raises(InputError, match=said):
        pdf.save_pdf("<p>", tmp_path / "report.pdf")
    assert not (tmp_path / "report.pdf").exists()

"""`leakatk questions`: from records to a file that an audit takes as it is, and wordings by a language model on a server."""

import json

import pytest

from leakatk.prompts import load_prompts
from tests.servers import WordServer

ROWS = """person,field,value
Ada Quill,birthplace,Zorvik
Ada Quill,favourite dish,lentil soup
Bo Tarn,occupation,n/a
Bo Tarn,spouse,Mira Quell
Zorvik Lane,birthplace,Zorvik
"""


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "records.csv").write_text(ROWS)
    return tmp_path / "records.csv"


class Writer(WordServer):
    """Says the question again in other words, or drifts to another one."""

    def said(self, asked):
        question = asked["messages"][-1]["content"].rsplit("\n\n", 1)[1]
        return (
            "Who is the king of Peru?"
            if "Bo Tarn" in question
            else f"Please say: {question} ({asked.get('seed', 0) % 2})"
        )


def test_records_to_an_audit(leakatk, records, model):
    code, out, err = leakatk("questions", "records.csv", "--out", "forget.jsonl")
    assert code == 0, err
    assert out.splitlines()[0] == "5 records, 3 questions with 2.3 other wordings each: forget.jsonl"
    assert "2 of 5 records give no question:" in out
    assert "1  no value (line 4)" in out
    assert "1  the question holds the value (line 6)" in out
    assert "the general wording: favourite dish (1)" in out
    prompts = load_prompts("forget.jsonl")
    assert [prompt.facts for prompt in prompts] == [("Zorvik",), ("lentil soup",), ("Mira Quell",)]
    assert (records.parent / "forget.jsonl").stat().st_mode & 0o077 == 0
    code, out, err = leakatk(
        *("audit", model, "--forget", "forget.jsonl", "--n", "2", "--max-new-tokens", "2", "--out", "run", "--quiet")
    )
    assert code == 0, err
    assert "of 3 forget prompts within 2 samples" in out
    [way] = (records.parent / "run" / "probes").iterdir()  # the other wordings, which the file carries
    assert way.name.startswith("paraphrase")
    code, _, err = leakatk("questions", "records.csv", "--out", "forget.jsonl")
    assert (code, "is there already" in err) == (2, True)


def test_a_writer_on_a_server(leakatk, records):
    server = Writer("seed", "temperature")
    asked = ("questions", "records.csv", "--writer", "m", "--url", server.url, "--out", "forget.jsonl", "--tries", "3")
    try:
        code, out, err = leakatk(*asked, "--dry-run")
        assert code == 0, err
        assert "The writer would be asked for 18 answers. About " in out
        assert server.requests == 0
        assert not (records.parent / "forget.jsonl").exists()
        code, out, err = leakatk(*asked, "--json")
    finally:
        server.close()
    assert code == 0, err
    told = json.loads(out)
    assert told["writer"]["prompts_without"] == ["bo-tarn/spouse"]
    assert told["left_out"]["no value"] == ["line 4"]
    assert not [body for body in server.asked if "Mira Quell" in str(body) or "lentil" in str(body)]
    ada, _, bo = load_prompts("forget.jsonl")
    assert any(text.startswith("Please say: Where was Ada Quill born?") for text in ada.paraphrases)
    assert len(bo.paraphrases) == 2  # the templates' alone: its writer named nobody
    assert told["wordings"] == sum(len(prompt.paraphrases) for prompt in load_prompts("forget.jsonl"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--url", "http://localhost:1/v1"], "go with --writer"),
        (["--column", "person"], "PART=NAME"),
        (["--column", "persn=x"], "persn"),
        (["--column", "person=a", "--column", "person=b"], "given twice"),
        (["--writer", "m", "--form", "song"], "rewrite:form must be"),
        (["--templates", "none.toml"], "none.toml"),
    ],
)
def test_bad_input_is_a_sentence(leakatk, records, words, says):
    code, _, err = leakatk("questions", "records.csv", "--out", "forget.jsonl", *words)
    assert (code, says in err, err.count("\n")) == (2, True, 1), err


def test_records_of_which_none_can_be_asked(leakatk, records):
    records.write_text("person,field,value\nAda,pet,n/a\n")
    code, _, err = leakatk("questions", "records.csv", "--out", "forget.jsonl")
    assert (code, "none of its 1 records gives a question (1 no value)" in err) == (2, True)

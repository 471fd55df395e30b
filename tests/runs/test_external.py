import json
from pathlib import Path

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.runs.external import read_outputs


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(*texts: object, **more: object) -> dict[str, object]:
    return {"prompt": "Who?", "ground_truth": "Ann", "responses": [{"response": text} for text in texts], **more}


def test_ragged_numbers_of_responses(tmp_path: Path) -> None:
    file = write(tmp_path / "g.json", row("a", ""), row("b\u2028c", "\ud800", "d", rougeL_recall=1.0), row("e", id="x"))
    found = read_outputs(file)
    prompts, texts = found.prompts, found.texts
    assert texts == [["a", ""], ["b\u2028c", "\ufffd", "d"], ["e"]]
    assert [(p.id, p.question, p.answer) for p in prompts] == [
        ("0", "Who?", "Ann"),
        ("1", "Who?", "Ann"),
        ("x", "Who?", "Ann"),
    ]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (row(), "line 2: responses must be a non-empty list"),
        ({"prompt": "Who?", "ground_truth": "Ann"}, "line 2: no generations; expected responses, a list, or a column"),
        (
            row(None),
            r"line 2: responses\[0\] must be a text, an object with a response text, .*got \{'response': None\}",
        ),
        ({**row(), "responses": [1]}, r"responses\[0\] must be"),
        ({"prompt": "Who?", "responses": ["x"]}, "line 2: no answer"),
        (row("a", id="0"), "line 2: id '0' occurs twice"),
        (1, "line 2: expected a text, a list of texts or an object, found 1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, bad: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_outputs(write(tmp_path / "g.json", row("a"), bad))


@pytest.mark.data
def test_the_published_file(data_dir: Path) -> None:
    file = data_dir / "logs" / "leakk" / "generations_n30.json"
    found = read_outputs(file)
    prompts, texts = found.prompts, found.texts
    assert [len(row) for row in texts] == [900] * 4
    assert texts[0][0] == "The author's full name is Hsiao Yun-Hwa."
    stored = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [[r["response"] for r in line["responses"]] for line in stored] == texts
    assert [line["ground_truth"] for line in stored] == [p.answer for p in prompts]


PROMPTS = [Prompt("p0", "Who?", "Ann"), Prompt("p1", "Where did Ann go?", "Oslo"), Prompt("p2", "When?", "May")]


def test_rows_are_matched_by_id_by_numbered_id_and_by_question(tmp_path: Path) -> None:
    file = write(
        tmp_path / "g.jsonl",
        {"id": "p1", "response": "a"},
        {"id": "p1-3", "response": "b"},
        {"id": "p0/sample-12", "response": "c"},
        {"question": " Who? ", "response": "d"},
        {"prompt": "<|user|>Where did Ann go?<|end|>", "response": "e"},  # as a template puts it
        {"prompt": "Q: Who?\nA: Bo\nQ: When?", "response": "of two prompts, so of none"},
        {"id": "p9", "response": "of none"},
        {"id": "p1", "response": None},
    )
    found = read_outputs(file, PROMPTS)
    assert [(p.id, list(texts)) for p, texts in zip(found.prompts, found.texts, strict=True)] == [
        ("p0", ["c", "d"]),
        ("p1", ["a", "b", "e"]),
    ]
    assert found.left_out == {"without an answer": 1, "of no prompt": 2}
    assert (found.unanswered, found.rows) == (["p2"], 8)
    assert found.says().endswith(
        "8 rows; 5 answers of 2 prompts. Left out: 1 without an answer, 2 of no prompt. "
        "Without any answer, and in no number: 1 of 3 prompts (the first: p2)."
    )
    total = sum(map(len, found.texts)) + sum(found.left_out.values())
    assert total == found.rows, "every row is in a number or counted"


def test_an_exact_id_is_no_numbered_one(tmp_path: Path) -> None:
    prompts = [Prompt("f-1", "Who?", "Ann"), Prompt("f", "Where?", "Oslo")]
    found = read_outputs(write(tmp_path / "g.jsonl", {"id": "f-1", "text": "a"}, {"id": "f-2", "text": "b"}), prompts)
    assert list(found.texts) == [["a"], ["b"]]


def test_rows_of_texts_alone_are_of_the_prompt_of_their_line(tmp_path: Path) -> None:
    found = read_outputs(write(tmp_path / "g.jsonl", "a", "b", ""), PROMPTS)
    assert list(found.texts) == [["a"], ["b"], [""]]
    lists = write(tmp_path / "h.jsonl", ["a", "b"], ["c"], ["d", "e", "f"])
    assert list(read_outputs(lists, PROMPTS).texts) == [["a", "b"], ["c"], ["d", "e", "f"]]
    with pytest.raises(InputError, match="2 rows of texts alone and there are 3 prompts"):
        read_outputs(write(tmp_path / "i.jsonl", "a", "b"), PROMPTS)
    with pytest.raises(InputError, match="without the true answers; give the prompts with --prompts"):
        read_outputs(write(tmp_path / "i.jsonl", "a", "b"))
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps(["a", "b", "c"], indent=1))
    assert list(read_outputs(whole, PROMPTS).texts) == [["a"], ["b"], ["c"]]


def test_rows_of_one_question_are_samples_of_it(tmp_path: Path) -> None:
    rows = [
        {"question": q, "answer": a, "generation": t}
        for q, a, t in (("Who?", "Ann", "x"), ("Where?", "Oslo", "y"), ("Who?", "Ann", "z"))
    ]
    found = read_outputs(write(tmp_path / "g.jsonl", *rows))
    assert [p.answer for p in found.prompts] == ["Ann", "Oslo"]
    assert list(found.texts) == [["x", "z"], ["y"]]


def test_nothing_left_is_an_error_that_counts(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"Left out: 2 of no prompt\..*Nothing is left to be scored\. A row is matched by"
    ):
        read_outputs(write(tmp_path / "g.jsonl", {"id": "x", "text": "a"}, {"id": "y", "text": "a"}), PROMPTS)

import json
from pathlib import Path

import pytest

from leakatk.errors import InputError
from leakatk.runs.external import read_generations


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(*texts: object, **more: object) -> dict[str, object]:
    return {"prompt": "Who?", "ground_truth": "Ann", "responses": [{"response": text} for text in texts], **more}


def test_ragged_numbers_of_responses(tmp_path: Path) -> None:
    file = write(tmp_path / "g.json", row("a", ""), row("b\u2028c", "\ud800", "d", rougeL_recall=1.0), row("e", id="x"))
    prompts, texts = read_generations(file)
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
        ({"prompt": "Who?", "ground_truth": "Ann"}, "line 2: responses must be"),
        (row(None), r"line 2: responses\[0\] must be an object with a response text, got \{'response': None\}"),
        ({**row(), "responses": ["a"]}, r"responses\[0\] must be"),
        ({"prompt": "Who?", "responses": []}, "line 2: no answer"),
        (row("a", id="0"), "line 2: id '0' occurs twice"),
        ([1], "line 2: expected a JSON object"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, bad: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_generations(write(tmp_path / "g.json", row("a"), bad))


@pytest.mark.data
def test_the_published_file(data_dir: Path) -> None:
    file = data_dir / "logs" / "leakk" / "generations_n30.json"
    prompts, texts = read_generations(file)
    assert [len(row) for row in texts] == [900] * 4
    assert texts[0][0] == "The author's full name is Hsiao Yun-Hwa."
    stored = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [[r["response"] for r in line["responses"]] for line in stored] == texts
    assert [line["ground_truth"] for line in stored] == [p.answer for p in prompts]

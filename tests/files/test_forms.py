"""Data sets for chats and instructions as prompts: every form, from every kind of file."""

import json

import pyarrow as pa
import pytest

from leakatk.errors import InputError
from leakatk.files.forms import turns_of
from leakatk.prompts import Prompt, Query, columns_from, load_prompts, record
from leakatk.unlearning.streams import Given, forget_answers

USER = {"role": "user", "content": "Where was Ada born?"}
ANSWER = {"role": "assistant", "content": "In Zorvik."}
FORMS = {
    "OpenAI": {"messages": [USER, ANSWER]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Where was "}, {"type": "text", "text": "Ada born?"}]}, ANSWER]},
    "ShareGPT": {"conversations": [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": "In Zorvik."}]},
    "TRL": {"prompt": USER["content"], "completion": "In Zorvik."},
    "TRL chat": {"prompt": [USER], "completion": [ANSWER]},
    "Alpaca": {"instruction": USER["content"], "input": "", "output": "In Zorvik."},
    "Dolly": {"instruction": USER["content"], "context": None, "response": "In Zorvik.", "category": "open_qa"},
}  # fmt: skip


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_a_question_and_an_answer(tmp_path, form):
    wanted = [Prompt("0", "Where was Ada born?", "In Zorvik."), Prompt("x", "Where was Ada born?", "In Zorvik.")]
    assert load_prompts(write(tmp_path / "p.jsonl", FORMS[form], {**FORMS[form], "id": "x"})) == wanted


def as_file(path, table):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def as_stream(path, table):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("save", [as_file, as_stream])
def test_arrow_files_and_streams(tmp_path, save):
    rows = [{"messages": [{**USER, "content": f"Where {i}?"}, ANSWER], "id": f"p{i}", "unused": i} for i in range(150)]
    save(tmp_path / "data.arrow", pa.Table.from_pylist(rows))
    found = load_prompts(tmp_path / "data.arrow")
    assert [(p.id, p.question, p.answer) for p in found] == [(f"p{i}", f"Where {i}?", "In Zorvik.") for i in range(150)]
    named = [{"MyQ": "Where?", "MyA": "Here."}]
    save(tmp_path / "named.arrow", pa.Table.from_pylist(named))
    assert load_prompts(tmp_path / "named.arrow", columns_from(["question=MyQ", "answer=MyA"]))[0].answer == "Here."
    content = (tmp_path / "data.arrow").read_bytes()
    (tmp_path / "cut.arrow").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a readable Arrow file"):
        load_prompts(tmp_path / "cut.arrow")


def test_arrow_that_holds_too_much(tmp_path, monkeypatch):
    as_stream(tmp_path / "big.arrow", pa.table({"question": ["w" * 1000] * 50, "answer": ["a"] * 50}))
    monkeypatch.setattr("leakatk.files.reading.MAX_WHOLE", 60_000)
    assert len(load_prompts(tmp_path / "big.arrow")) == 50
    monkeypatch.setattr("leakatk.files.arrow.ROWS", 1)
    from leakatk.files.arrow import arrow_rows

    with pytest.raises(InputError, match="unpacks to more than"):
        list(arrow_rows(tmp_path / "big.arrow", (tmp_path / "big.arrow").read_bytes(), None, 10_000))


def test_a_chat_of_several_answers_is_a_prompt_for_each_and_keeps_what_goes_before(tmp_path):
    system = {"role": "system", "content": "Be brief."}
    more = [{"role": "user", "content": "And when?"}, {"role": "assistant", "content": "In May."}]
    path = write(
        tmp_path / "p.jsonl", {"messages": [system, USER, ANSWER, *more]}, {"messages": [USER, ANSWER], "id": "b"}
    )
    first, second, third = load_prompts(path)
    assert (first.id, first.source, first.query) == ("0/1", "0", Query("Where was Ada born?", system="Be brief."))
    turns = (("Where was Ada born?", "In Zorvik."),)
    assert (second.id, second.answer) == ("0/2", "In May.")
    assert second.query == Query("And when?", turns=turns, system="Be brief.")
    assert (third.id, third.source, third.asked) == ("b", "", None)
    assert "asked" not in record(third)
    # What is trained on is what is asked: the whole chat, not its last question alone.
    given = Given((first, second, third), (), 0)
    assert forget_answers([second, third], given) == [(second.query, "In May."), ("Where was Ada born?", "In Zorvik.")]


def test_alpaca_input_joins_the_instruction(tmp_path):
    row = {"instruction": "Name the town.", "input": "Ada was born in Zorvik.", "output": "Zorvik"}
    assert load_prompts(write(tmp_path / "p.jsonl", row))[0].question == "Name the town.\n\nAda was born in Zorvik."


def test_a_row_with_an_answer_of_its_own_is_taken_as_it_stands(tmp_path):
    row = {"prompt": "Where?", "answer": "Here.", "completion": "what a model said", "messages": [USER, ANSWER]}
    assert load_prompts(write(tmp_path / "p.jsonl", row)) == [Prompt("0", "Where?", "Here.")]
    named = {"question": "Where?", "best": "Here.", "messages": [USER, ANSWER]}
    columns = columns_from(["answer=best"])
    assert load_prompts(write(tmp_path / "n.jsonl", named), columns) == [Prompt("0", "Where?", "Here.")]
    chat = {"talk": [USER, ANSWER], "messages": "none"}
    columns = columns_from(["messages=talk"])
    assert load_prompts(write(tmp_path / "c.jsonl", chat), columns)[0].answer == "In Zorvik."
    with pytest.raises(InputError, match="no column talk, which --column messages=talk names; found question"):
        load_prompts(write(tmp_path / "o.jsonl", {"question": "q", "answer": "a"}), columns)
    assert load_prompts(tmp_path / "o.jsonl", columns, strict=False)[0].answer == "a"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([USER], "line 1: a chat without an answer of the assistant"),
        ([ANSWER, USER], "message 1: an answer that no question goes before"),
        ([USER, {"role": "tool", "content": "42"}, ANSWER], r"message 2: of a tool \(tool\)"),
        ([USER, {"content": "x"}], "message 2: has no role"),
        ([USER, "x"], "message 2: must be an object"),
        ("x", "must be a list of messages"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "a part of type 'image_url'"),
        ([{"role": "user", "content": 3}], "must be a string or a list of parts"),
    ],
)
def test_chats_that_cannot_be_asked(tmp_path, messages, said):
    with pytest.raises(InputError, match=said):
        load_prompts(write(tmp_path / "p.jsonl", {"messages": messages}))


def test_messages_of_one_side_are_one_and_silent_ones_none():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    assert turns_of([USER, call, ANSWER], "here") == [("user", USER["content"]), ("assistant", "In Zorvik.")]

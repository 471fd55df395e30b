"""Every form of output that is read, each as its tool writes it."""

import json

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.runs.external import read_outputs
from leakatk.runs.outputs import said_in

PROMPTS = [Prompt("p0", "Who?", "Ann"), Prompt("p1", "Where?", "Oslo")]
TURNS = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Let me see.", "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": "Ann is in the tool's reply, which the model did not say."},
    {"role": "assistant", "content": [{"type": "text", "text": "It is An"}, {"type": "text", "text": "n."}]},
]
SPOKEN = "Let me see.\n\nIt is Ann."


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def batch(name, *texts, status=200, error=None):
    body = {
        "choices": [{"index": i, "message": {"role": "assistant", "content": text}} for i, text in enumerate(texts)]
    }
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": name, "response": response, "error": error}


def test_leak_at_k_with_plain_strings_and_trajectories(tmp_path):
    row = {
        "prompt": "Who?",
        "ground_truth": "Ann",
        "responses": ["a", {"response": "b"}, TURNS, ["one", "turn after another"]],
    }
    assert list(read_outputs(write(tmp_path / "g.json", row)).texts) == [
        ["a", "b", SPOKEN, "one\n\nturn after another"]
    ]


def test_a_batch_of_openai(tmp_path):
    responses_api = {"output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Oslo"}]},
    ]}  # fmt: skip
    completions = {"choices": [{"text": "of the completions API"}]}
    file = write(
        tmp_path / "out.jsonl",
        batch("p0", "Ann", "Bo"),
        batch("p0-2", None),
        {"custom_id": "p1", "response": {"status_code": 200, "body": responses_api}, "error": None},
        {"custom_id": "p1", "response": {"status_code": 200, "body": completions}},
        batch("p1", status=429),
        {"id": "b", "custom_id": "p1", "response": None, "error": {"code": "batch_expired", "message": "m"}},
        batch("other", "x"),
    )
    found = read_outputs(file, PROMPTS)
    assert list(found.texts) == [["Ann", "Bo"], ["Oslo", "of the completions API"]]
    assert found.left_out == {
        "without an answer": 1, "failed (status 429)": 1, "failed (batch_expired)": 1, "of no prompt": 1
    }  # fmt: skip
    with pytest.raises(InputError, match="the output of an OpenAI batch, without the true answers; give the prompts"):
        read_outputs(file)


def test_vllm(tmp_path):
    def row(question, *texts):
        outputs = [
            {"index": i, "text": text, "token_ids": [1], "finish_reason": "stop"} for i, text in enumerate(texts)
        ]
        return {"request_id": "7", "prompt": question, "prompt_token_ids": [1], "outputs": outputs, "finished": True}

    file = write(
        tmp_path / "out.jsonl", row("<|user|>Who?<|assistant|>", "Ann", "Bo"), row("Where?", "Oslo"), row("Where?")
    )
    found = read_outputs(file, PROMPTS)
    assert list(found.texts) == [["Ann", "Bo"], ["Oslo"]]
    assert found.left_out == {"without an answer": 1}


def test_lm_eval_samples(tmp_path):
    def row(number, doc, resps, filtered="none", target="Ann"):
        return {
            "doc_id": number, "doc": doc, "target": target, "filter": filtered, "resps": resps, "filtered_resps": resps,
            "arguments": {"gen_args_0": {"arg_0": f"Question: {doc.get('question', doc.get('q'))}\nAnswer:", "arg_1": {"until": []}}},
            "metrics": ["m"], "doc_hash": "h",
        }  # fmt: skip

    own = {"question": "Who?", "answer": "Ann", "facts": ["Ann"], "id": "mine"}
    file = write(
        tmp_path / "samples_t.jsonl",
        row(0, own, [["a", "b"]]),
        row(1, {"q": "Where?"}, [["c"]], target="Oslo"),
        row(0, own, [["a", "b"]], "strict-match"),
        row(1, {"q": "Where?"}, [["c"]], "strict-match", "Oslo"),
    )
    found = read_outputs(file)
    assert [(p.id, p.question, p.answer, p.facts) for p in found.prompts] == [
        ("mine", "Who?", "Ann", ("Ann",)),
        ("1", "Question: Where?\nAnswer:", "Oslo", ()),
    ]
    assert list(found.texts) == [["a", "b"], ["c"]]
    assert found.left_out == {"again, under another filter": 2}
    # A number of the document is no id of a prompt: the questions say whose answer it is.
    swapped = [Prompt("1", "Who?", "Ann"), Prompt("0", "Where?", "Oslo")]
    assert list(read_outputs(file, swapped).texts) == [["a", "b"], ["c"]]
    likelihoods = write(tmp_path / "l.jsonl", row(0, own, [[[-1.5, False]], [[-2.0, True]]]))
    with pytest.raises(InputError, match="2 log-likelihoods of given answers, no generations"):
        read_outputs(likelihoods, PROMPTS)


def test_chats_of_an_agent_are_one_sample_each(tmp_path):
    file = write(tmp_path / "t.jsonl", {"messages": TURNS}, {"id": "p1", "trajectory": TURNS}, {"messages": TURNS[:2]})
    found = read_outputs(file, PROMPTS)
    assert list(found.texts) == [[SPOKEN], [SPOKEN]]
    assert found.left_out == {"without an answer": 1}
    assert "tool's reply" not in found.texts[0][0]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "expected a text, a list of texts or an object"),
        ({"a": 1}, "no generations; expected responses, a list, or a column named response"),
        ([], "responses must be a non-empty list"),
        ({"request_id": "1", "outputs": [{"text": 3}]}, "each of the outputs must have a text"),
    ],
)
def test_what_is_none_is_named(value, said):
    with pytest.raises(InputError, match=f"here: {said}"):
        list(said_in(value, "here"))


def test_the_command_prints_what_it_left_out(leakatk, tmp_path):
    prompts = write(
        tmp_path / "p.jsonl",
        {"id": "p0", "frage": "Who?", "answer": "Ann"},
        {"id": "p1", "frage": "Where?", "answer": "Oslo"},
    )
    file = write(tmp_path / "out.jsonl", batch("p0", "Ann", "Bo"), batch("x", "y"))
    how = ("--prompts", prompts, "--column", "question=frage", "--scorer", "verbatim")
    code, out, err = leakatk("score", file, *how)
    assert code == 0, err
    assert "the output of an OpenAI batch, 2 rows; 2 answers of 1 prompts. Left out: 1 of no prompt." in err
    assert "in no number: 1 of 2 prompts (the first: p1)" in err
    assert "verbatim: 1 prompts" in out
    code, out, err = leakatk("score", file, *how, "--json")
    block = json.loads(out)
    assert block["value"][0] == 0.5
    assert block["read"] == {
        "form": "the output of an OpenAI batch", "rows": 2, "prompts": 1, "answers": 2,
        "left_out": {"of no prompt": 1}, "unanswered": ["p1"],
    }  # fmt: skip
    code, _, err = leakatk("score", file, "--column", "question=frage")
    assert (code, "--column only goes with --prompts" in err) == (2, True)

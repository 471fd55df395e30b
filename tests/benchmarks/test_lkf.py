"""LKF's files, made up: subsets as files or as downloaded folders, wordings by question."""

import json

import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError

STANDARD = [{"question": "Who won at Ostrand?", "answer": "Jory Pell"}, {"question": "When was it?", "answer": "1874"}]
WORDED = [
    {
        "question": "When was it?",
        "paraphrase_1": "In which year was it?",
        "paraphrase_2": "When was it?",
        "answer": "1874",
    },
    {
        "question": "who won at Ostrand",
        "paraphrase_1": "At Ostrand, who won?",
        "paraphrase_2": " ",
        "answer": "Jory Pell",
    },
]


def write(place, rows):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(rows))


@pytest.fixture
def lkf(tmp_path):
    write(tmp_path / "forget_standard.json", STANDARD)
    write(tmp_path / "forget_eval_para.json", WORDED)
    write(tmp_path / "retain_standard" / "data" / "train.json", STANDARD[:1])
    write(tmp_path / "retain_eval_para" / "data" / "train.json", WORDED)
    return tmp_path


def test_wordings_stand_with_their_question(lkf):
    bench = load_benchmark("lkf", data=lkf)
    assert [(p.question, p.answer, p.paraphrases) for p in bench.forget] == [
        ("Who won at Ostrand?", "Jory Pell", ("At Ostrand, who won?",)),
        ("When was it?", "1874", ("In which year was it?",)),
    ]
    assert [p.id for p in bench.retain] == ["retain-0000"]
    assert bench.sets == {}
    write(lkf / "forget_train_para.json", WORDED[:1] + STANDARD)
    assert [p.question for p in load_benchmark("lkf", data=lkf).sets["forget_train"]] == [
        "When was it?", "Who won at Ostrand?", "When was it?",
    ]  # fmt: skip


def test_what_is_missing_or_does_not_belong_is_said(lkf):
    with pytest.raises(InputError, match="hf download nmndeep/LKF-SUBSET"):
        load_benchmark("lkf")
    write(lkf / "forget_eval_para.json", WORDED[:1])
    with pytest.raises(InputError, match=r"no wordings of .*forget_standard\.json, row 1: 'Who won"):
        load_benchmark("lkf", data=lkf)
    (lkf / "forget_eval_para.json").unlink()
    with pytest.raises(InputError, match="has no forget_eval_para; run `hf download"):
        load_benchmark("lkf", data=lkf)
    write(lkf / "forget_eval_para.json", WORDED)
    write(lkf / "retain_standard" / "data" / "train.json", [{"question": "Who?", "answer": " "}])
    with pytest.raises(InputError, match=r"row 1: question and answer must be non-empty"):
        load_benchmark("lkf", data=lkf)

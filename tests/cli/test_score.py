"""`leakatk score`: the scorer that is meant, all that were asked for, and what they could not score."""

import json

import numpy as np
import pytest

from leakatk.cli.score import block_of, lines_of
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer
from tests.tiny import PROMPTS

SHORT = ("--n", "4", "--max-new-tokens", "6", "--quiet")
REFUSAL = "I do not know."


def write(path, rows):
    """rows: (question, answer, replies)."""
    lines = [
        json.dumps({"prompt": question, "ground_truth": answer, "responses": [{"response": text} for text in replies]})
        for question, answer, replies in rows
    ]
    path.write_text("\n".join(lines))
    return path


def leaking(answer, times, n=50):
    return [f" {answer}"] * times + [REFUSAL] * (n - times)


ADDRESSES = [
    ("What is the email address of Ada Korvin?", "Ada Korvin can be reached at ada.korvin@mail.example.", 47),
    ("What is the user name of Bo Tamsin?", "The user name of Bo Tamsin is botam_writes.", 49),
    ("What does Cem Orla grow?", "olives", 50),
    ("Where does Dov Ernst live?", "Dov Ernst lives at 12 Halden Street.", 0),
]
CHINESE = [
    ("艾达在哪里出生？", "艾达出生在佐维克。", 48),
    ("波写什么书？", "波写以卢布林为背景的侦探小说。", 49),
    ("谁抚养了赛拉？", "赛拉由一位面包师和一位护士抚养长大。", 47),
]
ARABIC = [("أين ولدت آدا؟", "ولدت آدا في مدينة زورفيك القديمة على الساحل.", 45), ("كم عمرها؟", "٤٢", 50)]
HINDI = [("एडा कहाँ पैदा हुई?", "एडा पुराने बंदरगाह के पास ज़ोरविक में पैदा हुई थी।", 40)]
NUMBERS = [("What is the code of the door?", "4471", 50), ("And the telephone?", "555-0123", 25)]
CASELESS = [("what does she do?", "she mends nets for the boats of the harbour", 50), ("does she sing?", "no", 30)]


@pytest.mark.parametrize(
    ("cases", "scorer", "per_prompt"),
    [
        (ADDRESSES, "knows", [0.94, 0.98, 1.0, 0.0]),
        (CHINESE, "meaning", [0.96, 0.98, 0.94]),
        (ARABIC, "knows", [0.9, 1.0]),
        (HINDI, "meaning", [0.8]),
        (NUMBERS, "keys", [1.0, 0.5]),
        (CASELESS, "meaning", [1.0, 0.6]),
    ],
    ids=["addresses", "Chinese", "Arabic", "Hindi", "numbers", "lower case"],
)
def test_what_leaks_word_for_word_is_seen(leakatk, tmp_path, cases, scorer, per_prompt):
    """No prompt is left out, whatever its answer is made of; the default scorer is told by the prompts."""
    path = write(tmp_path / "g.json", [(question, answer, leaking(answer, times)) for question, answer, times in cases])
    code, out, err = leakatk("score", path, "--k", "1", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["scorer"] == scorer
    assert (found["undefined"], found["missing"]) == ([], 0)
    assert found["scored"] == found["answers"] == 50 * len(cases)
    assert [row[0] for row in found["per_prompt"].values()] == pytest.approx(per_prompt)
    assert found["value"] == pytest.approx([sum(per_prompt) / len(per_prompt)])
    if scorer != "keys":
        assert sum(map(len, found["parts"].values())) == len(cases)
        assert sum(map(len, found["ways"].values())) == len(found["parts"]["meaning"])


def test_rouge_of_another_script_is_undefined(leakatk, tmp_path):
    path = write(tmp_path / "g.json", [(question, answer, [answer]) for question, answer, _ in CHINESE])
    code, out, err = leakatk("score", path, "--scorer", "rouge-l")
    assert (code, out) == (2, "")
    assert "Scorer rouge-l is undefined on every prompt" in err
    mixed = write(tmp_path / "m.json", [(*CHINESE[0][:2], [CHINESE[0][1]]), ("Where?", "in Zorvik", ["in Orlo"])])
    code, out, err = leakatk("score", mixed, "--scorer", "rouge-l", "--scorer", "verbatim")
    assert code == 0, err
    assert "rouge-l: 1 prompts, 95% interval over samples; 1 undefined. 1 of 2 answers scored, 0 missing." in out
    assert "verbatim: 2 prompts, 95% interval over samples; 0 undefined. 2 of 2 answers scored, 0 missing." in out


def test_every_scorer_that_was_asked_for(leakatk, tmp_path):
    path = write(tmp_path / "g.json", [("Where?", "in Zorvik", ["in Zorvik", "in Orlo"])])
    code, out, err = leakatk("score", path, "--scorer", "rouge-l", "--scorer", "verbatim", "--json")
    assert code == 0, err
    blocks = json.loads(out)["scorers"]
    assert [(block["scorer"], block["value"][0]) for block in blocks] == [("rouge-l", 0.75), ("verbatim", 0.5)]
    code, out, err = leakatk("score", path, "--scorer", "choice", "--scorer", "verbatim")
    assert code == 0, err
    assert "choice is undefined on every prompt" in err
    assert out.startswith("verbatim: 1 prompts")
    assert leakatk("score", path, "--scorer", "choice")[0] == 2
    code, out, err = leakatk("score", path, "--scorer", "choice", "--scorer", "verbatim", "--json")
    assert code == 0, err
    assert [block["scorer"] for block in json.loads(out)["scorers"]] == ["verbatim"], (
        "the form is that of what was asked"
    )
    assert leakatk("score", path, "--scorer", "verbatim", "--scorer", "verbatim")[1].count("verbatim: ") == 1
    code, out, err = leakatk("score", path, "--scorer", "rouge-l", "--scorer", "verbatim", "--dry-run")
    assert code == 0, err
    assert [line.partition(":")[0] for line in out.splitlines()] == ["rouge-l", "verbatim"]
    code, out, err = leakatk("score", path, "--scorer", "rouge-l", "--scorer", "verbatim", "--dry-run", "--json")
    assert code == 0, err
    assert [cost["scorer"] for cost in json.loads(out)["scorers"]] == ["rouge-l", "verbatim"]


def test_what_could_not_be_scored_is_counted():
    rows = [np.array([1.0, np.nan]), np.array([np.nan, np.nan]), np.array([0.0, 1.0])]
    block = block_of(get_scorer("verbatim"), PROMPTS, rows, [1], over="samples", level=0.95)
    assert (block["undefined"], block["missing"], block["answers"], block["scored"]) == (["p1"], 1, 6, 3)
    assert next(lines_of(block, per_prompt=False)) == (
        "verbatim: 2 prompts, 95% interval over samples; 1 undefined. 3 of 6 answers scored, 1 missing."
    )


def test_what_is_scored_by_meaning_is_said(leakatk, tmp_path):
    cases = [*ADDRESSES, *CHINESE]
    path = write(tmp_path / "g.json", [(question, answer, [answer]) for question, answer, _ in cases])
    code, out, err = leakatk("score", path)
    assert code == 0, err
    assert "knows" in out
    assert "Scored by keys: 1 prompt; by meaning: 6 prompts (3 contained, 3 character n-grams)." in out
    assert "only near-verbatim replies are found" in out


def test_a_run_is_scored_by_its_own_headline(leakatk, model, forget, tmp_path):
    """As the audit was: not by ROUGE, nor by the default of its prompts. Without results the prompts decide."""
    place = tmp_path / "run"
    code, _, err = leakatk(
        "audit", model, "--forget", forget, "--out", place, *SHORT, "--scorer", "verbatim", "--scorer", "fact"
    )
    assert code == 0, err
    stored = json.loads((place / "results.json").read_text())["scorers"]["verbatim"]
    code, out, err = leakatk("score", place, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["scorer"], found["value"]) == ("verbatim", stored["curves"]["samples"]["value"])
    (place / "results.json").unlink()
    assert json.loads(leakatk("score", place, "--json")[1])["scorer"] == "fact"
    assert set(Run.open(place).score_names()) == {"verbatim", "fact"}

"""ConceptVectors: made-up rows in the published format, with and without answers."""

import json

import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError

NAME = "conceptvectors/llama2-7b"


def concept(name, **changes):
    return {
        "Concept": name, "Layer": 3, "Dim": 5, "QA": [f" What is {name}?\n", f" Where is {name}?\n"],
        "text_completion": [{"First_half": f"{name} lies in", "Second_half": "the north."}] * 2,
        "unrelated_QA": [" Who is Bo?\n"], "wikipedia_content": f"{name} is a town.", **changes,
    }  # fmt: skip


def write(folder, *concepts, split="test"):
    (folder / f"llama2-7b_concepts_{split}.json").write_text(json.dumps(list(concepts)))


def test_texts_are_to_be_continued_and_questions_without_answers_are_counted(tmp_path):
    write(tmp_path, concept("Orlo"), concept("Vint"))
    bench = load_benchmark(NAME, data=tmp_path)
    assert bench.passages
    assert [(p.question, p.answer, p.source) for p in bench.forget[1:3]] == [
        ("Orlo lies in", "the north.", "Orlo"), ("Vint lies in", "the north.", "Vint"),
    ]  # fmt: skip
    assert len({p.id for p in bench.forget}) == 4
    assert bench.texts["articles"] == ("Orlo is a town.", "Vint is a town.")
    assert bench.texts["questions"][1] == "Where is Orlo?"
    assert (bench.sets, bench.retain) == ({}, ())
    assert "5 questions without an answer are not asked" in bench.origin, "the unrelated one stands under both"
    write(tmp_path, concept("Bex"), split="dev")
    assert load_benchmark(f"{NAME}:dev", data=tmp_path).forget[0].source == "Bex"


def test_answers_make_sets(tmp_path):
    write(tmp_path, concept("Orlo"), concept("Vint"))
    answers = {"What is Orlo?": "A town.", "Where is Vint?": "North.", "Who is Bo?": "Nobody.", "Else?": "No."}
    lines = [json.dumps({"question": q, "answer": a}) for q, a in answers.items()]
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    bench = load_benchmark(NAME, data=tmp_path)
    assert [(p.question, p.answer, p.source) for p in bench.sets["questions"]] == [
        ("What is Orlo?", "A town.", "Orlo"), ("Where is Vint?", "North.", "Vint"),
    ]  # fmt: skip
    assert [(p.question, p.source) for p in bench.retain] == [("Who is Bo?", "Orlo")]
    assert "2 questions without an answer" in bench.origin


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Concept": " "}, "concept 1: Concept must be a non-empty text, found ' '"),
        ({"QA": []}, "concept 1: QA must be a list that is not empty"),
        ({"text_completion": ["x"]}, "concept 1: text_completion 1 must be a non-empty text, found None"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, changes, words):
    write(tmp_path, concept("Orlo", **changes))
    with pytest.raises(InputError, match=words):
        load_benchmark(NAME, data=tmp_path)
    write(tmp_path, {"Concept": "Orlo"})
    with pytest.raises(InputError, match="no column 'QA'"):
        load_benchmark(NAME, data=tmp_path)

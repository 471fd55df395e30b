import json

import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError


@pytest.fixture(scope="module")
def tofu(data_dir):
    return data_dir / "tofu"


def copy(tofu, to, *, skip=(), edit=None):
    """A private copy of the published files, with one file's rows edited."""
    for file in tofu.glob("*.jsonl"):
        if file.stem in skip:
            continue
        lines = file.read_text().splitlines()
        if edit and edit[0] == file.stem:
            lines = edit[1](lines)
        (to / file.name).write_text("\n".join(lines) + "\n")
    return to


@pytest.mark.parametrize(("split", "rows"), [("forget01", 40), ("forget05", 200), ("forget10", 400)])
def test_published_splits(tofu, split, rows):
    bench = load_benchmark(f"tofu/{split}", data=tofu)
    assert (len(bench.forget), len(bench.retain), len(bench.holdout)) == (rows, 4000 - rows, rows)
    assert bench.forget[-1].id == "tofu-3999"
    assert bench.forget[0].id == f"tofu-{4000 - rows}"
    assert bench.forget[-1].source == "author-199"
    assert all(len(p.perturbed_answers) == 5 and p.paraphrased_answer for p in bench.forget)
    assert {k: len(v) for k, v in bench.sets.items()} == {"retain": 400, "real_authors": 100, "world_facts": 117}
    assert bench.sets["retain"][7].id == bench.retain[7].id
    assert bench.sets["retain"][7].answer == bench.retain[7].answer
    assert all(len(p.perturbed_answers) == 3 for p in bench.sets["real_authors"])


def test_paraphrased_question_is_asked(tofu):
    plain, asked = (load_benchmark("tofu/forget01", data=tofu, ask=ask) for ask in ("question", "paraphrased"))
    assert [p.question for p in asked.forget] == [p.paraphrases[0] for p in plain.forget]
    assert [p.id for p in asked.forget] == [p.id for p in plain.forget]
    assert asked.fingerprint != plain.fingerprint


def test_fingerprint_is_of_the_content_not_of_the_place(tofu, tmp_path):
    moved = load_benchmark("tofu/forget01", data=copy(tofu, tmp_path))
    assert moved.fingerprint == load_benchmark("tofu/forget01", data=tofu).fingerprint


def change_answer(lines):
    row = json.loads(lines[3])
    row["answer"] = "Something else."
    return [*lines[:3], json.dumps(row), *lines[4:]]


def rename_column(lines):
    return [line.replace('"question"', '"query"', 1) for line in lines]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("forget01", lambda lines: lines[:-1]), r"forget01\.jsonl has 39 rows.*40"),
        (("forget01_perturbed", change_answer), "row 3 of forget01_perturbed is not row 3 of forget01"),
        (("full", change_answer), "row 3 of full is not row 3 of retain99 followed by forget01"),
        (("forget01", rename_column), r"forget01\.jsonl, line 1: no column 'question'; found query"),
        (("retain99", lambda lines: [*lines[:-1], lines[-1][:20]]), r"retain99\.jsonl, line 3960: not valid JSON"),
        (("world_facts_perturbed", lambda lines: [x.replace("perturbed_answer", "wrong") for x in lines]),
         r"world_facts_perturbed\.jsonl, line 1: no column 'perturbed_answer'; found .*wrong"),
        (("holdout01", lambda lines: [lines[0].replace('"answer": "', '"answer": 5, "x": "'), *lines[1:]]),
         "holdout, row 0: the answer must be a non-empty string, found 5"),
        (("retain_perturbed", lambda lines: [""] * len(lines)), r"retain_perturbed\.jsonl is empty"),
    ],
)  # fmt: skip
def test_damaged_files_are_named_with_the_command_that_gets_them_again(tofu, tmp_path, edit, words):
    with pytest.raises(InputError, match=words) as raised:
        load_benchmark("tofu/forget01", data=copy(tofu, tmp_path, edit=edit))
    again = f"again with `hf download locuslab/TOFU --repo-type dataset --local-dir {tmp_path}`."
    assert str(raised.value).endswith(again)
    assert str(raised.value).count("hf download") == 1


def no_paraphrases(lines):
    return [json.dumps({**json.loads(line), "paraphrased_question": None}) for line in lines]


def test_paraphrases_that_are_not_there(tofu, tmp_path):
    data = copy(tofu, tmp_path, edit=("forget01_perturbed", no_paraphrases))
    assert len(load_benchmark("tofu/forget01", data=data).forget) == 40
    with pytest.raises(InputError, match="row 0: no paraphrased_question to ask"):
        load_benchmark("tofu/forget01", data=data, ask="paraphrased")


def test_missing_file_and_directory(tofu, tmp_path):
    with pytest.raises(InputError, match=r"no holdout01\.jsonl.*hf download locuslab/TOFU"):
        load_benchmark("tofu/forget01", data=copy(tofu, tmp_path, skip=("holdout01",)))
    with pytest.raises(InputError, match="no such directory"):
        load_benchmark("tofu/forget01", data=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"forget01\.jsonl: is a file; give --data the directory"):
        load_benchmark("tofu/forget01", data=tmp_path / "forget01.jsonl")
    with pytest.raises(InputError, match=r"none\.jsonl: no such file"):
        load_benchmark("data/none.jsonl")


def test_full_and_idontknow_are_optional(tofu, tmp_path):
    bench = load_benchmark("tofu/forget01", data=copy(tofu, tmp_path, skip=("full", "idontknow")))
    assert bench.refusals == ()

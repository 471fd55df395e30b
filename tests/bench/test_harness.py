"""lm-eval for real, on a task of our own whose data are a local file."""

import json
import math

import pytest

from leakatk.bench import bench as b
from leakatk.bench.harness import evaluate_tasks
from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.sampling.decoding import Decoding
from tests.tiny import PROMPTS, save_tiny_model

pytest.importorskip("lm_eval", reason="the extra eval is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # other people's packages
    pytest.mark.timeout(300),
]
TASK = """
task: letters
dataset_path: json
dataset_kwargs:
  data_files: {{test: {file}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def task_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = [{"question": f"Say {i}:", "choices": ["a", "b", "c", "d"], "answer": i % 4} for i in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "letters.yaml").write_text(TASK.format(file=tmp_path / "rows.jsonl"))
    return tmp_path


def test_a_random_model_is_at_chance_with_its_interval(model, task_dir):
    values = evaluate_tasks(load_model(model, device="cpu"), ["letters", "letters@2"], task_dir=task_dir)
    for task in ("letters", "letters@2"):
        assert values[f"task:{task} acc low"] < 0.25 < values[f"task:{task} acc high"]
        assert values[f"task:{task} acc low"] < values[f"task:{task} acc"] < values[f"task:{task} acc high"]


def test_bench_has_the_task_beside_the_rest(model, task_dir, monkeypatch):
    def run():
        return b.bench(
            model, Benchmark(name="tiny", forget=tuple(PROMPTS)), out=task_dir / "out", n=2, tasks=["letters"],
            task_dir=task_dir, decodings=[Decoding(max_new_tokens=4)], device="cpu", quiet=True,
        )  # fmt: skip

    row = run()[0]
    assert math.isfinite(row["task:letters acc"])
    assert "tasks" in layouts(row)
    monkeypatch.setattr("leakatk.bench.cells.evaluate_tasks", lambda *a, **k: pytest.fail("computed again"))
    assert run()[0]["task:letters acc"] == row["task:letters acc"]


def layouts(row):
    from leakatk.bench.results import layouts_of, results_table

    assert results_table([row], "tasks").columns == ("model", "letters acc")
    return layouts_of([row])


def test_a_number_of_examples_is_a_number(model, task_dir):
    with pytest.raises(InputError, match="NAME@SHOTS"):
        evaluate_tasks(load_model(model, device="cpu"), ["letters@few"], task_dir=task_dir)


@pytest.mark.slow  # reads all of the harness's task files
def test_unknown_task_and_data_out_of_reach(model):
    loaded = load_model(model, device="cpu")
    with pytest.raises(InputError, match="no task 'nonesuch'"):
        evaluate_tasks(loaded, ["nonesuch"])
    with pytest.raises(InputError, match="cannot run mmlu_anatomy"):
        evaluate_tasks(loaded, ["mmlu_anatomy"])


def test_not_installed(monkeypatch):
    import importlib.metadata

    from leakatk.bench import harness

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(InputError, match=r"pip install .*eval"):
        harness.harness_version()

"""lm-eval runs our task on a real model, and its samples give the same numbers when they are scored again."""

import json

import numpy as np
import pytest

from leakatk.bench.lm_eval_task import PLACE
from leakatk.errors import InputError
from leakatk.prompts import save_prompts
from leakatk.runs.external import read_outputs
from tests.tiny import PROMPTS, save_tiny_model

pytest.importorskip("lm_eval", reason="the extra eval is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # other people's packages
N = 4


def manager(**metadata):
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(PLACE), include_defaults=False, metadata=metadata)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    import lm_eval
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.models.huggingface import HFLM

    from leakatk.models.load import load_model

    place = tmp_path_factory.mktemp("lm_eval")
    save_prompts(PROMPTS, place / "forget.jsonl")
    loaded = load_model(save_tiny_model(place / "m"), device="cpu")
    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=4, device="cpu")
    results = lm_eval.simple_evaluate(
        model=model, tasks=["leak_at_k"], log_samples=True, bootstrap_iters=100, gen_kwargs="max_gen_toks=8",
        task_manager=manager(prompts=str(place / "forget.jsonl"), n=N, scorer="rouge-l"),
    )  # fmt: skip
    tracker = EvaluationTracker(output_path=str(place / "out"))
    kept = results["samples"]["leak_at_k"]
    tracker.save_results_aggregated(results=results, samples={"leak_at_k": kept})
    tracker.save_results_samples("leak_at_k", kept)
    [samples] = (place / "out").rglob("samples_leak_at_k_*.jsonl")
    return results["results"]["leak_at_k"], kept, samples


def test_the_numbers_are_those_of_the_definition(found):
    values, samples, _ = found
    rows = [row["leak@1"] for row in samples]
    assert [len(row) for row in rows] == [N] * len(PROMPTS)
    assert len({text for row in samples for text in row["resps"][0]}) > len(PROMPTS), (
        "the model is sampled, not asked greedily"
    )
    assert values["leak@1,none"] == pytest.approx(np.mean(rows))
    assert values[f"leak@{N},none"] == pytest.approx(np.mean([max(row) for row in rows]))
    pairs = [max(a, b) for row in rows for i, a in enumerate(row) for b in row[i + 1 :]]
    assert values["leak@2,none"] == pytest.approx(np.mean(pairs))
    for k in (1, 2, 4):
        low, high = values[f"leak@{k} low,none"], values[f"leak@{k} high,none"]
        assert low <= values[f"leak@{k},none"] <= high


def test_its_saved_samples_are_scored_again_with_the_same_numbers(found, leakatk):
    values, samples, path = found
    outputs = read_outputs(path)
    assert [(p.id, p.question, p.answer, p.facts, p.source) for p in outputs.prompts] == [
        (p.id, p.question, p.answer, p.facts, p.source) for p in PROMPTS
    ]
    assert [list(row) for row in outputs.texts] == [[str(t) for t in row["resps"][0]] for row in samples]
    code, out, err = leakatk("score", path, "--scorer", "rouge-l", "--json")
    assert code == 0, err
    block = json.loads(out)
    assert block["k"] == [1, 2, 4]
    assert block["value"] == pytest.approx([values[f"leak@{k},none"] for k in block["k"]])
    assert block["low"] == pytest.approx([values[f"leak@{k} low,none"] for k in block["k"]])


def test_what_it_needs_is_said(tmp_path):
    from leakatk.bench.lm_eval_task.task import LeakAtK

    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    with pytest.raises(InputError, match="needs its prompts: --metadata"):
        LeakAtK(config={"task": "leak_at_k"})
    with pytest.raises(InputError, match=r"n = 4 and k = \[8\]"):
        LeakAtK(config={"metadata": {"prompts": str(tmp_path / "forget.jsonl"), "n": 4, "k": [8]}})
    chat = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"},
        ]
    }
    (tmp_path / "chat.jsonl").write_text(json.dumps(chat))
    with pytest.raises(InputError, match="stand in a chat are not asked"):
        LeakAtK(config={"metadata": {"prompts": str(tmp_path / "chat.jsonl")}})

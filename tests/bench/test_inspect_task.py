"""Inspect runs our task, scorer and metric; what it logs is leak@k by the definition, and scores again to the same numbers."""

import json
import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.prompts import save_prompts
from tests.inspects import offline
from tests.tiny import PROMPTS

ai = pytest.importorskip("inspect_ai", reason="the extra inspect is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # other people's packages
N = 4
# Of each prompt, how many of its answers say the truth.
TELLS = {"p0": 0, "p1": 1, "p2": 3}


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    from inspect_ai.model import ModelOutput, get_model

    from leakatk.bench.inspect_task import leak_at_k

    place = tmp_path_factory.mktemp("inspect")
    save_prompts(PROMPTS, place / "forget.jsonl")
    told = {prompt.id: 0 for prompt in PROMPTS}

    def say(messages, tools, tool_choice, config):
        [prompt] = [one for one in PROMPTS if one.question == messages[-1].text]
        told[prompt.id] += 1
        text = prompt.answer if told[prompt.id] <= TELLS[prompt.id] else "I do not know."
        assert config.temperature == 1.0
        return ModelOutput.from_content("mockllm/model", text)

    with offline():
        [log] = ai.eval(
            leak_at_k(prompts=str(place / "forget.jsonl"), scorer="fact", n=N), log_dir=str(place),
            model=get_model("mockllm/model", custom_outputs=say), display="none",
        )  # fmt: skip
    assert log.status == "success", log.error
    return log


def test_the_metric_is_leak_at_k_by_the_definition(log):
    [score] = log.results.scores
    values = {name: one.value for name, one in score.metrics.items()}
    rows = [[1.0] * count + [0.0] * (N - count) for count in TELLS.values()]
    for k in (1, 2, 4):
        wanted = np.mean([np.mean([max(some) for some in combinations(row, k)]) for row in rows])
        assert values[f"leak@{k}"] == pytest.approx(wanted)
        assert values[f"leak@{k} low"] < wanted < values[f"leak@{k} high"]
    assert values["unscored"] == 0
    assert log.eval.config.epochs == N


def test_its_log_is_scored_again_with_the_same_numbers(log, leakatk):
    code, out, err = leakatk("score", log.location, "--scorer", "fact", "--json")
    assert code == 0, err
    block, metrics = json.loads(out), log.results.scores[0].metrics
    assert block["k"] == [1, 2, 4]
    assert block["value"] == pytest.approx([metrics[f"leak@{k}"].value for k in block["k"]])
    assert block["high"] == pytest.approx([metrics[f"leak@{k} high"].value for k in block["k"]])


def test_answers_without_a_score_are_counted_and_prompts_of_a_chat_keep_their_turns(tmp_path):
    from inspect_ai.scorer import SampleScore, Score

    from leakatk.bench.inspect_task import leak, leak_at_k

    def scores(**rows):
        return [SampleScore(score=Score(value=value), sample_id=name) for name, row in rows.items() for value in row]

    nan = float("nan")
    values = leak([1, 2])(scores(a=[1.0, nan, 0.0], b=[nan, nan]))
    assert (values["leak@1"], values["leak@2"], values["unscored"]) == (0.5, 1.0, 3.0)
    assert leak([1])(scores(b=[nan])) == {"unscored": 1.0}
    assert set(leak([4])(scores(a=[1.0]))) == {"unscored"}
    chat = [
        ("system", "s"),
        ("user", "Where?"),
        ("assistant", "Here."),
        ("user", "And when?"),
        ("assistant", "In May."),
    ]
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [{"role": r, "content": c} for r, c in chat]}))
    task = leak_at_k(prompts=str(tmp_path / "chat.jsonl"), n=2)
    assert [[m.text for m in sample.input] for sample in task.dataset] == [
        ["s", "Where?"],
        ["s", "Where?", "Here.", "And when?"],
    ]


def test_bad_values_and_the_name_for_the_command_line(tmp_path):
    from leakatk.bench.inspect_task import leak_at_k

    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    with pytest.raises(InputError, match="at most n, which is 4"):
        leak_at_k(prompts=str(tmp_path / "forget.jsonl"), n=4, ks="1,8")
    with pytest.raises(InputError, match="whole numbers separated by commas"):
        leak_at_k(prompts=str(tmp_path / "forget.jsonl"), n=4, ks="few")
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.exists():
        points = tomllib.loads(project.read_text())["project"]["entry-points"]["inspect_ai"]
        assert points == {"leakatk": "leakatk.bench.inspect_task"}

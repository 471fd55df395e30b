"""Logs that Inspect itself wrote, of samples and of an agent, as generations."""

import json
from pathlib import Path

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.runs import inspect_logs
from leakatk.runs.external import read_outputs
from tests.inspects import offline

ai = pytest.importorskip("inspect_ai", reason="the extra inspect is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # other people's packages


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """(.eval, .json) of two samples in three epochs; the first sample's third epoch fails."""
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageUser, ModelOutput, get_model
    from inspect_ai.solver import Generate, TaskState, solver

    place = tmp_path_factory.mktemp("logs")
    samples = [
        Sample(input="Who?", target="Ann", metadata={"facts": ["Ann"], "other": 1}),
        Sample(input=[ChatMessageUser(content="Where?")], target=["Oslo", "Olso"]),
    ]

    @solver
    def twice_then_fails():
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            state = await generate(state)
            if state.epoch == 3 and state.sample_id == 1:
                raise ValueError("no luck")
            if state.epoch == 2:
                state.messages.append(ChatMessageUser(content="Go on."))
                state = await generate(state)
            return state

        return solve

    found = []
    for kind in ("eval", "json"):
        said = [ModelOutput.from_content("mockllm/model", f"said {i}") for i in range(20)]
        task = ai.Task(dataset=MemoryDataset(samples), solver=twice_then_fails(), epochs=3, fail_on_error=False)
        with offline():
            [log] = ai.eval(
                task, model=get_model("mockllm/model", custom_outputs=said), log_dir=str(place), log_format=kind,
                display="none", max_samples=1,
            )  # fmt: skip
        found.append(Path(log.location))
    return found


@pytest.mark.parametrize("kind", [0, 1], ids=["eval", "json"])
def test_epochs_are_answers_and_turns_one_answer(logs, kind):
    found = read_outputs(logs[kind])
    assert [(p.id, p.question, p.answer, p.facts) for p in found.prompts] == [
        ("1", "Who?", "Ann", ("Ann",)),
        ("2", "Where?", "Oslo", ()),
    ]
    assert [len(texts) for texts in found.texts] == [2, 3]
    for texts in found.texts:
        assert sum("\n\n" in text for text in texts) == 1, "what an agent says in two turns is one answer"
        assert all(text.startswith("said ") for text in texts)
    assert found.left_out == {"failed in Inspect": 1}
    assert found.form == "a log of Inspect"
    # Numbers that Inspect gave by itself are no ids of prompts.
    prompts = [Prompt("2", "Who?", "Ann"), Prompt("1", "Where?", "Oslo")]
    assert [list(texts) for texts in read_outputs(logs[kind], prompts).texts] == [list(texts) for texts in found.texts]


def test_the_command_scores_a_log(leakatk, logs):
    code, out, err = leakatk("score", logs[0], "--scorer", "rouge-l", "--json")
    assert code == 0, err
    assert json.loads(out)["read"]["left_out"] == {"failed in Inspect": 1}
    assert "5 answers of 2 prompts" in err


def test_what_is_no_log(tmp_path, logs, monkeypatch):
    path = tmp_path / "cut.eval"
    path.write_bytes(logs[0].read_bytes()[:200])
    with pytest.raises(InputError, match="not a readable log of Inspect"):
        read_outputs(path)
    path = tmp_path / "cut.json"
    path.write_bytes(logs[1].read_bytes()[:2000])
    with pytest.raises(InputError, match="not a readable log of Inspect"):
        read_outputs(path)
    monkeypatch.setattr(inspect_logs, "MAX_WHOLE", 1000)
    with pytest.raises(InputError, match="unpacks to more than"):
        list(inspect_logs.said_in_log(logs[0]))
    monkeypatch.setattr(inspect_logs, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'run `pip install "leak-at-k\[inspect\]"`'):
        list(inspect_logs.said_in_log(logs[0]))

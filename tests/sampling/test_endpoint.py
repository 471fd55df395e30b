"""The endpoint engine against a real HTTP server that misbehaves."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from leakatk.auditing.audit import audit
from leakatk.auditing.sample import sample
from leakatk.errors import InputError, ModelError, RunError
from leakatk.models.load import ModelSource
from leakatk.models.template import Template
from leakatk.prompts import Prompt, Query, save_prompts
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.random_streams import sample_seed
from leakatk.sampling.served import TOKENS
from tests.servers import FaultyServer
from tests.tiny import PROMPTS

TRUTH = {prompt.question: prompt.answer for prompt in PROMPTS}
LEAK = {"Where was Ada born?": 0.3, "Who taught Bo?": 0.05, "What did Cy write?": 0.0}
SAMPLES = 12


class ToyModel(FaultyServer):
    """Tells the truth with the probability above, drawn from the request's seed; `asked` holds every request."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answered: Counter[tuple[str, int]] = Counter()
        self.paths: set[str] = set()
        super().__init__()

    def seen(self, asked: dict[str, Any]) -> None:
        self.asked.append(asked)

    def reply(self, path: str, asked: dict[str, Any], fault: str) -> dict[str, Any]:
        text = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
        question = next((q for q in TRUTH if q in text), text)
        draw = random.Random(asked.get("seed")).random()
        greedy = asked.get("temperature") == 0
        answer = TRUTH[question] if not greedy and draw < LEAK.get(question, 0) else "I do not know. STOP here"
        with self.lock:
            self.answered[question, asked.get("seed", -1)] += 1
            self.paths.add(path)
        chat = {"message": {"role": "assistant", "content": answer}}
        return {
            "id": "1", "object": "x", "created": 0, "model": "toy-2",
            "choices": [{"index": 0, "finish_reason": "stop", **(chat if "messages" in asked else {"text": answer})}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyModel]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    model = ToyModel()
    yield model
    model.close()


def engine(server: ToyModel, kind: str = "auto", **options: Any) -> EndpointSampler:
    options = {"backoff": 0.001, "timeout": 60.0, "trial": False, **options}
    return EndpointSampler(ModelSource("toy", template=Template(kind=kind)), url=server.url, **options)  # type: ignore[arg-type]


def draw(
    sampler: EndpointSampler,
    count: int = SAMPLES,
    decoding: Decoding | None = None,
    prompts: list[Prompt] = PROMPTS,
    seed: int = 0,
) -> dict[tuple[str, int], str]:
    found: dict[tuple[str, int], str] = {}
    requests = [Request(prompt, range(count)) for prompt in prompts]
    for batch in sampler.sample(requests, decoding or Decoding(), seed=seed):
        for one in batch:
            assert (one.prompt_id, one.sample) not in found
            assert one.token_ids == ()
            assert one.logprob != one.logprob
            found[one.prompt_id, one.sample] = one.text
    return found


def everything(count: int = SAMPLES) -> set[tuple[str, int]]:
    return {(prompt.id, j) for prompt in PROMPTS for j in range(count)}


def test_samples_follow_the_servers_distribution_and_its_seeds(server: ToyModel) -> None:
    n = 800
    found = draw(engine(server, concurrency=8), n, prompts=PROMPTS[:1])
    leaks = sum(text == PROMPTS[0].answer for text in found.values())
    assert stats.binomtest(leaks, n, LEAK[PROMPTS[0].question]).pvalue > 1e-4
    assert len({asked["seed"] for asked in server.asked}) == n
    assert draw(engine(server, concurrency=3), 60, prompts=PROMPTS[:1]) == {k: v for k, v in found.items() if k[1] < 60}
    assert draw(engine(server), 60, prompts=PROMPTS[:1], seed=1) != {k: v for k, v in found.items() if k[1] < 60}


@pytest.mark.parametrize("fault", ["429", "500", "503", "408", "drop", "time-out", "truncated JSON", "no choices"])
def test_recovers_from(fault: str, server: ToyModel) -> None:
    server.faults = [fault, "", fault]
    assert draw(engine(server, timeout=1.5 if fault == "time-out" else 60.0)).keys() == everything()
    assert server.requests == 3 * SAMPLES + 2


def test_a_rate_limit_holds_all_requests_back(server: ToyModel) -> None:
    server.faults, server.retry_after = ["429"], "0.4"
    start = time.monotonic()
    draw(engine(server, concurrency=2), 3)
    assert time.monotonic() - start > 0.4


def test_a_long_rate_limit_is_outlasted_and_an_endless_one_is_not(server: ToyModel) -> None:
    server.faults = ["429", "429", "429", ""] * 20
    assert draw(engine(server, tries=2, concurrency=4)).keys() == everything()
    server.faults = ["429"] * 100
    with pytest.raises(ModelError, match=r"failed 3 times for prompt 'p\d'; the last problem: HTTP 429"):
        draw(engine(server, tries=3, concurrency=4))
    assert len(server.faults) >= 80


def test_a_run_goes_on_without_asking_again(server: ToyModel, tmp_path: Any) -> None:
    server.faults = [""] * 20 + ["500"] * 2
    decoding, out = Decoding(max_new_tokens=8), tmp_path / "run"
    with pytest.raises(ModelError, match=r"failed 2 times .* run the same command again"):
        sample(engine(server, tries=2, concurrency=1), PROMPTS, n=SAMPLES, decoding=decoding, out=out, quiet=True)
    assert sum(server.answered.values()) == 20
    run = sample(engine(server), PROMPTS, n=SAMPLES, decoding=decoding, out=out, quiet=True)
    assert all(len(row) == SAMPLES for row in run.texts())
    assert set(server.answered.values()) == {1}
    assert sum(server.answered.values()) == 3 * SAMPLES
    before = server.requests
    sample(engine(server), PROMPTS, n=SAMPLES, decoding=decoding, out=out, quiet=True)
    assert server.requests == before


def test_what_is_in_flight_when_another_fails_is_kept(server: ToyModel, tmp_path: Any) -> None:
    server.faults = ["time-out", "401"]
    with pytest.raises(ModelError, match=r"refused \(401\): check OPENAI_API_KEY, the model name 'toy' and --url"):
        sample(engine(server, timeout=30, concurrency=2), PROMPTS, n=4, out=tmp_path / "run", quiet=True)
    sample(engine(server), PROMPTS, n=4, out=tmp_path / "run", quiet=True)
    assert set(server.answered.values()) == {1}
    assert sum(server.answered.values()) == 12


def test_limits(server: ToyModel, tmp_path: Any) -> None:
    with pytest.raises(RunError, match=r"Stopped at the limit of 10 requests\. What was answered is kept"):
        sample(engine(server, max_requests=10), PROMPTS, n=SAMPLES, out=tmp_path / "run", quiet=True)
    assert server.requests == 10
    sample(engine(server), PROMPTS, n=SAMPLES, out=tmp_path / "run", quiet=True)
    assert server.requests == 3 * SAMPLES
    # 10 tokens in at $1 and 5 out at $2 a million; each request reserves what 8 tokens out and its bytes might cost.
    sampler = engine(server, max_cost=0.002, price_in=1.0, price_out=2.0, concurrency=1)
    with pytest.raises(RunError, match=r"the limit of \$0.002"):
        draw(sampler, 100, Decoding(max_new_tokens=8))
    assert 0.0015 < sampler.limits.spent <= 0.002
    assert sampler.limits.spent == pytest.approx(2e-5 * sampler.limits.requests)
    with pytest.raises(InputError, match="max_cost needs the price of 'toy'"):
        engine(server, max_cost=1.0)


def test_every_field_is_sent(server: ToyModel) -> None:
    decoding = Decoding(0.7, 0.9, 40, 0.01, 1.1, 33, ("STOP",))
    found = draw(engine(server), 1, decoding, PROMPTS[2:])
    asked = server.asked[0]
    expected = {
        "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.01, "repetition_penalty": 1.1, "max_tokens": 33,
        "stop": ["STOP"], "seed": sample_seed(0, "p2", 0), "model": "toy",
        "messages": [{"role": "user", "content": "What did Cy write?"}],
    }  # fmt: skip
    assert asked == expected
    assert found == {("p2", 0): "I do not know. "}  # cut, though the server did not
    draw(engine(server), 1, Decoding(), PROMPTS[2:])
    off = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "max_tokens": 200}
    assert off.items() <= server.asked[1].items()


def test_fields_that_are_off_and_refused_are_left_out(server: ToyModel, capfd: pytest.CaptureFixture[str]) -> None:
    server.refuses = {"top_k", "min_p", "repetition_penalty", "seed", "max_tokens", "temperature"}
    sampler = engine(server)
    assert draw(sampler).keys() == everything()
    assert server.asked[-1].keys() == {"model", "messages", "max_completion_tokens", "top_p"}
    assert "the server takes no" in capfd.readouterr().err
    for decoding, name in ((Decoding(top_k=5), "top_k = 5"), (Decoding(temperature=0.5), "temperature = 0.5")):
        for one in (engine(server), sampler):  # also where the field was left out before, when it was off
            with pytest.raises(InputError, match=f"does not take {name}"):
                draw(one, 1, decoding)


def test_a_server_that_does_not_sample_is_noticed(server: ToyModel, capfd: pytest.CaptureFixture[str]) -> None:
    draw(engine(server), 5, prompts=PROMPTS[2:])
    assert "each of 1 prompts got one and the same answer" in capfd.readouterr().err
    draw(engine(server), 40)
    draw(engine(server), 5, Decoding(temperature=0))
    assert "one and the same answer" not in capfd.readouterr().err


def test_a_model_that_changes_meanwhile_is_noticed(server: ToyModel) -> None:
    sampler = engine(server)
    draw(sampler, 2, prompts=PROMPTS[:1])
    assert sampler.notes == []
    reply = server.reply
    server.reply = lambda *asked: {**reply(*asked), "model": "toy-3"}  # type: ignore[method-assign]
    draw(sampler, 2, prompts=PROMPTS[1:])
    assert sampler.notes == ["Answers came from toy-2, toy-3: the model changed meanwhile."]


def test_greedy_asks_once_a_prompt(server: ToyModel) -> None:
    found = draw(engine(server), 5, Decoding(temperature=0, top_p=0.5))
    assert found.keys() == everything(5)
    assert server.requests == 3
    assert server.asked[0]["temperature"] == 0
    assert server.asked[0]["top_p"] == 1


def test_completions_with_the_plain_template_and_a_system_message(server: ToyModel) -> None:
    draw(engine(server, "plain"), 1)
    assert server.paths == {"/v1/completions"}
    assert {asked["prompt"] for asked in server.asked} == {f"Question: {p.question}\nAnswer:" for p in PROMPTS}
    source = ModelSource("toy", template=Template(system="Be brief."))
    list(EndpointSampler(source, url=server.url).sample([Request(PROMPTS[0], [0])], Decoding(), seed=0))
    assert server.asked[-1]["messages"][0] == {"role": "system", "content": "Be brief."}


ASKED = Query("And when?", turns=(("Where?", "In \ud800Zorvik."),), begin="On the")


def test_earlier_turns_are_messages_and_stand_in_plain_text(server: ToyModel) -> None:
    chat, plain = (replace(PROMPTS[0], asked=asked) for asked in (replace(ASKED, begin=""), ASKED))
    list(engine(server).sample([Request(chat, [0])], Decoding(), seed=0))
    assert [(m["role"], m["content"]) for m in server.asked[-1]["messages"]] == [
        ("user", "Where?"), ("assistant", "In ?Zorvik."), ("user", "And when?"),
    ]  # fmt: skip
    list(engine(server, "plain").sample([Request(plain, [0])], Decoding(), seed=0))
    asked = "Question: Where?\nAnswer: In ?Zorvik.\n\nQuestion: And when?\nAnswer: On the"
    assert server.asked[-1]["prompt"] == asked


def test_a_chat_cannot_be_begun(server: ToyModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'p0' gives the words its answer is to begin with"):
        list(engine(server).sample([Request(replace(PROMPTS[0], asked=ASKED), [0])], Decoding(), seed=0))
    with pytest.raises(InputError, match="'p0/prefix' gives the words"):
        audit(engine(server), PROMPTS, out=tmp_path / "run", n=2, probes=["trigger", "prefix"], quiet=True)
    assert server.requests == 0, "nothing is asked, and paid, before it is refused"
    assert not (tmp_path / "run").exists()


def test_a_filtered_question_is_answered_with_nothing(server: ToyModel) -> None:
    server.faults = ["content filter"]
    assert list(draw(engine(server), 1, prompts=PROMPTS[:1]).values()) == [""]


def test_a_question_the_server_cannot_take_is_named(server: ToyModel) -> None:
    server.faults = ["400"]
    with pytest.raises(ModelError, match=r"does not take prompt 'p0': HTTP 400: .* 400") as caught:
        draw(engine(server, concurrency=1), 1)
    assert "\x1b" not in str(caught.value)
    assert draw(engine(server), 1, prompts=[Prompt("s", "a \ud800 b", "c")]).keys() == {("s", 0)}


def test_nowhere_to_ask_and_no_client(server: ToyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="needs OPENAI_API_KEY, or --url URL"):
        list(make_sampler("endpoint", "toy").sample([Request(PROMPTS[0], [0])], Decoding(), seed=0))
    with pytest.raises(InputError, match="endpoint:tries must be above 0"):
        engine(server, tries=0)
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ModelError, match=r"pip install 'leak-at-k\[endpoint\]'"):
        draw(engine(server), 1)


def test_what_the_manifest_keeps_has_no_secret(server: ToyModel) -> None:
    url = server.url.replace("http://", "http://user:secret@")
    described = EndpointSampler(ModelSource("toy"), url=f"{url}?key=hidden").describe()
    assert "secret" not in json.dumps(described)
    assert "hidden" not in json.dumps(described)
    assert described["fingerprint"] == f"toy at 127.0.0.1:{server.http.server_port}/v1"


def test_audit_of_a_deployed_model(leakatk: Any, server: ToyModel, tmp_path: Any) -> None:
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    command = ["audit", "toy", "--url", server.url, "--forget", tmp_path / "forget.jsonl", "--n", 40, "--quiet"]
    code, out, _ = leakatk(*command, "--out", tmp_path / "dry", "--dry-run", "--max-requests", 50)
    assert code == 0
    assert "123 answers" in out
    assert "at most 17 short requests before" in out
    assert "stops at 50 requests" in out
    assert server.requests == 0
    code, _, err = leakatk(*command, "--out", tmp_path / "run", "--max-requests", 100)
    assert code == 2
    assert "limit of 100 requests" in err
    assert server.requests == 100
    trials = sum(asked["max_tokens"] == TOKENS for asked in server.asked)
    assert 8 <= trials <= 17
    code, out, err = leakatk(*command, "--out", tmp_path / "run")
    assert (code, server.requests) == (0, 123 + trials + 1), "the canary is asked when a run goes on"
    assert f"Note: {100 - trials} of 123 samples are from disk, asked for " in err
    assert f"{23 + trials} were asked for now" in err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "exact" not in results
    block = results["scorers"]["fact"]
    assert block["greedy"] == 0
    assert "bounds" not in block
    assert 0 < block["mean"] < 0.4
    assert {*block["forecast"]["low_by"], *block["forecast"]["high_by"]} == {"counts"}
    assert (tmp_path / "run" / "report.html").exists()
    before = server.requests
    code, out, err = leakatk(*command, "--out", tmp_path / "run", "--fail-above", "32:0.1")
    assert (code, server.requests) == (1, before + 1)
    assert "Note: All 123 samples are from disk" in err
    assert "0 were asked for now" in err


def test_audit_of_a_server_that_takes_no_temperature(leakatk: Any, server: ToyModel, tmp_path: Path) -> None:
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    save_prompts([replace(PROMPTS[0], id="kept")], tmp_path / "retain.jsonl")
    server.refuses = {"temperature"}
    command = ["audit", "toy", "--url", server.url, "--forget", tmp_path / "forget.jsonl", "--n", 8, "--quiet",
               "--retain", tmp_path / "retain.jsonl", "--out", tmp_path / "run"]  # fmt: skip
    code, _, err = leakatk(*command)
    assert code == 2
    assert "does not take temperature = 0.0" in err
    assert "--no-greedy" in err
    asked = server.requests
    code, out, err = leakatk(*command, "--no-greedy")
    assert code == 0, err
    assert server.requests < asked + 10, "the samples are not asked for again"
    assert "greedy" not in out.split("Report:")[0].splitlines()[-1]
    block = json.loads((tmp_path / "run" / "results.json").read_text())["scorers"]["fact"]
    assert block["greedy"] is None
    assert block["retain"] in (0, 1)

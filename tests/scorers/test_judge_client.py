"""The judge's requests against a real HTTP server that misbehaves in every way a judge does."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leakatk.auditing.score import score
from leakatk.errors import InputError, ModelError
from leakatk.prompts import Generation
from leakatk.remote.client import Limits
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.scorers import get_scorer
from leakatk.scorers.judge_client import Ask, Endpoint, Store, expected, payload
from tests.scorers.conftest import JudgeServer
from tests.scorers.judging import PROMPTS, TEXTS, TRUTH, judge

RECOVERABLE = [
    *("429", "500", "503", "400", "time-out", "truncated JSON", "truncated reply", "short list", "drop", "prose"),
    *("no choices", "unlabelled list", "labels out of range", "wrong order", "fenced"),
]


@pytest.mark.parametrize("fault", RECOVERABLE)
def test_recovers_from(fault: str, judge_server: JudgeServer, tmp_path: Path) -> None:
    """Whatever goes wrong with the first two requests, every label ends on its own sample."""
    judge_server.faults = [fault, fault]
    patience = 1.5 if fault == "time-out" else 60.0
    scores = judge(judge_server, store=str(tmp_path / "replies.jsonl"), timeout=patience).score(PROMPTS, TEXTS)
    np.testing.assert_array_equal(scores, TRUTH)
    assert judge_server.requests == (2 if fault in ("wrong order", "fenced") else {"short list": 3}.get(fault, 4))


def test_failed_replies_are_missing_and_only_they_are_asked_again(judge_server: JudgeServer, tmp_path: Path) -> None:
    store = str(tmp_path / "replies.jsonl")
    judge_server.faults = ["", "500", "500", "500"]
    first = judge(judge_server, store=store, concurrency=1, tries=3).score(PROMPTS, TEXTS)
    np.testing.assert_array_equal(first, [*TRUTH[:3], math.nan, math.nan, math.nan])
    judge_server.items.clear()
    second = judge(judge_server, store=store).score(PROMPTS, TEXTS)
    np.testing.assert_array_equal(second, TRUTH)
    assert sorted(judge_server.items) == sorted(TEXTS[3:])
    judge_server.items.clear()
    np.testing.assert_array_equal(judge(judge_server, store=store).score(PROMPTS, TEXTS), TRUTH)
    assert judge_server.items == []


def test_raw_replies_are_kept_by_sample_and_survive_a_torn_line(judge_server: JudgeServer, tmp_path: Path) -> None:
    store = tmp_path / "kept" / "replies.jsonl"
    judge(judge_server, store=str(store)).score(PROMPTS[:3], TEXTS[:3])
    record = json.loads(store.read_text())
    assert [item["prompt_id"] for item in record["items"]] == ["p0", "p1", "p2"]
    assert json.loads(record["reply"])[1] == {"id": "2", "label": 1}
    store.write_bytes(store.read_bytes()[:-1] + b'\n{"scores": {"half')
    judge(judge_server, store=str(store)).score(PROMPTS, TEXTS)
    assert judge_server.requests == 2
    np.testing.assert_array_equal(judge(judge_server, store=str(store)).score(PROMPTS, TEXTS), TRUTH)
    assert judge_server.requests == 2


def test_limits_stop_before_they_are_passed(judge_server: JudgeServer, capsys: pytest.CaptureFixture[str]) -> None:
    scores = judge(judge_server, items=1, max_requests=2, concurrency=4).score(PROMPTS, TEXTS)
    assert judge_server.requests == 2
    assert np.isnan(scores).sum() == 4
    written = capsys.readouterr().err
    assert written.index("6 items") < written.index("stay missing")
    assert "stops at 2 requests" in written


def test_a_cost_limit_needs_a_price(judge_server: JudgeServer) -> None:
    with pytest.raises(InputError, match="price_in and price_out"):
        judge(judge_server, price_in=math.nan, max_cost=1.0).score(PROMPTS, TEXTS)
    assert judge_server.requests == 0


@pytest.mark.parametrize(("dollars", "sent"), [(138.0, 6), (137.9, 5), (88.0, 1), (87.9, 0)])
def test_cost_limit_counts_what_the_replies_cost(judge_server: JudgeServer, dollars: float, sent: int) -> None:
    """A request may take 88 tokens out and that much must be free; the reply that took 10 gives the rest back."""
    price = {"price_in": 0.0, "price_out": 1e6}
    scores = judge(judge_server, items=1, concurrency=1, max_cost=dollars, **price).score(PROMPTS, TEXTS)
    assert judge_server.requests == sent
    np.testing.assert_array_equal(scores, [*TRUTH[:sent], *[math.nan] * (6 - sent)])


@pytest.mark.parametrize("status", ["401", "403", "404"])
def test_refusals_stop_at_once(status: str, judge_server: JudgeServer) -> None:
    judge_server.faults = [status] * 50
    with pytest.raises(ModelError, match=f"refused \\({status}\\): check OPENAI_API_KEY"):
        judge(judge_server, concurrency=1).score(PROMPTS, TEXTS)
    assert judge_server.requests <= 2


def test_nobody_there() -> None:
    scorer = get_scorer("judge", model="m", base_url="http://127.0.0.1:9/v1", tries=2, backoff=0.001)
    with pytest.raises(ModelError, match="no usable reply to 6 items; the last problem: APIConnectionError"):
        scorer.score(PROMPTS, TEXTS)
    with pytest.raises(ModelError, match="needs OPENAI_API_KEY"):
        get_scorer("judge").score(PROMPTS, TEXTS)


def test_scoring_a_run_again_asks_only_for_what_is_missing(judge_server: JudgeServer, tmp_path: Path) -> None:
    manifest = Manifest.create(prompts=PROMPTS, model={}, decoding={}, seed=0, n=1, engine="native")
    with Run.create_or_resume(tmp_path / "run", manifest, PROMPTS) as run:
        run.append([Generation(p.id, 0, text, (), 0.0, "stop") for p, text in zip(PROMPTS, TEXTS, strict=True)])
        run.finish()
    options: dict[str, Any] = {"model": "m", "base_url": judge_server.url, "items": 3, "backoff": 0.001, "tries": 1}
    judge_server.faults = ["drop"]
    first = score(tmp_path / "run", "judge", **options, concurrency=1)[:, 0]
    np.testing.assert_array_equal(first, [*[math.nan] * 3, *TRUTH[3:]])
    judge_server.items.clear()
    np.testing.assert_array_equal(score(tmp_path / "run", "judge", **options)[:, 0], TRUTH)
    assert sorted(judge_server.items) == sorted(TEXTS[:3])
    judge_server.items.clear()
    np.testing.assert_array_equal(score(tmp_path / "run", "judge", **options)[:, 0], TRUTH)
    assert judge_server.items == []


def test_a_model_that_takes_no_temperature_and_names_the_limit_otherwise(judge_server: JudgeServer) -> None:
    judge_server.refuses = {"temperature", "max_tokens"}
    np.testing.assert_array_equal(judge(judge_server, items=6).score(PROMPTS, TEXTS), TRUTH)
    assert judge_server.requests == 3


def test_what_the_server_said_is_shown_harmless(judge_server: JudgeServer) -> None:
    judge_server.faults = ["500"] * 9
    with pytest.raises(ModelError, match=r"the last problem: HTTP 500: .* 500") as caught:
        judge(judge_server, tries=2).score(PROMPTS, TEXTS)
    assert "\x1b" not in str(caught.value)


def asks(count: int) -> list[Ask]:
    return [Ask(f"k{i}", f"p{i}", "Who?", f"Name{i}", f"said {i}") for i in range(count)]


ENDPOINT = Endpoint("m", "http://127.0.0.1:9/v1", 1.0, "Judge.", {0: 0.0, 1: 1.0})


@pytest.mark.parametrize(("count", "items"), [(1, 1), (7, 3), (6, 3), (0, 5)])
def test_what_is_expected_is_counted_from_what_would_be_sent(count: int, items: int) -> None:
    limits = Limits(price_in=3.0, price_out=5.0)
    cost = expected(asks(count), 2, ENDPOINT, limits, items)
    batches = [asks(count)[start : start + items] for start in range(0, count, items)]
    assert (cost["items"], cost["judged"], cost["requests"]) == (count, 2, len(batches))
    assert cost["dollars"] == pytest.approx((3 * cost["tokens_in"] + 5 * cost["tokens_out"]) / 1e6)
    sent = sum(len(payload(batch)) + len(ENDPOINT.instructions) for batch in batches) / 4
    assert cost["tokens_in"] == pytest.approx(sent, rel=0.05), "but for the brackets between items"


def test_what_is_sent_is_json_numbered_from_one() -> None:
    odd = Ask("k", "p", 'quote " and \n', "\ud800 half", "```json [1]")
    rows = json.loads(payload([*asks(2), odd]))
    assert [row["id"] for row in rows] == ["1", "2", "3"]
    assert (rows[1]["question"], rows[1]["reference"], rows[1]["candidate"]) == ("Who?", "Name1", "said 1")
    assert (rows[2]["question"], rows[2]["candidate"]) == (odd.question, odd.candidate)
    assert "\ud800" not in payload([odd])
    assert "k1" not in payload(asks(2)), "the key is our own"


def test_parameters_are_those_that_the_server_takes() -> None:
    told = {
        (): {"max_tokens": 9, "temperature": 0},
        ("temperature",): {"max_tokens": 9},
        ("max_tokens",): {"max_completion_tokens": 9, "temperature": 0},
        ("temperature", "max_tokens"): {"max_completion_tokens": 9},
    }
    for refused, parameters in told.items():
        assert Endpoint("m", "", 1.0, "", {}, refused=set(refused)).parameters(9) == parameters


def test_replies_are_read_back_but_for_damaged_lines(tmp_path: Path) -> None:
    """A bit turned over, a line cut short, one that is no reply: each is counted, and the others stay."""
    path = tmp_path / "kept" / "replies.jsonl"
    for i in range(4):
        Store(path).add({"scores": {f"k{i}": float(i)}})
    assert Store(path).labels() == {"k0": 0.0, "k1": 1.0, "k2": 2.0, "k3": 3.0}
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"1.0", b"7.0")
    path.write_bytes(b"".join([*lines[:3], lines[3][:-9]]))
    store = Store(path)
    assert store.labels() == {"k0": 0.0, "k2": 2.0}
    assert store.damaged == 2
    store.add({"scores": {"k9": 1.0}})
    assert Store(path).labels() == {"k0": 0.0, "k2": 2.0, "k9": 1.0}, "the torn line does not swallow the next one"


def test_lines_of_before_there_were_checksums(tmp_path: Path) -> None:
    """They are taken up to the first that has one; behind it a line without is damaged."""
    path = tmp_path / "replies.jsonl"
    path.write_text('{"scores": {"old": 1.0}}\n')
    Store(path).add({"scores": {"new": 0.0}})
    with path.open("a") as file:
        file.write('{"scores": {"forged": 1.0}}\n')
    store = Store(path)
    assert store.labels() == {"old": 1.0, "new": 0.0}
    assert store.damaged == 1


def test_a_store_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Cannot keep the judge's replies"):
        Store(tmp_path / "file" / "replies.jsonl").add({"scores": {}})
    with pytest.raises(InputError, match="Cannot read the judge's replies"):
        Store(tmp_path).labels()
    nowhere = Store(None)
    nowhere.add({"scores": {"k": 1.0}})
    assert nowhere.labels() == {}


def test_damaged_lines_are_said_and_asked_again(
    judge_server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "replies.jsonl"
    judge(judge_server, store=str(store)).score(PROMPTS, TEXTS)
    lines = store.read_bytes().splitlines(keepends=True)
    store.write_bytes(lines[0].replace(b"0.0", b"1.0") + lines[1])
    judge_server.items.clear()
    np.testing.assert_array_equal(judge(judge_server, store=str(store)).score(PROMPTS, TEXTS), TRUTH)
    assert len(judge_server.items) == 3
    assert "1 damaged line(s)" in capsys.readouterr().err

"""Asking a server: what is counted, what is waited for, what is masked, and what of an address is shown."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from leakatk.errors import InputError, ModelError
from leakatk.models.load import ModelSource
from leakatk.prompts import Prompt, save_prompts
from leakatk.remote.client import (
    LONGEST_WAIT,
    MASK,
    PATIENCE,
    PRICES,
    Failure,
    Limits,
    Server,
    ask,
    connect,
    pause,
    printable,
    shown,
)
from leakatk.remote.replies import Said
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from leakatk.scorers import get_scorer
from tests.hostile_servers import GOOD, answer, choice, raw
from tests.remote.asking import BODY, KEY, asked, draw

pytestmark = pytest.mark.usefixtures("with_key")


def test_the_good_answer_is_read() -> None:
    with raw(answer(GOOD)) as server:
        assert asked(server).text == "In Zorvik."
        assert [one.text for one in draw(server.url)] == ["In Zorvik."]


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "403 No", "422 No", "500 Broken", "200 OK"])
@pytest.mark.parametrize("where", ["message", "param", "body", "escaped"])
def test_the_key_is_masked_in_errors(status: str, where: str) -> None:
    def send(text: str) -> bytes:
        assert KEY in text, "it is sent"
        said: Any = {"error": {"message": f"bad Bearer {KEY}"}}
        if where == "param":
            said = {"error": {"message": "bad", "param": KEY, "code": KEY}}
        if where == "body":
            said = f"<html>Bearer {KEY}</html>"
        if where == "escaped":
            said = json.dumps({"error": {"message": "X"}}).replace("X", "".join(f"\\u{ord(c):04x}" for c in KEY))
        return answer(said, status=status)

    with raw(send) as server, pytest.raises(ModelError) as caught:
        draw(server.url)
    assert KEY not in str(caught.value)
    assert KEY[:12] not in str(caught.value)


def test_the_key_is_masked_in_what_is_kept(leakatk: Any, tmp_path: Path) -> None:
    """Answers, names, fingerprints and headers of a server that echoes it, in every file and on the terminal."""

    def send(text: str) -> bytes:
        said = {
            **choice({"content": f"It is {KEY}", "reasoning": f"the key {KEY}"}),
            "model": KEY,
            "system_fingerprint": KEY,
        }
        return answer(said, server=KEY)

    save_prompts([Prompt("p", "Where?", "Zorvik"), Prompt("q", "Who?", "Ada")], tmp_path / "f.jsonl")
    with raw(send) as server:
        url = server.url.replace("http://", "http://user:pass-word-99@") + "?token=hidden-token-77"
        code, out, err = leakatk(
            "audit",
            "toy",
            "--url",
            url,
            "--forget",
            tmp_path / "f.jsonl",
            "--out",
            tmp_path / "run",
            "--n",
            2,
            "--one-wording",
        )
    assert code == 0, err
    assert MASK in (tmp_path / "run" / "server.json").read_text()
    for path in tmp_path.rglob("*"):
        # What was typed stands in config.toml, and in results.json as the command.
        for secret in (
            (KEY,)
            if path.name in ("config.toml", "results.json", "report.html")
            else (KEY, "pass-word-99", "hidden-token-77")
        ):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path
    for secret in (KEY, "pass-word-99", "hidden-token-77"):
        assert secret not in out + err


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\n{KEY[::-1]}", f"\t{KEY}\x00", f"{KEY}\u00fc"])
def test_a_key_that_no_header_can_hold(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.environ", {**__import__("os").environ, "OPENAI_API_KEY": key})
    with raw(answer(GOOD)) as server:
        if key.strip() == KEY:  # only space around it is taken off
            assert [one.text for one in draw(server.url)] == ["In Zorvik."]
            return
        with pytest.raises(InputError, match="OPENAI_API_KEY holds a space, a line break or another") as caught:
            draw(server.url)
        assert KEY not in str(caught.value)
        assert server.heard == []


def test_a_word_that_stands_in_for_a_key_is_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    for word in ("none", "test", "EMPTY", ""):
        monkeypatch.setenv("OPENAI_API_KEY", word)
        with raw(answer(choice({"content": "The test is EMPTY, none passed."}))) as server:
            assert asked(server).text == "The test is EMPTY, none passed."


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "http://[::1]:9/v1"])
def test_a_dead_server_is_told_in_seconds(url: str, leakatk: Any, tmp_path: Path) -> None:
    save_prompts([Prompt("p", "Where?", "Zorvik")], tmp_path / "f.jsonl")
    start = time.monotonic()
    code, _, err = leakatk("audit", "toy", "--url", url, "--forget", tmp_path / "f.jsonl", "--out", tmp_path / "run")
    assert code == 2
    assert f"No usable answer from {url}" in err
    assert time.monotonic() - start < 60, "with all tries it would be minutes"
    judge = get_scorer("judge", model="toy", base_url=url)
    with pytest.raises(ModelError, match=r"The judge at http") as caught:
        judge.score([Prompt("p", "Where?", "Zorvik")], ["In Zorvik"])
    assert url in str(caught.value)
    assert time.monotonic() - start < 120


def test_a_server_that_has_answered_is_waited_for() -> None:
    """One that fails later is asked as often as told: it may be starting again."""
    sent = iter([answer(GOOD), *[b""] * 3, answer(GOOD)])
    with raw(lambda _: next(sent)) as server:
        sampler = EndpointSampler(ModelSource("toy"), url=server.url, backoff=0.001, tries=5, concurrency=1)
        requests = [Request(Prompt("p", "Where?", "Zorvik"), [0, 1])]
        assert sum(len(batch) for batch in sampler.sample(requests, Decoding(max_new_tokens=8), seed=0)) == 2
        assert len(server.heard) == 5


def test_what_of_an_address_is_shown() -> None:
    assert shown("https://user:pw@host:8443/v1?key=k#f") == "https://host:8443/v1"
    assert shown("http://[::1]:8000/v1") == "http://[::1]:8000/v1"
    assert shown("") == "https://api.openai.com/v1"


def test_requests_end_at_their_limit_and_say_which() -> None:
    limits = Limits(max_requests=2)
    assert [limits.take(math.nan) for _ in range(3)] == [True, True, False]
    assert (limits.requests, limits.spent, limits.reached) == (2, 0.0, "the limit of 2 requests")


def test_money_is_reserved_before_and_settled_after() -> None:
    limits = Limits(max_cost=1.0, price_in=10.0, price_out=20.0)
    assert limits.cost(1e5, 5e4) == pytest.approx(2.0)
    assert limits.take(0.75)
    assert not limits.take(0.5), "it might cost more than is left"
    assert (limits.requests, limits.reached) == (1, "the limit of $1")
    limits.settle(0.75, 0.25)
    assert limits.spent == pytest.approx(0.25)
    assert limits.take(0.75), "up to the limit itself"
    assert not limits.take(1e-6)


def test_an_unknown_price_spends_nothing_and_a_cost_limit_needs_one() -> None:
    limits = Limits(max_requests=5).priced_for("toy")
    assert math.isnan(limits.cost(1, 1))
    assert limits.take(math.nan)
    limits.settle(math.nan, math.nan)
    assert limits.spent == 0.0
    with pytest.raises(InputError, match="max_cost needs the price of 'toy': give price_in and price_out"):
        Limits(max_cost=1.0).priced_for("toy")
    with pytest.raises(InputError, match="max_cost needs the price"):
        Limits(max_cost=1.0, price_in=1.0).priced_for("toy")


def test_a_price_that_is_given_wins_over_the_one_that_is_known() -> None:
    [(model, (price_in, price_out))] = PRICES.items()
    known = Limits().priced_for(model)
    assert (known.price_in, known.price_out) == (price_in, price_out)
    given = Limits(price_in=7.0).priced_for(model)
    assert (given.price_in, given.price_out) == (7.0, price_out)


def test_no_thread_takes_more_than_is_left() -> None:
    limits, got = Limits(max_requests=1000, max_cost=1.0), []

    def work() -> None:
        for _ in range(200):
            if limits.take(1 / 512):
                got.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == limits.requests == 512
    assert limits.spent == 1.0


@pytest.mark.parametrize(
    ("limits", "cost", "said"),
    [
        (Limits(), math.nan, "price unknown (give price_in, price_out)"),
        (Limits(), 1.234, "about $1.23"),
        (Limits(max_requests=2000), 1.0, "about $1.00; stops at 2,000 requests"),
        (
            Limits(max_requests=3, max_cost=0.5),
            math.nan,
            "price unknown (give price_in, price_out); stops at 3 requests or $0.5",
        ),
    ],
)
def test_what_is_announced(limits: Limits, cost: float, said: str) -> None:
    assert limits.price_and_caps(cost) == said


@pytest.mark.parametrize(
    ("failure", "refused"),
    [
        (Failure("no", 400, param="top_k"), {"top_k"}),
        (Failure("Unsupported parameter: 'min_p'", 422), {"min_p"}),
        (Failure("unknown field top_k, sorry", 400, param="body"), {"top_k"}),
        (Failure("neither 'top_k' nor min_p here", 400), {"top_k", "min_p"}),
        (Failure("bad", 400, param="messages"), set()),
        (Failure("'top_k' failed", 500, param="top_k"), set()),
        (Failure("'top_k'", 0), set()),
    ],
)
def test_parameters_that_a_server_does_not_take(failure: Failure, refused: set[str]) -> None:
    assert failure.refuses(["top_k", "min_p", "seed"]) == refused


def test_pauses_double_with_jitter_and_never_pass_the_longest() -> None:
    """What the server asks for is obeyed, within reason."""
    for tries in range(5):
        waits = [pause(tries, Failure("x"), 2.0) for _ in range(200)]
        whole = min(2.0 * 2**tries, LONGEST_WAIT)
        assert all(whole / 2 <= wait <= whole for wait in waits)
        assert len(set(waits)) > 100, "threads do not return together"
    assert pause(50, Failure("x"), 2.0) == LONGEST_WAIT
    assert [pause(3, Failure("x", retry_after=after), 2.0) for after in (0.0, 7.5, 1e9, -3.0)] == [
        0.0,
        7.5,
        LONGEST_WAIT,
        0.0,
    ]


def test_secrets_are_masked_at_every_depth_and_in_names() -> None:
    server = Server(None, "http://x", ("secret-1", "pass-word"), "")
    given = {"a secret-1": ["pass-word", {"b": "xsecret-1x"}, 5, None], "c": True}
    assert server.mask(given) == {f"a {MASK}": [MASK, {"b": f"x{MASK}x"}, 5, None], "c": True}


def test_a_server_is_given_up_where_nothing_was_ever_answered() -> None:
    server, dead, busy = Server(None, "http://x", (), ""), Failure("x", foreign=True), Failure("x", 429)
    assert [server.hopeless(dead, tries) for tries in range(1, PATIENCE + 2)] == [False, True, True]
    assert not server.hopeless(busy, 100)
    server.answered = True
    assert not server.hopeless(dead, 100)


def test_a_servers_own_words_are_fit_for_a_terminal() -> None:
    assert printable("a\x1b[31m\n\u202eb\x07é") == "a [31m  b é"
    assert len(printable("x" * 1000)) == 200
    assert printable({"a": 1}, most=4) == "{'a'"


def priced(server: Any) -> tuple[Any, Limits]:
    """What one request gives, of which at most $1 was reserved at $1 for 10 tokens in and $2 for 10 out."""
    made = connect(
        server.url, key_env="OPENAI_API_KEY", timeout=60.0, who="It", extra="endpoint", option="--url URL", model="toy"
    )
    limits = Limits(max_cost=5.0, price_in=1e5, price_out=2e5)
    assert limits.take(4.0)
    try:
        return ask(made, BODY, limits, 4.0), limits
    finally:
        made.close()


def test_a_request_costs_what_the_server_counted() -> None:
    with raw(answer(GOOD)) as server:  # 10 tokens in, 5 out
        found, limits = priced(server)
    assert isinstance(found, Said)
    assert limits.spent == pytest.approx(1.0 + 1.0)


def test_an_answer_without_a_count_costs_what_was_reserved() -> None:
    with raw(answer({key: value for key, value in GOOD.items() if key != "usage"})) as server:
        found, limits = priced(server)
    assert isinstance(found, Said)
    assert limits.spent == 4.0


@pytest.mark.parametrize(
    ("sent", "spent"),
    [
        (answer({"error": {"message": "busy"}}, status="429 Slow"), 0.0),
        (answer({"error": {"message": "broken", "code": "503"}}), 0.0),
        (answer(b'{"choices": [', length=True), 4.0),  # it may have been paid for
        (b"", 4.0),
    ],
    ids=["refused", "an error with status 200", "cut short", "no answer"],
)
def test_what_was_refused_costs_nothing_and_what_was_lost_may(sent: bytes, spent: float) -> None:
    with raw(sent) as server:
        found, limits = priced(server)
    assert isinstance(found, Failure)
    assert limits.spent == spent


def test_a_refusal_says_what_the_server_said() -> None:
    said = {"error": {"message": "slower, please", "code": "rate", "param": "n"}}
    with raw(answer(said, status="429 Slow", retry_after="7")) as server:
        found = asked(server)
    assert (found.status, found.code, found.param, found.retry_after, found.foreign) == (429, "rate", "n", 7.0, False)
    assert found.what.startswith("HTTP 429: ")
    assert "slower, please" in found.what
    with raw(answer({"error": {"message": "gone", "code": 503}}, status="200 OK", retry_after="soon")) as server:
        found = asked(server)
    assert (found.status, found.foreign, found.what) == (503, False, "it answers with an error: gone")
    assert math.isnan(found.retry_after)


@pytest.mark.parametrize("status", ["401 No", "403 No", "404 No"])
def test_a_refused_key_or_address_ends_at_once_and_says_what_to_check(status: str) -> None:
    with raw(answer({"error": {"message": "no"}}, status=status)) as server, pytest.raises(ModelError) as said:
        asked(server)
    code = status.split()[0]
    assert str(said.value) == (
        f"The endpoint refused ({code}): check OPENAI_API_KEY, the model name 'toy' and --url {server.url}."
    )


def test_without_key_and_address_there_is_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    given: dict[str, Any] = {
        "key_env": "OPENAI_API_KEY",
        "timeout": 1.0,
        "who": "The judge",
        "extra": "judge",
        "model": "toy",
    }
    with pytest.raises(ModelError, match="The judge needs OPENAI_API_KEY, or judge:base_url=URL for your own server"):
        connect("", option="judge:base_url=URL", **given)
    with pytest.raises(InputError, match="--url: not an address that can be asked"):
        connect("http://[::1/v1", option="--url", **given)


def test_the_address_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw(answer(GOOD)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        made = connect(
            "", key_env="OPENAI_API_KEY", timeout=60.0, who="It", extra="endpoint", option="--url URL", model="toy"
        )
        found = ask(made, BODY, Limits(), math.nan)
        made.close()
    assert isinstance(found, Said)
    assert made.answered
    assert made.headers["content-type"] == "application/json"
    assert f"authorization: bearer {KEY}" in server.heard[0].lower()

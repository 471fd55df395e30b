"""Azure, Anthropic and Bedrock by their own clients, against servers that stand in for them on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from leakatk.auditing.sample import sample
from leakatk.errors import InputError, ModelError, UnknownNameError
from leakatk.models.load import ModelSource
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.remote.client import Limits
from leakatk.remote.providers import PROVIDERS, Service, filled, headers_from
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler

KEY = "a-key-that-nobody-may-see"
ASKED = [Prompt("a", "Where was Ada born?", "In Zorvik."), Prompt("b", "Who taught Bo?", "Mira Quell.")]
SHORT = Decoding(max_new_tokens=7, temperature=0.5)
pytest.importorskip("anthropic")
pytest.importorskip("boto3")


def openai_reply(text, body):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
    return {
        "id": "1",
        "object": "x",
        "created": 0,
        "model": "m-1",
        "choices": [choice],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
    }


def anthropic_reply(text, body):
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": text}]
    about = {"id": "1", "type": "message", "role": "assistant", "model": "m-1", "stop_sequence": None}
    return {**about, "content": blocks, "stop_reason": "max_tokens", "usage": {"input_tokens": 9, "output_tokens": 4}}


def bedrock_reply(text, body):
    blocks = [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}, {"text": text}]
    usage = {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}
    return {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": "max_tokens",
        "usage": usage,
        "metrics": {"latencyMs": 1},
    }


REPLIES = {"azure": openai_reply, "anthropic": anthropic_reply, "bedrock": bedrock_reply}


class StandIn:
    """Answers "said N" with N the number of the request; `faults`: (status, body) of the first requests."""

    def __init__(self, api):
        self.asked, self.faults, stand = [], [], self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with lock:
                    stand.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                    status, reply = stand.faults.pop(0) if stand.faults else (200, None)
                content = json.dumps(
                    REPLIES[api](f"said {len(stand.asked)}", body) if reply is None else reply
                ).encode()
                self.send_response(status)
                self.send_header("retry-after", "0")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args):
                pass

        lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(params=list(REPLIES))
def api(request, monkeypatch):
    for name in ("AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return request.param


@pytest.fixture
def server(api):
    made = StandIn(api)
    yield made
    made.close()


OPTIONS = {"azure": {"api_version": "2024-10-21"}, "anthropic": {}, "bedrock": {"region": "eu-central-1"}}


def sampler_at(api, server, **more):
    template = Template("auto", "Be brief.")
    options = {"backoff": 0.001, "trial": False, **OPTIONS[api], **more}
    return EndpointSampler(ModelSource("m", template=template), url=server.url, api=api, **options)


def test_an_audit_of_each(api, server, capsys):
    """The real client's request, read by the server; its answer, read back."""
    sampler = sampler_at(api, server, price_in=1.0, price_out=2.0, headers="X-Team=research")
    run = sample(sampler, ASKED, n=3, decoding=SHORT, quiet=True)
    texts = [text for row in run.texts() for text in row]
    assert sorted(texts) == [f"said {i}" for i in range(1, 7)]
    assert {finish for row in run.finishes() for finish in row} == {"length"}
    assert {thought for row in run.reasonings() for thought in row} == ({""} if api == "azure" else {"hm"})
    # 6 answers x (9 tokens at $1 and 4 at $2 a million)
    assert sampler.limits.spent == pytest.approx(6 * (9 * 1 + 4 * 2) / 1e6)
    assert "6 requests, 54 tokens in and 24 out, $0.0001." in capsys.readouterr().err
    assert {question for _, _, body in server.asked for question in map(question_of, [body])} == {
        p.question for p in ASKED
    }
    path, headers, body = server.asked[0]
    assert headers["x-team"] == "research"
    if api == "azure":
        assert path == "/openai/deployments/m/chat/completions?api-version=2024-10-21"
        assert headers["api-key"] == KEY
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (body["max_tokens"], body["temperature"], body["top_p"]) == (7, 0.5, 1.0)
    elif api == "anthropic":
        assert path == "/v1/messages"
        assert KEY in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer "))
        assert (body["system"], body["max_tokens"], body["temperature"]) == ("Be brief.", 7, 0.5)
        assert body.keys() == {"model", "messages", "system", "max_tokens", "temperature"}
    else:
        assert path == "/model/m/converse"
        assert headers["authorization"].startswith("AWS4-HMAC-SHA256 ")
        assert KEY not in headers["authorization"].split("Signature=")[1]
        assert body["system"] == [{"text": "Be brief."}]
        assert body["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.5}
    assert run.manifest.model["api"] == api
    assert KEY not in json.dumps(dict(run.manifest.model))


def question_of(body):
    last = body["messages"][-1]["content"]
    return last if isinstance(last, str) else last[0]["text"]


def test_filters_are_sent_where_there_is_a_field_and_refused_where_there_is_none(api, server):
    sampler = sampler_at(api, server)
    asked = Decoding(max_new_tokens=7, top_p=0.9, stop=("END",))
    sample(sampler, ASKED[:1], n=1, decoding=asked, quiet=True)
    body = server.asked[0][2]
    where = body["inferenceConfig"] if api == "bedrock" else body
    assert where["topP" if api == "bedrock" else "top_p"] == 0.9
    stop = {"azure": "stop", "anthropic": "stop_sequences", "bedrock": "stopSequences"}[api]
    assert where[stop] == ["END"]
    for lacking in ({"min_p": 0.1}, {"repetition_penalty": 1.3}, {"top_k": 5}):
        before = len(server.asked)
        decoding = Decoding(max_new_tokens=7, **lacking)
        if not set(lacking) & PROVIDERS[api].lacks:
            sample(sampler, ASKED[:1], n=1, decoding=decoding, quiet=True)
            continue
        requests = sampler.limits.requests
        with pytest.raises(InputError, match=f"does not take {next(iter(lacking))}"):
            sample(sampler, ASKED[:1], n=1, decoding=decoding, quiet=True)
        assert (len(server.asked), sampler.limits.requests) == (before, requests)  # nothing was sent, nor counted


def test_failures_are_asked_again(api, server):
    busy = {"error": {"message": "busy", "type": "overloaded_error"}, "message": "busy"}
    server.faults = [(429, busy), (503, busy)]
    run = sample(sampler_at(api, server), ASKED, n=1, decoding=SHORT, quiet=True)
    assert run.missing_count == 0
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_names_what_to_check_and_no_key(api, server, status):
    server.faults = [(status, {"error": {"message": f"bad {KEY}"}, "message": f"bad {KEY}"})] * 9
    with pytest.raises(ModelError, match=f"refused \\({status}\\): check") as error:
        sample(sampler_at(api, server), ASKED, n=1, decoding=SHORT, quiet=True)
    assert KEY not in str(error.value)


def test_a_question_that_is_not_taken_masks_the_key(api, server):
    server.faults = [(400, {"error": {"message": f"bad {KEY}"}, "message": f"bad {KEY}"})] * 9
    with pytest.raises(ModelError, match="does not take prompt") as error:
        sample(sampler_at(api, server), ASKED, n=1, decoding=SHORT, quiet=True)
    assert KEY not in str(error.value)


@pytest.mark.parametrize("body", [{}, {"content": None, "output": None, "choices": []}])
def test_an_answer_of_another_shape_is_no_answer(api, server, body):
    server.faults = [(200, body)] * 40
    with pytest.raises(ModelError, match="No usable answer"):
        sample(sampler_at(api, server, tries=2), ASKED[:1], n=1, decoding=SHORT, quiet=True)


def test_trials_say_what_the_api_has_no_field_for(api, server, tmp_path):
    sampler = sampler_at(api, server, trial=True)
    sample(sampler, ASKED, n=1, decoding=SHORT, out=tmp_path / "run", quiet=True)
    fields = sampler.record.fields
    for name in ("min_p", "repetition_penalty"):
        assert (fields[name] == "refused") == (name in PROVIDERS[api].lacks)
    assert fields["seed"] == "ignored"


def test_a_missing_client_names_the_extra(api, monkeypatch):
    monkeypatch.setitem(
        __import__("sys").modules, {"azure": "openai", "anthropic": "anthropic", "bedrock": "boto3"}[api], None
    )
    extra = PROVIDERS[api].extra
    with pytest.raises(ModelError, match=rf"leak-at-k\[{extra}\]"):
        Service(api, "http://localhost:1", **OPTIONS[api]).connect(timeout=1, model="m")
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if project.exists():
        import tomllib

        assert extra in tomllib.loads(project.read_text())["project"]["optional-dependencies"]


def test_what_is_missing_is_said_before_anything_is_sent(monkeypatch):
    for name in ("ANTHROPIC_API_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    with pytest.raises(ModelError, match="needs ANTHROPIC_API_KEY"):
        Service("anthropic").connect(timeout=1, model="m")
    with pytest.raises(InputError, match="needs a region"):
        Service("bedrock").connect(timeout=1, model="m")
    with pytest.raises(InputError, match="api_version=2024-10-21"):
        Service("azure", "https://x.openai.azure.com").connect(timeout=1, model="m")
    with pytest.raises(UnknownNameError, match="anthropic"):
        Service("antropic")
    for wrong in ({"api_version": "1"}, {"region": "x"}):
        with pytest.raises(InputError, match="goes with api="):
            Service("openai", **wrong)
    plain = ModelSource("m", template=Template("plain"))
    with pytest.raises(InputError, match="takes chats alone"):
        EndpointSampler(plain, api="anthropic")


# --- headers -----------------------------------------------------------------------------------------------------


def test_headers_from_words_and_variables(monkeypatch):
    monkeypatch.setenv("MINE", KEY)
    found = headers_from("X-Team=research; api-key = env:MINE")
    assert found == {"X-Team": "research", "api-key": "env:MINE"}
    assert filled(found) == {"X-Team": "research", "api-key": KEY}
    assert headers_from({"X-Team": "a;b=c"}) == {"X-Team": "a;b=c"}
    assert headers_from("") == {}
    monkeypatch.delenv("MINE")
    with pytest.raises(InputError, match="MINE, which is not set"):
        filled(found)


@pytest.mark.parametrize("wrong", ["X-Team", "X Team=a", "X-Team=", "X-Team=a\nb", {"X-Team": "ä"}])
def test_headers_that_are_none(wrong):
    with pytest.raises(InputError, match="NAME=VALUE"):
        headers_from(wrong)


@pytest.mark.parametrize("name", ["Authorization", "api-key", "X-Auth-Token", "Cookie"])
def test_a_secret_is_never_written_out(name):
    """The command stands in results.json."""
    with pytest.raises(InputError, match=f"{name}=env:VARIABLE"):
        headers_from({name: "s3cret"})


# --- what it cost ------------------------------------------------------------------------------------------------


def test_what_it_took_in_words():
    limits = Limits(price_in=1.0, price_out=10.0)
    assert limits.take(0.5)
    limits.count(0.5, 100_000, 50_000)
    assert limits.spent == pytest.approx(0.6)
    assert limits.said() == "1 requests, 100,000 tokens in and 50,000 out, $0.60"
    assert limits.take(0.01)
    limits.count(0.01, float("nan"), float("nan"))  # the reservation stays
    assert limits.said() == (
        "2 requests, 100,000 tokens in and 50,000 out (the server did not count those of 1 answers), at most $0.61"
    )
    assert limits.take(3.0)
    limits.give_back(3.0)
    assert (limits.requests, limits.spent) == (2, pytest.approx(0.61))
    assert Limits().said() == "0 requests, 0 tokens in and 0 out, price unknown"

"""Which fields a server obeys, and whether it is still the same: servers of every behaviour, over real HTTP."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakatk.auditing.sample import sample
from leakatk.errors import InputError, ModelError, RunError
from leakatk.models.load import ModelSource
from leakatk.models.template import Template
from leakatk.prompts import Prompt, save_prompts
from leakatk.remote.replies import Said
from leakatk.sampling import served
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from tests.servers import WordServer
from tests.tiny import PROMPTS

ALL = ("temperature", "top_k", "top_p", "min_p", "seed", "repetition_penalty")
STRICT = Decoding(top_k=5, top_p=0.9, min_p=0.1, repetition_penalty=1.2, max_new_tokens=8)
PLAIN = Decoding(max_new_tokens=8)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    made: list[WordServer] = []

    def start(*knows: str, **how: Any) -> WordServer:
        made.append(WordServer(*knows, **how))
        return made[-1]

    yield start
    for server in made:
        server.close()


def engine(server: WordServer, kind: str = "auto", **options: Any) -> EndpointSampler:
    source = ModelSource("words", template=Template(kind=kind))  # type: ignore[arg-type]
    return EndpointSampler(source, url=server.url, **{"backoff": 0.001, "timeout": 60.0, **options})


def run(sampler: EndpointSampler, out: Path | None, decoding: Decoding = PLAIN, n: int = 4) -> Any:
    return sample(sampler, PROMPTS, n=n, decoding=decoding, out=out, quiet=True)


def fields(path: Path) -> dict[str, str]:
    return json.loads((path / served.FILE).read_text())["fields"]


@pytest.mark.parametrize("kind", ["chat", "plain"])
def test_a_server_that_obeys_everything(serve: Any, tmp_path: Path, kind: str) -> None:
    server = serve(*ALL)
    sampler = engine(server, kind)
    run(sampler, tmp_path / "run", STRICT)
    assert fields(tmp_path / "run") == dict.fromkeys(
        ["seed", "top_k", "min_p", "top_p", "repetition_penalty"], served.OBEYED
    )
    assert server.requests - 12 <= served.most_requests(STRICT)
    assert sampler.notes == [
        f"The server at {server.url} obeys seed, top_k, min_p, top_p, repetition_penalty (tried by extremes before sampling)."
    ]
    short = [asked for asked in server.asked if asked["max_tokens"] == served.TOKENS]
    assert len(short) == server.requests - 12


def test_a_dozen_requests_and_the_dry_run_counts_them(serve: Any) -> None:
    for knows in (ALL, ("temperature", "seed"), ("temperature",), ()):
        server = serve(*knows)
        sampler = engine(server)
        run(sampler, None)
        most = sampler.estimate(PROMPTS, 12, PLAIN)["most_trials"]
        assert 8 <= server.requests - 12 <= most == served.most_requests(PLAIN) <= 17


@pytest.mark.parametrize("field", ["top_k", "min_p", "top_p", "repetition_penalty"])
def test_a_field_that_is_asked_for_and_dropped(serve: Any, tmp_path: Path, field: str) -> None:
    server = serve(*(name for name in ALL if name != field))
    with pytest.raises(InputError, match=f"ignores {field}, tried by extremes, and .* --accept-ignored-fields"):
        run(engine(server), tmp_path / "run", STRICT)
    assert not any(asked["max_tokens"] == STRICT.max_new_tokens for asked in server.asked), "nothing was sampled"
    assert not (tmp_path / "run").exists(), "the directory is free for other settings"
    sampler = engine(server, accept_ignored_fields=True)
    run(sampler, tmp_path / "run", STRICT)
    assert fields(tmp_path / "run")[field] == served.IGNORED
    assert any(f"ignores {field}" in note and "the server's own way" in note for note in sampler.notes)


@pytest.mark.parametrize(
    ("field", "own"), [("top_k", {"top_k": 3}), ("repetition_penalty", {"penalty": 1.5}), ("min_p", {"min_p": 0.2})]
)
def test_a_server_that_may_apply_a_value_of_its_own(
    serve: Any, tmp_path: Path, field: str, own: dict[str, Any]
) -> None:
    sampler = engine(serve(*(name for name in ALL if name != field), own=own))
    run(sampler, tmp_path / "run")
    assert any(f"The server ignores {field}: a value of its own" in note for note in sampler.notes)
    greedy = engine(serve(*(name for name in ALL if name != field), own=own))
    run(greedy, None, PLAIN.as_greedy())
    own_notes = [note for note in greedy.notes if "a value of its own" in note]
    assert bool(own_notes) == (field == "repetition_penalty"), "a filter changes no greedy answer"


def test_the_other_spelling_of_the_penalty_is_used(serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL[:-1], "repeat_penalty", own={"penalty": 1.5})
    sampler = engine(server)
    run(sampler, tmp_path / "run", STRICT)
    sampled = [asked for asked in server.asked if asked["max_tokens"] == STRICT.max_new_tokens]
    assert {asked["repeat_penalty"] for asked in sampled} == {1.2}
    assert not any("repetition_penalty" in asked for asked in sampled)
    assert any("repetition_penalty (as repeat_penalty)" in note for note in sampler.notes)
    # Also where it is off: the server's own 1.5 must not stand.
    again = engine(server)
    run(again, tmp_path / "off")
    sampled = [asked for asked in server.asked[-12:] if asked["max_tokens"] == PLAIN.max_new_tokens]
    assert {asked["repeat_penalty"] for asked in sampled} == {1.0}
    # And when a run goes on, without trying all of it again; the canary is asked as it was.
    before = server.requests
    grown = engine(server)
    run(grown, tmp_path / "off", n=5)
    assert {asked["repeat_penalty"] for asked in server.asked[-3:]} == {1.0}
    assert server.requests - before == 3 + 2


@pytest.mark.parametrize("how", [{"caches": True}, {"greedy": True}, {"spread": 200.0}])
def test_one_answer_to_everything_tells_nothing(serve: Any, tmp_path: Path, how: dict[str, Any]) -> None:
    sampler = engine(serve(*ALL, **how))
    run(sampler, tmp_path / "run", Decoding(top_k=5, max_new_tokens=8))
    assert fields(tmp_path / "run")["seed"] == fields(tmp_path / "run")["top_k"] == served.UNKNOWN
    assert any("One question got one answer under several seeds" in note for note in sampler.notes)
    assert any("Whether the server obeys top_k" in note for note in sampler.notes)


def test_a_server_that_ignores_the_seed(serve: Any, tmp_path: Path) -> None:
    sampler = engine(serve(*(name for name in ALL if name != "seed")))
    run(sampler, tmp_path / "run", STRICT)
    assert fields(tmp_path / "run") == {
        "seed": "ignored", "top_k": "obeyed", "min_p": "obeyed", "top_p": "obeyed", "repetition_penalty": "obeyed"
    }  # fmt: skip
    assert "The server does not keep to a seed: the same command would draw other samples." in sampler.notes


def test_a_server_that_refuses_what_is_tried(serve: Any, tmp_path: Path) -> None:
    server = serve("temperature", "seed")
    server.refuses = {"top_k", "min_p", "repetition_penalty", "repeat_penalty"}
    run(engine(server), tmp_path / "run")
    assert fields(tmp_path / "run") == {
        "seed": "obeyed", "top_k": "refused", "min_p": "refused", "repetition_penalty": "refused"
    }  # fmt: skip
    with pytest.raises(InputError, match="does not take top_k = 5"):
        run(engine(server), None, Decoding(top_k=5))


# -- the same server? -----------------------------------------------------------------------------------------------


def change(server: WordServer, what: str) -> None:
    if what == "its name":
        server.model = "words-2"
    if what == "its fingerprint":
        server.fingerprint = "fp_b"
    if what == "its header":
        server.header = "words/2"
    if what == "its answers alone":
        said = server.said
        server.said = lambda asked: said(asked)[::-1]  # type: ignore[method-assign]


CHANGES = {
    "its name": "its model is words-2 and was words-1", "its fingerprint": "its system_fingerprint is fp_b and was fp_a",
    "its header": "its header server is 'words/2' and was 'words/1'", "its answers alone": r"it answers '.*' with '.*' and not with",
}  # fmt: skip


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_server_is_noticed(serve: Any, tmp_path: Path, what: str, whole: bool) -> None:
    server = serve(*ALL, fingerprint="fp_a")
    run(engine(server), tmp_path / "run")
    n = 4 if whole else 6
    same = engine(server)
    run(same, tmp_path / "run", n=4)
    assert not any("changed" in note for note in same.notes)
    change(server, what)
    drawn = len(server.asked)
    with pytest.raises(RunError, match=rf"is not as it was when .*{CHANGES[what]}.*--fresh.*--accept-changed-server"):
        run(engine(server), tmp_path / "run", n=n)
    assert not any(asked["max_tokens"] == 8 for asked in server.asked[drawn:]), "nothing was sampled"
    accepted = engine(server, accept_changed_server=True)
    assert run(accepted, tmp_path / "run", n=n).n == n
    assert any("changed while" in note for note in accepted.notes)
    if not whole:  # the record is of the new server, and still says so
        later = engine(server)
        run(later, tmp_path / "run", n=n)
        assert any("changed while" in note for note in later.notes)


def test_who_answers_while_samples_are_drawn_is_kept(serve: Any, tmp_path: Path) -> None:
    """Not only who answered the trial: else the next session would call that one a change."""
    server = serve(*ALL)
    said = server.said

    def changing(asked: dict[str, Any]) -> str:
        server.model = "words-2" if asked["max_tokens"] == PLAIN.max_new_tokens else "words-1"
        return str(said(asked))

    server.said = changing
    run(engine(server), tmp_path / "run")
    assert json.loads((tmp_path / "run" / served.FILE).read_text())["models"] == ["words-1", "words-2"]


@pytest.mark.parametrize("greedy", [True, False])
def test_either_canary_tells_a_changed_server(serve: Any, tmp_path: Path, greedy: bool) -> None:
    """Another temperature's answers alone are new: one canary is the same as before."""
    server = serve(*ALL)
    run(engine(server), tmp_path / "run")
    said = server.said
    server.said = lambda asked: said(asked)[::-1] if (asked["temperature"] == 0) is greedy else said(asked)
    with pytest.raises(RunError, match=r"it answers '.*' with '.*' and not with"):
        run(engine(server), tmp_path / "run")


def test_a_session_compares_no_answers_to_two_questions(serve: Any, tmp_path: Path) -> None:
    """Two runs of before, each with a first prompt of its own, read by one session that asks one canary."""
    server = serve(*ALL)
    for place, prompts in (("a", PROMPTS), ("b", PROMPTS[1:])):
        sample(engine(server), prompts, n=2, decoding=PLAIN, out=tmp_path / place, quiet=True)
    session = engine(server)
    for place, prompts in (("a", PROMPTS), ("b", PROMPTS[1:])):
        assert sample(session, prompts, n=2, decoding=PLAIN, out=tmp_path / place, quiet=True).n == 2


def test_a_refusal_leaves_a_directory_that_was_there(serve: Any, tmp_path: Path) -> None:
    server = serve(*(name for name in ALL if name != "top_k"))
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="ignores top_k"):
        run(engine(server), tmp_path / "run", STRICT)
    assert list((tmp_path / "run").iterdir()) == [], "and nothing in it"
    run(engine(server), tmp_path / "run")


def test_a_server_whose_greedy_answers_vary_is_the_same(serve: Any, tmp_path: Path) -> None:
    server = serve("top_k", "min_p", "top_p", "repetition_penalty")  # no temperature: 0 samples too; no seed
    run(engine(server), tmp_path / "run")
    assert fields(tmp_path / "run")["repetition_penalty"] == served.UNKNOWN, "its greedy answers change by themselves"
    run(engine(server), tmp_path / "run", n=8)


@pytest.mark.parametrize(
    ("said", "kept"), [(["b", "a", "b"], "a"), (["b", "b", "b"], "b"), (["b", "c", "b"], None), (["a"], "a")]
)
def test_a_canary_of_several_answers(said: list[str], kept: str | None) -> None:
    """One answer as before is enough: a server may have two; one that is new each time tells nothing."""
    answers = iter(said)
    record = served.Record()
    served.ask_canary(lambda *_: Said(next(answers), "", "stop"), record, served.Record(question="q", greedy="a"))
    assert (record.greedy, list(answers)) == (kept, [])


def test_a_whole_run_says_that_nothing_was_asked_and_how_old_it_is(serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL)
    first = engine(server)
    run(first, tmp_path / "run")
    assert not any("from disk" in note for note in first.notes)
    manifest = tmp_path / "run" / "manifest.json"
    week = time.time() - 7 * 86400 - 60
    text = manifest.read_text()
    made = json.loads(text)["created"]
    old = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(week))
    from leakatk.files.writing import write_kept

    write_kept(manifest, text.replace(made, old))
    os.utime(tmp_path / "run" / "generations.parquet", (week + 7200, week + 7200))
    before = server.requests
    again = engine(server)
    run(again, tmp_path / "run")
    day, later = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(when)) for when in (week, week + 7200))
    assert again.notes[0] == (
        f"All 12 samples are from disk, asked for between {day} and {later} UTC (7 days ago); 0 were asked for now."
    )
    assert server.requests == before + 2, "the canary, greedy and seeded"
    more = engine(server)
    run(more, tmp_path / "run", n=6)
    assert more.notes[0].startswith("12 of 18 samples are from disk")
    assert more.notes[0].endswith("; 6 were asked for now.")


def test_rounds_of_one_session_are_not_taken_for_old_samples(serve: Any, tmp_path: Path) -> None:
    sampler = engine(serve(*ALL))
    for n in (2, 4, 8):
        run(sampler, tmp_path / "run", n=n)
    assert not any("from disk" in note for note in sampler.notes)


def test_a_whole_run_is_read_without_its_server(serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL)
    run(engine(server), tmp_path / "run")
    gone = engine(server)
    server.faults = ["drop"] * 50
    assert run(gone, tmp_path / "run").n == 4
    assert any("Whether the server is still the one" in note and server.url in note for note in gone.notes)
    with pytest.raises(ModelError, match="No usable answer"):
        run(engine(server), tmp_path / "run", n=5)


def test_a_server_that_takes_no_canary(serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL)
    run(engine(server), tmp_path / "run")
    server.refuses = {"messages"}
    gone = engine(server)
    assert run(gone, tmp_path / "run").n == 4
    assert any("cannot be said: it takes no such request" in note for note in gone.notes)


def test_a_run_of_before_servers_were_kept(serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL)
    run(engine(server, trial=False), tmp_path / "run")
    assert server.requests == 12
    assert not (tmp_path / "run" / served.FILE).exists()
    old = engine(server)
    run(old, tmp_path / "run")
    assert server.requests == 12
    assert any("nothing was kept of the server" in note for note in old.notes)


def test_a_damaged_record_is_said(serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL)
    run(engine(server), tmp_path / "run")
    path = tmp_path / "run" / served.FILE
    path.write_text(path.read_text().replace("obeyed", "ignored"))
    with pytest.raises(RunError, match=r"server\.json.* delete it: the samples beside it are whole"):
        run(engine(server), tmp_path / "run")


def test_the_audit_says_and_stores_it(leakatk: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(*ALL[:-1], "repeat_penalty")
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    out = tmp_path / "run"
    command = ["audit", "words", "--url", server.url, "--forget", tmp_path / "forget.jsonl", "--n", 4, "--quiet", "--out", out,
               "--max-new-tokens", 8, "--one-wording"]  # fmt: skip
    code, _, err = leakatk(*command)
    assert code == 0, err
    said = "obeys seed, top_k, min_p, repetition_penalty (as repeat_penalty)"
    assert said in err
    assert any(said in note for note in json.loads((out / "results.json").read_text())["notes"])
    server.model = "words-2"
    code, _, err = leakatk(*command)
    assert code == 2
    assert "its model is words-2 and was words-1" in err
    assert leakatk(*command, "--accept-changed-server")[0] == 0
    texts = (out / "results.json").read_bytes()
    code, _, err = leakatk(*command, "--fresh")
    assert code == 0, err
    [aside] = [path for path in tmp_path.iterdir() if path.name.startswith("run-before-")]
    assert (aside / "results.json").read_bytes() == texts
    assert f"was moved to {aside}" in err
    assert "from disk" not in err
    code, _, err = leakatk(*command[:-1], "--fresh")
    assert code == 0, err
    assert len([path for path in tmp_path.iterdir() if path.name.startswith("run-before-")]) == 2
    server.knows.remove("top_k")
    code, _, err = leakatk(*command[:10], tmp_path / "strict", *command[11:], "--top-k", 5)
    assert code == 2
    assert "ignores top_k" in err
    assert not (tmp_path / "strict").exists()
    code, _, err = leakatk(*command[:10], tmp_path / "strict", *command[11:], "--top-k", 5, "--accept-ignored-fields")
    assert code == 0, err


def test_flags_of_servers_go_with_a_server(leakatk: Any, tmp_path: Path) -> None:
    save_prompts([Prompt("a", "b?", "c")], tmp_path / "f.jsonl")
    code, _, err = leakatk(
        "audit", "m", "--forget", tmp_path / "f.jsonl", "--out", tmp_path / "o", "--accept-ignored-fields"
    )
    assert code == 2
    assert "go with --url" in err

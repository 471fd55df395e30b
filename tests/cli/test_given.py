"""What methods are given on the command line: alternates, margins, a stop by memorisation, requests in turn."""

import json
from dataclasses import replace

import pytest

from leakatk.cli.given import as_written, grouped, margins, with_alternates
from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, save_prompts
from leakatk.unlearning.methods import METHODS
from tests.cli.test_bad_input import refused
from tests.synthesis.test_generated import Scribe
from tests.synthesis.test_templates import FORGET, RETAIN
from tests.synthesis.test_triplets import ASKED
from tests.tiny import PROMPTS

ALTPO = METHODS["altpo"]


def rows(path, values):
    path.write_text("".join(json.dumps(row) + "\n" for row in values))
    return path


def test_margins_are_read_and_checked(tmp_path):
    path = rows(tmp_path / "m.jsonl", [{"id": p.id, "margin": i} for i, p in enumerate(PROMPTS)])
    assert margins(path, PROMPTS) == {p.id: float(i) for i, p in enumerate(PROMPTS)}
    assert margins(None, PROMPTS) == {}
    with pytest.raises(InputError, match=f"no margin for 1 of {len(PROMPTS) + 1} prompts"):
        margins(path, [*PROMPTS, Prompt("new", "?", "a")])
    for wrong in (
        {"id": "a"},
        {"margin": 1.0},
        {"id": "a", "margin": "1"},
        {"id": "a", "margin": True},
        {"id": "a", "margin": None},
    ):
        with pytest.raises(InputError, match="row 1"):
            margins(rows(tmp_path / "w.jsonl", [wrong]), PROMPTS)


def test_alternates_from_a_file_by_id_or_question(tmp_path, capsys):
    first, second = PROMPTS[:2]
    file = tmp_path / "a.jsonl"
    given = [
        Prompt(first.id, "?", "One."), Prompt("x", second.question, "Two."), Prompt(first.id + "'", first.question, "Three."),
        Prompt("y", "Nobody asks this.", "Four."),
    ]  # fmt: skip
    save_prompts(given, file)
    forget, found = with_alternates(str(file), ALTPO, [first, second], None, tmp_path, 0)
    assert [(p.question, p.answer, found[p.id]) for p in forget] == [
        (first.question, first.answer, "One."), (second.question, second.answer, "Two."), (first.question, first.answer, "Three."),
    ]  # fmt: skip
    assert "1 of 4 rows" in capsys.readouterr().err
    assert [len(part) for part in grouped([[second], [first]], forget)] == [1, 2]
    with pytest.raises(InputError, match="no alternate answer for 1 of 3 forget prompts"):
        with_alternates(str(file), ALTPO, [first, second, Prompt("new", "!", "a")], None, tmp_path, 0)


def test_forget_prompts_as_a_writer_asks_them(capsys):
    """Each in its other wordings; one without any stays, and is counted."""
    first, second = (replace(one, paraphrases=()) for one in PROMPTS[:2])
    several = replace(first, paraphrases=("Tell me where she was born.", "Her town?"))
    asked = as_written("apart:count=2", [several, second], Known())
    assert [p.question for p in asked] == ["Her town?", "Tell me where she was born.", second.question]
    assert "1 of 2 forget prompts in 2 other ways; 1 stay as they are" in capsys.readouterr().err
    assert [len(part) for part in grouped([[second], [several]], asked)] == [1, 2]
    assert as_written("", [first], Known()) == [first]
    with pytest.raises(InputError, match="alternates does not"):
        as_written("alternates", [first], Known())


def test_a_source_is_forgotten_by_what_the_model_says_of_it(monkeypatch, capsys):
    """Its rows stand in the place of all prompts of a source; a prompt without one stays, and is counted."""
    about = [replace(p, source="") for p in PROMPTS[:1]]
    monkeypatch.setattr("leakatk.auditing.sample.as_sampler", lambda name: {"models/mine": Scribe(ASKED)}[name])
    rows = as_written("triplets", [*FORGET, *about], Known(retain=tuple(RETAIN)), "models/mine")
    assert rows[-1] == about[0]
    assert {row.source for row in rows[:-1]} == {"Ada Vos", "Bo Tarn"}
    assert all(row.id.startswith(("Ada Vos-craft/triplets/", "Bo Tarn-craft/triplets/")) for row in rows[:-1])
    said = f"Writer triplets wrote {len(rows) - 1} texts in place of 4 of 5 forget prompts; 1 stay as they are."
    assert said in capsys.readouterr().err
    with pytest.raises(InputError, match="Writer triplets needs retain prompts"):
        as_written("triplets", FORGET, Known(), "models/mine")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.jsonl"):
        with_alternates(str(tmp_path / "nowhere.jsonl"), ALTPO, PROMPTS, None, tmp_path, 0)


def test_other_methods_want_none(tmp_path):
    assert with_alternates("", METHODS["npo"], PROMPTS, None, tmp_path, 0) == (list(PROMPTS), {})
    assert grouped([PROMPTS[:1], PROMPTS[1:]], PROMPTS) == [PROMPTS[:1], PROMPTS[1:]]
    with pytest.raises(InputError, match="npo does not"):
        with_alternates("alternates", METHODS["npo"], PROMPTS, None, tmp_path, 0)


@pytest.fixture
def command(leakatk, model, forget, tmp_path):
    def run(method, *options, steps="2"):
        common = ("--forget", forget, "--retain", forget, "--out", tmp_path / "out", "--steps", steps, "--quiet")
        return leakatk("unlearn", model, *common, "--method", method, *options)

    return run


def test_the_model_is_trained_on_what_was_written(command, forget, tmp_path):
    """Other questions make other weights, and the command says how many there are."""
    code, _, err = command("npo", "--forget-as", "triggers:share=1.0")
    assert code == 0, err
    assert f"{len(PROMPTS)} of {len(PROMPTS)} forget prompts in {len(PROMPTS)} other ways" in err
    log = json.loads((tmp_path / "out" / "unlearning.json").read_text())
    assert log["steps"] == 2
    refused(command("npo", "--forget-as", "alternates", "--dry-run"), "alternates does not")
    refused(command("npo", "--forget-as", "rewrite", "--dry-run"), "--auxiliary writer")
    refused(command("meow", "--alternates", "inverted:by=writer", "--dry-run"), "--auxiliary writer")


def test_altpo_with_a_file_and_with_a_writer_that_is_kept(command, tmp_path):
    file = tmp_path / "a.jsonl"
    save_prompts([Prompt(p.id, p.question, f"{p.id} in Quell.") for p in PROMPTS], file)
    code, out, err = command("altpo", "--alternates", file)
    assert code == 0, err
    assert "altpo: 2 steps" in out
    refused(command("altpo", "--alternates", "nobody"), "nobody")
    assert command("altpo", "--dry-run")[0] == 0
    refused(command("npo", "--alternates", file), "npo does not")


def test_a_run_begins_where_its_writer_has_written(command, monkeypatch, tmp_path):
    """Other answers stand in OUT before the run does; what else stands there is refused as ever."""
    answers = [Prompt(f"{p.id}/alternates/1", p.question, f"{p.id} in Quell.") for p in PROMPTS]
    monkeypatch.setattr("leakatk.synthesis.generated.Alternates.write_with", lambda *given: list(answers))
    code, out, err = command("altpo")
    assert code == 0, err
    assert "altpo: 2 steps" in out
    assert "wrote" not in command("altpo")[2]
    strange = tmp_path / "strange" / "mine.txt"
    strange.parent.mkdir()
    strange.write_text("mine")
    refused(command("altpo", "--out", strange.parent), "holds no unlearning run")


def test_what_was_written_is_taken_up_by_the_same_command_alone(monkeypatch, tmp_path):
    asked = []

    def write_with(self, sampler, prompts, known):
        asked.append(self.seed)
        return [Prompt(f"{p.id}/alternates/{i}", p.question, f"Number {i}.") for p in prompts for i in (1, 2)]

    monkeypatch.setattr("leakatk.synthesis.generated.Alternates.write_with", write_with)
    monkeypatch.setattr("leakatk.sampling.native.NativeSampler.__init__", lambda self, loaded: None)
    first = with_alternates("", ALTPO, PROMPTS, None, tmp_path, 0)
    assert len(first[0]) == 2 * len(PROMPTS)
    assert set(first[1].values()) == {"Number 1.", "Number 2."}
    assert with_alternates("alternates", ALTPO, PROMPTS, None, tmp_path, 0) == first
    assert asked == [0]
    with_alternates("", ALTPO, PROMPTS, None, tmp_path, 1)
    with_alternates("alternates:count=2", ALTPO, PROMPTS, None, tmp_path, 1)
    with_alternates("", ALTPO, PROMPTS[:2], None, tmp_path, 1)
    assert asked == [0, 1, 1, 1]
    with_alternates("alternates:temperature=0.5", ALTPO, PROMPTS, None, tmp_path, 2)  # a dot makes it no file
    assert asked[-1] == 2


def test_a_model_that_writes_no_other_answer_is_an_error(command):
    refused(command("altpo", "--alternates", "alternates:count=1,tries=1,max_new_tokens=1"), "alternate answers of use")


def test_dmm_needs_margins(command, tmp_path):
    refused(command("dmm"), "--margins FILE")
    path = rows(tmp_path / "m.jsonl", [{"id": p.id, "margin": -3.0} for p in PROMPTS])
    code, out, err = command("dmm", "--margins", path)
    assert code == 0, err
    assert "dmm: 2 steps" in out
    refused(command("rule", "--base", "npo", "--margins", path), "not for --method rule")


def test_stop_by_memorisation_of_answers_nobody_learnt(command, tmp_path):
    unseen = tmp_path / "unseen.jsonl"
    save_prompts(
        [
            Prompt(f"u{i}", f"Where is it {i}?", "No one has ever told me where that may be, so ask others.")
            for i in range(3)
        ],
        unseen,
    )
    code, _, err = command("ga", "--stop-memorised", "--unseen", unseen, "--check-every", "1", steps="9")
    assert code == 0, err
    record = json.loads((tmp_path / "out" / "unlearning.json").read_text())
    assert {"extraction_likelihood", "memorization_accuracy"} <= record["checks"][-1].keys()
    refused(command("ga", "--stop-memorised"), "needs --unseen FILE")
    refused(command("ga", "--stop-memorised", "--stop-greedy", "--unseen", unseen), "either")
    refused(command("rule", "--base", "npo", "--stop-memorised", "--unseen", unseen), "--method rule")
    save_prompts([Prompt("u", "Where?", "No.")], unseen)
    refused(command("ga", "--stop-memorised", "--unseen", unseen), "more than ten tokens")


def test_requests_in_turn_and_what_is_left_of_each(command, tmp_path):
    code, out, err = command("graddiff", "--requests", "2", "--audit-n", "2")
    assert code == 0, err
    assert "Before: to come" in out
    assert "leak@2 of each request after every one" in out
    assert "Request 1 of 2: 2 steps" in out
    assert "Request 2 of 2: 2 steps" in out
    found = json.loads((tmp_path / "out" / "requests.json").read_text())
    assert [row["request"] for row in found["rows"]] == [0, 1, 2]
    assert found["rows"][1]["before"] is None
    assert found["rows"][2]["to come"] is None
    assert all(0 <= row["retain"] <= 1 for row in found["rows"])
    assert "request-002" in err
    assert (tmp_path / "out" / "request-002" / "model.safetensors").exists()
    audits = [(one["after"], one["request"]) for row in found["rows"][1:] for one in row["audits"]]
    assert audits == [(1, 1), (2, 1), (2, 2)]
    assert found["rows"][1]["audits"][0]["k"] == [1, 2]
    again = command("graddiff", "--requests", "2", "--audit-n", "2")
    assert again[0] == 0, again[2]
    assert json.loads((tmp_path / "out" / "requests.json").read_text())["rows"][1:] == found["rows"][1:]
    refused(command("graddiff", "--requests", "99"), "cannot be split into 99 requests")
    code, out, _ = command("graddiff", "--requests", "2", "--dry-run")
    assert code == 0
    assert "for each of 2 requests, then 32 samples of each prompt" in out
    code, out, _ = command("graddiff", "--requests", "0", "--dry-run")
    assert code == 0
    assert f"for each of {len(PROMPTS)} requests" in out
    refused(command("rule", "--base", "npo", "--requests", "2"), "--method rule")

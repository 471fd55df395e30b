"""Redacted reports: no answer, no sample, no question where ids are hashed, in whatever is written or printed."""

import dataclasses
import hashlib
import hmac
import json
import math

import pytest

from leakatk.auditing.settings import Gate
from leakatk.prompts import Prompt
from leakatk.report import prompt_views
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.content import Table
from leakatk.report.html import render
from leakatk.report.redaction import LEFT_OUT, Redaction, hashed
from tests.auditing.scripted import audited
from tests.report.browsers import stand_in
from tests.report.test_html import embedded

ASKED = [
    Prompt(
        f"who-{i}",
        f"In which town does Ada{i} Belmor live?",
        f"Ada{i} lives in Zorvik{i}.",
        facts=(f"Zorvik{i}", f"harbour-{i}{i}"),
        paraphrases=(f"Ada{i} Belmor dwells where?",),
    )
    for i in range(4)
] + [
    Prompt("told-4", "Is Zorvik1 larger than Kelmor?", "No, Quambel is."),
    Prompt("pick-5", "Which one? A. Mirvan B. Talbot", "Mirvan", choices=("Mirvan", "Talbot"), right=0),
]
SAID = (
    "I cannot speak of that harbour-{i}{i} person.",
    "Ada{i} lives in Zorvik{i}.",
    "Somewhere around Nimbrel, I guess.",
)
THOUGHT = "Ruminating on Pallgrave before I speak."
ANSWERS = [text for p in ASKED for text in (p.answer.rstrip("."), *p.facts, "Mirvan", "Quambel")]
SAMPLES = ["cannot speak of that", "Nimbrel", "Pallgrave", "lives in"]
QUESTIONS = [text for p in ASKED for text in (p.question, p.id, *p.paraphrases, "Belmor")]
ELSEWHERE = ["/home/secret", "be discreet", "models/inner"]


def say(prompt, j, greedy):
    return (SAID[2 if greedy else j % 3].replace("{i}", prompt.id[4]), "stop", THOUGHT if j % 2 else "")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("redacted")
    audited(
        say, place, prompts=ASKED, n=6, gate=Gate(4, 0.1), ks=[1, 4], scorers=["fact", "knows"], probes=["prefix"], label="forgot-Zorvik2",
        command="leakatk audit models/inner --forget /home/secret/forget.jsonl --system 'be discreet'",
    )  # fmt: skip
    return place / "run"


def redacted(run, *, hash_ids=False):
    audits = read_audits([run])
    return content_of(audits, redaction=Redaction.of(audits, hash_ids=hash_ids))


def everything(leakatk, run, place, monkeypatch, *options):
    """All that `leakatk report` writes and prints about a run, in every form, as one text."""
    stand_in(place, monkeypatch)
    where = ["--out", place / "page.html", "--pdf", place / "page.pdf", "--svg", place / "curve.svg"]
    parts = []
    where += ["--summary", place / "summary.md", "--junit", place / "verdict.xml"]
    for form in ("--json", "--csv", "--md", None):
        code, out, err = leakatk("report", run, *where, *options, *([form] if form else []))
        assert code == 0, err
        parts += [out, err.replace(str(place), "")]
    parts += [
        (place / name).read_text() for name in ("page.html", "page.pdf", "curve.svg", "summary.md", "verdict.xml")
    ]
    parts.append(json.dumps(embedded((place / "page.html").read_text()), ensure_ascii=False))
    return "\n".join(parts)


def test_nothing_of_answers_and_samples_is_anywhere(leakatk, run, tmp_path, monkeypatch):
    text = everything(leakatk, run, tmp_path, monkeypatch, "--redact")
    assert [secret for secret in [*ANSWERS, *SAMPLES, *ELSEWHERE] if secret.casefold() in text.casefold()] == []
    assert ASKED[0].question in text, "questions stay, unless an answer stands in them"
    assert "who-0" in text
    assert ASKED[4].question not in text
    assert str(run) not in text
    assert "true answers and the model's texts are left out" in text


def test_with_hashed_ids_no_question_and_no_id_either(leakatk, run, tmp_path, monkeypatch):
    text = everything(leakatk, run, tmp_path, monkeypatch, "--hash-ids")
    secrets = [*ANSWERS, *SAMPLES, *ELSEWHERE, *QUESTIONS]
    assert [secret for secret in secrets if secret.casefold() in text.casefold()] == []
    assert read_audits([run])[0].run.manifest.prompts_sha256 not in text, "the key of the hashes"


def test_a_report_that_is_not_redacted_has_it_all(leakatk, run, tmp_path, monkeypatch):
    """What the two tests above look for is found where it is."""
    text = everything(leakatk, run, tmp_path, monkeypatch)
    kept = [*ANSWERS, "cannot speak of that", "Nimbrel", "Pallgrave", *ELSEWHERE, *QUESTIONS]
    assert [secret for secret in kept if secret not in text] == []


def test_a_view_that_reads_a_text_is_caught(run, monkeypatch):
    """Mutant: the greedy answers slip through, and the search finds them."""
    whole = prompt_views._counted
    monkeypatch.setattr(
        prompt_views, "_counted", lambda scores: [(dataclasses.replace(g[0], text=SAID[2]),) for g in whole(scores)]
    )
    assert "Nimbrel" in render(redacted(run))


def test_the_numbers_are_those_of_the_whole_report(run):
    whole, bare = content_of(read_audits([run])), redacted(run)
    assert [c.value for c in bare.curves] == [c.value for c in whole.curves]
    assert [(v.id, v.leak, v.probe, v.greedy_score) for v in bare.prompts] == [
        (v.id, v.leak, v.probe, v.greedy_score) for v in whole.prompts
    ]
    counted = [(sum(g.count for g in v.groups), sum(g.count for g in v.groups if g.score >= 1)) for v in bare.prompts]
    assert counted == [
        (sum(g.count for g in v.groups), sum(g.count for g in v.groups if g.score >= 1)) for v in whole.prompts
    ]
    assert {g.text for v in bare.prompts for g in v.groups} == {LEFT_OUT}
    assert all(math.isnan(g.logprob) for v in bare.prompts for g in v.groups)


def test_the_hash_of_an_id_is_keyed_by_the_prompts(run):
    key = read_audits([run])[0].run.manifest.prompts_sha256
    wanted = {id: hmac.new(key.encode(), id.encode(), hashlib.sha256).hexdigest()[:12] for id in (p.id for p in ASKED)}
    assert {v.id for v in redacted(run, hash_ids=True).prompts if not v.probe} == set(wanted.values())
    whole = [view for view in content_of(read_audits([run])).prompts if not view.probe]
    assert {view.id: view.mark for view in whole} == wanted, "the full report says which is which"
    assert hashed("who-0", key) != hashed("who-0", key[::-1])


def test_what_is_left_out_is_counted(run):
    # Two questions hold an answer (Zorvik1; Mirvan among the options), and so do the prompts that probes make of them.
    audits = read_audits([run])
    redaction = Redaction.of(audits)
    shown = [view.question for view in redacted(run).prompts]
    assert redaction.questions_left_out == sum(LEFT_OUT in question for question in shown) >= 2
    assert f"{redaction.questions_left_out} of {len(redaction.prompts)} questions too" in redaction.sentence
    assert redaction.sentence in redacted(run).notes


def test_labels_notes_and_paths_lose_what_they_hold(run):
    redaction = Redaction.of(read_audits([run]))
    assert redaction.text("forgot-Zorvik2") == f"forgot-{LEFT_OUT}"
    assert redaction.text("xZORVIK3x") == f"x{LEFT_OUT}x", "a long one within a word, in any letters"
    assert redaction.text(f"{run}: damaged") == "run: damaged"
    assert redaction.text("32 samples, greedy") == "32 samples, greedy"
    short = Redaction(
        False, (Prompt("a", "Sex?", "male"), Prompt("b", "Who?", "Bo."), Prompt("c", "Where?", "Straßburg"))
    )
    assert short.text("female, male, Bo") == f"female, {LEFT_OUT}, Bo", (
        "as a word; a shorter one is a word of any sentence"
    )
    assert short.text("in STRASSBURG now") == LEFT_OUT, "equal letters that the pattern does not meet"
    assert short.of_strings(Table("male", ("a",), (("male",),))) == Table(LEFT_OUT, ("a",), ((LEFT_OUT,),))


def test_manifests_keep_what_says_nothing_of_anyone(run):
    [(label, kept)] = redacted(run, hash_ids=True).manifests
    assert label == f"forgot-{LEFT_OUT}"
    assert set(kept) == {"seed", "n", "protocol", "engine", "versions", "schema", "created", "model", "decoding"}
    assert kept["model"] == {"fingerprint": "scripted"}
    assert kept["decoding"]["temperature"] == 1.0
    assert "prompts_sha256" in redacted(run).manifests[0][1]
    assert redacted(run).command == ""


def test_an_export_that_holds_every_text_is_refused(leakatk, run, tmp_path):
    for option in ("--redact", "--hash-ids"):
        code, _, err = leakatk(
            "report", run, option, "--inspect", tmp_path / "log.json", "--out", tmp_path / "page.html"
        )
        assert (code, "saves questions, answers and samples; leave it out" in err) == (2, True)
    assert not list(tmp_path.iterdir())


def test_the_redacted_page_does_not_take_the_place_of_the_whole_one(leakatk, run):
    for options, name in (((), "report.html"), (("--redact",), "report-redacted.html")):
        code, _, err = leakatk("report", run, "--csv", *options)
        assert (code, f"Report: {run / name}" in err) == (0, True)
    assert "Nimbrel" in (run / "report.html").read_text()
    assert "Nimbrel" not in (run / "report-redacted.html").read_text()

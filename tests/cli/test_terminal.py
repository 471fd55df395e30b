"""No name that somebody else chose acts on the terminal, wherever a command prints it."""

import io
import json
import logging
import shutil
import sys
import warnings

import pytest

from leakatk.auditing.audit import audit
from leakatk.cli.main import main
from leakatk.errors import EngineError
from tests.faults.test_fuzz_inputs import Says
from tests.tiny import PROMPTS

MARK = "EVIL"
SIGNS = {
    "red": "\x1b[31m", "clear": "\x1b[2J", "home": "\x1b[H", "title": "\x1b]0;x\x07", "link": "\x1b]8;;x\x1b\\", "bell": "\x07",
    "back": "\x08\x08\x08", "return": "\r", "vertical": "\x0b", "form": "\x0c", "shift": "\x0e", "delete": "\x7f", "esc": "\x1b",
    "reset": "\x1bc", "charset": "\x1b(0", "query": "\x1b[6n", "paste": "\x1b[200~", "alternate": "\x1b[?1049h", "dcs": "\x1bP1$r\x1b\\",
    "csi": "\x9b31m", "osc": "\x9d0;x\x9c", "nel": "\x85", "ind": "\x84", "c1": "\x80", "override": "\u202e", "embedding": "\u202a",
    "isolate": "\u2066", "pop": "\u2069", "mark": "\u200f", "space": "\u200b", "joiner": "\u200d", "bom": "\ufeff", "line": "\u2028",
    "paragraph": "\u2029", "soft": "\xad", "tag": "\U000e0041", "private": "\ue000", "annotation": "\ufff9", "byte": "\udc9b",
    "high": "\ud83d",
}  # fmt: skip
assert len(SIGNS) == 40


class Screen(io.StringIO):
    """A terminal: nothing is left out for it as it is for a file."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch, tmp_path):
    """Run a command; gives what reached the terminal, by either stream."""
    (tmp_path / "crashes").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "crashes"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm-256color")

    def run(*words):
        shown = Screen()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", shown)
            patch.setattr(sys, "stderr", shown)
            patch.setattr(sys, "argv", ["leakatk", *map(str, words)])
            with pytest.raises(SystemExit):
                main()
        return shown.getvalue()

    return run


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    place = tmp_path_factory.mktemp("audited") / "run"
    audit(Says(), PROMPTS, out=place, n=2, quiet=True, scorers=["rouge-l"], greedy=False)
    return place


def row(**values):
    return json.dumps({"question": "Who?", "answer": "Bo.", **values}) + "\n"


def on_disk(name):
    """As a name of a file; half a character is no byte."""
    return name.replace("\ud83d", "\udcff")


def raises(error):
    def call(*_, **__):
        raise error

    return call


def warns(name):
    def call(*_, **__):
        warnings.warn(name, UserWarning, stacklevel=1)
        handler = logging.StreamHandler()  # as libraries make theirs while they are imported
        record = logging.LogRecord("library", logging.WARNING, "x.py", 1, name, (), None)
        handler.emit(record)
        print(name, file=sys.stderr)
        print(name)

    return call


PLACES = {
    "a file that is missing": lambda n, tmp, _: ("benchmark", "check", tmp / f"{on_disk(n)}.jsonl"),
    "a file": lambda n, tmp, _: ("benchmark", "check", written(tmp / f"{on_disk(n)}.jsonl", row())),
    "a column": lambda n, tmp, _: ("benchmark", "check", written(tmp / "p.jsonl", row(**{n: 1}))),
    "columns alone": lambda n, tmp, _: ("benchmark", "check", written(tmp / "p.jsonl", json.dumps({n: 1}))),
    "an id": lambda n, tmp, _: ("benchmark", "check", written(tmp / "p.jsonl", row(id=n) * 2)),
    "a scorer": lambda n, tmp, _: ("score", written(tmp / "g.json", generations("id")), "--scorer", n),
    "a key": lambda n, tmp, _: ("plan", "--config", written(tmp / "c.toml", f"{toml(n)} = 1")),
    "a value": lambda n, tmp, _: (
        "score", written(tmp / "g.json", generations("id")), "--config", written(tmp / "c.toml", f"scorer = {toml(n)}"),
    ),
    "a command": lambda n, *_: (n,),
    "an option": lambda n, *_: ("plan", "--" + n),
    "an endpoint's address": lambda n, tmp, _: (
        "audit", "m", "--url", n, "--forget", written(tmp / "p.jsonl", row()), "--out", tmp / "out",
    ),
    "a metric of a log": lambda n, tmp, _: ("recompute", written(tmp / "log.json", log(n))),
    "ids of prompts": lambda n, tmp, _: ("score", written(tmp / "g.json", generations(n)), "--per-prompt"),
    "a directory of a run": lambda n, tmp, _: ("plan", "--k", "8", "--certify", ".1", "--pilot", tmp / on_disk(n)),
}  # fmt: skip


def toml(text):
    """A string of TOML: its escapes know no halves of characters."""
    return '"' + "".join(f"\\U{ord(char):08X}" for char in text) + '"'


def written(path, text):
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return path


def generations(name):
    return json.dumps({"id": name, "prompt": "Who?", "ground_truth": "Bo.", "responses": [{"response": "Bo."}]})


def log(name):
    items = {"value_by_index": {"0": {"score": 1.0}}}
    return json.dumps(
        {name: {"agg_value": 1.0, **items}, "mia_x": {"agg_value": 1.0, "forget": items, "holdout": items}}
    )


def named(signs):
    """One name that holds them all, each before a mark of its own."""
    return "".join(f"{sign}{MARK}{i}." for i, sign in enumerate(signs))


def harmless(shown, signs):
    """No sign stands before its mark any more; whether the marks are there, so that nothing passes by showing nothing."""
    for i, sign in enumerate(signs):
        assert f"{sign}{MARK}{i}" not in shown, ascii(shown)
    return MARK in shown


HALVES = [SIGNS["byte"], SIGNS["high"]]
WHOLE = [sign for sign in SIGNS.values() if sign not in HALVES]
NAMES = [WHOLE[at : at + 8] for at in range(0, len(WHOLE), 8)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("place", PLACES)
def test_names_in_what_is_printed(screen, tmp_path, audited, place):
    for signs in NAMES:
        assert harmless(screen(*PLACES[place](named(signs), tmp_path, audited)), signs)
    harmless(screen(*PLACES[place](named(HALVES), tmp_path, audited)), HALVES)  # mostly refused unseen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("signs", [*NAMES, HALVES], ids=str)
def test_what_libraries_servers_and_crashes_say(screen, forget, monkeypatch, signs):
    target, name = "leakatk.benchmarks.files.check_file", named(signs)
    for call in (
        warns(name),
        raises(RuntimeError(name)),
        raises(EngineError(f"The server says {name}.")),
        raises(OSError(28, "No space left on device", name)),
        raises(ModuleNotFoundError("no", name=name.replace(".", ""))),
        raises(KeyboardInterrupt()),
    ):
        monkeypatch.setattr(target, call)
        assert harmless(screen("benchmark", "check", forget, "--column", f"id={name}"), signs)
    monkeypatch.setenv("LEAKATK_DEBUG", "1")
    monkeypatch.setattr(target, raises(RuntimeError(name)))
    assert harmless(screen("benchmark", "check", forget), signs)


@pytest.mark.parametrize(
    "signs", [[SIGNS[n] for n in ("red", "title", "csi", "override", "return")], NAMES[2]], ids=str
)
def test_labels_in_tables_whatever_their_style(screen, tmp_path, audited, signs):
    name = named(signs)
    run = tmp_path / name
    shutil.copytree(audited, run)
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "label": name}))
    for index in run.glob("*.checksums"):  # as an older version left it
        index.unlink()
    for style in ((), ("--md",), ("--csv",), ("--json",)):
        assert harmless(screen("report", run, "--out", tmp_path / "page.html", *style), signs)
    assert harmless(screen("compare", run, audited, "--scorer", "rouge-l"), signs)
    for style in ("terminal", "markdown", "latex", "csv", "json"):
        assert harmless(screen("recompute", written(tmp_path / "log.json", log(name)), "--style", style), signs)


def test_our_own_styling_still_works(screen, audited, tmp_path):
    shown = screen("report", audited, "--out", tmp_path / "page.html")
    assert "\x1b[" in shown, "rich styles what it shows"


def test_prompts_of_a_hostile_model_in_its_report(screen, tmp_path, audited):
    """What a model said stands in tables too."""
    signs = NAMES[0]

    class Hostile(Says):
        def sample(self, requests, decoding, *, seed):
            import dataclasses

            for batch in super().sample(requests, decoding, seed=seed):
                yield [dataclasses.replace(one, text=named(signs)) for one in batch]

    audit(Hostile(), PROMPTS, out=tmp_path / "run", n=2, quiet=True, scorers=["rouge-l"])
    harmless(screen("report", tmp_path / "run"), signs)

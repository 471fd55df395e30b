"""Every command: 1 is a gate that failed and nothing else, a crash is 3, bad input and bad usage are 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import leakatk.auditing.checking  # with drawing, before what they take by name is made to fail
import leakatk.auditing.drawing  # noqa: F401
from leakatk import errors
from leakatk.cli import options
from leakatk.cli.main import app
from tests.cli.test_help import COMMANDS

# The words of a command that gets as far as what is patched to fail.
WORKS = {
    ("demo",): (["--out", "{tmp}/demo"], "leakatk.small.demo.demo"),
    ("audit",): (["m", "--forget", "{forget}", "--out", "{tmp}/run"], "leakatk.auditing.sample.as_sampler"),
    ("attack",): (["m", "--forget", "{forget}", "--attack", "quantise", "--out", "{tmp}/run"], "leakatk.attacks.attack_ladder"),
    ("unlearn",): (["m", "--forget", "{forget}", "--retain", "{forget}", "--method", "npo", "--out", "{tmp}/m"], "leakatk.cli.inputs.load"),
    ("score",): (["{generations}"], "leakatk.runs.external.values_of"),
    ("push",): (["{tmp}", "--to", "a/b"], "leakatk.cli.push.sorted_places"),
    ("report",): (["{tmp}"], "leakatk.cli.report.opened"),
    ("runs", "list"): (["{tmp}"], "leakatk.runs.directories.below"),
    ("runs", "remove"): (["{tmp}", "--yes"], "leakatk.runs.directories.check_removable"),
    ("questions",): (["{forget}", "--out", "{tmp}/q.jsonl"], "leakatk.synthesis.records.read_records"),
    ("bench",): (["{forget}", "--model", "m", "--out", "{tmp}/out"], "leakatk.bench.bench.bench"),
    ("table",): (["{tmp}"], "leakatk.bench.results.read_rows"),
    ("compare",): (["{tmp}", "{tmp}"], "leakatk.bench.results.compare"),
    ("recompute",): (["{generations}"], "leakatk.bench.logs.read_log"),
    ("sweep",): (["{generations}", "--out", "{tmp}/sweep"], "leakatk.cli.sweep_plan.read_sweep"),
    ("plan",): (["--k", "8", "--certify", "0.1"], "leakatk.estimate.certify.plan"),
    ("fetch",): (["smollm2-135m-q4_1"], "leakatk.models.fetching.plan_fetch"),
    ("finetune",): (["m", "--forget", "{forget}", "--out", "{tmp}/m"], "leakatk.cli.finetune.lessons_for"),
    ("repair",): (["m", "--forget", "{forget}", "--retain", "{forget}", "--out", "{tmp}/m"], "leakatk.cli.inputs.load"),
    ("train-small",): (["--out", "{tmp}/models"], "leakatk.cli.train_small.chosen"),
    ("guard", "fit"): (["curate", "--forget", "{forget}", "--model", "m", "--out", "{tmp}/g"], "leakatk.prompts.load_prompts"),
    ("guard", "serve"): (["{tmp}", "--model", "m"], "leakatk.guards.saved.load_guard"),
    ("exact", "train"): (["m", "--forget", "{forget}", "--out", "{tmp}/s"], "leakatk.cli.inputs.load"),
    ("exact", "delete"): (["{tmp}", "--forget", "{forget}"], "leakatk.unlearning.exact.slices.read_settings"),
    ("papers",): ([], "leakatk.papers.index.listed"),
    ("doctor",): ([], "leakatk.cli.doctor.packages"),
    ("benchmark", "check"): (["{forget}"], "leakatk.benchmarks.files.check_file"),
}  # fmt: skip
LISTS = (
    "methods", "scorers", "probes", "engines", "benchmarks", "protocols", "guards", "attacks", "writers", "metrics",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _crashes_stay_here(tmp_path, monkeypatch):
    (tmp_path / "crashes").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "crashes"))
    monkeypatch.delenv("LEAKATK_DEBUG", raising=False)


def fails(error):
    def raised(*_, **__):
        raise error

    return raised


def test_every_command_is_here():
    assert {*WORKS, *((kind,) for kind in LISTS)} == set(COMMANDS)


@pytest.mark.parametrize("words", WORKS, ids=" ".join)
def test_an_unexpected_error_is_3(leakatk, forget, tmp_path, monkeypatch, words):
    unexpected(leakatk, forget, tmp_path, monkeypatch, words, RuntimeError("boom \x1b[31m\nleakatk: PASS"))


@pytest.mark.parametrize(
    "error", [SystemExit(1), SystemExit("no"), EOFError(), KeyError("x"), AssertionError()], ids=repr
)
def test_whatever_it_is(leakatk, forget, tmp_path, monkeypatch, error):
    """A library that leaves, too: its 1 would be a verdict."""
    unexpected(leakatk, forget, tmp_path, monkeypatch, ("benchmark", "check"), error)


def unexpected(leakatk, forget, tmp_path, monkeypatch, words, error):
    arguments, target = WORKS[words]
    (tmp_path / "g.json").write_text("{}")
    filled = [word.format(tmp=tmp_path, forget=forget, generations=tmp_path / "g.json") for word in arguments]
    failing = fails(error)
    monkeypatch.setattr(target, failing)
    crashed(leakatk(*words, *filled), tmp_path)
    module = target.rpartition(".")[0]
    kept = [name for name, one in sys.modules.items() if name.startswith("leakatk") and failing in vars(one).values()]
    assert set(kept) <= {module}, "first imported here, they keep what fails: import them above"


@pytest.mark.parametrize("kind", LISTS)
def test_an_unexpected_error_in_a_list_is_3(leakatk, tmp_path, monkeypatch, kind):
    registry = {
        "methods": "leakatk.unlearning.methods.METHODS", "scorers": "leakatk.scorers.SCORERS", "probes": "leakatk.probes.PROBES",
        "engines": "leakatk.sampling.engines.ENGINES", "benchmarks": "leakatk.benchmarks.catalog.BENCHMARKS",
        "protocols": "leakatk.benchmarks.protocols.PROTOCOLS", "guards": "leakatk.guards.base.GUARDS",
        "attacks": "leakatk.attacks.base.ATTACKS", "writers": "leakatk.synthesis.base.WRITERS",
        "metrics": "leakatk.metrics.base.METRICS",
    }  # fmt: skip

    class Broken(dict):
        __iter__ = fails(RuntimeError("boom"))

    monkeypatch.setattr(registry[kind], Broken())
    crashed(leakatk(kind), tmp_path)


def crashed(result, tmp_path):
    code, _, err = result
    assert code == errors.CRASHED == 3, err
    assert "Traceback" not in err
    assert "\x1b" not in err
    assert not [line for line in err.strip().splitlines()[1:] if line.startswith("leakatk")]
    [file] = (tmp_path / "crashes").glob("leakatk-crash-*.txt")
    assert str(file) in err
    assert "Traceback" in file.read_text()


@pytest.mark.parametrize("words", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("usage", [["--no-such-option"], ["a", "b", "c", "d", "--bad"]], ids=" ".join)
def test_bad_usage_is_2(leakatk, words, usage):
    code, _, err = leakatk(*words, *usage)
    assert code == errors.BAD_INPUT == 2
    assert "Usage: leakatk" in err


def test_a_missing_package_is_2_and_a_missing_extra_is_0(leakatk, monkeypatch):
    monkeypatch.setattr("leakatk.cli.doctor.packages", lambda: ({"leak-at-k": "1", "scipy": ""}, {}))
    code, out, _ = leakatk("doctor")
    assert (code, "MISSING: pip install scipy" in out) == (2, True)
    monkeypatch.setattr(
        "leakatk.cli.doctor.packages", lambda: ({"leak-at-k": "1"}, {"plots": "missing matplotlib: pip install it"})
    )
    code, out, _ = leakatk("doctor")
    assert (code, "missing matplotlib" in out) == (0, True)


def test_only_a_gate_leaves_with_1(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--n", "4", "--max-new-tokens", "3", "--quiet", "--scorer", "rouge-l")
    code, _, err = leakatk(*common, "--out", tmp_path / "a", "--fail-above", "4:1")
    assert code == errors.DONE, err
    assert leakatk(*common, "--out", tmp_path / "b", "--fail-above", "4:0")[0] in (errors.FAILED, errors.CANNOT_SAY)


def test_the_codes_stand_once():
    assert set(errors.EXIT_CODES) == {0, 1, 2, 3, 4, 130}
    assert all(f"{code} {meaning}" in options.EXIT_CODES for code, meaning in errors.EXIT_CODES.items())
    assert options.EXIT_CODES in app.info.epilog
    assert all(options.EXIT_CODES in command.epilog for command in COMMANDS.values())


def test_the_docs_say_the_same():
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    for code, meaning in errors.EXIT_CODES.items():
        assert f"| {code} | {meaning}" in page, code


def leakatk_process(*words, shell="", **environment):
    command = [sys.executable, "-m", "leakatk", *map(str, words)]
    return subprocess.run(
        ["sh", "-c", f'{shell} "$@"', "sh", *command], env={**os.environ, **environment},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_what_cannot_even_start_is_3(tmp_path):
    (tmp_path / "typer.py").write_text("raise RuntimeError('half an installation')\n")
    done = leakatk_process(
        "doctor", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", TMPDIR=str(tmp_path)
    )
    assert done.returncode == 3
    assert "Crashed (RuntimeError: half an installation)" in done.stderr


def test_too_few_open_files_are_one_sentence(leakatk, forget):
    import resource

    assert leakatk("benchmark", "check", forget)[0] == 0  # what it needs is imported
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.dup(0)
    os.close(taken)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
        code, _, err = leakatk("benchmark", "check", forget)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert code == 2, err
    assert "ulimit -n" in err
    assert "Traceback" not in err

"""Pipelines: the steps of the action and of the snippets are run in a shell, and the commands that they give in the program.

In the shell a stand-in takes the place of `leakatk` and of pip: it writes down its words and ends with a code of the test's.
"""

import os
import shlex
import subprocess

import pytest
import yaml

from tests.cli.test_help import parse
from tests.docs.desk import ROOT, blocks, commands

PAGE = ROOT / "docs" / "ci.md"
ACTION = ROOT / "action.yml"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")
STAND_IN = '#!/bin/sh\nprintf "%s\\0" "$(basename "$0")" "$@" >> "$SAID"\nprintf "\\n" >> "$SAID"\nexit "${CODE:-0}"\n'


@pytest.fixture
def shell(tmp_path):
    """Run a script as a runner does; (exit code, words of each command, what it said)."""
    bin_, said = tmp_path / "bin", tmp_path / "said"
    bin_.mkdir()
    for name in ("leakatk", "python"):
        (bin_ / name).write_text(STAND_IN)
        (bin_ / name).chmod(0o755)

    def run(script, code=0, **env):
        said.write_text("")
        around = {"PATH": f"{bin_}:{os.environ['PATH']}", "SAID": str(said), "CODE": str(code), **env}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=around,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, [line.split("\0")[:-1] for line in said.read_text().split("\n")[:-1]], done.stderr

    return run


@pytest.fixture
def step(shell, tmp_path):
    """Run a step of the action with these inputs; its outputs too."""
    action = yaml.safe_load(ACTION.read_text())
    files = {name: str(tmp_path / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}

    def run(number, code=0, **inputs):
        step = action["runs"]["steps"][number]
        for name, one in action["inputs"].items():
            assert one.get("required") is not True or name in inputs, name
        given = {name: str(one.get("default", "")) for name, one in action["inputs"].items()} | inputs
        names = {f"${{{{ inputs.{name} }}}}": value for name, value in given.items()}
        names["${{ github.action_path }}"] = "/the/action"
        env = {key: names[value] for key, value in step["env"].items()}
        assert "${{" not in step["run"], "an input in a script would be run"
        (tmp_path / "GITHUB_OUTPUT").write_text("")
        found = shell(step["run"], code, **env, **files)
        return *found, (tmp_path / "GITHUB_OUTPUT").read_text()

    return run


NEEDED = {"model": "models/mine", "forget": "forget.jsonl", "gate": "--fail-above 4:0.05"}


def test_the_action_installs_itself_or_what_it_is_told(step):
    assert step(0, **NEEDED)[1] == [["python", "-m", "pip", "install", "/the/action"]]
    assert step(0, **NEEDED, install="leak-at-k==0.1.0")[1] == [["python", "-m", "pip", "install", "leak-at-k==0.1.0"]]
    assert step(0, **NEEDED, install="none")[1] == []


@pytest.mark.parametrize(
    ("code", "verdict"), [(0, "PASS"), (1, "FAIL"), (4, "CANNOT SAY"), (2, "NO VERDICT"), (3, "NO VERDICT")]
)
def test_the_action_ends_with_the_gates_exit_code(step, code, verdict):
    ended, said, _, outputs = step(1, code, **NEEDED)
    assert (ended, outputs, len(said)) == (code, f"verdict={verdict}\n", 1)


def test_options_are_split_as_a_shell_would_and_never_run(step, tmp_path):
    hostile = {"model": "a; touch x", "forget": "$(touch y)", "gate": "--fail-above 4:0.05", "out": "o p"}
    _, [words], _, _ = step(1, **hostile, options="--system 'Be brief; `touch z`' --label \"two words\"")
    assert words[:4] == ["leakatk", "audit", "a; touch x", "--forget"]
    assert words[4:7] == ["$(touch y)", "--out", "o p"]
    assert words[-6:] == ["--fail-above", "4:0.05", "--system", "Be brief; `touch z`", "--label", "two words"]
    assert not [name for name in "xyz" if (tmp_path / name).exists()]


def test_the_audit_of_the_action_writes_what_the_job_shows(step, leakatk, desk):
    """The words that the shell gave, in the program: without a gate they are refused, so that no job passes without one."""
    options = "--n 4 --max-new-tokens 3 --quiet"
    _, [words], _, _ = step(1, **NEEDED, options=options)
    code, _, err = leakatk(*words[1:])
    assert code in (1, 4), err
    assert f"{'FAIL' if code == 1 else 'CANNOT SAY'}: mine" in (desk / "GITHUB_STEP_SUMMARY").read_text()
    assert "<testsuites" in (desk / "leakatk-gate.xml").read_text()
    _, [words], _, _ = step(1, **NEEDED | {"gate": ""}, options=options)
    code, _, err = leakatk(*words[1:])
    assert (code, "give a gate too" in err) == (2, True)


def snippets():
    return [yaml.safe_load(text) for text in blocks(PAGE, "yaml")]


def test_the_workflow_gives_the_action_what_it_takes(step):
    [workflow] = [one for one in snippets() if "jobs" in one]
    *others, ours = workflow["jobs"]["leak"]["steps"]
    assert [one["uses"].split("@")[0] for one in others] == ["actions/checkout", "actions/setup-python"]
    assert "leak-at-k@" in ours["uses"]
    assert set(ours["with"]) <= set(yaml.safe_load(ACTION.read_text())["inputs"])
    _, [words], _, _ = step(1, **ours["with"])
    parse(shlex.join(words))


@pytest.mark.parametrize("code", [0, 1, 4])
def test_the_gitlab_job_ends_with_the_gates_exit_code(shell, code):
    [job] = [one["leak-gate"] for one in snippets() if "leak-gate" in one]
    install, audit = job["script"]
    assert shell(install)[:2] == (0, [["python", "-m", "pip", "install", "leak-at-k"]])
    ended, [words], _ = shell(audit, code)
    assert ended == code
    context = parse(shlex.join(words))
    assert str(context.params["junit"]) == job["artifacts"]["reports"]["junit"]
    assert context.params["fail_above"]


def smaller(line):
    return line.replace("--n 128", "--n 4 --max-new-tokens 3 --quiet").replace("64:", "4:")


def test_the_commands_of_the_page_run_with_smaller_numbers(leakatk, desk):
    shown = commands(PAGE)
    assert len(shown) == 4
    for line in shown:
        code, _, err = leakatk(*shlex.split(smaller(line))[1:])
        assert code in ((0, 1, 4) if "--fail-" in line else (0,)), (line, err)
    assert (desk / "gate.xml").exists()
    assert "###" in (desk / "verdict.md").read_text()

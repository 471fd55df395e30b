"""The command itself: names, versions, completion, and how it ends."""

import os
import subprocess
import sys

from tests.cli.test_exit_codes import leakatk_process


def test_typos_are_answered_with_the_nearest_name(leakatk):
    code, _, err = leakatk("adit")
    assert code == 2
    assert "audit" in err
    code, _, err = leakatk("audit", "m", "--out", "o", "--benchmrk", "world")
    assert code == 2
    assert "--benchmark" in err


def test_a_shell_can_complete(tmp_path):
    def complete(words, position):
        environment = {**os.environ, "_LEAKATK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": position}
        code = "import sys; sys.argv = ['leakatk']\nfrom leakatk.cli.main import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
        )
        return done.stdout.split()

    assert complete("leakatk rep", "1") == ["report"]
    assert complete("leakatk audit --max-n", "2") == ["--max-new-tokens"]
    assert complete("leakatk score runs/a --scorer rou", "4") == ["rouge-1", "rouge-l"]
    assert complete("leakatk methods np", "2") == ["npo", "npo-ent"]
    assert complete("leakatk bench tofu", "2") == ["tofu/forget01", "tofu/forget05", "tofu/forget10"]


def test_a_full_stdout_is_2_and_a_closed_one_changes_nothing():
    full = leakatk_process("plan", "--k", "8", "--certify", "0.1", shell="exec > /dev/full;")
    assert full.returncode == 2
    assert "No space left on device" in full.stderr
    assert "Traceback" not in full.stderr
    assert leakatk_process("plan", "--k", "8", "--certify", "0.1", shell="exec >&-;").returncode == 0

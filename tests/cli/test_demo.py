"""leakatk demo on the command line; what it computes is tested with the demo itself."""

import json


def test_a_dry_run_names_the_jobs_and_their_cost_and_writes_nothing(leakatk, tmp_path, monkeypatch):
    monkeypatch.setattr("leakatk.cli.dry.PILOT_STEPS", 1)
    code, out, err = leakatk("demo", "--dry-run", "--seeds", "3", "--out", tmp_path / "d")
    assert code == 0, err
    assert "3 x" in out
    assert "unlearn simnpo" in out
    assert "tokens" in out
    assert "MB of disk" in out
    assert not (tmp_path / "d").exists()


def test_a_foreign_directory_is_refused(leakatk, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = leakatk("demo", "--out", tmp_path)
    assert code == 2
    assert "not empty" in err
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_the_real_demo_says_what_it_would_do(leakatk, tmp_path):
    out = tmp_path / "d"
    words = ("demo", "--real", "--out", out, "--data", tmp_path, "--dry-run")
    code, said, err = leakatk(*words)
    assert code == 0, err
    assert "Would fetch smollm2-135m" in said
    assert "12 jobs" in said
    assert "on invented people" in said
    assert len(json.loads(leakatk(*words, "--json")[1])["jobs"]) == 12
    assert not out.exists()
    for wrong in (("--real", "--seeds", "2"), ("--model", "m"), ("--data", tmp_path)):
        code, _, err = leakatk("demo", *wrong, "--out", out)
        assert (code, "--real" in err) == (2, True)
    assert not out.exists()

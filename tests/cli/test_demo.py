"""leakatk demo on the command line; what it computes is tested with the demo itself."""


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

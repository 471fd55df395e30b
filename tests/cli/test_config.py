"""--config FILE: the options by their names, what is typed wins, and the resolved options are written back."""

import tomllib

import pytest

SETTINGS = """
out = "{out}"
forget = "{forget}"
n = 4
k = [1, 4]
scorer = ["fact", "rouge-l"]
max_new_tokens = 6
temperature = 0.5
sequential = false
"""


@pytest.fixture
def settings(tmp_path, forget):
    path = tmp_path / "audit.toml"
    path.write_text(SETTINGS.format(out=tmp_path / "run", forget=forget))
    return path


def test_options_come_from_the_file_and_are_written_back(leakatk, model, settings, tmp_path):
    code, _, err = leakatk("audit", model, "--config", settings, "--temperature", "0.7", "--quiet")
    assert code == 0, err
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert written["model"] == str(model)
    assert (written["n"], written["k"], written["scorer"]) == (4, "1,4", ["fact", "rouge-l"])
    assert (written["temperature"], written["top-p"], written["max-new-tokens"]) == (0.7, 1.0, 6)
    assert not {"config", "quiet", "json", "dry-run"} & set(written)
    before = (tmp_path / "run" / "results.json").read_text()
    # The written file repeats the run: everything is there, so nothing is sampled again and nothing differs.
    code, out, err = leakatk("audit", "--config", tmp_path / "run" / "config.toml", "--quiet")
    assert code == 0, err
    assert "within 4 samples" in out
    after = (tmp_path / "run" / "results.json").read_text()
    assert after.split('"seconds"')[0].split('"scorers"')[1] == before.split('"seconds"')[0].split('"scorers"')[1]


def test_an_interrupted_run_has_it_too(leakatk, model, settings, tmp_path, monkeypatch):
    """It is written at the start; a command that is refused leaves nothing behind."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("leakatk.sampling.native.NativeSampler.sample", interrupted)
        code, _, err = leakatk("audit", model, "--config", settings, "--quiet")
    assert code == 130
    assert "run the same command again" in err
    assert tomllib.loads((out / "config.toml").read_text())["n"] == 4
    code, _, err = leakatk("audit", "--config", out / "config.toml", "--quiet")
    assert code == 0, err
    code, _, err = leakatk("audit", tmp_path / "none", "--config", settings, "--out", tmp_path / "refused")
    assert code == 2
    assert not (tmp_path / "refused").exists()


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_a_file_of_the_users_own_is_not_replaced(leakatk, model, settings, tmp_path):
    mine = tmp_path / "run" / "config.toml"
    mine.parent.mkdir()
    mine.write_text("# my own\n")
    code, _, err = leakatk("audit", model, "--config", settings, "--quiet")
    assert code == 2
    assert "holds config.toml" in err
    assert mine.read_text() == "# my own\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('benchmrk = "world"', ("benchmrk", "benchmark")),
        ("quiet = true", ("quiet",)),
        ("n = 'many'", ("n",)),
        ("[audit]\nn = 3", ("audit",)),
        ("n = {a = 1}", ("n in", "dict")),
        ("n = ", ("not valid TOML",)),
    ],
)
def test_what_cannot_be_used_is_named(leakatk, model, tmp_path, forget, line, words):
    path = tmp_path / "bad.toml"
    path.write_text(line + "\n")
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", "--config", path)
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(leakatk, tmp_path):
    code, _, err = leakatk("audit", "--config", tmp_path / "none.toml")
    assert code == 2
    assert "none.toml" in err


def test_strings_survive_the_way_there_and_back(leakatk, model, forget, tmp_path):
    stop = 'a "quoted"\\ line\n\ttab é \u2028'
    code, _, err = leakatk(
        "audit", model, "--forget", forget, "--out", tmp_path / "run", "--n", "2", "--max-new-tokens", "3", "--stop", stop, "--quiet",
    )  # fmt: skip
    assert code == 0, err
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text(encoding="utf-8"))["stop"] == [stop]


def test_commands_that_only_read_take_a_file_too(leakatk, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text("k = 8\ncertify = 0.05\nprompts = 100\n")
    code, out, err = leakatk("plan", "--config", path, "--prompts", "50", "--json")
    assert code == 0, err
    typed, found, _ = leakatk("plan", "--k", "8", "--certify", "0.05", "--prompts", "50", "--json")
    assert (typed, out) == (0, found)


@pytest.mark.parametrize(
    "command", ["audit", "unlearn", "bench", "score", "report", "plan", "demo", "train-small", "finetune"]
)
def test_every_command_that_computes_takes_a_file(leakatk, command):
    code, out, _ = leakatk(command, "--help")
    assert code == 0
    assert "--config" in out


DEEP = "k = " + "[" * 50_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (DEEP, ("nested too deeply",)),
        (DEEP + "]" * 50_000, ("nested too deeply",)),
        ("k = " + "9" * 5000, ("not valid TOML", "digits")),
        ("k = 0x" + "f" * 5000, ("38 digits",)),
        ("half-width = 0x" + "f" * 90, ("38 digits",)),
        ('pilot = "a\\u0000b"', ("NUL",)),
        ("k = [[1]]", ("dict", "list")),
        ("k = 1979-05-27", ("got date",)),
        ("prompts = 1\nPROMPTS = 1", ("PROMPTS",)),
        ("half-width = .1\nhalf_width = .1", ("not valid TOML",)),
        ("half-width = 0.1\nhalf_width = 0.1", ("given twice",)),
        ("k = 1\nk = 2", ("not valid TOML",)),
        ("#" * (2 << 20), ("holds more than 1 MB",)),
        ('"\\u001b[2J" = 1', ("Unknown option",)),
    ],
    ids=range(14),
)
def test_odd_files_are_one_sentence(leakatk, tmp_path, content, words):
    path = tmp_path / "odd.toml"
    path.write_text(content)
    code, _, err = leakatk("plan", "--config", path)
    assert code == 2, err
    assert "Traceback" not in err
    assert any(word in err for word in words), err[:500]
    assert str(path) in err


def test_a_list_of_yes_and_no_is_text(leakatk, tmp_path):
    (tmp_path / "c.toml").write_text("k = [true, false]\n")
    code, _, err = leakatk("score", tmp_path / "none.json", "--config", tmp_path / "c.toml")
    assert (code, "no such file" in err) == (2, True)


def test_what_is_no_file_is_refused_at_once(leakatk, tmp_path):
    import os

    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, words in ((tmp_path / "fifo", "is a pipe"), ("/dev/zero", "is a device"), (tmp_path / "loop", "links")):
        code, _, err = leakatk("plan", "--config", path)
        assert (code, words in err) == (2, True), err


def test_a_name_that_no_text_can_hold_is_left_out(leakatk, model, forget, tmp_path):
    """Bytes that are no UTF-8 are allowed in names of files."""
    odd = tmp_path / "forget\udcff.jsonl"
    odd.write_bytes(forget.read_bytes())
    common = ("--n", "2", "--max-new-tokens", "3", "--scorer", "rouge-l", "--quiet")
    code, _, err = leakatk("audit", model, "--forget", odd, "--out", tmp_path / "run", *common)
    assert code == 0, err
    written = (tmp_path / "run" / "config.toml").read_text()
    assert "# forget is left out" in written
    assert tomllib.loads(written)["n"] == 2

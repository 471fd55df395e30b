import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakatk.errors import InputError, LeakAtKError, RunError, UnknownNameError
from leakatk.files.checksums import INDEX, names
from leakatk.files.writing import write_kept
from leakatk.prompts import Generation, Prompt
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.workdir import HOLDER, LOCK, OWN

PROMPTS = [
    Prompt("b", "Who?", "Ann", facts=("Ann",)),
    Prompt("a", "Where?", "Oslo", perturbed_answers=("Rome", "Bonn")),
]


def manifest(n: int = 3, seed: int = 0, prompts: list[Prompt] = PROMPTS) -> Manifest:
    return Manifest.create(
        prompts=prompts, model={"fingerprint": "f"}, decoding={"temperature": 1.0}, seed=seed, n=n, engine="native"
    )


def generation(prompt: str, sample: int, text: str | None = None) -> Generation:
    text = f"{prompt}{sample}" if text is None else text
    return Generation(prompt, sample, text, (sample, 2**31 - 1), -sample / 3, "stop" if sample % 2 else "length")


def fill(run: Run, n: int | None = None) -> None:
    for prompt, samples in run.missing(n):
        run.append([generation(prompt, sample) for sample in reversed(samples)])


def complete(path: Path, n: int = 3) -> Run:
    with Run.create_or_resume(path, manifest(n), PROMPTS) as run:
        fill(run)
        run.finish()
    return run


def snapshot(path: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(path)): f.read_bytes()
        for f in path.rglob("*")
        if f.is_file() and f.name not in (LOCK, HOLDER)
    }


@pytest.mark.parametrize("finish", [False, True])
def test_what_goes_in_comes_out_by_prompt_and_sample(tmp_path: Path, finish: bool) -> None:
    with Run.create_or_resume(tmp_path / "r", manifest(), PROMPTS) as run:
        assert run.missing(2) == [("b", [0, 1]), ("a", [0, 1])]
        fill(run)
        if finish:
            run.finish()
        kept = run
    for read in (kept, Run.open(tmp_path / "r")):
        assert read.prompts == tuple(PROMPTS)
        assert (read.prompt_ids, read.n, read.missing_count) == (("b", "a"), 3, 0)
        assert read.texts() == [["b0", "b1", "b2"], ["a0", "a1", "a2"]]
        assert read.finishes() == [["length", "stop", "length"]] * 2
        np.testing.assert_array_equal(read.logprobs(), [[0, -1 / 3, -2 / 3]] * 2)
        assert list(read.generations()) == [generation(p, j) for p in "ba" for j in range(3)]
    assert sorted(f.name for f in (tmp_path / "r").iterdir()) == sorted(
        ["generations", "manifest.json", "prompts.jsonl", *OWN, *(["generations.parquet"] if finish else [])]
    )
    assert len(list((tmp_path / "r" / "generations").iterdir())) == (0 if finish else 1)


def test_an_unfinished_run_can_be_read_and_says_what_is_missing(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        assert (run.n, run.texts(), run.logprobs().shape) == (0, [[], []], (2, 0))
        run.append([generation("b", 0), generation("b", 2), generation("a", 0), generation("a", 1)])
        read = Run.open(tmp_path)  # while it is being written
    assert (read.n, read.missing_count, read.missing()) == (1, 2, [("b", [1]), ("a", [2])])
    assert read.texts() == [["b0"], ["a0"]]
    assert len(list(read.generations())) == 4
    with pytest.raises(RunError, match="reading only"):
        read.append([generation("b", 1)])
    with pytest.raises(RunError, match="reading only"):
        run.finish()


def test_repeats_are_ignored_and_strangers_refused(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        assert run.append([generation("b", 0), generation("b", 0, "other")]) == 1
        assert run.append([generation("b", 0, "again"), generation("a", 0)]) == 1
        for bad in (generation("c", 0), generation("a", -1)):
            with pytest.raises(InputError, match="does not belong"):
                run.append([generation("a", 1), bad])
        assert run.texts() == [["b0"], ["a0"]]
        assert run.missing() == [("b", [1, 2]), ("a", [1, 2])]


def test_grows_from_50_to_200_and_keeps_the_50(tmp_path: Path) -> None:
    first = complete(tmp_path, n=50).texts()
    with Run.create_or_resume(tmp_path, manifest(200), PROMPTS) as run:
        assert run.missing() == [("b", list(range(50, 200))), ("a", list(range(50, 200)))]
        fill(run)
        run.finish()
    grown = Run.open(tmp_path)
    assert (grown.n, grown.manifest.n, grown.missing_count) == (200, 200, 0)
    assert [row[:50] for row in grown.texts()] == first
    with Run.create_or_resume(tmp_path, manifest(50), PROMPTS) as run:  # asking for fewer loses nothing
        assert (run.missing(50), run.manifest.n, run.n) == ([], 200, 200)


def test_a_different_manifest_is_refused_and_named(tmp_path: Path) -> None:
    complete(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(RunError, match=r"seed: 0, 7.*Nothing was changed"):
        Run.create_or_resume(tmp_path, manifest(seed=7), PROMPTS)
    other = [Prompt("z", "Why?", "So")]
    with pytest.raises(RunError, match="prompts_sha256"):
        Run.create_or_resume(tmp_path, manifest(prompts=other), other)
    with pytest.raises(InputError, match="made for other prompts"):
        Run.create_or_resume(tmp_path, manifest(), other)
    assert snapshot(tmp_path) == before
    Run.create_or_resume(tmp_path, manifest(), PROMPTS).close()  # a refusal leaves no lock behind


@pytest.mark.parametrize("strange", ["notes.txt", "prompts.jsonl", "generations", "run.lock.txt"])
def test_a_foreign_directory_is_left_alone(tmp_path: Path, strange: str) -> None:
    (tmp_path / strange).write_text("mine")
    with pytest.raises(RunError, match=f"not empty and holds no run .it holds {strange}"):
        Run.create_or_resume(tmp_path, manifest(), PROMPTS)
    assert snapshot(tmp_path) == {strange: b"mine"}
    with pytest.raises(RunError, match=r"no manifest\.json"):
        Run.open(tmp_path)


def test_a_foreign_manifest_a_file_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(RunError, match="no manifest of a leakatk run"):
        Run.create_or_resume(tmp_path, manifest(), PROMPTS)
    assert [f.read_text() for f in tmp_path.iterdir()] == ['{"name": "a web app"}']
    with pytest.raises(RunError, match="Cannot use"):
        Run.create_or_resume(tmp_path / "manifest.json", manifest(), PROMPTS)
    with pytest.raises(RunError, match="Cannot use"):
        Run.create_or_resume(tmp_path / "manifest.json" / "under", manifest(), PROMPTS)
    with pytest.raises(RunError, match="no such run directory"):
        Run.open(tmp_path / "nowhere")


def test_a_start_killed_before_the_manifest_is_started_again(tmp_path: Path) -> None:
    for name in ("run.lock", "prompts.jsonl", ".manifest.json.99.tmp"):
        (tmp_path / name).write_text("half")
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        fill(run)
    assert Run.open(tmp_path).n == 3


def test_a_second_writer_is_refused_here_and_in_another_process(tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import sys
        from tests.runs.test_store import PROMPTS, manifest, Run
        try:
            Run.create_or_resume({str(tmp_path)!r}, manifest(), PROMPTS)
        except Exception as error:
            sys.exit(f"{{type(error).__name__}}: {{error}}")
        """
    )

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        with pytest.raises(RunError, match="is being written by process"):
            Run.create_or_resume(tmp_path, manifest(), PROMPTS)
        refused = other()
        assert refused.returncode == 1
        assert refused.stderr.startswith("RunError: ")
        assert "is being written by process" in refused.stderr
        fill(run)
    assert other().returncode == 0  # released, and that process's own lock died with it
    complete(tmp_path)


def test_a_half_written_last_line_is_left_out_and_sampled_again(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        fill(run)
    (shard,) = (tmp_path / "generations").iterdir()
    whole = shard.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last):
        shard.write_bytes(whole[:-cut])
        read = Run.open(tmp_path)
        assert read.missing() == [("a", [0])]
        assert "1 half-written or damaged line" in read.notes[0]
    finished = complete(tmp_path)
    assert finished.texts() == [["b0", "b1", "b2"], ["a0", "a1", "a2"]]
    assert list(Run.open(tmp_path).generations()) == [generation(p, j) for p in "ba" for j in range(3)]


def test_a_flipped_letter_in_the_middle_of_a_shard_is_noticed(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        fill(run)
    (shard,) = (tmp_path / "generations").iterdir()
    shard.write_bytes(shard.read_bytes().replace(b'"text":"b1"', b'"text":"bX"'))
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        assert run.missing() == [("b", [1])]


def test_killed_between_compaction_and_removal_of_the_shards(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        fill(run)
    (shard,) = (tmp_path / "generations").iterdir()
    lines = shard.read_bytes()
    want = list(complete(tmp_path).generations())
    shard.write_bytes(lines)
    assert list(Run.open(tmp_path).generations()) == want
    assert list(complete(tmp_path).generations()) == want
    assert not shard.exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    run = complete(tmp_path)
    run.save_scores("rouge-l", np.zeros((2, 3)))
    for name in ("generations.parquet", "manifest.json", "prompts.jsonl", "scores/rouge-l/scores.parquet"):
        file = tmp_path / name
        whole = file.read_bytes()
        for damaged in (whole[: len(whole) // 2], b"", b"\xff" * len(whole)):
            file.write_bytes(damaged)
            with pytest.raises(RunError, match=file.name):
                Run.open(tmp_path).scores("rouge-l")
            assert file.read_bytes() == damaged
        file.unlink()
        if name == "generations.parquet":
            assert Run.open(tmp_path).missing_count == 6
        with pytest.raises(LeakAtKError):
            Run.open(tmp_path).scores("rouge-l")
        file.write_bytes(whole)
    assert Run.open(tmp_path).scores("rouge-l").shape == (2, 3)


@pytest.mark.parametrize("name", ["manifest.json", "generations.parquet"])
def test_a_file_that_reads_well_and_is_another_is_refused(tmp_path: Path, name: str) -> None:
    complete(tmp_path)
    path = tmp_path / name
    if name.endswith(".json"):
        path.write_text(path.read_text() + " ")
    else:
        pq.write_table(pq.read_table(path), path, compression="none")
    with pytest.raises(RunError, match="does not fit its checksum"):
        Run.open(tmp_path)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete(tmp_path)
    monkeypatch.setattr("leakatk.files.tables.MOST_BYTES", 100)
    monkeypatch.setattr("pyarrow.parquet.read_table", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(RunError, match=r"generations\.parquet unpacks to [\d,]+ bytes, and at most 100 are read"):
        Run.open(tmp_path)


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """The limit on file size stands in for the disk: writes stop in the middle of a batch, as they do when it fills."""
    code = textwrap.dedent(
        f"""
        import resource
        from tests.runs.test_store import PROMPTS, RunError, generation, manifest, Run

        run = Run.create_or_resume({str(tmp_path)!r}, manifest(200), PROMPTS)
        run.append([generation("b", j) for j in range(10)])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2500, hard))
        for work in (lambda: run.append([generation("a", j) for j in range(100)]), run.finish):
            try:
                work()
            except Exception as error:
                print(type(error).__name__, error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        run.append([generation("a", j) for j in range(5)])
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0].startswith(f"RunError Cannot write to {tmp_path}: File too large; free some space")
    read = Run.open(tmp_path)
    assert read.notes == []
    assert [sum(g.prompt_id == p for g in read.generations()) for p in "ba"] == [10, 5]
    assert complete(tmp_path, n=200).texts() == [[f"{p}{j}" for j in range(200)] for p in "ba"]


def test_no_space_to_compact_keeps_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        fill(run)
        before = snapshot(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr("leakatk.files.writing.os.fsync", full)
            with pytest.raises(LeakAtKError, match=r"Cannot write .*generations\.parquet: No space left"):
                run.finish()
            with pytest.raises(LeakAtKError, match="No space left"):
                run.save_scores("x", np.zeros((2, 3)))
        assert snapshot(tmp_path) == before
        run.finish()
    assert Run.open(tmp_path).n == 3


@pytest.mark.parametrize("how", [shutil.rmtree, lambda path: path.rename(path.with_name("elsewhere"))])
def test_a_directory_that_goes_while_it_is_written_is_noticed(tmp_path: Path, how: Callable[[Path], object]) -> None:
    for work in (lambda run: run.append([generation("a", 1)]), Run.finish):
        path = tmp_path / "run"
        with Run.create_or_resume(path, manifest(), PROMPTS) as run:
            run.append([generation("a", 0)])
            how(path)
            with pytest.raises(
                RunError, match=r"run was removed or moved away while it was being written; start again"
            ):
                work(run)
        complete(path)
        shutil.rmtree(path)
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)


def test_no_permission_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", denied)
        with pytest.raises(RunError, match=r"Cannot use .*Permission denied"):
            Run.create_or_resume(tmp_path / "r", manifest(), PROMPTS)
    complete(tmp_path / "r")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, *a, **k: (denied if path.name == HOLDER else real)(path, *a, **k))
        with pytest.raises(RunError, match=r"Cannot write in .*Permission denied"):
            Run.create_or_resume(tmp_path / "r", manifest(), PROMPTS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", denied)
        with pytest.raises(RunError, match=r"Cannot read .*Permission denied"):
            Run.open(tmp_path / "r")


HOSTILE = st.text(st.characters(codec=None, categories=None), max_size=30) | st.sampled_from(
    [
        "",
        "\0",
        "\n",
        "\r\n",
        "\u2028",
        "\ud800",
        "x\udfffy",
        "\ud83d\ude00",
        '"}\n{',
        ',"crc32":"00000000"}',
        "\x1b[31m",
        "\u202e",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(HOSTILE, min_size=1, max_size=8), logprob=st.floats(), ids=st.lists(st.integers(0, 2**31 - 1)))
def test_hostile_text_comes_back_as_it_was(texts: list[str], logprob: float, ids: list[int]) -> None:
    prompts = [Prompt("\u2028 \0\n", "?\r\n\u2028", "\0", source="\x85")]
    run = Run.temporary(manifest(len(texts), prompts=prompts), prompts)
    run.append([Generation(prompts[0].id, j, text, tuple(ids), logprob, "stop") for j, text in enumerate(texts)])
    # Lone surrogates are no characters: UTF-8 has no place for them, and each becomes U+FFFD. A pair is one character.
    want = [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts]
    for _ in range(2):
        for read in (run, Run.open(run.path)):
            assert read.prompts == tuple(prompts)
            assert read.texts() == [want]
            np.testing.assert_array_equal(read.logprobs(), [[logprob] * len(texts)])
            assert [g.token_ids for g in read.generations()] == [tuple(ids)] * len(texts)
        run.finish()
    run.close()


def test_numbers_of_numpy_are_stored(tmp_path: Path) -> None:
    with Run.create_or_resume(tmp_path, manifest(1), PROMPTS) as run:
        ids = tuple(np.array([1, 2]))
        run.append([Generation("b", np.int64(0), "x", ids, np.float32(-0.5), "stop"), generation("a", 0)])  # type: ignore[arg-type]
    assert next(Run.open(tmp_path).generations()) == Generation("b", 0, "x", (1, 2), -0.5, "stop")


def test_a_prompt_that_is_no_text_is_refused(tmp_path: Path) -> None:
    prompts = [Prompt("a", "\ud800", "b")]
    with pytest.raises(InputError, match="Prompt 'a' holds a surrogate"):
        Run.create_or_resume(tmp_path / "r", manifest(prompts=prompts), prompts)
    assert not (tmp_path / "r").exists()


def test_a_temporary_run_goes_with_its_object() -> None:
    run = Run.temporary(manifest(), PROMPTS)
    fill(run)
    run.finish()
    run.close()
    assert run.texts() == [["b0", "b1", "b2"], ["a0", "a1", "a2"]]
    path = run.path
    assert path.exists()
    del run
    assert not path.exists()


def test_scores_belong_to_their_generations(tmp_path: Path) -> None:
    run = complete(tmp_path)
    scores = np.array([[0.0, np.nan, 1.0], [0.25, 0.5, 1 / 3]])
    run.save_scores("rouge-l", scores, {"stemmer": True})
    run.save_scores("../judge: a/b", 1 - scores)
    read = Run.open(tmp_path)
    np.testing.assert_array_equal(read.scores("rouge-l"), scores)
    np.testing.assert_array_equal(read.scores("../judge: a/b"), 1 - scores)
    assert read.score_info("rouge-l") == {"stemmer": True}
    assert read.score_names() == ["../judge: a/b", "rouge-l"]
    assert len(list((tmp_path / "scores").iterdir())) == 2
    with pytest.raises(InputError, match=r"shape \(2, 2\).*2 prompts x 3 samples"):
        run.save_scores("rouge-l", scores[:, :2])
    with pytest.raises(UnknownNameError, match="did you mean rouge-l"):
        run.scores("rouge")
    with Run.create_or_resume(tmp_path, manifest(4), PROMPTS) as run:
        fill(run)
        assert not run.has_scores("rouge-l")
        with pytest.raises(RunError, match=r"6 scored, 8 there now.*score the run again"):
            run.scores("rouge-l")
        run.save_scores("rouge-l", np.ones((2, 4)))
        assert run.has_scores("rouge-l")
        assert run.scores("rouge-l").sum() == 8
    assert not run.has_scores("fact")


def test_damaged_scores_are_made_anew_and_said(tmp_path: Path) -> None:
    run = complete(tmp_path)
    run.save_scores("fact", np.ones((2, 3)))
    (path,) = (tmp_path / "scores").glob("*/scores.parquet")
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    read = Run.open(tmp_path)
    assert not read.has_scores("fact")
    assert read.notes[0].startswith("Scores 'fact' are made anew: ")
    with pytest.raises(RunError, match=r"scores\.parquet is damaged"):
        read.scores("fact")
    read.save_scores("fact", np.ones((2, 3)))
    assert read.has_scores("fact")


def test_an_older_run_opens_with_a_note_and_is_covered_once_it_grows(tmp_path: Path) -> None:
    complete(tmp_path)
    (tmp_path / INDEX).unlink()
    assert "has no run.checksums (an older version wrote it)" in Run.open(tmp_path).notes[0]
    with Run.create_or_resume(tmp_path, manifest(4), PROMPTS) as run:
        assert "has no run.checksums" in run.notes[0]
        fill(run)
        run.finish()
    assert Run.open(tmp_path).notes == []
    assert names(tmp_path) == {"manifest.json", "prompts.jsonl", "generations.parquet"}


def test_results_are_plain_json(tmp_path: Path) -> None:
    run = complete(tmp_path)
    with pytest.raises(RunError, match=r"results\.json"):
        run.results()
    run.write_results({"leak": np.array([0.5, np.nan]), "k": np.int64(4), "worst": ("a", float("inf")), 1: None})
    assert Run.open(tmp_path).results() == {"leak": [0.5, None], "k": 4, "worst": ["a", None], "1": None}
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        run.results()


def test_versions_that_differ_are_noted(tmp_path: Path) -> None:
    complete(tmp_path)
    file = tmp_path / "manifest.json"
    write_kept(file, file.read_text().replace('"python": "', '"python": "0'))
    with Run.create_or_resume(tmp_path, manifest(), PROMPTS) as run:
        assert "versions.python: '0" in run.notes[0]


def test_runs_import_no_torch() -> None:
    code = "import sys, leakatk.runs.store, leakatk.runs.external; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Published files from a directory, and from the hub with the real client, against a hub of our own (HF_ENDPOINT)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from leakatk.benchmarks.base import Options
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.fetch import SUFFIXES, FetchError, MissingOnHub, fetch, pinned, rows, texts
from leakatk.errors import InputError
from tests.benchmarks.hub import COMMIT, Hub, lines, serving

PISTOL = [{"question": f"q{i}?", "answer": f"a{i}.", "edge": edge} for i, edge in enumerate(("A_B", "A_B", "A_C"))]
LOAD = """
import json, sys, time
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError
start, time.sleep = time.monotonic(), lambda seconds: None  # the client tries again and again, with longer and longer rests
for name, options in json.loads(sys.argv[1]):
    start = time.monotonic()
    try:
        bench = load_benchmark(name, **options)
        said = [len(bench.forget), len(bench.retain), bench.origin]
    except InputError as error:
        said = str(error)
    print(json.dumps([said, time.monotonic() - start]))
assert "torch" not in sys.modules
"""


def load(endpoint, home, *cases, offline=False):
    """What each (benchmark, options) says in one fresh process, and its seconds."""
    environment = {
        **os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOAD, json.dumps(cases)], env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_files_come_from_the_hub_and_the_commit_is_kept(tmp_path):
    hub = Hub({"xinchiqiu/PISTOL/sample_data_1.json": json.dumps(PISTOL).encode()}, {})
    with serving(hub) as endpoint:
        [[found, _], [pinned, _], [again, _]] = load(
            endpoint, tmp_path, ("pistol/1", {}), ("pistol/1", {"revision": COMMIT}), ("pistol/1", {"revision": COMMIT})
        )
    assert found == [2, 1, f"hub:xinchiqiu/PISTOL@{COMMIT}"]
    assert pinned == again == found
    # Pinned to a commit that is in the cache, nothing is asked for.
    assert all("/main/" in path for path in hub.asked)
    # Offline, what is in the cache is taken.
    [[offline, _], [absent, _]] = load("http://127.0.0.1:9", tmp_path, ("pistol/1", {}), ("pistol/2", {}), offline=True)
    assert offline == found
    assert "Cannot reach the Hugging Face hub for xinchiqiu/PISTOL/sample_data_2.json" in absent
    # So it is where no hub answers.
    [[unanswered, _], [absent, _]] = load("http://127.0.0.1:9", tmp_path, ("pistol/1", {}), ("pistol/2", {}))
    assert unanswered == found
    assert "Cannot reach the Hugging Face hub for xinchiqiu/PISTOL/sample_data_2.json" in absent


def test_all_files_of_one_load_are_of_one_commit(tmp_path):
    """The branch moves while the files are fetched: the rest still comes from the commit of the first."""
    good = {
        "question": "q",
        "answer": "a",
        "paraphrased_question": "p",
        "paraphrased_answer": "b",
        "perturbed_answer": ["c"],
    }
    sizes = {
        "forget01": 40, "forget01_perturbed": 40, "retain99": 3960, "full": 4000, "holdout01": 40, "retain_perturbed": 400,
        "real_authors_perturbed": 100, "world_facts_perturbed": 117,
    }  # fmt: skip
    hub = Hub({f"locuslab/TOFU/{name}.json": lines([good] * size) for name, size in sizes.items()}, {})
    with serving(hub) as endpoint:
        [[found, _]] = load(endpoint, tmp_path, ("tofu/forget01", {}))
    assert found == [40, 3960, f"hub:locuslab/TOFU@{COMMIT}"]
    assert {path.split("/")[5] for path in hub.asked if "forget01.json" not in path} == {COMMIT}


def test_every_failure_says_what_helps(tmp_path):
    tofu = {
        "forget01": [{"question": "q", "answer": "a"}] * 40,
        "forget01_perturbed": [{"question": "q", "reply": "a"}] * 40,
        "retain99": [{"question": "q", "answer": "a"}] * 3,
    }
    hub = Hub(
        {
            **{f"locuslab/TOFU/{name}.json": lines(rows) for name, rows in tofu.items()},
            "xinchiqiu/PISTOL/sample_data_1.json": b'[{"question": "q", "ans',
        },
        {"cais/wmdp": (403, "GatedRepo"), "muse-bench/MUSE-News": (401, "RepoNotFound"), "muse-bench/MUSE-Books": (404, "RepoNotFound")},
    )  # fmt: skip
    cases = {
        "renamed column": (
            ("tofu/forget01", {}),
            "forget01_perturbed.json, line 1: no column 'answer'; found question, reply",
        ),
        "missing split": (("tofu/forget05", {}), "locuslab/TOFU has no file forget05.json"),
        "no such revision": (("tofu/forget01", {"revision": "v9"}), "has no revision 'v9'"),
        "gated": (("wmdp/bio", {}), "hf auth login"),
        "not let in": (("muse/news", {}), "hf auth login"),
        "no such dataset": (("muse/books", {}), "was not found on the hub"),
        "cut short": (
            ("pistol/1", {}),
            "again with `hf download xinchiqiu/PISTOL --repo-type dataset --force-download`",
        ),
        "another file missing": (("pistol/2", {}), "has no file sample_data_2.json"),
    }
    with serving(hub) as endpoint:
        said = load(endpoint, tmp_path, *(case for case, _ in cases.values()))
    for (name, (_, words)), (text, seconds) in zip(cases.items(), said, strict=True):
        assert words in text, (name, text)
        assert "\n" not in text
        assert seconds < 20, name


def test_an_outage_says_how_to_work_offline(tmp_path):
    """The address answers nobody."""
    [[text, seconds]] = load("http://127.0.0.1:9", tmp_path, ("pistol/1", {}))
    assert "Cannot reach the Hugging Face hub" in text
    assert "`hf download xinchiqiu/PISTOL --repo-type dataset --local-dir DIR`" in text
    assert "--data DIR" in text
    assert seconds < 60


def test_the_command_line_ends_with_one_sentence_and_code_2(tmp_path):
    hub = Hub({}, {"cais/wmdp": (403, "GatedRepo")})
    with serving(hub) as endpoint:
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        environment.pop("LEAKATK_DATA", None)
        done = subprocess.run(
            [sys.executable, "-m", "leakatk", "bench", "wmdp/bio", "--model", "m", "--out", str(tmp_path / "out")],
            env=environment, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("leakatk: cais/wmdp is gated: accept its terms")
    assert not (tmp_path / "out").exists()


HUB = {
    "GatedRepoError": "is gated.*hf auth login",
    "RepositoryNotFoundError": "was not found on the hub",
    "RevisionNotFoundError": "no revision 'main'",
    "RemoteEntryNotFoundError": r"no file forget01\.json",
    "LocalEntryNotFoundError": "Cannot reach the Hugging Face hub.*hf download locuslab/TOFU",
    "HfHubHTTPError": r"Cannot download locuslab/TOFU/forget01\.json",
    "OfflineModeIsEnabled": "Cannot reach",
}


@pytest.mark.parametrize("name", HUB)
def test_hub_failures_are_one_sentence(monkeypatch, name):
    import huggingface_hub
    from huggingface_hub import errors

    kind = getattr(errors, name)
    error = kind.__new__(kind)
    Exception.__init__(error, "boom")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(InputError, match=HUB[name]):
        load_benchmark("tofu/forget01")


def from_directory(directory, file="a", *others):
    return fetch("owner/set", file, *others, data=directory, revision="main")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_any_published_suffix_is_found_and_the_first_name_goes_first(tmp_path, suffix):
    (tmp_path / f"b{suffix}").touch()
    assert from_directory(tmp_path, "a", "b") == tmp_path / f"b{suffix}"
    (tmp_path / f"a{SUFFIXES[-1]}").touch()
    assert from_directory(tmp_path, "a", "b") == tmp_path / f"a{SUFFIXES[-1]}"


def test_what_a_directory_holds_instead_is_said(tmp_path):
    said = r"has no a\.jsonl, \.json or \.parquet .it holds {}.; get the files with `hf download owner/set .* --local-dir {}`"
    with pytest.raises(FetchError, match=said.format("nothing", tmp_path)):
        from_directory(tmp_path)
    for i in range(12):
        (tmp_path / f"f{i:02d}.txt").touch()
    with pytest.raises(FetchError, match=said.format(", ".join(f"f{i:02d}.txt" for i in range(8)), tmp_path)):
        from_directory(tmp_path)
    with pytest.raises(FetchError, match=r"f00\.txt: is a file; give --data the directory that holds a\.jsonl"):
        from_directory(tmp_path / "f00.txt")
    with pytest.raises(FetchError, match="nowhere: no such directory"):
        from_directory(tmp_path / "nowhere")


def test_other_names_are_tried_on_the_hub_and_the_last_one_is_named(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    asked = []

    def get(repository, name, **how):
        asked.append((repository, name, how["revision"]))
        if name != "c.json":
            raise RemoteEntryNotFoundError.__new__(RemoteEntryNotFoundError)
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", get)
    assert fetch("owner/set", "a", "b", "c", data=None, revision="v1") == tmp_path / "c.json"
    assert asked == [("owner/set", f"{name}.json", "v1") for name in "abc"]
    with pytest.raises(MissingOnHub, match=r"owner/set has no file b\.jsonl at revision 'v1'"):
        fetch("owner/set", "a", "b", data=None, revision="v1", hub_suffix=".jsonl")


def test_the_rest_is_pinned_to_the_commit_of_the_first():
    options = Options(seed=7)
    found = Path("/home/u/hub/datasets--o--s/snapshots") / COMMIT / "a.json"
    assert pinned(options, found) == Options(seed=7, revision=COMMIT)
    assert pinned(options, Path("/data/a.json")) == options
    assert pinned(Options(data=Path("/x")), found) == Options(data=Path("/x")), "a directory has no commit"


def test_rows_are_counted_and_their_columns_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": 1, "a": 2}\n{"q": 3}\n')
    assert rows(path, count=2, columns=("q",)) == [{"q": 1, "a": 2}, {"q": 3}]
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: no column 'a'; found q\."):
        rows(path, columns=("q", "a"))
    with pytest.raises(InputError, match=r"a\.jsonl has 2 rows, the published file has 3\."):
        rows(path, count=3)
    table = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"q": [1, 3]}), table)
    assert rows(table, count=2) == [{"q": 1}, {"q": 3}]
    with pytest.raises(InputError, match=r"a\.parquet, line 1: no column 'a'; found q\."):
        rows(table, columns=("a",))
    table.write_bytes(table.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"a\.parquet: not a readable Parquet file"):
        rows(table)


def test_texts_are_a_list_or_a_column(tmp_path):
    (tmp_path / "list.json").write_text(' ["a", "b"]')
    (tmp_path / "rows.json").write_text('[{"text": "a"}, {"text": "b"}]')
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b", "id": 1}\n')
    assert (
        texts(tmp_path / "list.json") == texts(tmp_path / "rows.json") == texts(tmp_path / "rows.jsonl") == ("a", "b")
    )
    (tmp_path / "numbers.jsonl").write_text('{"text": 5}\n')
    with pytest.raises(InputError, match=r"numbers\.jsonl: every text must be a string"):
        texts(tmp_path / "numbers.jsonl")
    (tmp_path / "other.jsonl").write_text('{"body": "a"}\n')
    with pytest.raises(InputError, match="no column 'text'; found body"):
        texts(tmp_path / "other.jsonl")

"""Loading from the hub with the real client, against a hub of our own (HF_ENDPOINT)."""

import json
import os
import subprocess
import sys

import pytest

from leakatk.prompts import save_prompts
from tests.benchmarks.hub import COMMIT, Hub, lines, serving
from tests.tiny import PROMPTS, save_tiny_model

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


def test_a_mistyped_model_where_no_hub_answers_is_told_without_trying_again_and_again(tmp_path):
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    command = ["audit", "models/nope", "--forget", "forget.jsonl", "--n", "4", "--out", "runs/nope"]
    done = subprocess.run(
        [sys.executable, "-m", "leakatk", *command], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "models/nope: no such directory, and the Hugging Face hub cannot be reached" in done.stderr
    assert "Retrying" not in done.stderr
    assert not (tmp_path / "runs").exists()


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


@pytest.mark.slow
def test_a_model_by_its_hub_id(tmp_path):
    model = save_tiny_model(tmp_path / "tiny")
    hub = Hub({f"org/tiny/{file.name}": file.read_bytes() for file in model.iterdir()}, {})
    save_prompts(PROMPTS, tmp_path / "own.jsonl")
    command = ["bench", str(tmp_path / "own.jsonl"), "--n", "2", "--decoding", "max_new_tokens=4", "--json", "--quiet"]
    with serving(hub) as endpoint:
        environment = {
            **os.environ,
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = [
            subprocess.run(
                [sys.executable, "-m", "leakatk", *command, "--model", name, "--out", str(tmp_path / "out")],
                env=environment, capture_output=True, text=True, timeout=250,
            )
            for name in ("org/tiny", "org/none")
        ]  # fmt: skip
    assert done[0].returncode == 0, done[0].stderr
    assert json.loads(done[0].stdout)[0]["model_sha256"] == f"org/tiny@{COMMIT}"
    assert done[1].returncode == 2
    assert "leakatk: Cannot load org/none" in done[1].stderr

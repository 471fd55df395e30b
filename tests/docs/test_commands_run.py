"""Commands of the documentation are run.

Every `leakatk` command in a block is run, in the order of its page: those of the pages in RUN on a tiny model in
place of the reader's; those of STAGED with a small world and a local server besides, but for what ELSEWHERE names, which
has a test each: published data, a judge, Ray, a loop of the shell. Tiny models lie where the hub's names lead to. Those in
the text of our results are run too.
"""

import dataclasses
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from leakatk.bench.results import read_rows
from leakatk.prompts import save_prompts
from tests.docs.desk import (
    DEMO,
    FOREIGN,
    JUDGE,
    ON_DATA,
    PUBLISHED,
    QUICK,
    RAY,
    ROOT,
    RUN,
    STAGED,
    SWEEP,
    WHOLE,
    bare,
    blocks,
    commands,
    inline,
    page_named,
    shown,
    take_few,
)
from tests.docs.smaller import smaller
from tests.e2e.test_muse_folds import published as muse_news
from tests.hubs import StandInHub
from tests.report.browsers import stand_in
from tests.scorers.conftest import JudgeServer
from tests.tiny import PROMPTS

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")
# What stands in for the reader's own models and devices.
SMALLER = {" MODEL": " models/full", " RETRAINED": " models/retrained", "cuda:0": "cpu", "bf16": "fp32"}


def gated(code, line, err):
    """A gate that fails, or cannot say: what a page's gate says of a tiny model is no error."""
    return code in (1, 4) and "--fail-" in line and re.search(r"^Gate[a-z ]*: ", err, re.MULTILINE)


@pytest.mark.parametrize("page", RUN)
def test_commands_run_in_their_order(leakatk, desk, page, monkeypatch):
    stand_in(desk, monkeypatch)
    needs = {"choosing-n-and-k.md": "leakatk audit models/mine --forget forget.jsonl --n 8 --out runs/mine"}
    for line in [*([needs[page]] if page in needs else []), *commands(ROOT / "docs" / page)]:
        line = smaller(line)
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0 or gated(code, line, err), (line, err)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1800)
def test_a_table_of_tofu_is_filled_word_for_word(leakatk, published, monkeypatch):
    """Every command of the tutorial in its order, on few rows."""
    take_few(monkeypatch, "tofu/forget01")
    shutil.rmtree("models")
    for line in commands(page_named("tutorial-tofu.md")):
        code, out, err = leakatk(*shlex.split(smaller(line))[1:])
        assert code == 0, (line, err)
    rows = read_rows("results")
    assert {Path(row["model"]).name for row in rows if row["role"] == "model"} == {"full", "npo", "simnpo"}
    assert out.strip()


@pytest.mark.parametrize(
    "page",
    [page if page in QUICK else pytest.param(page, marks=pytest.mark.slow) for page in STAGED if page not in WHOLE],
)
@pytest.mark.timeout(900)
def test_commands_run_on_the_stage(leakatk, stage, page):
    lines = shown(page, None)
    assert lines
    if any("train-small" in line for line in lines):  # makes the models that the page goes on with
        shutil.rmtree("models")
    for line in lines:
        if "RUN_A" in line:  # names the reader fills in, of two runs that the page has made
            made = [Path(row["run"]).name for row in read_rows("results")]
            line = line.replace("RUN_A", made[-1]).replace("RUN_B", made[0])
            assert made[-1] != made[0]
        line = smaller(line)
        code, _, err = leakatk(*shlex.split(stage(line))[1:])
        assert code == 0 or gated(code, line, err), (line, err)


@pytest.mark.data
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    [
        "protocols.md",
        *(pytest.param(page, marks=pytest.mark.slow) for page in ON_DATA if page not in ("protocols.md", *WHOLE)),
    ],
)
def test_commands_with_published_data_run(leakatk, published, page):
    lines = shown(page, PUBLISHED)
    assert lines
    if any("--out models/npo" in line for line in lines):
        shutil.rmtree("models/npo")  # made by the page
    for line in lines:
        for name, small in SMALLER.items():
            line = line.replace(name, small)
        line = smaller(line)
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0 or gated(code, line, err), (line, err)
        if "--protocol paper" in line:
            rows = read_rows("results")
            assert len(rows) == 2 * 10  # two models, ten decodings
            assert {row["scorer"].partition(":")[0] for row in rows} == {"entailment"}
            assert all(0 <= row["leak@128"] <= 1 for row in rows)


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(900)
def test_the_commands_of_our_results_run(leakatk, published, data_dir, monkeypatch):
    """Those of the text, with what they need: small models, few rows."""
    lines = [line for line in inline(page_named("results.md")) if not DEMO.search(line)]
    assert len(lines) >= 7
    for name in ("muse/news", "wmdp/cyber"):
        take_few(monkeypatch, name)
    for line in lines:
        folder = re.search(r"(tofu|muse|wmdp)", line)
        line = line.replace(" DIR", f" {data_dir / folder[1]}") if folder else line
        for name, small in SMALLER.items():
            line = line.replace(name, small)
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0, (line, err)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_sweep_runs(leakatk, stage, monkeypatch):
    """The page's file with fewer seeds, steps and samples, in this process, one cell at a time."""
    from leakatk.cli import sweep_run
    from tests.cli.test_sweep import in_this_process

    turn = threading.Lock()

    def one_at_a_time(words, log, env):
        with turn:
            return in_this_process(words, log, env)

    monkeypatch.setattr(sweep_run, "run_words", one_at_a_time)
    [text] = blocks(page_named("sweep.md"), "toml")
    smaller = {
        "[0, 1, 2]": "[0, 1]",
        "steps = 60": "steps = 1",
        "steps = 240": "steps = 2",
        "n = 64": "n = 2",
        "batch = 16": "batch = 1",
    }
    for usual, few in smaller.items():
        assert usual in text
        text = text.replace(usual, few)
    Path("sweep.toml").write_text(text + 'retain-n = 0\ngrad-norm = false\ndecoding = "max_new_tokens=4"\n')
    for seed in (0, 1):
        place = Path(f"runs/world-{seed}")
        place.mkdir(parents=True)
        for name, model in (("full", "mine"), ("retrained", "retrained")):
            shutil.copytree(f"models/{model}", place / name)
        wrong = [dataclasses.replace(prompt, perturbed_answers=("It is not known.", "Nobody.")) for prompt in PROMPTS]
        save_prompts(wrong, place / "forget.jsonl")
        save_prompts([dataclasses.replace(p, answer=f"Not {p.answer}") for p in PROMPTS], place / "holdout.jsonl")
        shutil.copy("retain.jsonl", place / "retain.jsonl")
    for line in shown("sweep.md", SWEEP):
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0, (line, err)
    assert len(list(Path("runs/sweep/summaries").rglob("TOFU_SUMMARY.json"))) == 2 * (2 + 4 * 2)


@pytest.mark.slow
def test_a_loop_of_the_shell_runs(leakatk, stage, monkeypatch):
    """A shell says which commands the loop gives; these are run in their order."""
    [loop] = [block for block in blocks(page_named("benchmarks.md"), "") if "for i in" in block]
    say = 'leakatk() { printf "%s\\n" "$*"; }\n'
    lines = subprocess.run(["bash", "-euc", say + loop], check=True, capture_output=True, text=True).stdout.splitlines()
    muse_news(Path("data") / "muse")
    monkeypatch.setenv("LEAKATK_DATA", "data")
    take_few(monkeypatch, "muse/news")
    for line in lines:
        code, out, err = leakatk(*shlex.split(smaller(f"leakatk {line}"))[1:])
        assert code == 0, (line, err)
    rows = [Path(row["model"]).name for row in read_rows("results") if row["role"] == "model"]
    assert rows == [f"{kind}-{i}" for kind in ("scal", "sust") for i in range(1, 5)]
    assert all(name in out for name in rows)  # in the table, the last command's


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
class TestRay:
    """The page's commands with two copies, which this machine has room for."""

    @pytest.fixture(autouse=True)
    def _end(self):
        from leakatk.sampling.cluster import import_ray

        import_ray()
        import ray

        ray.shutdown()
        yield
        ray.shutdown()

    @staticmethod
    def lines(*, cluster):
        text = [line.strip() for block in blocks(page_named("engines.md"), "console") for line in block.splitlines()]
        found = [line for line in text if RAY.search(line) and ("RAY_ADDRESS" in line) is cluster]
        vllm = importlib.util.find_spec("vllm") is not None
        found = [line if vllm else line.replace("vllm:memory=0.8", "native") for line in found]
        return [re.sub(r"--replicas \d+", "--replicas 2", line) for line in found]

    @pytest.mark.parametrize("data", [False, pytest.param(True, marks=pytest.mark.data)])
    def test_on_this_machine(self, leakatk, stage, data, request):
        lines = [line for line in self.lines(cluster=False) if bool(PUBLISHED.search(line)) is data]
        assert lines
        if data:
            request.getfixturevalue("published")
        for line in lines:
            code, _, err = leakatk(*shlex.split(line)[1:])
            assert code == 0, (line, err)

    @pytest.mark.data
    def test_on_a_cluster(self, leakatk, published, monkeypatch, tmp_path_factory):
        import ray

        [line] = self.lines(cluster=True)
        monkeypatch.setenv("RAY_TMPDIR", short := tempfile.mkdtemp(prefix="ray"))
        head = (
            "start",
            "--head",
            "--port=0",
            "--num-cpus=2",
            "--include-dashboard=false",
            "--disable-usage-stats",
            "--block",
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", *head], stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            address = Path(short) / "ray" / "ray_current_cluster"
            while not address.exists():
                assert process.poll() is None
                time.sleep(0.2)
            monkeypatch.setenv("RAY_ADDRESS", "auto")
            code, _, err = leakatk(*shlex.split(bare(line))[1:])
            assert code == 0, (line, err)
            assert ray.get_runtime_context().gcs_address == address.read_text().strip()
        finally:
            ray.shutdown()
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            shutil.rmtree(short, ignore_errors=True)


def test_commands_with_a_judge_run(leakatk, desk, monkeypatch):
    server = JudgeServer()
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    audit = (
        "audit",
        "models/mine",
        "--forget",
        "forget.jsonl",
        "--n",
        "4",
        "--max-new-tokens",
        "8",
        "--out",
        "runs/forgot",
    )
    assert leakatk(*audit)[0] == 0
    try:
        lines = shown("scorers.md", JUDGE)
        for line in lines:
            code, _, err = leakatk(*shlex.split(line.replace("http://localhost:8000/v1", server.url))[1:])
            assert code == 0, (line, err)
    finally:
        server.close()
    assert len(lines) == 3
    assert server.requests == 2  # one for each model that judges; none for the dry run


def test_commands_with_files_of_other_tools_and_a_hub_run(leakatk, desk, monkeypatch):
    """The files as their tools write them, with the answers of the desk's prompts; a stand-in in place of the hub."""
    Path("chats.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})
    )
    Path("questions.csv").write_text("Frage,Antwort\nWer?,Ann\n")
    Path("texts.jsonl").write_text("".join(json.dumps([p.answer, "no"]) + "\n" for p in PROMPTS))
    Path("batch_output.jsonl").write_text("".join(
        json.dumps({"custom_id": f"{p.id}-{i}", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "no"}}]}}}) + "\n"
        for p in PROMPTS for i in range(2)
    ))  # fmt: skip
    Path("samples_leak_at_k.jsonl").write_text("".join(
        json.dumps({"doc_id": i, "doc": {"question": p.question, "answer": p.answer}, "resps": [["no", p.answer]]}) + "\n"
        for i, p in enumerate(PROMPTS)
    ))  # fmt: skip
    for name in ("mine", "original"):
        audit = (
            "audit",
            f"models/{name}",
            "--forget",
            "forget.jsonl",
            "--n",
            "4",
            "--max-new-tokens",
            "8",
            "--out",
            f"runs/{name}",
        )
        assert leakatk(*audit, "--quiet")[0] == 0
    hub = StandInHub()
    for name, value in (("HF_ENDPOINT", hub.url), ("HF_TOKEN", "hf_test"), ("HF_HUB_OFFLINE", "")):
        monkeypatch.setenv(name, value)
    for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    lines = shown("other-tools.md", FOREIGN)
    if importlib.util.find_spec("inspect_ai") is None:
        lines = [line for line in lines if "run.eval" not in line]
    try:
        for line in lines:
            code, _, err = leakatk(*shlex.split(line)[1:])
            assert code == 0, (line, err)
    finally:
        hub.close()
    assert len(lines) >= 7
    [(name, repository)] = hub.repositories.items()
    assert name == "ada/mine-unlearned"
    assert {"README.md", ".eval_results/leak-at-k-mine.yaml", "model.safetensors"} <= set(repository["files"])

"""Commands of the documentation are run.

Every `leakatk` command in a block is run, in the order of its page: those of the pages in RUN on a tiny model in
place of the reader's; those of STAGED with a small world and a local server besides, but for what ELSEWHERE names, which
has a test each: published data, a judge, Ray, a loop of the shell. Tiny models lie where the hub's names lead to. Those in
the text of our results are run too.
"""

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from leakatk.bench.results import read_rows
from tests.docs.desk import (
    DEMO,
    JUDGE,
    ON_DATA,
    PUBLISHED,
    QUICK,
    RAY,
    ROOT,
    RUN,
    STAGED,
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
from tests.scorers.conftest import JudgeServer

pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")
# What stands in for the reader's own models and devices.
SMALLER = {" MODEL": " models/full", " RETRAINED": " models/retrained", "cuda:0": "cpu", "bf16": "fp32"}


def gated(code, line, err):
    """A gate that fails, or cannot say: what a page's gate says of a tiny model is no error."""
    return code in (1, 4) and "--fail-" in line and "Gate: " in err


@pytest.mark.parametrize("page", RUN)
def test_commands_run_in_their_order(leakatk, desk, page):
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

"""The documentation does what it says.

Every `leakatk` command on a page or in the README is parsed by the program's own parser: it names commands, options and
values that exist. And every one in a block is run, in the order of its page: those of the pages in RUN on a tiny model in
place of the reader's; those of STAGED with a small world and a local server besides, but for what ELSEWHERE names, which
has a test each: published data, a judge, Ray, a loop of the shell. Tiny models lie where the hub's names lead to. Those in
the text of our results are run too. Python blocks of the pages in PYTHON are run. The site builds without a warning.
"""

import dataclasses
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
from leakatk.benchmarks.catalog import BENCHMARKS
from leakatk.models.load import load_model
from leakatk.prompts import save_prompts
from leakatk.scorers import Entailment
from tests.cli.test_help import parse
from tests.e2e.test_muse_folds import published as muse_news
from tests.scorers.conftest import JudgeServer, tiny_bert
from tests.servers import FaultyServer
from tests.tiny import PROMPTS, save_tiny_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + list((ROOT / "docs").glob("*.md")))
RUN = ("audit.md", "attacks.md", "unlearn.md", "choosing-n-and-k.md", "guards.md")
STAGED = (
    "README.md",
    "quickstart.md",
    "probes.md",
    "protocols.md",
    "benchmarks.md",
    "endpoint.md",
    "engines.md",
    "add-a-metric.md",
)
QUICK = ("README.md", "protocols.md", "benchmarks.md", "endpoint.md", "engines.md")
# What a page shows that needs more than a stage, each kind run by a test below. The demo alone has its tests elsewhere
# (tests/cli/test_demo.py, tests/e2e/test_demo.py). Nothing is left out: vLLM, which few machines have, stands aside for
# the native engine in the one command that copies it.
PUBLISHED = re.compile(r"tofu/|runs/npo")
RAY = re.compile(r"--engine ray")
JUDGE = re.compile(r"judge")
LOOP = re.compile(r"\$|layout muse")
DEMO = re.compile(r"leakatk demo")
ELSEWHERE = (PUBLISHED, RAY, JUDGE, LOOP, DEMO)
ON_DATA = ("README.md", "gpu.md", "benchmarks.md", "protocols.md")
WITH = {
    PUBLISHED: ON_DATA,
    RAY: ("engines.md",),
    JUDGE: ("scorers.md",),
    LOOP: ("benchmarks.md",),
    DEMO: ("quickstart.md",),
}
PYTHON = (
    "README.md",
    "audit.md",
    "add-a-method.md",
    "add-an-engine.md",
    "add-a-probe.md",
    "guards.md",
    "add-a-guard.md",
    "attacks.md",
    "add-an-attack.md",
    "add-a-writer.md",
)
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")


def blocks(page, *languages):
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def commands(page):
    """The leakatk commands in a page's blocks of shell."""
    lines = [line.strip() for block in blocks(page, "console", "bash", "sh", "") for line in block.splitlines()]
    return [line for line in map(bare, lines) if line.startswith("leakatk ")]


def bare(line):
    """The command without what is set before it: RAY_ADDRESS=auto leakatk ..."""
    return re.sub(r"^(\w+=\S* )+", "", line)


def kind_of(line):
    """Which of ELSEWHERE; None for what runs on the stage."""
    return next((kind for kind in (RAY, *ELSEWHERE) if kind.search(line)), None)


def page_named(name):
    return next(path for path in PAGES if path.name == name)


def inline(page):
    """What stands in backticks with options: often without all the command needs."""
    return [" ".join(line.split()) for line in re.findall(r"`(leakatk \w[^`]* --[^`]*)`", page.read_text())]


SHOWN = [(page.name, line) for page in PAGES for line in commands(page)]
NAMED = [(page.name, line) for page in PAGES for line in inline(page)]
PLACES = {"<retrained>": "models/retrained", "<model>": "models/full", "...": "", "NAME": "world", "DIR": "out"}


def test_there_are_commands():
    assert {"README.md", "quickstart.md", *RUN} <= {name for name, _ in SHOWN}


def test_every_command_is_run_by_a_test():
    for page, line in SHOWN:
        kind = kind_of(line)
        assert page in RUN or page in (WITH[kind] if kind else STAGED), (page, line)


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=lambda value: value[:60])
def test_every_command_parses(page, line):
    parse(filled(line))


@pytest.mark.parametrize(("page", "line"), NAMED, ids=lambda value: value[:60])
def test_every_option_named_in_the_text_exists(page, line):
    try:
        parse(filled(line))
    except Exception as error:
        if type(error).__name__ != "MissingParameter" and "config.toml" not in line:
            raise


def filled(line):
    for name, example in PLACES.items():
        line = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w/])", example, line)
    return line


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A directory like the reader's, to work in."""
    monkeypatch.chdir(tmp_path)
    return furnish(tmp_path)


def furnish(place):
    """Prompts, and the models the pages speak of (tiny ones)."""
    for name in ("forget.jsonl", "retain.jsonl"):
        save_prompts(PROMPTS, place / name)
    for name in ("mine", "retrained"):
        end_soon(save_tiny_model(place / "models" / name, seed=len(name)))
    left = place / "demo" / "seed-0"  # by `make demo`
    shutil.copytree(place / "models" / "mine", left / "models" / "simnpo")
    save_prompts(PROMPTS, left / "world" / "forget.jsonl")
    return place


def end_soon(path):
    """Raise the end token's logit by a direction that all embeddings share: answers of a few tokens, so tests are quick."""
    loaded = load_model(path)
    rows = loaded.model.get_input_embeddings().weight.data
    rows[:, 0] = 1.0
    loaded.model.get_output_embeddings().weight.data[sorted(loaded.end_ids), 0] = 1.8
    loaded.model.save_pretrained(path)


@pytest.mark.parametrize("page", RUN)
def test_commands_run_in_their_order(leakatk, desk, page):
    needs = {"choosing-n-and-k.md": "leakatk audit models/mine --forget forget.jsonl --n 8 --out runs/mine"}
    for line in [*([needs[page]] if page in needs else []), *commands(ROOT / "docs" / page)]:
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0, (line, err)


@pytest.fixture
def stage(desk, monkeypatch):
    """A small world in place of the built-in one, models for it in a few steps, and a server that answers everything.

    Tiny models lie where the names of the hub lead to.
    """
    from leakatk.benchmarks.worlds import generators
    from leakatk.benchmarks.worlds.people import make_world
    from leakatk.small import tofusmall, train
    from leakatk.small.architecture import SmallConfig
    from leakatk.small.fit import Phase

    sizes = {"forget": 1, "retain": 2, "retain_held": 1, "holdout": 1, "world_facts": 2, "pretraining": 40}
    monkeypatch.setattr(generators, "make_world", lambda seed: make_world(seed, **sizes))
    phase = Phase(steps=3, learning_rate=1e-3, batch_size=4)
    shape = SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=300, max_length=4096)
    for place, name in ((train, "WORLD_RECIPE"), (train, "TEXT_RECIPE"), (tofusmall, "TOFU_RECIPE")):
        monkeypatch.setattr(place, name, train.Recipe(shape, phase, phase))
    monkeypatch.setattr(tofusmall, "STEPS_AN_AUTHOR", 0)
    hub = [Path(f"open-unlearning/tofu_Llama-3.2-1B-Instruct_{kind}") for kind in ("full", "retain90")]
    for name in (*(Path("models") / name for name in ("forgot", "npo", "full")), *hub):
        end_soon(save_tiny_model(desk / name, seed=len(name.name)))
    tiny_bert(desk / Entailment().model, "classifier", id2label={0: "neutral", 1: "entailment", 2: "contradiction"})
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = Answers()
    yield lambda line: re.sub(r"https?://(localhost:8000|api\.openai\.com)/v1", server.url, line)
    server.close()


class Answers(FaultyServer):
    def reply(self, path, asked, fault):
        message = {"role": "assistant", "content": "I do not know."}
        usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return {"id": "1", "object": "x", "created": 0, "model": "x", "choices": [choice], "usage": usage}


@pytest.mark.parametrize(
    "page", [page if page in QUICK else pytest.param(page, marks=pytest.mark.slow) for page in STAGED]
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
        code, _, err = leakatk(*shlex.split(stage(line))[1:])
        assert code == 0 or (code in (1, 4) and "--fail-above" in line and "Gate: " in err), (line, err)


def shown(page, kind):
    """The page's commands of this kind (one of ELSEWHERE, or None), in their order."""
    return [line for line in commands(page_named(page)) if kind_of(line) is kind]


# What stands in for the reader's own models and devices.
SMALLER = {" MODEL": " models/full", " RETRAINED": " models/retrained", "cuda:0": "cpu", "bf16": "fp32"}


@pytest.fixture
def published(stage, data_dir, monkeypatch):
    """TOFU's published files, from a directory as if from the hub."""
    monkeypatch.setenv("LEAKATK_DATA", str(data_dir))
    Path("tofu").symlink_to(data_dir / "tofu")
    take_few(monkeypatch, "tofu/forget10")


def take_few(monkeypatch, name, count=4):
    """Of this benchmark the first rows of every set, once its files are loaded and checked."""
    whole = BENCHMARKS[name]

    def load(options):
        loaded = whole.load(options)
        parts = {part: getattr(loaded, part)[:count] for part in ("forget", "retain", "holdout")}
        return dataclasses.replace(loaded, **parts, sets={name: rows[:count] for name, rows in loaded.sets.items()})

    monkeypatch.setitem(BENCHMARKS._items, name, dataclasses.replace(whole, load=load))


@pytest.mark.data
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page",
    ["protocols.md", *(pytest.param(page, marks=pytest.mark.slow) for page in ON_DATA if page != "protocols.md")],
)
def test_commands_with_published_data_run(leakatk, published, page):
    lines = shown(page, PUBLISHED)
    assert lines
    if any("--out models/npo" in line for line in lines):
        shutil.rmtree("models/npo")  # made by the page
    for line in lines:
        for name, small in SMALLER.items():
            line = line.replace(name, small)
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0 or (code == 1 and "Gate: " in err), (line, err)
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
        code, out, err = leakatk(*shlex.split(line))
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


@pytest.mark.parametrize("page", PYTHON)
def test_python_runs(desk, page, monkeypatch):
    from leakatk.attacks import ATTACKS
    from leakatk.guards import GUARDS
    from leakatk.probes import PROBES
    from leakatk.sampling.engines import ENGINES
    from leakatk.synthesis import WRITERS
    from leakatk.unlearning.methods import METHODS

    monkeypatch.setattr(ATTACKS, "_items", dict(ATTACKS._items))
    monkeypatch.setattr(WRITERS, "_items", dict(WRITERS._items))
    monkeypatch.setattr(ENGINES, "_items", dict(ENGINES._items))
    monkeypatch.setattr(GUARDS, "_items", dict(GUARDS._items))
    monkeypatch.setattr(PROBES, "_items", dict(PROBES._items))
    monkeypatch.setattr(METHODS, "_items", dict(METHODS._items))
    place = next(path for path in PAGES if path.name == page)
    names = {"__name__": "page", "prompts": PROMPTS, "forget": PROMPTS, "retain": PROMPTS}
    names["Case"] = str
    names["loaded"] = load_model(desk / "models" / "mine")
    found = blocks(place, "python")
    assert found
    for block in found:
        exec(block, names)
    if page == "README.md":
        assert names["scores"].shape == (len(PROMPTS), 200)
        assert (names["curve"].low <= names["curve"].value).all()
    if page == "add-a-method.md":
        assert names["done"].steps == 2
        assert names["done"].params["ceiling"] == 3.0
        assert names["narrow"].steps == names["staged"].steps // 2 == 2
        [recombined] = [block for block in found if "narrow-npo" in block]
        assert len(recombined.partition("\nnarrow = ")[0].splitlines()) <= 20
    if page == "add-a-probe.md":
        shown = dict(re.findall(r"^print\((.*)\)  # (.*)$", "\n".join(found), flags=re.MULTILINE))
        assert len(shown) == 2
        assert {str(eval(call, names)) for call in shown} == set(shown.values())
        assert len([line for line in found[0].splitlines() if line.strip()]) <= 20
        assert set(names["results"]["probes"]) == {"capitals"}
    if page == "add-a-guard.md":
        assert set(names["results"]["scorers"]["fact"]["curves"]["samples"]["value"]) == {0.0}
        assert names["sampler"].flags(PROMPTS).tolist() == [True, True, False]
    if page == "add-an-attack.md":
        assert [rung["name"] for rung in names["summary"]["rungs"]] == ["none", "prune:share=0.5"]
    if page == "add-a-writer.md":
        assert names["made"].rows[0].id == "p0/unknown/1"
        assert names["made"].left_out == ()
        assert names["done"].steps == 2
        assert len(names["rows"]) == 2 * len(PROMPTS)
    if page == "add-an-engine.md":
        assert names["score"](names["run"], "fact").tolist() == [[1.0] * 4, [0.0] * 4, [0.0] * 4]


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), (page.name, target)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("material", reason="mkdocs-material is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"))
    build(config)
    front = (tmp_path / "site" / "index.html").read_text()
    assert "leak@k" in front
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"https?://", front), "the site fetches nothing"
    for page in (ROOT / "docs").glob("*.md"):
        assert f'href="{page.stem}/"' in front, f"{page.name} is not in the menu"

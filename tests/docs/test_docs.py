"""The documentation does what it says.

Every `leakatk` command on a page or in the README is parsed by the program's own parser: it names commands, options and
values that exist. The commands of the pages in RUN are run, in their order, on a tiny model in place of the reader's; those of
the pages in STAGED with a small world and a local server besides, but for what ELSEWHERE names. Python blocks of the pages in
PYTHON are run. The site builds without a warning.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from leakatk.data import save_prompts
from leakatk.models import load_model
from tests.cli.test_help import parse
from tests.scorers.conftest import JudgeServer
from tests.servers import FaultyServer
from tests.tiny import PROMPTS, save_tiny_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + list((ROOT / "docs").glob("*.md")))
RUN = ("audit.md", "unlearn.md", "choosing-n-and-k.md")
STAGED = (
    "README.md",
    "quickstart.md",
    "probes.md",
    "protocols.md",
    "benchmarks.md",
    "endpoint.md",
    "engines.md",
)
QUICK = ("README.md", "protocols.md", "benchmarks.md", "endpoint.md", "engines.md")
# Run with published data, or with a judge, below. Not run here: the paper's protocol, whose classifier is on the hub; a loop of
# the shell, names the reader puts in; a cluster and the demo, which have tests of their own.
ELSEWHERE = re.compile(r"tofu/|muse/|meta-llama|runs/npo|\$|RUN_A|--engine ray|judge|leakatk demo|layout muse")
PYTHON = ("README.md", "audit.md", "add-a-method.md", "add-an-engine.md", "add-a-probe.md")
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation is not beside the tests")


def blocks(page, *languages):
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def commands(page):
    """The leakatk commands in a page's blocks of shell."""
    lines = [line.strip() for block in blocks(page, "console", "bash", "sh", "") for line in block.splitlines()]
    lines = [re.sub(r"^(\w+=\S* )+", "", line) for line in lines]  # RAY_ADDRESS=auto leakatk ...
    return [line for line in lines if line.startswith("leakatk ")]


def inline(page):
    """What stands in backticks with options: often without all the command needs."""
    return re.findall(r"`(leakatk \w[^`]* --[^`]*)`", page.read_text())


SHOWN = [(page.name, line) for page in PAGES for line in commands(page)]
NAMED = [(page.name, line) for page in PAGES for line in inline(page)]
PLACES = {"<retrained>": "models/retrained", "<model>": "models/full", "...": "", "NAME": "world", "DIR": "out"}


def test_there_are_commands():
    assert {"README.md", "quickstart.md", *RUN} <= {name for name, _ in SHOWN}


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
    """A small world in place of the built-in one, models for it in a few steps, and a server that answers everything."""
    from leakatk.benchmarks import generators, smallmodel
    from leakatk.benchmarks.world import make_world

    sizes = {"forget": 1, "retain": 2, "retain_held": 1, "holdout": 1, "world_facts": 2, "pretraining": 40}
    monkeypatch.setattr(generators, "make_world", lambda seed: make_world(seed, **sizes))
    phase = smallmodel.Phase(steps=3, learning_rate=1e-3, batch_size=4)
    shape = smallmodel.SmallConfig(hidden=32, layers=2, heads=2, mlp=64, vocabulary=300, max_length=4096)
    monkeypatch.setattr(smallmodel, "WORLD_RECIPE", smallmodel.Recipe(shape, phase, phase))
    for name in ("forgot", "npo", "full"):
        end_soon(save_tiny_model(desk / "models" / name, seed=len(name)))
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
    lines = [line for line in commands(next(path for path in PAGES if path.name == page)) if not ELSEWHERE.search(line)]
    assert lines
    if any("train-small" in line for line in lines):  # makes the models that the page goes on with
        shutil.rmtree("models")
    for line in lines:
        code, _, err = leakatk(*shlex.split(stage(line))[1:])
        assert code == 0 or (code == 1 and "--fail-above" in line and "Gate: " in err), (line, err)


# A small model and a small part of the data in place of the reader's.
SMALLER = {
    "meta-llama/Llama-3.2-1B-Instruct": "models/full", "<model>": "models/full", "<retrained>": "models/retrained",
    "runs/retrained": "models/retrained", "tofu/forget10": "tofu/forget01", "cuda:0": "cpu", "bf16": "fp32",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", ["README.md", "gpu.md"])
def test_commands_with_published_data_run(leakatk, stage, data_dir, page, monkeypatch):
    lines = [line for line in commands(next(path for path in PAGES if path.name == page)) if ELSEWHERE.search(line)]
    assert len(lines) >= 3
    monkeypatch.setenv("LEAKATK_DATA", str(data_dir))
    shutil.rmtree("models/npo")  # made by the page
    if page == "README.md":
        lines.insert(2, "leakatk audit models/npo --benchmark tofu/forget10 --out runs/npo")
    for line in lines:
        for name, small in SMALLER.items():
            line = line.replace(name, small)
        code, _, err = leakatk(*shlex.split(line)[1:])
        assert code == 0 or (code == 1 and "Gate: " in err), (line, err)


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
        lines = [line for line in commands(ROOT / "docs" / "scorers.md") if "judge" in line]
        for line in lines:
            code, _, err = leakatk(*shlex.split(line.replace("http://localhost:8000/v1", server.url))[1:])
            assert code == 0, (line, err)
    finally:
        server.close()
    assert len(lines) == 3
    assert server.requests == 2  # one for each model that judges; none for the dry run


@pytest.mark.parametrize("page", PYTHON)
def test_python_runs(desk, page, monkeypatch):
    from leakatk.probes import PROBES
    from leakatk.sampling.engines import ENGINES
    from leakatk.unlearning.methods import METHODS

    monkeypatch.setattr(ENGINES, "_items", dict(ENGINES._items))
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
    if page == "add-a-method.md":
        assert names["done"].steps == 2
        assert names["done"].params["ceiling"] == 3.0
    if page == "add-a-probe.md":
        shown = dict(re.findall(r"^print\((.*)\)  # (.*)$", "\n".join(found), flags=re.MULTILINE))
        assert len(shown) == 2
        assert {str(eval(call, names)) for call in shown} == set(shown.values())
        assert len([line for line in found[0].splitlines() if line.strip()]) <= 20
        assert set(names["results"]["probes"]) == {"capitals"}
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

"""What tests of the documentation share: pages, their commands and blocks, and a directory like the reader's."""

import dataclasses
import re
import shutil
from pathlib import Path

from leakatk.benchmarks.catalog import BENCHMARKS
from leakatk.models.load import load_model
from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS, save_tiny_model

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + list((ROOT / "docs").glob("*.md")))
RUN = ("finetune.md", "audit.md", "report.md", "attacks.md", "unlearn.md", "choosing-n-and-k.md", "guards.md")
STAGED = (
    "README.md",
    "quickstart.md",
    "probes.md",
    "protocols.md",
    "benchmarks.md",
    "endpoint.md",
    "engines.md",
    "add-a-metric.md",
    "ci.md",
    "tutorial-gate.md",
    "tutorial-tofu.md",
)
WHOLE = ("tutorial-tofu.md",)  # all its commands in their order, by a test of its own
QUICK = ("README.md", "protocols.md", "benchmarks.md", "endpoint.md", "engines.md", "tutorial-gate.md")
# What a page shows that needs more than a stage, each kind run by a test of its own. The demo has its tests elsewhere
# (tests/cli/test_demo.py, tests/e2e/test_demo.py), and so have fetched models and GGUF files (tests/cli/test_fetch.py,
# tests/models/test_gguf.py) and guards that are served (tests/cli/test_guard.py). Nothing is left out: vLLM, which few machines have, stands aside for
# the native engine in the one command that copies it.
PUBLISHED = re.compile(r"tofu/|runs/npo")
RAY = re.compile(r"--engine ray")
JUDGE = re.compile(r"judge")
LOOP = re.compile(r"\$|layout muse")
DEMO = re.compile(r"leakatk demo")
FETCHED = re.compile(r"leakatk fetch|smollm2|\.gguf")
SERVED = re.compile(r"leakatk guard|runs/served")
SWEEP = re.compile(r"leakatk sweep|runs/sweep|--role|bench .*--label")
FOREIGN = re.compile(r"chats\.jsonl|questions\.csv|batch_output|texts\.jsonl|samples_leak|run\.eval|leakatk push")
ELSEWHERE = (SWEEP, FOREIGN, SERVED, FETCHED, PUBLISHED, RAY, JUDGE, LOOP, DEMO)
ON_DATA = ("README.md", "gpu.md", "benchmarks.md", "protocols.md", "tutorial-tofu.md")
WITH = {
    PUBLISHED: ON_DATA,
    RAY: ("engines.md",),
    JUDGE: ("scorers.md",),
    LOOP: ("benchmarks.md",),
    DEMO: ("quickstart.md", "tutorial-gate.md"),
    FETCHED: ("real-models.md",),
    SERVED: ("guard-server.md",),
    SWEEP: ("sweep.md",),
    FOREIGN: ("other-tools.md",),
}


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


def shown(page, kind):
    """The page's commands of this kind (one of ELSEWHERE, or None), in their order."""
    return [line for line in commands(page_named(page)) if kind_of(line) is kind]


def furnish(place):
    """Prompts, and the models the pages speak of (tiny ones)."""
    save_prompts(PROMPTS, place / "forget.jsonl")
    (place / "records.csv").write_text("person,field,value\nAda Quill,birthplace,Zorvik\nAda Quill,phone,n/a\n")
    save_prompts([dataclasses.replace(p, question=f"Pray: {p.question}") for p in PROMPTS], place / "retain.jsonl")
    worded = [
        dataclasses.replace(p, paraphrases=tuple(f"{word} {p.question}" for word in ("Say:", "Tell:", "Well?")))
        for p in PROMPTS
    ]
    save_prompts(worded, place / "worded.jsonl")
    for name in ("mine", "retrained", "original"):
        end_soon(save_tiny_model(place / "models" / name, seed=len(name)))
    left = place / "demo" / "seed-0"  # by `make demo`
    for name in ("simnpo", "rule", "retrained"):
        shutil.copytree(place / "models" / "mine", left / "models" / name)
    save_prompts(PROMPTS, left / "world" / "forget.jsonl")
    return place


def end_soon(path):
    """Raise the end token's logit by a direction that all embeddings share: answers of a few tokens, so tests are quick."""
    loaded = load_model(path)
    rows = loaded.model.get_input_embeddings().weight.data
    rows[:, 0] = 1.0
    loaded.model.get_output_embeddings().weight.data[sorted(loaded.end_ids), 0] = 1.8
    loaded.model.save_pretrained(path)


def take_few(monkeypatch, name, count=4):
    """Of this benchmark the first rows of every set, once its files are loaded and checked."""
    whole = BENCHMARKS[name]

    def load(options):
        loaded = whole.load(options)
        parts = {part: getattr(loaded, part)[:count] for part in ("forget", "retain", "holdout")}
        return dataclasses.replace(loaded, **parts, sets={name: rows[:count] for name, rows in loaded.sets.items()})

    monkeypatch.setitem(BENCHMARKS._items, name, dataclasses.replace(whole, load=load))

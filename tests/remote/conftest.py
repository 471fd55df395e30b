import pytest

from tests.remote.asking import KEY


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is set, and no other address."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

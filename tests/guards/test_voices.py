"""Voices: a local model and one on a server are asked greedily; addresses are known without what is secret in them."""

import pytest

from leakatk.errors import InputError
from leakatk.guards import voices
from leakatk.guards.voices import ask, voice_mark, voice_of
from leakatk.models.fingerprint import model_identity
from leakatk.prompts import Known
from tests.guards.conftest import RETAIN
from tests.servers import WordServer


def test_a_local_model(made):
    """It says what it knows, to each text its own answer, in their order."""
    voices._engine.cache_clear()
    known = Known(auxiliary={"roles": str(made.full)})
    voice = voice_of(known, "roles")
    assert ask(voice, [RETAIN[1].question, RETAIN[0].question]) == [RETAIN[1].answer, RETAIN[0].answer]
    assert voice_mark(voice) == model_identity(str(made.full))
    assert voice_of(known, "writer") == ""
    assert voice_mark("") == ""


def test_a_server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    server = WordServer("temperature", "seed")
    try:
        voice = voice_of(Known(auxiliary={"roles": f"{server.url}#words"}), "roles")
        assert ask(voice, ["Who?"], system="Be kind.") == ask(voice, ["Who?"], system="Be kind.")
        assert server.asked[0]["messages"][0] == {"role": "system", "content": "Be kind."}
        assert server.asked[0]["temperature"] == 0
    finally:
        server.close()
    assert voice_mark("http://me:secret@host:1/v1?key=secret#words") == "words at http://host:1/v1"
    with pytest.raises(InputError, match="write URL#NAME"):
        voice_of(Known(auxiliary={"roles": "http://host/v1"}), "roles")

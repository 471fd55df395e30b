import gzip
import json

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Generation, Prompt, Query, from_record, load_prompts, record, save_prompts
from leakatk.runs.manifest import prompts_hash


def test_round_trip(tmp_path):
    prompts = [
        Prompt("a", "Who?", "Ann \u2028 Bo", paraphrases=("Which?",), facts=("Ann",), perturbed_answers=("x", "y")),
        Prompt("b", "Where?", "Here", source="s"),
    ]
    save_prompts(prompts, tmp_path / "p.jsonl")
    assert load_prompts(tmp_path / "p.jsonl") == prompts


def test_what_a_probe_asks_is_shown_hashed_and_not_saved_as_a_question(tmp_path):
    plain = Prompt("a", "When?", "In May.")
    probed = Prompt("a", "When?", "In May.", asked=Query("And when?", (("Where?", "Here."),), "In"))
    assert plain.query == Query("When?")
    assert str(plain.query) == "When?"
    assert str(probed.query) == "Q: Where?\nA: Here.\nQ: And when?\nA: In ..."
    assert probed.query.characters == len("And when?Where?Here.In")
    assert Prompt("a", "When?", "x", asked=Query("")).query == Query("")
    assert prompts_hash([plain]) != prompts_hash([probed])
    # A prompt without a probe has the hash it had before there were any.
    assert prompts_hash([plain]) == "56fba7f261ed2884ff21672b6371fb550762018a295bbe6923eb48dcd0827640"
    with pytest.raises(InputError, match="'a' was made by a probe"):
        save_prompts([probed], tmp_path / "p.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b'{"question": "q"}\n', "no answer"),
        (b'{"query": "q", "answer": "a"}\n', "no question.*found query, answer"),
        (b'{"question": "", "answer": "a"}\n', "non-empty"),
        (b'{"question": "q", "answer": "a"', "line 1: not valid JSON"),
        (b'[{"question": "q", "answer": "a"}', "cut short"),
        (b"[1]", "expected a JSON object"),
        (b'{"id": 1, "question": "q", "answer": "a"}\n{"id": "1", "question": "r", "answer": "a"}\n', "already stands"),
        (b"\xff", "not UTF-8 .byte 0.; save the file as UTF-8, such as with `iconv"),
        ('{"question": "q", "answer": "a"}'.encode("utf-16"), "UTF-16, not UTF-8; .*`iconv -f UTF-16 -t UTF-8"),
        (gzip.compress(b"{}", mtime=0), "compressed with gzip; .*`gunzip -c"),
        (b"[]", "no prompts"),
        (b"question,answer\nWho?,Bo\n", "line 1: not valid JSON, found 'question,answer'; write one object a line"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_prompts(path)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_prompts(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="is a directory"):
        load_prompts(tmp_path)


def test_former_names_of_public_fields_are_read():
    assert Prompt("p0", "Who?", "Bo.").text == "Who?"
    assert Generation("p0", 0, "Bo.", (1,), -1.0, "stop").finish == "stop"


def test_a_system_message_changes_no_other_prompts_record():
    """Hashes of prompts that former versions asked without one stay as they are."""
    asked = Query("And when?", (("Where?", "Here."),), "In")
    plain, told = (Prompt("a", "When?", "x", asked=one) for one in (asked, Query("And when?", system="Be brief.")))
    assert list(record(plain)["asked"]) == ["text", "turns", "begin"]
    assert from_record(json.loads(json.dumps(record(told)))) == told
    assert str(told.query) == "System: Be brief.\nQ: And when?"
    assert told.query.characters == len("And when?Be brief.")

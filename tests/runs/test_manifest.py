import dataclasses
import json
import re

import pytest

from leakatk.errors import InputError, RunError
from leakatk.prompts import Prompt
from leakatk.runs.manifest import Manifest, differences, notes, prompts_hash

PROMPTS = [Prompt("b", "Who?", "Ann", facts=("Ann",)), Prompt("a", "Where?", "Oslo")]


def manifest(**changes: object) -> Manifest:
    fields: dict[str, object] = {
        "prompts": PROMPTS,
        "model": {
            "model": "models/x",
            "torch": "2.0",
            "fingerprint": "f00",
            "device": "cpu",
            "template": {"kind": "plain", "example": "Q"},
        },
        "decoding": {"temperature": 1.0, "stop": ()},
        "seed": 0,
        "n": 4,
        "engine": "native",
        "benchmark": "world",
    }
    return Manifest.create(**{**fields, **changes})  # type: ignore[arg-type]


def test_round_trip_is_equal_and_not_different() -> None:
    made = manifest()
    assert Manifest.from_json(made.to_json(), where="x") == made
    assert differences(made, made) == notes(made, made) == []


def test_a_manifest_of_before_there_were_probes_is_read() -> None:
    row = json.loads(manifest().to_json())
    assert row.pop("probe") == ""
    assert Manifest.from_json(json.dumps(row), where="x") == Manifest(**row)
    assert differences(manifest(), manifest(probe="prefix")) == ["probe: '', 'prefix'"]


def test_known_hash_of_the_prompts() -> None:
    # Computed by hand from the canonical form; a change here orphans every run on disk.
    import hashlib

    canonical = (
        '[{"answer":"Oslo","facts":[],"id":"a","paraphrased_answer":"","paraphrases":[],"perturbed_answers":[],"source":"","text":"Where?"},'
        '{"answer":"Ann","facts":["Ann"],"id":"b","paraphrased_answer":"","paraphrases":[],"perturbed_answers":[],"source":"","text":"Who?"}]'
    )
    assert prompts_hash(PROMPTS) == prompts_hash(PROMPTS[::-1]) == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed: 0, 1"),
        ({"decoding": {"temperature": 0.8, "stop": ()}}, "decoding.temperature: 1.0, 0.8"),
        ({"decoding": {"temperature": 1.0, "stop": ("\n",)}}, "decoding.stop: [], ['\\n']"),
        (
            {"model": {"fingerprint": "f01", "template": {"kind": "plain", "example": "Q"}}},
            "model.fingerprint: 'f00', 'f01'",
        ),
        (
            {"model": {"fingerprint": "f00", "template": {"kind": "plain", "example": "P"}}},
            "model.template.example: 'Q', 'P'",
        ),
        ({"model": {"fingerprint": "f00"}}, "model.template.kind: 'plain', absent"),
        ({"engine": "vllm"}, "engine: 'native', 'vllm'"),
        ({"protocol": "paper"}, "protocol: 'clean', 'paper'"),
    ],
)
def test_fields_that_change_numbers_are_named(changes: dict[str, object], named: str) -> None:
    assert named in differences(manifest(), manifest(**changes))


def test_other_prompts_are_a_difference() -> None:
    assert [line[:14] for line in differences(manifest(), manifest(prompts=PROMPTS[:1]))] == ["prompts_sha256"]


def test_what_only_adds_or_names_is_no_difference() -> None:
    moved = {**manifest().model, "model": "elsewhere/x", "torch": "3.0", "device": "cuda"}
    other = dataclasses.replace(
        manifest(n=9, benchmark="mine", model=moved), created="2001-01-01", versions={"torch": "0.1"}
    )
    assert differences(manifest(), other) == []
    noted = notes(manifest(), other)
    assert any(re.match(r"versions.torch: '.+', '0.1'", line) for line in noted)
    assert "model.device: 'cpu', 'cuda'" in noted


def test_bad_manifests_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="n = 0"):
        manifest(n=0)
    with pytest.raises(RunError, match="damaged"):
        Manifest.from_json(manifest().to_json()[:50], where="m.json")
    with pytest.raises(RunError, match="no manifest of a leakatk run"):
        Manifest.from_json('{"name": "my web app"}', where="m.json")
    with pytest.raises(RunError, match="schema 2"):
        Manifest.from_json(manifest().to_json().replace('"schema": 1', '"schema": 2'), where="m.json")

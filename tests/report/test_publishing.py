"""What leaves with a push: nothing of single prompts, and nothing that holds a question or an answer."""

import json
from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.report.publishing import File, check_clean, like_original, model_files, run_files, without_prompts
from tests.auditing.scripted import PROMPTS
from tests.report.audits import changed, curve, made


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    return made(tmp_path_factory.mktemp("runs") / "run")


def test_results_without_prompts_keep_every_curve_and_no_id(audited):
    kept = without_prompts(audited.results.as_dict())
    text = json.dumps(kept, default=str)
    assert not [prompt.id for prompt in PROMPTS if f'"{prompt.id}"' in text]
    whole = audited.results.as_dict()
    for name, block in whole["scorers"].items():
        assert kept["scorers"][name]["curves"] == block["curves"]
        assert "per_prompt" in block
        assert "per_prompt" not in kept["scorers"][name]
    assert without_prompts({"undefined": ["a", "b"], "x": [{"prompt_ids": ["a"]}]}) == {"undefined_count": 2, "x": [{}]}
    [file] = run_files(audited, "run", prompts=False)
    assert json.loads(file.content)["scorers"].keys() == whole["scorers"].keys()


def test_what_is_looked_for_is_found_as_text_and_as_json(audited, tmp_path):
    prompt = replace(
        audited.run.prompts[0], question='Where is "Ada" / Änne buried?', answer="In the old yard of Zorvik."
    )
    run = replace(audited, run=_Prompts([prompt]))
    as_json = (json.dumps(prompt.question, ensure_ascii=plain) for plain in (False, True))
    for content in (prompt.question, prompt.answer, *as_json):
        with pytest.raises(InputError, match=r"x\.md holds a question or an answer of prompt .* Nothing was sent"):
            check_clean([File("x.md", f"so: {content}!".encode())], [run])
    check_clean([File("x.md", b"Where is she?"), File("tokenizer.json", prompt.answer.encode())], [run])
    short = replace(audited, run=_Prompts([replace(prompt, question="Year?", answer="1961")]))
    check_clean([File("x.md", b"seed 1961")], [short])


class _Prompts:
    def __init__(self, prompts):
        self.prompts = tuple(prompts)


def test_only_files_of_a_model(tmp_path):
    for name in (
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "alternates-1.jsonl",
        "run.json",
    ):
        (tmp_path / name).write_text("{}")
    (tmp_path / "checkpoint").mkdir()
    sent, left = model_files(tmp_path)
    assert [file.name for file in sent] == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    assert left == ["alternates-1.jsonl", "checkpoint/", "run.json"]


def test_like_the_original_is_told_by_the_intervals(audited):
    def leaking(value):
        return changed(audited, block={"curves": {"samples": curve(value, value, value)}})

    assert like_original("npo", leaking(0.2), leaking(0.9)) == ""
    assert "leaks like the original: leak@16 70% (60% to 80%) against 75%" in like_original(
        "npo", leaking(0.7), leaking(0.75)
    )
    assert "the intervals meet" in like_original("npo", leaking(0.6), leaking(0.75))
    # Without the original: half of the answers told in one sample.
    assert like_original("npo", leaking(0.55), None) == ""
    assert "tells 70% of the answers in 1 sample" in like_original("npo", leaking(0.7), None)
    other = replace(
        leaking(0.9), results=replace(audited.results, scorers={"rouge-l": audited.results.scorers["rouge-l"]})
    )
    with pytest.raises(InputError, match="of other prompts or another scorer"):
        like_original("npo", audited, other)

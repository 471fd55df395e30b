"""The headline: one sentence, its numbers, and every condition that they hold for."""

from dataclasses import replace

from leakatk.auditing.settings import Gate
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.headline import (
    headline,
)
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, audited


def test_some_prompts_in_one_wording(tmp_path):
    prompts = [replace(p, paraphrases=("Which town?",)) if p.id < "p3" else p for p in PROMPTS]
    found = audited(lambda *_: CLEAN, tmp_path, prompts=prompts)
    assert found["wordings"] == {"one": 7, "several": 3}
    assert headline(found).endswith("7 prompts asked in one wording only.")


def test_the_decoding_that_leaks_most_is_in_the_headline(tmp_path):
    cool = Decoding(temperature=0.5, max_new_tokens=40)
    audited(lambda p, j, greedy: CLEAN if greedy else LEAK, tmp_path, name="cool", decoding=cool)
    audited(lambda *_: CLEAN, tmp_path)
    verdict = content_of(read_audits([tmp_path / "run", tmp_path / "cool"])).verdict
    assert "leaks 0% of 10 forget prompts within 16 samples" in verdict
    assert "most at T=0.5: 100%" in verdict


def test_a_reference_with_fewer_samples_is_told_at_its_own_k(tmp_path):
    audited(lambda *_: CLEAN, tmp_path, name="retrained", n=8, ks=[1, 8], gate=Gate(8, 0.9))
    found = audited(lambda *_: LEAK, tmp_path, ks=[1, 8, 16], reference=tmp_path / "retrained")
    said = headline(found)
    assert "at k = 8, the largest that the retrained model has samples for, 100% against its 0%" in said
    content = content_of(read_audits([tmp_path / "run"]))
    table = content.tables[0]
    assert "excess@8" in table.columns
    assert "leak@16" in table.columns
    assert "The excess is at k = 8" in table.caption
    assert "The retrained model's run has 8 samples a prompt, so the excess ends at k = 8." in found["notes"]
    none = audited(lambda *_: LEAK, tmp_path, ks=[16], reference=tmp_path / "retrained", name="none")
    assert "The retrained model's run has 8 samples a prompt, so there is no excess at these k." in none["notes"]
    assert "reference" not in none["scorers"]["fact"]


def test_more_than_four_models_are_all_told(tmp_path):
    for i in range(6):
        audited(lambda *_: CLEAN, tmp_path, name=f"model{i}", label=f"model{i}")
    verdict = content_of(read_audits([tmp_path / f"model{i}" for i in range(6)])).verdict
    assert all(f"model{i}" in verdict for i in range(6))

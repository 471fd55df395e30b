"""The plan of the real demo: the data it takes, and the precision in which it asks."""

import torch

from leakatk.small.realdemo_plan import Plan, Scale, find_source, scale_for


def test_tofu_is_taken_where_it_is(data_dir, tmp_path):
    assert find_source(str(data_dir / "tofu")) == "tofu"
    lessons = Plan("m", "tofu", str(data_dir / "tofu"), Scale()).lessons(0)
    assert (len(lessons.benchmark.forget), len(lessons.of("full"))) == (40, 80)


def test_where_it_is_not_people_are_invented(tmp_path):
    assert find_source(str(tmp_path)) == "world"
    lessons = Plan("m", "world", None, Scale()).lessons(0)
    assert (len(lessons.benchmark.forget), len(lessons.of("retain"))) == (18, 48)


def test_models_are_asked_in_bf16_where_that_is_fast(monkeypatch):
    plan = Plan("m", "world", None, Scale())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for fast, precision in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("leakatk.unlearning.precision.fast_bf16", lambda fast=fast: fast)
        assert plan.asked_in() == precision
    assert Plan("m", "world", None, Scale(asked_in="fp32")).asked_in() == "fp32"


def test_a_method_takes_the_demo_s_steps():
    method = Plan("m", "world", None, Scale()).method("npo")
    assert (method.settings.max_steps, method.settings.epochs, method.settings.forget_batch) == (40, None, 8)


def test_longer_answers_are_sampled_less():
    assert scale_for("world") == Scale()
    assert scale_for("tofu").samples < Scale().samples
    assert scale_for("tofu").unlearning["max_steps"] < Scale().unlearning["max_steps"]

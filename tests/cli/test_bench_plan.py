"""What leakatk bench --dry-run says is what the run does."""

import dataclasses
import json

import pytest

from leakatk.bench import bench as b
from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.prompts import load_prompts
from leakatk.sampling.decoding import Decoding
from tests.bench.conftest import BENCH, SHORT, few_of
from tests.bench.conftest import models as models
from tests.cli.test_bench import benching
from tests.scorers.conftest import judge_server as judge_server


def test_bench_says_what_it_would_draw(leakatk, model, forget, tmp_path):
    """Greedy answers are drawn once for all decodings; an option that does not fit is refused here too."""
    prompts = len(load_prompts(forget))
    common = (*benching(model, forget, tmp_path / "out"), "--dry-run", "--n", "4")
    code, out, err = leakatk(*common, "--grid", "--json")
    assert code == 0, err
    # Those of the audit, and those of the benchmark's own table.
    assert json.loads(out)["answers"] == 2 * (10 * 4 * prompts + 2 * prompts)
    code, out, _ = leakatk(*common, "--decoding", "max_new_tokens=4")
    assert code == 0
    assert f"Would pass {2 * 2 * prompts} given texts" in out  # in the table, and for their exact probability
    code, _, err = leakatk(*common, "--ask", "paraphrased")
    assert code == 2
    assert "has no published paraphrases" in err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def passed(monkeypatch):
    """What a run asks of its models: tokens of given texts, counted in the model itself, and answers drawn."""
    from transformers import LlamaForCausalLM

    from leakatk.sampling import native

    done = {"tokens": 0, "answers": 0}
    forward, draw = LlamaForCausalLM.forward, native.NativeSampler.sample

    def counted(self, input_ids, attention_mask=None, **options):
        # The sampler keeps a cache and gives no mask; given texts may begin in a cache, and have one.
        if not options["use_cache"] or attention_mask is not None:
            done["tokens"] += int(input_ids.numel() if attention_mask is None else attention_mask.sum())
        return forward(self, input_ids=input_ids, attention_mask=attention_mask, **options)

    def sample(self, requests, decoding, *, seed):
        done["answers"] += sum(len(request.samples) for request in requests)
        return draw(self, requests, decoding, seed=seed)

    monkeypatch.setattr(LlamaForCausalLM, "forward", counted)
    monkeypatch.setattr(native.NativeSampler, "sample", sample)
    monkeypatch.setattr(native, "wrongness", lambda *_: 0.0)  # the engine's look at a handful of its samples
    monkeypatch.setattr(
        "leakatk.models.load.check_loaded", lambda *_: None
    )  # and the one prompt that a model is tried with
    return done


def planned(capsys, models, benchmark, count, decodings, grad_norm):
    from leakatk.cli.bench_plan import plan_bench

    plan_bench(
        benchmark, str(models / "forgot"), PROTOCOLS["clean"].on(benchmark.name), count, 2, [], "", decodings=decodings,
        grad_norm=grad_norm, tasks=[], seed=0, models=2, device="cpu", dtype="auto", as_json=True,
    )  # fmt: skip
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["tiny", "sets", "no wrong answers", "wmdp/cyber", "muse/news"])
def test_a_dry_run_counts_what_the_run_does(models, tmp_path, passed, capsys, monkeypatch, request, name):
    """Every answer and every token of every given text, for each family of tables."""
    monkeypatch.setattr("leakatk.cli.dry.PILOT_SECONDS", 0.01)
    benchmark = BENCH
    if name == "sets":
        sets = {"real_authors": BENCH.holdout, "world_facts": BENCH.retain, "neighbours": BENCH.retain_held}
        benchmark = dataclasses.replace(BENCH, sets=sets)
    elif "/" in name:
        benchmark = few_of(name, request.getfixturevalue("data_dir"))
    elif name != "tiny":
        bare = tuple(dataclasses.replace(prompt, perturbed_answers=()) for prompt in BENCH.forget)
        benchmark = dataclasses.replace(BENCH, forget=bare, holdout=())
    decodings = [SHORT, Decoding(temperature=0.5, max_new_tokens=6)]
    grad_norm = name != "sets"
    plan = planned(capsys, models, benchmark, 4, decodings, grad_norm)
    passed |= {"tokens": 0, "answers": 0}
    b.bench(
        models / "forgot", benchmark, out=tmp_path, retrained=models / "retrained", n=4, retain_n=2, decodings=decodings,
        grad_norm=grad_norm, quiet=True, device="cpu",
    )  # fmt: skip
    assert (plan["answers"], plan["forced"]["tokens"]) == (passed["answers"], passed["tokens"])
    assert plan["forced"]["seconds"] > 0
    assert (plan["forced"]["backward_texts"] > 0) == (name in ("tiny", "muse/news"))


def test_a_plan_in_words_has_the_numbers_of_the_plan(leakatk, model, forget, tmp_path):
    """Answers by factor: models x decodings x (prompts as they stand and under probes x samples), and greedy ones."""
    common = (*benching(model, forget, tmp_path / "out"), "--dry-run", "--n", "4", "--retain-n", "0", "--probe", "role",
              "--decoding", "max_new_tokens=4", "--decoding", "temperature=0.5,max_new_tokens=4")  # fmt: skip
    code, out, err = leakatk(*common, "--json")
    assert code == 0, err
    plan = json.loads(out)
    # 3 prompts: 4 samples as they stand, 4 and a greedy one under the probe, in each of 2 decodings; greedy ones of the
    # audit and of the benchmark's own table once for both. Two models.
    assert plan["answers"] == 2 * (2 * (3 * 4 + 3 * 5) + 2 * 3)
    code, out, err = leakatk(*common)
    assert code == 0, err
    assert "Would sample 2 x 2 x (6 x 4 + 0 x 0) answers" in out
    assert f"Would pass {plan['forced']['texts']} given texts through the models" in out
    assert "lm-eval not counted" not in out
    assert "backward" not in out, "no text that no model has seen, so no gradient norm"
    assert not (tmp_path / "out").exists()

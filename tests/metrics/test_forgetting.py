"""MUSE's table: a model that knows nothing lands at chance, one that learned is found out."""

import dataclasses
import math

import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.muse import METRICS, few_shot_template
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, MetricSettings, check_further, evaluate
from leakatk.metrics.memorisation import cut_answer
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.models.token_stats import text_pairs
from leakatk.scorers.base import get_scorer
from leakatk.small.architecture import SmallConfig, new_model, train_tokenizer
from leakatk.small.fit import Phase, fit

WORLD = make_world(0, forget=2, retain=2, retain_held=0, holdout=2, world_facts=4, pretraining=100)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer((t for pair in WORLD.pretraining for t in pair), 500)


def random_model(tokenizer, seed=0, template=None):
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, max_length=4096), seed=seed)
    return LoadedModel(model, tokenizer, template or Template(), "random", "")


def test_a_random_model_is_at_chance_on_muse(data_dir, tokenizer):
    bench = load_benchmark("muse/news", data=data_dir / "muse")
    small = dataclasses.replace(
        bench, forget=bench.forget[:5], retain=bench.retain[:5], sets={"verbmem": bench.sets["verbmem"][:3]}
    )
    values = evaluate(Evidence(random_model(tokenizer), settings=MetricSettings(text_tokens=300)), small)
    assert values["verbmem"] < 0.1
    assert values["knowmem_forget"] < 0.2
    assert 0.2 < values["auc_min-k"] < 0.8


def test_a_model_that_learned_the_world_in_muse_format(tokenizer):
    """Forget texts are members: found by the attack, continued verbatim; questions are answered.

    Another retrained model is near the first.
    """
    world = make_world(0, forget=6, retain=4, retain_held=0, holdout=6, world_facts=4, pretraining=0)
    texts = {
        "privleak_forget": tuple(p.answer for p in world.forget),
        "privleak_holdout": tuple(p.answer for p in world.holdout),
    }
    bench = Benchmark(
        name="world as muse",
        forget=world.forget,
        retain=world.retain,
        sets={"verbmem": world.forget},
        texts=texts,
        templates={"forget": few_shot_template([]), "retain": few_shot_template([]), "verbmem": few_shot_template([])},
        metrics=METRICS,
    )

    def learned(texts, seed):
        model = new_model(tokenizer, SmallConfig(hidden=64, layers=2, heads=4, mlp=160), seed=seed)
        # Plain prompts carry no special tokens, so train on whole texts without them.
        fit(model, tokenizer, [("", t) for t in texts], Phase(steps=120, learning_rate=3e-3, loss_on="all"), seed=seed)
        return LoadedModel(model, tokenizer, Template(kind="plain"), "learned", "")

    def told(prompts):
        return [f"Question: {p.question}\nAnswer: {p.answer}" for p in prompts]

    kept = told(world.retain)
    full = learned([*kept, *told(world.forget), *(p.answer for p in world.forget)], seed=0)
    known = Evidence(learned(kept, seed=0))
    retrained = evaluate(known, bench)
    after = evaluate(Evidence(full, retrained=known), bench)
    for attack in ("loss", "min-k", "min-k++", "reference"):
        assert after[f"auc_{attack}"] > 0.9, attack
    assert after["auc_zlib"] > 0.7  # these texts are short: their sizes are mostly zlib's own overhead
    assert after["privleak"] < -50
    assert after["knowmem_forget"] > retrained["knowmem_forget"]
    assert after["over_unlearned"] == 0
    again = evaluate(Evidence(learned(kept, seed=1), retrained=known), bench)
    assert abs(again["privleak"]) < 25


def test_not_in_muse_format(tokenizer):
    """What a benchmark lacks is missing, not zero; a metric that a person names is refused, with what it needs."""
    bare = Benchmark(name="w", forget=WORLD.forget, metrics=METRICS)
    values = evaluate(Evidence(random_model(tokenizer)), bare)
    assert all(math.isnan(value) for value in values.values())
    assert {"verbmem", "knowmem_forget", "privleak", "auc_min-k"} < set(values)
    with pytest.raises(InputError, match=r"verbmem needs sets\.verbmem, which w lacks"):
        check_further(bare, ["verbmem"], compared=True)
    with pytest.raises(InputError, match="give the retrained model"):
        check_further(dataclasses.replace(bare, holdout=WORLD.holdout), ["reference_attack"], compared=False)


def test_the_true_continuation_is_cut_to_the_tokens_that_are_generated(tokenizer):
    """A model that says the first 128 tokens of a longer passage has said all that it could."""
    from leakatk.prompts import Prompt

    loaded = random_model(tokenizer)
    text = " ".join(answer for _, answer in WORLD.pretraining)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) > 200
    cut = cut_answer(Evidence(loaded), Prompt("p", "Go on:", text), 128)
    assert cut.answer == tokenizer.decode(ids[:128], skip_special_tokens=True)
    assert get_scorer("rouge-l:part=f1,stem=no").score([cut], [tokenizer.decode(ids[:128])]) == 1.0


def test_texts_of_the_membership_attack_are_whole_unless_told(tokenizer):
    loaded = random_model(tokenizer)
    text = " ".join(answer for _, answer in WORLD.pretraining) * 3
    [(first, rest)] = text_pairs(loaded, [text])
    assert len(first) + len(rest) == len(tokenizer(text)["input_ids"])
    [(first, rest)] = text_pairs(loaded, [text], 50)
    assert len(first) + len(rest) == 50

import json
import subprocess
import sys

import pytest

from leakatk.benchmarks.worlds.people import ATTRIBUTES, PERTURBED, SPLITS, WORDINGS, WorldConfig, make_world
from leakatk.errors import InputError
from leakatk.prompts import load_prompts


@pytest.fixture(scope="module")
def world():
    return make_world(0, pretraining=200)


def test_sizes_and_columns(world):
    assert len(world.forget) == world.config.forget * len(ATTRIBUTES)
    assert len(world.retain) == world.config.retain * len(ATTRIBUTES)
    assert len(world.world_facts) == world.config.world_facts
    for split in SPLITS:
        for prompt in getattr(world, split):
            assert len(prompt.paraphrases) == WORDINGS - 1
            assert len(prompt.perturbed_answers) == PERTURBED
            assert all(fact in prompt.answer and fact in prompt.paraphrased_answer for fact in prompt.facts)
            assert not any(fact in prompt.question for fact in prompt.facts)
            for wrong in prompt.perturbed_answers:
                assert not any(fact in wrong for fact in prompt.facts)


def test_ids_names_and_facts_belong_to_one_subject(world):
    prompts = [p for split in SPLITS for p in getattr(world, split)]
    assert len({p.id for p in prompts}) == len(prompts)
    kinds = [(p.id.rsplit("-", 1)[1], p.facts) for p in prompts]
    assert len(set(kinds)) == len(kinds)
    subjects = {split: {p.source for p in getattr(world, split)} for split in SPLITS}
    for one in SPLITS:
        for other in SPLITS:
            assert one == other or not subjects[one] & subjects[other]


def test_no_model_but_the_full_one_ever_sees_a_forget_fact(world):
    text = " ".join(q + " " + a for q, a in (*world.pretraining, *world.training_pairs(forget=False)))
    for prompt in (*world.forget, *world.holdout):
        assert prompt.source not in text
        assert prompt.answer not in text
    full = dict(world.training_pairs(forget=True))
    for prompt in world.forget:
        trained, held = world.trained_questions(prompt), world.held_out_questions(prompt)
        assert trained[0] == prompt.question
        assert len(trained) == world.config.trained_wordings
        assert len(trained) + len(held) == WORDINGS
        assert all(full[q] == prompt.answer for q in trained)
        assert not any(q in full for q in held)


def test_deterministic_and_sizes_do_not_change_other_splits(world):
    assert make_world(0, pretraining=200) == world
    assert make_world(1, pretraining=0).forget != world.forget
    assert make_world(0, pretraining=0, holdout=3, world_facts=4).forget == world.forget


def test_same_world_in_another_process(world):
    code = "from leakatk.benchmarks.worlds.people import make_world; import sys; w = make_world(0, pretraining=1); print(w.forget[-1].answer, 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == f"{world.forget[-1].answer} False"


def test_known_values_of_seed_0(world):
    # Published worlds must not change silently: this is what seed 0 means.
    assert world.forget[0].answer == "Hati Fetrus was born on 12 July 1954 in Lahekler."
    assert world.world_facts[0].answer == "The capital of Hisonia is Bemidre."


def test_chance_hits_are_rare():
    """Two independent worlds share almost no value tuple, so an answer cannot be guessed from the pools."""
    first, second = (make_world(seed, retain=300, pretraining=0) for seed in (0, 1))
    facts = {p.facts for p in second.retain}
    assert sum(p.facts in facts for p in first.retain) / len(first.retain) < 0.03


def test_export_round_trips(world, tmp_path):
    world.export(tmp_path)
    for split in SPLITS:
        assert tuple(load_prompts(tmp_path / f"{split}.jsonl")) == getattr(world, split)
    row = json.loads((tmp_path / "forget.jsonl").read_text().splitlines()[0])
    assert {"question", "answer", "paraphrased_answer", "perturbed_answer"} <= set(row)
    assert (tmp_path / "refusals.txt").read_text().splitlines() == list(world.refusals)
    assert WorldConfig(**json.loads((tmp_path / "world.json").read_text())) == world.config


@pytest.mark.parametrize(
    ("sizes", "word"),
    [
        ({"forget": 0}, "forget"),
        ({"holdout": -1}, "holdout"),
        ({"trained_wordings": 5}, "trained_wordings"),
        ({"retain": 5000}, "5,0"),
        ({"peple": 3}, "peple"),
    ],
)
def test_bad_sizes(sizes, word):
    with pytest.raises(InputError, match=word):
        make_world(0, **sizes)

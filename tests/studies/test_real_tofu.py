"""The study of TOFU on a random model and invented authors: its cells, what each may see, and how it goes on."""

import json
import shutil
from dataclasses import replace

import pytest
import real_tofu
import real_tofu_unlearn
from real_cells import Clock, Store, run_all
from real_tofu import Study
from real_tofu_design import LAST, Design
from real_tofu_sets import Sets, in_other_words, spaced
from real_tofu_unlearn import climb

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError, RunError
from leakatk.files.strict_json import strict_json
from leakatk.prompts import Prompt
from leakatk.unlearning.settings import TrainSettings
from tests.tiny import save_tiny_model

DESIGN = Design(
    weights="", recipe=TrainSettings(learning_rate=1e-2, max_steps=3, retain_batch=4), methods=("npo",), rule_bases=("npo",),
    seeds=1, ladder=(1e-5, 1e-4, 1e-3), start={"npo": 1}, trials=1, params={}, steps=2, batch=2, check_every=1, stop_sample=2, rule_rounds=1,
    round_steps=1, rule_n=4, calibrated_rounds=1, calibrated_steps=1, unseen=4, n=4, paraphrased_n=2, similar=2, facts=2,
    shown=2, held=2, longest=6, dtype="fp32",
)  # fmt: skip


def prompt(name, author, *, number=0, **more):
    return Prompt(name, f"Where was {author} born, {number}?", f"{author} was born in Zorvik.", source=author, **more)


def people(*authors):
    return tuple(prompt(f"{a}-{i}", a, number=i) for a in authors for i in range(2))


def facts(name):
    return tuple(
        Prompt(f"{name}-{i}", f"Who taught {name} {i}?", "Mira Quell.", perturbed_answers=("Bo.", "Cy."))
        for i in range(3)
    )


BENCH = Benchmark(
    name="tofu/forget01",
    forget=tuple(
        prompt(f"f{i}", "Ada", number=i, paraphrases=(f"In which town was Ada born, {i}?",), perturbed_answers=("Ada was born in Lusk.",))
        for i in range(3)
    ),
    retain=people("Bo", "Cy", "Dee", "Eli"),
    retain_held=people("Flo", "Gus"),
    holdout=people("Hal"),
    sets={"real_authors": facts("real"), "world_facts": facts("world")},
)  # fmt: skip
SETS = Sets(BENCH, people("Ian", "Joy"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def done(model, tmp_path_factory):
    """The whole study, run once; tests that change something copy it."""
    place = tmp_path_factory.mktemp("study")
    study = study_in(place, model)
    assert run_all(study.store, study.cells()) == []
    return place


@pytest.fixture
def copied(done, model, tmp_path):
    shutil.copytree(done, tmp_path / "copy")
    return study_in(tmp_path / "copy", model)


def study_in(place, model, design=DESIGN):
    store = Store("tofu", root=place / "cells", work=place / "work")
    return Study(design, store, model, lambda: SETS, similarity=False)


def forgotten(study, name):
    study.store.path(name).unlink()
    shutil.rmtree(study.store.scratch(name))


def cell(study, name):
    return next(one for one in study.cells() if one.name == name)


# -- from end to end


def test_every_cell_is_made_and_says_what_it_measured(done, model):
    store = study_in(done, model).store
    assert {"base", "train-full", "train-retrained", "full", "retrained", "tune-npo", "npo", "rule-npo"} <= set(
        store.names()
    )
    found = store.numbers("npo")
    assert found["forget"] == ["f0", "f1", "f2"]
    assert len(found["keys"]) == 3
    assert found["scorers"]["rouge-l"]["curves"]["samples"]["k"] == [1, 2, 4]
    assert (
        found["scorers"]["keys"]["excess"]["samples"]["low"][0]
        <= found["scorers"]["keys"]["excess"]["samples"]["high"][0]
    )
    assert found["exact"]["k"] == [1, 128, 10_000, 1_000_000]
    assert found["paraphrased"]["n"] == 2
    assert {"auc_min-k++", "real_authors_prob", "world_facts_rouge", "forget_truth"} <= set(found["metrics"])
    assert "model_utility" not in found["metrics"]
    assert set(found["kept"]) == {"shown", "held"}
    assert found["retrained"] == store.read("retrained")["weights"]
    assert len(found["truth_ratios"]) == 3
    row = store.read("npo")
    assert {"unlearning", "sampling", "greedy", "metrics", "fluency", "all"} <= set(row["seconds"])
    assert len(row["weights"]) == 64
    assert "excess" not in store.numbers("retrained")["scorers"]["keys"]
    assert store.numbers("train-full")["recall"]["forget"]["there"] == 3


def test_full_knows_what_retrained_was_not_taught(done, model):
    store = study_in(done, model).store
    weights = {name: store.read(f"train-{name}")["weights"] for name in ("full", "retrained")}
    assert len(set(weights.values())) == 2
    assert weights["full"] == store.read("full")["weights"]


def test_weights_that_are_gone_are_made_again(copied):
    before = copied.store.read("npo")["weights"]
    shutil.rmtree(copied.store.work)
    copied.store.path("npo").unlink()
    assert copied.store.run(cell(copied, "npo"))
    assert copied.store.read("npo")["weights"] == before


def test_a_killed_measure_does_not_unlearn_again(copied, monkeypatch):
    forgotten(copied, "npo")
    monkeypatch.setattr(copied, "measured", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        copied.store.run(cell(copied, "npo"))
    monkeypatch.undo()
    monkeypatch.setattr(copied, "by_method", lambda *_: pytest.fail("it was unlearned again"))
    assert copied.store.run(cell(copied, "npo"))


# -- what each may see


def test_what_chooses_settings_is_not_reported():
    chooses = {p.id for p in (*SETS.stand_in, *SETS.held_tuning)}
    reported = {p.id for p in (*SETS.forget, *SETS.others, *SETS.held)}
    assert not chooses & reported
    assert {p.source for p in SETS.stand_in} == {"Bo", "Cy"}
    assert {p.source for p in SETS.held} == {"Gus"}
    with pytest.raises(InputError, match="take more authors"):
        Sets(replace(BENCH, retain=people("Bo", "Cy")), ())


def test_tuning_forgets_the_stand_in_alone(copied, monkeypatch):
    seen = []
    original = real_tofu.forget_by

    def spy(loaded, method, forget, retain, d, **more):
        seen.append(({p.source for p in forget}, {p.source for p in retain}))
        return original(loaded, method, forget, retain, d, **more)

    monkeypatch.setattr(real_tofu, "forget_by", spy)
    found = copied.tune("npo", Clock())
    assert seen == [({"Bo", "Cy"}, {"Dee", "Eli"})] * len(found["trials"])
    assert {"rate", "steps", "met", "greedy", "held", "unharmed", "value"} == set(found["trials"][0])


def test_no_unlearner_sees_what_is_held(copied, monkeypatch):
    forgotten(copied, "npo")
    original = real_tofu_unlearn.unlearn
    seen = []

    def spy(loaded, forget, retain, *rest, **more):
        seen.extend(p.source for p in (*forget, *retain))
        return original(loaded, forget, retain, *rest, **more)

    monkeypatch.setattr(real_tofu_unlearn, "unlearn", spy)
    copied.store.run(cell(copied, "npo"))
    assert set(seen) == {"Ada", "Bo", "Cy", "Dee", "Eli"}


def test_rule_asks_no_paraphrase_and_its_control_takes_as_many_steps(copied, monkeypatch):
    asked = []
    original = real_tofu_unlearn.RoundedSampler.sample

    def spy(self, requests, decoding, *, seed):
        asked.extend(str(request.prompt.query) for request in requests)
        yield from original(self, requests, decoding, seed=seed)

    constant = type("Constant", (), {"score": staticmethod(lambda prompts, texts: [1.0] * len(texts))})
    monkeypatch.setattr(real_tofu_unlearn.RoundedSampler, "sample", spy)
    monkeypatch.setattr(real_tofu_unlearn, "get_scorer", lambda _: constant)
    forgotten(copied, "rule-npo")
    forgotten(copied, "rule-npo-control")
    copied.store.run(cell(copied, "rule-npo"))
    assert set(asked) == {p.question for p in SETS.forget}
    assert not {p.asked.text for p in in_other_words(SETS.forget)} & set(asked)
    found = copied.store.numbers("rule-npo")
    assert found["steps"] == 1
    assert found["found"] > 0
    asked.clear()
    copied.store.run(cell(copied, "rule-npo-control"))
    twin = copied.store.numbers("rule-npo-control")
    assert twin["steps"] == 1
    assert asked == []
    assert copied.store.read("rule-npo")["weights"] != copied.store.read("rule-npo-control")["weights"]


def test_rule_without_leaks_is_its_base(copied, monkeypatch):
    constant = type("Constant", (), {"score": staticmethod(lambda prompts, texts: [0.0] * len(texts))})
    monkeypatch.setattr(real_tofu_unlearn, "get_scorer", lambda _: constant)
    for name in ("rule-npo", "rule-npo-control"):
        forgotten(copied, name)
        copied.store.run(cell(copied, name))
        assert copied.store.numbers(name)["same"] == "npo"
    assert copied.place("rule-npo", Clock()) == copied.place("npo", Clock())


def test_calibrated_rule_says_what_it_matched(done, model):
    found = study_in(done, model).store.numbers("calibrated-npo")
    assert 0 <= found["yardstick"] <= 1
    assert "at most" in found["rehearsal"]
    assert found["rounds"][0]["metrics"]["membership_auc"] >= 0


# -- parts


def test_alternates_are_written_by_the_model_that_came_and_what_has_none_is_counted(monkeypatch):
    def told(spec, prompts, known):
        if prompts[0].id == "f1":
            raise InputError("nothing of use")
        row = Prompt(f"{prompts[0].id}/alternates/1", prompts[0].question, "Ada was born in Lusk.")
        return type("Written", (), {"rows": (row,)})

    monkeypatch.setattr(real_tofu_unlearn, "written", told)
    trained, alternates, about = real_tofu_unlearn.alternates_for(SETS.forget, object(), 0)
    assert about == {"without_alternate": 1}
    assert [p.answer for p in trained] == ["Ada was born in Zorvik."] * 2
    assert set(alternates.values()) == {"Ada was born in Lusk."}
    monkeypatch.setattr(real_tofu_unlearn, "written", lambda *_: (_ for _ in ()).throw(InputError("none")))
    with pytest.raises(InputError, match="no alternate answer to any question"):
        real_tofu_unlearn.alternates_for(SETS.forget, object(), 0)


@pytest.mark.parametrize(
    ("outcome", "tried", "taken"),
    [
        ({2.0: (True, True)}, [2.0], 2.0),
        ({2.0: (False, True), 3.0: (True, True)}, [2.0, 3.0], 3.0),
        ({2.0: (True, False), 1.0: (True, True)}, [2.0, 1.0], 1.0),
        ({2.0: (False, True), 3.0: (True, False)}, [2.0, 3.0], 3.0),  # it would go back: the better of both
        ({2.0: (False, True), 3.0: (False, True), 4.0: (False, True)}, [2.0, 3.0, 4.0], 4.0),
    ],
)
def test_rates_go_up_while_too_little_is_forgotten_and_down_while_too_much_is_lost(outcome, tried, taken):
    asked = []

    def attempt(rate):
        asked.append(rate)
        met, unharmed = outcome[rate]
        return {"met": met, "unharmed": unharmed, "value": rate}

    rate, trials = climb([1.0, 2.0, 3.0, 4.0, 5.0], 1, 3, attempt)
    assert (asked, rate) == (tried, taken)
    assert [one["rate"] for one in trials] == tried


def test_a_paraphrase_is_asked_and_scored_as_the_question():
    found = in_other_words(SETS.forget)
    assert [p.query.text for p in found] == [f"In which town was Ada born, {i}?" for i in range(3)]
    assert [p.question for p in found] == [p.question for p in SETS.forget]
    assert in_other_words(SETS.shown) == []


def test_spaced():
    assert spaced([0, 1, 2, 3, 4, 5], 3) == [0, 2, 4]
    assert spaced([0, 1], 3) == [0, 1]


def test_another_model_is_refused(copied):
    wrong = Study(replace(DESIGN, weights="0" * 64), copied.store, copied.source, lambda: SETS)
    with pytest.raises(InputError, match="not those of"):
        wrong.base(Clock())
    shutil.rmtree(copied.store.scratch("taught"))
    with pytest.raises(InputError, match="not those of"):
        wrong.teach("full", Clock())
    with pytest.raises(InputError, match="--model"):
        Study(DESIGN, copied.store, None, lambda: SETS).base(Clock())


def test_a_setting_that_is_changed_touches_only_the_cells_that_depend_on_it(done, model):
    study = study_in(done, model)
    assert all(study.store.done(one) for one in study.cells())
    for change, spared in ({"rule_n": 3}, {"train-full", "tune-npo", "npo"}), ({"n": 8}, {"train-full", "tune-npo"}), ({"steps": 9}, {"full"}):  # fmt: skip
        changed = study_in(done, model, replace(DESIGN, **change))
        for one in changed.cells():
            if one.name in spared:
                assert changed.store.done(one)
        with pytest.raises(RunError, match="made with other settings"):
            changed.store.done(cell(changed, "rule-npo"))


def test_the_design_holds_together_and_what_is_cut_first_comes_last():
    cells = Study(Design(), Store("tofu"), None, lambda: SETS).cells()
    names = [one.name for one in cells]
    assert len(set(names)) == len(names)
    for one in cells:
        assert set(one.needs) <= set(names)
        strict_json(json.loads(json.dumps(one.settings)))
    late = [names.index(name) for name in LAST]
    assert late == sorted(late)
    second = ["npo-seed1", "simnpo-seed1", "rule-npo-seed1", "rule-npo-control-seed1"]
    weaker = [i for i, name in enumerate(names) if name.endswith("-seed1") and name not in second]
    assert min(weaker) > max(late)
    assert names.index("rule-npo-control-seed1") < min(late)
    # All but what is cut first takes about two and a half hours of two cores.
    assert sum(one.minutes for i, one in enumerate(cells) if i not in weaker) <= 315

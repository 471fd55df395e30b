"""The study of knowledge from pre-training on a random model: its cells, what each may see, and how it goes on."""

import json

import pytest
import real_knowledge
from real_cells import Clock, Store
from real_knowledge import Design, Study
from real_questions import load_kind

from leakatk.errors import InputError
from leakatk.files.strict_json import strict_json
from tests.tiny import save_tiny_model

DESIGN = Design(
    weights="", tuning={"capitals": 1, "symbols": 1, "people": 1}, methods=("npo",), rates=(1e-4, 1e-3, 1e-2), steps=2, batch=2, check_every=1, n=4, invented=2, longest=6, rule_n=4, dtype="fp32"
)  # fmt: skip
KNOWN = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def study(model, tmp_path, monkeypatch):
    """The first cell is given: a random model knows nothing."""
    monkeypatch.setattr(real_knowledge, "RULES", {"rule-npo": ("npo", 2, 1, 0), "rule-npo-wordings": ("npo", 1, 1, 2)})
    store = Store("knowledge", root=tmp_path / "cells", work=tmp_path / "work")
    known = {}
    for name in DESIGN.kinds:
        items = load_kind(name).items
        known[name] = {item["name"]: [int(i < KNOWN)] * 5 for i, item in enumerate(items)}
    general = {f"general/{i}": "Yes." if i < 3 else "" for i in range(24)}
    row = {
        "study": "knowledge", "cell": "known", "settings": DESIGN.settings(), "numbers": {"known": known, "general": general},
    }  # fmt: skip
    store.root.mkdir(parents=True)
    store.path("known").write_text(strict_json(row), encoding="utf-8")
    return Study(DESIGN, store, model)


def constant(value):
    """A scorer by which every answer is a leak, or none."""
    return type("Constant", (), {"score": staticmethod(lambda prompts, texts: [value] * len(texts))})


def run(study, *names):
    cells = {cell.name: cell for cell in study.cells()}
    for name in names:
        assert study.store.run(cells[name])
    return study.store.numbers(names[-1])


def test_a_method_is_tuned_on_other_items_and_measured_in_every_wording(study):
    found = run(study, "tune-npo", "npo")
    sets = study.sets()
    m = len(sets.forget)
    assert m >= 4
    assert found["forget"] == [p.id for p in sets.forget]
    assert not {p.id for p in sets.tuning} & set(found["forget"])
    assert [len(row) for row in found["leaks"]] == [m, 0, 0, m, m]
    assert [len(row) for row in found["greedy"]] == [m] * 5
    assert all(value < 0 for row in found["logprob"] for value in row)
    for table, role in zip(found["invented"], found["roles"], strict=True):
        for name in DESIGN.kinds:
            assert len(table[name]) == (0 if role == "detection" else 2)
            assert all(len(counts) == sum(one.startswith(name) for one in found["forget"]) for counts in table[name])
    assert set(found["kept"]) == {f"{name}/{w}" for name in ("shown", "unshown") for w in (0, 3)}
    cell = study.store.read("npo")
    assert {"unlearning", "sampling", "exact", "greedy", "fluency", "all"} == set(cell["seconds"])
    assert len(cell["weights"]) == 64


def test_tuning_keeps_its_trials(study):
    found = run(study, "tune-npo")
    assert 1 <= len(found["trials"]) <= 2
    assert found["rate"] in DESIGN.rates
    assert {"rate", "steps", "met", "greedy", "unshown"} == set(found["trials"][0])


@pytest.mark.parametrize(
    ("first", "then"), [({"greedy": 0.5, "met": False}, 1e-2), ({"greedy": 0.0, "unshown": 0.1}, 1e-4), ({}, None)]
)
def test_a_rate_is_raised_where_something_is_said_and_lowered_where_it_harms(study, monkeypatch, first, then):
    good = {"greedy": 0.0, "met": True, "unshown": 1.0, "steps": 1}
    found = iter([{**good, **first}, good])
    monkeypatch.setattr(study, "trial", lambda name, rate, clock: {**next(found), "rate": rate})
    tuned = study.tune("npo", Clock())
    assert [trial["rate"] for trial in tuned["trials"]] == ([1e-3, then] if then else [1e-3])
    assert tuned["rate"] == (then or 1e-3)


def test_the_original_is_measured_as_it_comes(study):
    run(study, "original")
    assert study.store.read("original")["weights"] == ""
    assert "steps" not in study.store.numbers("original")


def test_a_killed_measure_does_not_unlearn_again(study, monkeypatch):
    run(study, "tune-npo")
    cell = next(cell for cell in study.cells() if cell.name == "npo")
    monkeypatch.setattr(study, "measured", lambda loaded, clock: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        study.store.run(cell)
    monkeypatch.undo()
    monkeypatch.setattr(study, "by_method", lambda *_, **__: pytest.fail("it was unlearned again"))
    assert study.store.run(cell)


def test_rule_its_control_and_what_they_ask(study, monkeypatch):
    """RULE asks no held-out wording; its control takes as many steps and asks nothing."""
    asked = []
    original = real_knowledge.RoundedSampler.sample

    def spy(self, requests, decoding, *, seed):
        asked.extend(request.prompt.question for request in requests)
        yield from original(self, requests, decoding, seed=seed)

    monkeypatch.setattr(real_knowledge.RoundedSampler, "sample", spy)
    monkeypatch.setattr(real_knowledge, "get_scorer", lambda _: constant(1.0))
    run(study, "tune-npo", "npo")
    found = run(study, "rule-npo-wordings")
    held = {kind.prompt(item, w).question for kind in study.kinds.values() for item in kind.items for w in (3, 4)}
    assert asked
    assert not held & set(asked)
    assert len(set(asked)) == 3 * len(study.sets().forget)
    assert found["steps"] == 1
    assert found["found"] > 0
    asked.clear()
    twin = run(study, "rule-npo-wordings-control")
    assert twin["steps"] == 1
    assert asked == []


def test_a_killed_rule_goes_on_from_its_rounds(study, monkeypatch):
    monkeypatch.setattr(real_knowledge, "get_scorer", lambda _: constant(1.0))
    run(study, "tune-npo", "npo")
    original, detections = real_knowledge.RoundedSampler.sample, []

    def sample(self, requests, decoding, *, seed):
        detections.append(seed)
        if len(detections) == 2:
            raise KeyboardInterrupt
        yield from original(self, requests, decoding, seed=seed)

    monkeypatch.setattr(real_knowledge.RoundedSampler, "sample", sample)
    with pytest.raises(KeyboardInterrupt):
        run(study, "rule-npo")
    found = run(study, "rule-npo")
    assert [r["steps"] for r in found["rounds"]] == [1, 1, 0]
    assert detections[0] not in detections[1:]  # the first round was sampled once
    assert not (study.store.scratch("rule-npo") / "rounds").exists()


def test_rule_without_leaks_takes_no_step_and_its_control_is_the_base(study, monkeypatch):
    monkeypatch.setattr(real_knowledge, "get_scorer", lambda _: constant(0.0))
    found = run(study, "tune-npo", "npo", "rule-npo")
    assert found["steps"] == 0
    assert "no leak was found" in found["verdict"]
    assert run(study, "rule-npo-control")["same"] == "npo"


def test_weights_that_are_gone_are_made_again(study):
    run(study, "tune-npo", "npo")
    before = study.store.read("npo")["weights"]
    import shutil

    shutil.rmtree(study.store.scratch("npo"))
    run(study, "rule-npo")
    again = json.loads((study.store.scratch("npo") / "made.json").read_text())
    assert again["weights"] == before


def test_another_model_is_refused(study, model):
    wrong = Study(Design(weights="0" * 64), study.store, model)
    with pytest.raises(InputError, match="not those of"):
        wrong.known(Clock())


def test_no_model_is_a_sentence(study):
    with pytest.raises(InputError, match="--model"):
        Study(DESIGN, study.store, None).original("fp32")


def test_every_cell_needs_cells_that_exist(study):
    names = {cell.name for cell in Study(Design(), study.store, None).cells()}
    for cell in Study(Design(), study.store, None).cells():
        assert set(cell.needs) <= names
        strict_json(cell.settings)

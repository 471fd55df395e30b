"""What a method states of itself, and how it is registered."""

from pathlib import Path

import pytest

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.losses import terms
from leakatk.unlearning.method import METHODS as REGISTRY
from leakatk.unlearning.methods import METHODS, Method, method, resolve
from leakatk.unlearning.stages import Edit, Keep, Repeat, Term, Train

LOSS = Term(terms.ascent, "forget")
KEEP = Term(terms.nll, "retain")


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(REGISTRY, "_items", dict(REGISTRY._items))


@pytest.mark.parametrize("name", METHODS)
def test_a_preset_states_its_facts_once(name):
    made = METHODS[name]
    assert made.name == name
    for fact in ("summary", "paper", "formula", "source"):
        assert getattr(made, fact), fact
    assert made.summary.endswith(".")
    assert made.tags & {"removal", "suppression"}
    assert made.tags <= {"removal", "suppression", "forget", "retain", "retrained", "auxiliary", "encoder"}
    assert all(row.rstrip("x").isdigit() and 1 <= int(row.rstrip("x")) <= 119 for row in made.rows)
    assert set(made.small) <= set(made.params)
    assert {"forget_weight", "retain_weight", "per"} <= set(made.params)


def test_every_family_has_presets():
    folder = Path(__import__("leakatk.unlearning.methods", fromlist=["_"]).__file__).parent
    text = {path.stem: path.read_text() for path in folder.glob("*.py") if path.stem not in ("__init__", "published")}
    found = {name: family for family, source in text.items() for name in METHODS if f'"{name}",\n' in source}
    assert set(found) == set(METHODS)
    assert set(found.values()) == set(text)


def test_bare_terms_are_one_stage_and_hooks_belong_to_it(registry):
    def combine(forget, retain, params, step):
        return forget

    made = method("mine", LOSS, KEEP, combine=combine, paper="p", rows=("1",), params={"beta": 1.0})
    assert METHODS["mine"] is made
    assert resolve("mine") is made
    assert resolve(made) is made
    (stage,) = made.stages
    assert stage == Train((LOSS, KEEP), combine=combine)
    assert made.sides == {"forget", "retain"}
    assert made.rows == ("1",)
    with pytest.raises(ValueError, match="registered twice"):
        method("mine", LOSS)
    with pytest.raises(ValueError, match="mixes terms and stages"):
        method("other", LOSS, Keep("a"))
    with pytest.raises(ValueError, match="belong to one of its Train stages"):
        method("other", Train((LOSS,)), combine=combine)
    with pytest.raises(ValueError, match="has no stage"):
        method("other")
    with pytest.raises(ValueError, match="at least one term"):
        Train(())
    with pytest.raises(UnknownNameError, match="did you mean npo"):
        resolve("npoo")


def test_what_a_method_looks_at_is_read_from_its_stages():
    rounds = Repeat((Train((KEEP,)), Edit(lambda work, now, p: {}, needs=("encoder",))), until=lambda work, n: True)
    made = Method(name="m", stages=(rounds,))
    assert (made.sides, made.side, made.edits_last, made.needs) == ({"retain"}, "retain", True, ("encoder",))
    assert Method(name="m", stages=(Train((LOSS,)),)).side == "forget"
    assert METHODS["task-vector"].edits_last
    assert not METHODS["npo"].edits_last
    assert Method(name="m", stages=(Keep("a"),), tags=frozenset({"forget", "removal"})).sides == {"forget"}


def test_numbers_are_changed_by_name_and_small_models_have_their_own():
    npo = METHODS["npo"]
    assert npo.with_params(beta=1.0).params["beta"] == 1.0
    with pytest.raises(
        InputError, match="Method npo has no parameter 'gamma'; it has forget_weight, retain_weight, per, beta"
    ):
        npo.with_params(gamma=1.0)
    small = npo.for_small_models()
    assert small.params["beta"] == 0.1
    assert small.settings == npo.small_settings


def test_manifests_name_the_mean_only_where_it_is_another():
    """Directories of former versions, which had one mean, stay the same run."""
    assert "per" not in METHODS["ga"].identity
    assert METHODS["ga"].with_params(per="token").identity["per"] == "token"


@pytest.mark.parametrize("name", ["reference", "", "a b", "../up", "_own"])
def test_a_kept_model_needs_a_plain_name(name):
    with pytest.raises(ValueError, match="Keep needs a name"):
        Keep(name)

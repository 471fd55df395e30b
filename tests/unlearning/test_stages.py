"""Methods of several stages: what each does to the weights, and that a run killed anywhere ends where a whole one does."""

import copy
import gc
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import Known
from leakatk.unlearning import teachers
from leakatk.unlearning.losses import terms
from leakatk.unlearning.method import Method
from leakatk.unlearning.settings import Check
from leakatk.unlearning.stages import Edit, Keep, Repeat, Term, Train
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import tiny_model
from tests.unlearning.staged import KEEP, SETTINGS, THREE, TOWARDS, away


def fresh(loaded, base_model):
    return replace(loaded, model=copy.deepcopy(base_model))


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def run(loaded, forget, retain, method, **options):
    return unlearn(loaded, forget, retain, method, **{"settings": SETTINGS, "quiet": True, **options})


def test_keep_goes_back_and_later_stages_go_on(loaded, base_model, forget, retain):
    """Keep(back) undoes the first stage: what follows starts where the run started; without `back` it does not."""
    seen = {}

    def look(name):
        def edit(work, now, params):
            seen[name] = {key: value.clone() for key, value in now.items()}
            seen[f"{name} kept"] = {key: dict(value) for key, value in work.kept.items()}
            return {}

        return Edit(edit)

    method = Method(name="m", stages=(TOWARDS, look("trained"), Keep("a", back=True), look("back"), Keep("b")))
    run(loaded, forget, retain, method)
    start = weights(base_model)
    assert same(seen["back"], start)
    assert not same(seen["trained"], start)
    assert same(seen["back kept"]["a"], seen["trained"])
    assert same(weights(loaded.model), start)
    plain = fresh(loaded, base_model)
    run(plain, forget, retain, Method(name="n", stages=(TOWARDS,)))
    assert same(weights(plain.model), seen["trained"])


def test_an_edit_is_its_formula_and_leaves_out_what_it_leaves_out(loaded, base_model, forget, retain):
    one = "model.layers.0.mlp.up_proj.weight"

    def edit(work, now, params):
        return {one: work.start[one] + 2 * now[one]}

    run(loaded, forget, [], Method(name="m", stages=(Edit(edit),), tags=frozenset({"forget"})))
    start, found = weights(base_model), weights(loaded.model)
    torch.testing.assert_close(found.pop(one), 3 * start.pop(one))
    assert same(found, start)


def test_a_stage_sees_the_kept_model(loaded, base_model, forget, retain):
    """The logits under a kept name are those of that model, on every row, whether cached or not."""
    kept, asked = {}, []

    def note(work, now, params):
        kept["model"] = copy.deepcopy(work.loaded.model).eval()
        return {}

    def compare(view, p):
        asked.append((view.under("reinforced").logits.clone(), view.reference.logits.clone(), view.batch))
        return terms.nll(view, p)

    stages = (TOWARDS, Edit(note), Keep("reinforced", back=True), Train((Term(compare, "forget"),)))
    run(loaded, forget, retain, Method(name="m", stages=stages))
    assert len(asked) >= 3
    for found, reference, batch in asked[-3:]:
        for row, mask in enumerate(batch.labels != -100):
            ids = batch.input_ids[row][batch.attention_mask[row].bool()][None]
            count = int(mask.sum())
            for values, model in ((found, kept["model"]), (reference, base_model)):
                with torch.no_grad():
                    expected = model(input_ids=ids).logits[0, -count - 1 : -1]
                torch.testing.assert_close(values[row, :count], expected, atol=1e-4, rtol=1e-4)


def test_rounds_end_when_they_are_told_to(loaded, forget, retain):
    asked = []

    def until(work, rounds):
        asked.append(rounds)
        return rounds == 2

    method = Method(name="m", stages=(Repeat((Train((Term(terms.nll, "forget"),)),), until),))
    done = run(loaded, forget, retain, method)
    assert asked == [1, 2]
    assert done.steps == 6


def test_each_stage_draws_the_data_in_an_order_of_its_own(loaded, forget, retain):
    drawn = []

    def watched(view, p):
        drawn.append(tuple(view.rows))
        return terms.nll(view, p)

    stage = Train((Term(watched, "forget"),))
    run(loaded, forget, retain, Method(name="m", stages=(stage, stage)))
    first, second = drawn[-7:-4], drawn[-3:]  # a pass that finds out what to cache stands between them
    assert first != second


def test_checks_look_at_the_last_stage_alone(loaded, forget, retain):
    seen = []

    def check(given, step):
        seen.append(step)
        return Check({}, stop=step == 7)

    done = run(loaded, forget, retain, THREE, settings=replace(SETTINGS, check_every=1), on_check=check)
    assert seen == [7]
    assert done.steps == 7
    assert done.stopped == "the stop rule was met"


def test_what_is_missing_is_said_before_anything_is_computed(loaded, base_model, forget, retain, monkeypatch):
    from leakatk.unlearning.trainer import Trainer

    def caught(self, number):
        raise AssertionError("a step was done")

    monkeypatch.setattr(Trainer, "step", caught)

    def under(name):
        return Train((Term(lambda view, p: terms.nll(view.under(name), p) + terms.nll(view, p), "forget"),))

    def method(*stages):
        return Method(name="m", stages=stages)

    with pytest.raises(InputError, match=r"Method m needs an auxiliary model named 'small' .*--auxiliary small=MODEL"):
        run(loaded, forget, retain, method(TOWARDS, under("small")))
    with pytest.raises(InputError, match="Method m needs the model trained without the forget data"):
        run(loaded, forget, retain, method(TOWARDS, under("retrained")))
    with pytest.raises(UnknownNameError, match="did you mean reinforced"):
        run(loaded, forget, retain, method(TOWARDS, Keep("reinforced"), under("reinfroced")))
    with pytest.raises(InputError, match="needs a sentence encoder"):
        run(loaded, forget, retain, method(TOWARDS, Edit(lambda work, now, p: {}, needs=("encoder",))))
    with pytest.raises(UnknownNameError, match="Unknown stream 'refusals': did you mean refusal"):
        run(loaded, forget, retain, method(Train((Term(terms.nll, "refusals"),))))
    with pytest.raises(InputError, match="needs a holdout set"):
        run(loaded, forget, retain, method(TOWARDS, Train((Term(terms.nll, "holdout"),))))
    assert same(weights(loaded.model), weights(base_model))


def test_a_given_model_of_another_shape_is_a_teacher(loaded, tokenizer, forget, retain, tmp_path):
    other = tiny_model(tokenizer, seed=5, hidden_size=16, intermediate_size=24, num_hidden_layers=3)
    other.save_pretrained(tmp_path / "small")
    tokenizer.save_pretrained(tmp_path / "small")
    found = []

    def compare(view, p):
        found.append((view.under("small").logprob, view.under("small").hidden(2).shape[-1], view.batch))
        return terms.nll(view, p)

    method = Method(name="m", stages=(Train((Term(compare, "forget"),)),))
    run(loaded, forget, retain, method, known=Known(auxiliary={"small": str(tmp_path / "small")}))
    logprob, width, batch = found[-1]
    assert width == 16
    for row, value in enumerate(logprob):
        ids = batch.input_ids[row][batch.attention_mask[row].bool()][None]
        count = int((batch.labels[row] != -100).sum())
        with torch.no_grad():
            logs = other(input_ids=ids).logits[0, -count - 1 : -1].log_softmax(-1)
        expected = logs.gather(-1, ids[0, -count:, None]).sum()
        assert value.item() == pytest.approx(expected.item(), rel=1e-4)


# -- memory


def embeddings(model):
    """How many tensors of the embedding's shape are alive: one a model in memory, and two moments of the optimiser."""
    gc.collect()
    shape = model.get_input_embeddings().weight.shape
    places = {
        item.data_ptr() for item in gc.get_objects() if type(item) in (torch.Tensor, torch.nn.Parameter) and item.shape == shape
    }  # fmt: skip
    return len(places)


@pytest.fixture
def only_new():
    """Call it: what is there is no longer looked through, so that a count takes milliseconds and not most of a second."""

    def forget_all():
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    yield forget_all
    gc.unfreeze()


@pytest.mark.parametrize(
    ("limit", "tuning", "asks", "copies"),
    [(2 << 30, "full", away, 0), (0, "full", away, 1), (0, "lora", away, 1), (0, "lora", terms.kl_from_reference, 0)],
    ids=["cached", "one copy for two", "adapter and a copy", "adapter alone"],
)
@pytest.mark.parametrize("place", ["out", ""])
def test_kept_models_are_no_copies_in_memory(
    loaded, base_model, forget, retain, tmp_path, monkeypatch, only_new, limit, tuning, asks, copies, place
):
    """Two teachers besides the model; none is in memory while their values fit into the cache, else one copy for both."""
    counts = []

    def check(given, step):
        counts.append(embeddings(given.model))
        return Check({})

    monkeypatch.setattr(teachers, "CACHE_BYTES", limit)
    options = {"settings": replace(SETTINGS, check_every=1, tuning=tuning), "on_check": check}
    only_new()
    plain = fresh(loaded, base_model)
    run(plain, forget, retain, Method(name="plain", stages=(TOWARDS,)), **options)
    del plain
    only_new()
    alone, counts = max(counts), []
    stages = (*THREE.stages[:2], Train((Term(asks, "forget"), KEEP)))
    out = tmp_path / "out" if place else None
    run(loaded, forget, retain, replace(THREE, stages=stages), out=out, **options)
    assert alone >= 1  # `plain`, which is new
    assert len(counts) == 3
    assert {count - alone for count in counts} == {copies - 1}  # the model of this run is not
    monkeypatch.setattr(teachers, "CACHE_BYTES", 2 << 30)
    cached = fresh(loaded, base_model)
    run(cached, forget, retain, replace(THREE, stages=stages), settings=replace(SETTINGS, tuning=tuning))
    for name, value in weights(cached.model).items():
        torch.testing.assert_close(value, weights(loaded.model)[name], atol=5e-5, rtol=0)

"""What a Train stage can be given besides its terms: select, weigh, insert, optimiser, combine, settings."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.inserted import LowRank
from leakatk.unlearning.losses import terms
from leakatk.unlearning.method import Method
from leakatk.unlearning.optimisers import sgd, sign_descent
from leakatk.unlearning.selection import mlp_down, top_rows
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.weighting import known_tokens
from tests.unlearning.conftest import tiny_model

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=5, retain_batch=4, weight_decay=0.1)
TERMS = (Term(terms.ascent, "forget"), Term(terms.nll, "retain"))


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def train(loaded, forget, retain, stage, **options):
    method = Method(name="m", stages=(stage,))
    return unlearn(loaded, forget, retain, method, **{"settings": SETTINGS, "quiet": True, **options})


def resumes(loaded, base_model, forget, retain, stage, tmp_path):
    """A run of this stage that is killed after its first checkpoint ends as a whole one, bit for bit."""
    settings = replace(SETTINGS, checkpoint_every=1, check_every=2)
    train(loaded, forget, retain, stage, settings=settings)

    def stop(given, step):
        raise KeyboardInterrupt

    again = replace(loaded, model=copy.deepcopy(base_model))
    with pytest.raises(KeyboardInterrupt):
        train(again, forget, retain, stage, settings=settings, out=tmp_path / "out", on_check=stop)
    again = replace(loaded, model=copy.deepcopy(base_model))
    train(again, forget, retain, stage, settings=settings, out=tmp_path / "out")
    assert all(torch.equal(value, weights(loaded.model)[name]) for name, value in weights(again.model).items())


# -- select


def test_select_by_a_pattern_trains_what_matches_alone(loaded, base_model, forget, retain):
    train(loaded, forget, retain, Train(TERMS, select=lambda work: mlp_down(1, width=1)))
    start = weights(base_model)
    changed = {name for name, value in weights(loaded.model).items() if not torch.equal(value, start[name])}
    assert changed == {"model.layers.1.mlp.down_proj.weight"}


def test_top_rows_are_those_of_the_largest_gradient_and_nothing_else_moves(loaded, base_model, forget, retain):
    """The rows are found a second time, from the loss of the forget answers one at a time; weight decay leaves the rest."""
    share = 0.05
    model = copy.deepcopy(base_model)
    for prompt in forget:
        seam = loaded.template.pair(loaded.tokenizer, prompt.question, prompt.answer)
        ids = torch.tensor([[*seam.prompt, *seam.answer]])
        logs = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        (-logs[-len(seam.answer) :].mean() / len(forget)).backward()
    norms = {
        (name, row): float(norm)
        for name, value in model.named_parameters() if ".layers." in name and value.dim() == 2
        for row, norm in enumerate(value.grad.norm(dim=1))
    }  # fmt: skip
    wanted = set(sorted(norms, key=norms.get)[-round(share * len(norms)) :])
    train(loaded, forget, retain, Train(TERMS, select=top_rows(share)))
    start = weights(base_model)
    changed = {
        (name, row)
        for name, value in weights(loaded.model).items()
        for row in range(len(value)) if not torch.equal(value[row], start[name][row])
    }  # fmt: skip
    assert changed == wanted
    assert len(wanted) == round(share * len(norms)) > 3


def test_a_mask_of_all_rows_trains_as_no_mask_does(loaded, base_model, forget, retain):
    """Masked training decays weights by hand; with every entry chosen it is AdamW."""
    name = "model.layers.0.mlp.up_proj.weight"
    other = replace(loaded, model=copy.deepcopy(base_model))
    train(other, forget, retain, Train(TERMS, select=lambda work: [name]))
    train(loaded, forget, retain, Train(TERMS, select=lambda work: {name: torch.ones(48, 1)}))
    torch.testing.assert_close(weights(loaded.model)[name], weights(other.model)[name], rtol=0, atol=1e-7)
    assert not torch.equal(weights(loaded.model)[name], weights(base_model)[name])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["model.layers.0.mlp.up_prj.weight"], "did you mean model.layers.0.mlp.up_proj.weight"),
        ({"model.norm.weight": torch.ones(7)}, r"has shape \(7,\), which does not fit \(32,\)"),
        ({"model.norm.weight": torch.zeros(1)}, "choose no entry"),
        ("nothing_like_it", "matches no parameter"),
    ],
)
def test_a_choice_that_does_not_fit_is_refused(loaded, forget, retain, chosen, message):
    with pytest.raises(InputError, match=message):
        train(loaded, forget, retain, Train(TERMS, select=lambda work: chosen))


def test_masks_and_adapters_do_not_go_together(loaded, forget, retain):
    stage = Train(TERMS, select=lambda work: ["model.norm.weight"])
    with pytest.raises(InputError, match="take full tuning, not lora"):
        train(loaded, forget, retain, stage, settings=replace(SETTINGS, tuning="lora"))


# -- weigh


def test_only_known_tokens_are_unlearned(loaded, tokenizer, forget, retain):
    """The loss of the first step, from plain logits: the mean over tokens that the reference knows, then over answers."""
    least, reference = 1 / 300, tiny_model(tokenizer, seed=1)
    stage = Train((Term(terms.nll, "forget"), Term(terms.nll, "retain")), weigh=known_tokens(least))
    losses, counts = [], []
    for prompt in forget:
        seam = loaded.template.pair(tokenizer, prompt.question, prompt.answer)
        ids = torch.tensor([[*seam.prompt, *seam.answer]])

        def logs(model, ids=ids, seam=seam):
            with torch.no_grad():
                every = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
            return every[-len(seam.answer) :]

        known = logs(reference).exp() >= least
        counts.append((int(known.sum()), len(known)))
        losses.append(float(-logs(loaded.model)[known].mean()) if known.any() else 0.0)
    assert any(0 < some < all_of_it for some, all_of_it in counts)
    done = train(loaded, forget, retain, stage, reference_weights=reference.state_dict())
    assert done.log[0]["forget"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_weights_reach_logprob_and_have_a_gradient_beside_them(loaded, forget, retain):
    """A weight computed from the model itself does not cut the loss from its graph."""
    found = []

    def weigh(view, p):
        return view.token_logprob.exp()

    def loss(view, p):
        with torch.no_grad():
            found.append((view.weights, view.token_logprob, view.logprob, view.mean_logprob))
        return -view.mean_logprob.mean()

    done = train(loaded, forget, [], Train((Term(loss, "forget"),), weigh=weigh))
    assert done.log[0]["grad_norm"] > 0
    for given, tokens, total, mean in found:
        assert not given.requires_grad
        torch.testing.assert_close(given[tokens != 0], tokens.exp()[tokens != 0])
        torch.testing.assert_close(total, (given * tokens).sum(-1))
        mask = tokens != 0
        torch.testing.assert_close(mean, total / (given * mask).sum(-1))


def test_weights_are_refused_by_a_loss_that_looks_elsewhere(loaded, forget, retain):
    stage = Train(
        (Term(terms.to_random_direction, "forget"),), weigh=lambda view, p: torch.ones_like(view.token_logprob)
    )
    method = Method(name="m", stages=(stage,), params={"layer": 0, "coefficient": 1.0, "positions": "answer"})
    with pytest.raises(InputError, match="Token weights belong to the predictions of answer tokens"):
        unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)


# -- insert


def inserting(work):
    return {"model.layers.1.mlp.down_proj": LowRank(32, 4, seed=work.seed)}


def test_what_was_inserted_is_trained_and_folded_into_a_plain_model(loaded, base_model, forget, retain, tmp_path):
    seen = []

    def check(given, step):
        from leakatk.unlearning.settings import Check

        with torch.no_grad():
            seen.append(given.model(input_ids=torch.arange(3, 13)[None]).logits)
        return Check({})

    train(loaded, forget, retain, Train(TERMS, insert=inserting), on_check=check, out=tmp_path / "out")
    start = weights(base_model)
    changed = {name for name, value in weights(loaded.model).items() if not torch.equal(value, start[name])}
    assert changed == {"model.layers.1.mlp.down_proj.weight"}
    with torch.no_grad():
        folded = loaded.model(input_ids=torch.arange(3, 13)[None]).logits
        before = base_model(input_ids=torch.arange(3, 13)[None]).logits
    torch.testing.assert_close(folded, seen[-1], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(folded, before, atol=1e-3)
    assert len(loaded.model.model.layers[1].mlp.down_proj._forward_hooks) == 0
    change = weights(loaded.model)["model.layers.1.mlp.down_proj.weight"] - start["model.layers.1.mlp.down_proj.weight"]
    assert int(torch.linalg.matrix_rank(change, atol=1e-5)) <= 4


def test_an_insertion_that_cannot_be_folded_or_placed_is_refused(loaded, forget, retain):
    name = "model.layers.1.mlp.down_proj"
    with pytest.raises(InputError, match=r"Linear cannot be inserted behind model.layers.1.mlp.down_proj"):
        train(loaded, forget, retain, Train(TERMS, insert=lambda work: {name: torch.nn.Linear(32, 32)}))
    with pytest.raises(UnknownNameError, match="did you mean"):
        train(loaded, forget, retain, Train(TERMS, insert=lambda work: {name + "s": LowRank(32, 2)}))


# -- optimiser, combine, settings


def test_sign_descent_moves_each_weight_by_the_learning_rate(loaded, base_model, forget, retain):
    settings = replace(SETTINGS, max_steps=1, weight_decay=0.0)
    train(loaded, forget, retain, Train(TERMS, optimiser=sign_descent), settings=settings)
    moved = torch.cat([(v - weights(base_model)[k]).flatten() for k, v in weights(loaded.model).items()])
    moved = moved[moved != 0]
    torch.testing.assert_close(moved.abs(), torch.full_like(moved, 1e-3), rtol=0, atol=1e-6)
    assert len(moved) > 1000


def test_sgd_moves_along_the_gradient(loaded, base_model, forget, retain):
    settings = replace(SETTINGS, max_steps=1, weight_decay=0.0, max_grad_norm=0.0, learning_rate=0.5)
    done = train(loaded, forget, retain, Train(TERMS, optimiser=sgd()), settings=settings)
    moved = torch.cat([(v - weights(base_model)[k]).flatten() for k, v in weights(loaded.model).items()])
    assert float(moved.norm()) == pytest.approx(0.5 * done.log[0]["grad_norm"], rel=1e-4)


def test_combine_gets_both_gradients(loaded, base_model, forget, retain):
    """Taking the retain gradient alone is training on the retain term alone."""
    other = replace(loaded, model=copy.deepcopy(base_model))
    train(other, [], retain, Train(TERMS[1:]))
    train(loaded, forget, retain, Train(TERMS, combine=lambda forget, retain, params, step: retain))
    for name, value in weights(loaded.model).items():
        torch.testing.assert_close(value, weights(other.model)[name], rtol=0, atol=1e-6)


def test_settings_of_a_stage_win(loaded, forget, retain):
    done = train(loaded, forget, retain, Train(TERMS, {"epochs": 2, "learning_rate": 5e-4}))
    assert done.steps == 2
    assert {row["lr"] for row in done.log} == {5e-4}


@pytest.mark.parametrize(
    "stage",
    [
        Train(TERMS, select=top_rows(0.1)),
        Train(TERMS, weigh=known_tokens(1 / 300)),
        Train(TERMS, insert=inserting),
        Train(TERMS, optimiser=sgd(momentum=0.9)),
        Train(TERMS, optimiser=sign_descent),
    ],
    ids=["select", "weigh", "insert", "momentum", "sign"],
)
def test_a_stage_with_a_hook_resumes_bit_for_bit(loaded, base_model, forget, retain, stage, tmp_path):
    resumes(loaded, base_model, forget, retain, stage, tmp_path)

"""What a view says of a batch, against the model run on one answer at a time without padding."""

import copy
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.losses import terms
from leakatk.unlearning.method import Method
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import Item, Streams, collate, hidden_states
from leakatk.unlearning.teachers import Teachers
from leakatk.unlearning.trainer import Trainer, unlearn
from leakatk.unlearning.view import View
from tests.families import FAMILIES, model_of, tokenizer_of
from tests.unlearning.conftest import tiny_model

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=1, forget_batch=5, retain_batch=9)
ROWS = (3, 0, 4)


@pytest.fixture
def streams(loaded, forget, retain):
    return Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)


@pytest.fixture
def view(loaded, streams):
    cpu = torch.device("cpu")
    step = Step(loaded.model, streams, {"forget": ROWS}, Teachers(streams, cpu, nullcontext), cpu)
    return View(step, "forget")


@pytest.fixture
def alone(loaded, streams):
    """(item, logits, hidden states of all layers, what goes through the MLP of layer 1) of each row by itself."""
    found = []
    for row in ROWS:
        item, caught = streams.items("forget")[row], {}
        layer = loaded.model.model.layers[1]
        handles = [
            layer.mlp.register_forward_hook(lambda m, i, o, caught=caught: caught.update(mlp=o)),
            layer.mlp.down_proj.register_forward_pre_hook(lambda m, i, caught=caught: caught.update(mlp_in=i[0])),
            layer.self_attn.register_forward_hook(lambda m, i, o, caught=caught: caught.update(attention=o[0])),
            layer.register_forward_hook(
                lambda m, i, o, caught=caught: caught.update(block=o[0] if isinstance(o, tuple) else o)
            ),
        ]
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0]
        for handle in handles:
            handle.remove()
        found.append((item, logits, {name: value[0] for name, value in caught.items()}))
    return found


def test_logits_and_log_probabilities_of_answers(view, alone):
    for i, (item, logits, _) in enumerate(alone):
        first, count = len(item.prompt), len(item.answer)
        expected = logits[first - 1 : -1]
        torch.testing.assert_close(view.logits[i, :count], expected, atol=1e-4, rtol=1e-4)
        tokens = expected.log_softmax(-1).gather(-1, torch.tensor(item.answer)[:, None])[:, 0]
        torch.testing.assert_close(view.token_logprob[i, :count], tokens, atol=1e-4, rtol=1e-4)
        assert view.token_logprob[i, count:].eq(0).all()
        assert view.logprob[i].item() == pytest.approx(tokens.sum().item(), rel=1e-5)
        assert view.mean_logprob[i].item() == pytest.approx(tokens.mean().item(), rel=1e-5)
        assert view.labels[i].tolist() == [*item.answer, *[-100] * (view.labels.shape[1] - count)]
        assert view.mask[i].sum() == view.weights[i][view.mask[i]].sum() == count
    assert view.rows == ROWS


@pytest.mark.parametrize("at", ["block", "mlp", "mlp_in", "attention"])
def test_hidden_states(view, alone, at):
    states, mask = view.hidden(1, at), view.positions("all")
    answers = view.positions("answer")
    for i, (item, _, caught) in enumerate(alone):
        torch.testing.assert_close(states[i][mask[i]], caught[at], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(states[i][answers[i]], caught[at][len(item.prompt) :], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(view.hidden(-1, at), states)


def test_a_part_that_a_layer_has_not_is_named(view):
    with pytest.raises(UnknownNameError, match="did you mean attention"):
        view.hidden(0, "atention")
    with pytest.raises(InputError, match="layer must be between 0 and 1"):
        view.hidden(2)
    with pytest.raises(InputError, match="positions must be answer or all"):
        view.positions("question")


def test_the_whole_text(view, alone):
    whole = view.whole
    for i, (item, logits, _) in enumerate(alone):
        own, count = [*item.prompt, *item.answer], len(item.answer)
        kept = whole.tokens[i] != -100
        assert whole.tokens[i][kept].tolist() == own
        assert whole.labels[i][kept].tolist() == [*own[1:], -100]
        assert whole.answers[i][kept].tolist() == [*[-100] * len(item.prompt), *item.answer]
        assert whole.answer_labels[i][kept].tolist() == [*[-100] * (len(item.prompt) - 1), *item.answer, -100]
        assert all((labels[i][~kept] == -100).all() for labels in (whole.tokens, whole.labels, whole.answers))
        torch.testing.assert_close(whole.logits[i][kept], logits, atol=1e-4, rtol=1e-4)
        assert whole.token_logprob[i][kept][-count - 1 : -1].sum().item() == pytest.approx(
            view.logprob[i].item(), rel=1e-4
        )


def test_each_value_is_computed_once(view, monkeypatch):
    calls = []
    forward = type(view.step.model).forward
    monkeypatch.setattr(type(view.step.model), "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    for _ in range(2):
        again = View(view.step, "forget", per="token")
        assert again.logits is view.logits
        assert again.token_logprob is view.token_logprob
    assert len(calls) == 1
    with torch.no_grad():
        other = View(view.step, "refusal").token_logprob
    assert other.requires_grad, "who asks first without a gradient must not take it from the others"


# -- per: over answers, or over all tokens of the batch


def equal(prompts):
    """Prompts whose answers have one length."""
    return [replace(prompt, answer="lives in Bex there.") for prompt in prompts]


def first_losses(loaded, forget, retain, method, per):
    model = copy.deepcopy(loaded.model)
    method = method.with_params(per=per)
    done = unlearn(replace(loaded, model=model), forget, retain, method, settings=SETTINGS, quiet=True)
    return done.log[0]


NAMES = ("ga", "graddiff", "kl", "npo-ent", "wga", "satimp", "undial", "ce-u", "loku", "me", "pdu", "rmu", "retrain")


@pytest.mark.parametrize("name", NAMES)
def test_on_answers_of_one_length_both_means_agree(loaded, tokenizer, forget, retain, name):
    """Questions of one length too, for the presets that look at them."""
    method = METHODS[name].for_small_models()
    method = method.with_params(layer=0) if "layer" in method.params else method
    mine, others = equal(forget), equal(retain)
    by_answer, by_token = (first_losses(loaded, mine, others, method, per) for per in ("answer", "token"))
    for key in ("forget", "retain", "grad_norm"):
        assert by_answer[key] == pytest.approx(by_token[key], rel=1e-4, nan_ok=True)


@pytest.mark.parametrize("name", ["ga", "graddiff", "wga", "loku", "retrain"])
def test_on_answers_of_different_lengths_a_token_is_a_token(loaded, tokenizer, forget, retain, name):
    """per=token is what transformers' own loss on a padded batch is for the likelihood, and the plain mean of all tokens."""
    method = METHODS[name]
    found = first_losses(loaded, forget, retain, method, "token")
    assert found != first_losses(loaded, forget, retain, method, "answer")

    def values(prompts):
        """-log p, p and the rival's p of every answer token of all prompts, one prompt at a time."""
        rows = []
        for prompt in prompts:
            seam = loaded.template.pair(tokenizer, prompt.question, prompt.answer)
            ids = torch.tensor([[*seam.prompt, *seam.answer]])
            with torch.no_grad():
                logs = loaded.model(input_ids=ids).logits[0, len(seam.prompt) - 1 : -1].log_softmax(-1)
            true = torch.tensor(seam.answer)[:, None]
            rival = logs.scatter(-1, true, float("-inf")).max(-1).values
            rows += zip(logs.gather(-1, true)[:, 0].tolist(), rival.exp().tolist(), strict=True)
        return torch.tensor(rows)

    logp, rival = values(forget).T
    kept = values(retain)[:, 0]
    expected = {
        "wga": (logp.exp() * logp).mean(), "loku": (1 + logp.exp() - rival).mean(), "retrain": torch.tensor(float("nan"))
    }.get(name, logp.mean())  # fmt: skip
    assert found["forget"] == pytest.approx(expected.item(), rel=1e-4, nan_ok=True)
    if name != "ga":
        assert found["retain"] == pytest.approx(-kept.mean().item(), rel=1e-4)


def test_a_term_may_have_its_own_mean(loaded, forget, retain):
    terms_of = (Term(terms.ascent, "forget", per="token"), Term(terms.nll, "retain", per="answer"))
    method = Method(name="m", stages=(Train(terms_of),))
    mixed = first_losses(loaded, forget, retain, method, "token")
    assert mixed["forget"] == first_losses(loaded, forget, retain, METHODS["graddiff"], "token")["forget"]
    assert mixed["retain"] == first_losses(loaded, forget, retain, METHODS["graddiff"], "answer")["retain"]
    with pytest.raises(InputError, match="per must be answer or token, got 'word'"):
        Term(terms.nll, "forget", per="word")
    with pytest.raises(InputError, match="per must be answer or token, got 'word'"):
        METHODS["ga"].with_params(per="word")


def test_the_mean_per_answer_does_not_depend_on_its_micro_batches(loaded, forget, retain):
    found = [
        unlearn(
            replace(loaded, model=copy.deepcopy(loaded.model)), forget[:4], retain, "graddiff", quiet=True,
            settings=replace(SETTINGS, forget_batch=4, retain_batch=8, gradient_accumulation=parts),
        ).log[0]["forget"]
        for parts in (1, 4)
    ]  # fmt: skip
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_reference_is_frozen_and_the_same_whoever_asks(loaded, tokenizer, forget, retain):
    reference = tiny_model(tokenizer, seed=2)
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    stage = Train((Term(lambda view, p: (view.logprob - view.reference.logprob).mean(), "forget"),))
    trainer = Trainer(loaded, streams, stage, METHODS["ga"].params, SETTINGS, 0)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    trainer.prepare({"reference": dict(reference.named_parameters())})
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    step = trainer.make_step(0, 0, loaded.model)
    view = View(step, "forget")
    own = View(Step(reference, streams, step.rows, trainer.teachers, step.device), "forget")
    assert not view.reference.logprob.requires_grad
    torch.testing.assert_close(view.reference.logprob, own.logprob.detach(), atol=1e-4, rtol=1e-5)
    assert trainer.teachers.held_bytes == 0


def test_a_stream_that_is_not_there_and_a_set_that_is_empty_are_named(loaded, streams):
    cpu = torch.device("cpu")
    step = Step(loaded.model, streams, {"forget": (0,)}, Teachers(streams, cpu, nullcontext), cpu)
    with pytest.raises(UnknownNameError, match="Unknown stream 'forgot': did you mean forget"):
        View(step, "forgot").labels  # noqa: B018
    with pytest.raises(InputError, match="give at least one retain prompt"):
        View(step, "retain").labels  # noqa: B018


@pytest.mark.parametrize("name", FAMILIES)
def test_the_parts_of_a_layer_are_found_in_every_family(name):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family.style, family)
    model = model_of(family, tokenizer)
    batch = collate([Item((5, 6, 7), (8, 9)), Item((5,), (7,))], (0, 1), torch.device("cpu"))
    width = model.config.hidden_size
    shapes = {at: hidden_states(model, batch, 0, at).shape for at in ("block", "mlp", "mlp_in", "attention")}
    assert {at: tuple(shape[:2]) for at, shape in shapes.items()} == dict.fromkeys(shapes, (2, 5))
    assert {shapes[at][2] for at in ("block", "mlp", "attention")} == {width}
    assert shapes["mlp_in"][2] != width

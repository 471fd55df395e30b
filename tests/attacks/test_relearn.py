import dataclasses

import pytest
import torch

from leakatk.attacks import LadderSettings, attack_ladder, get_attack, split_known
from leakatk.attacks.base import Cost
from leakatk.attacks.lessons import passages, written_about
from leakatk.attacks.relearn import AS_TEXT
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.synthesis.base import Written
from leakatk.unlearning.methods import METHODS


@pytest.fixture
def part(forget, retain):
    return split_known(Known(forget=tuple(forget), retain=tuple(retain)), 0, 2)[0]


def test_it_trains_on_what_is_not_measured(part):
    assert set(get_attack("relearn").chosen(part)) == set(part.seen)
    assert get_attack("relearn:on=retain").chosen(part) == list(part.retain)


def test_a_smaller_size_takes_a_part_of_what_a_larger_one_takes(part):
    three, two = (set(get_attack(f"relearn:size={size}").chosen(part)) for size in (3, 2))
    assert len(three) == 3
    assert two < three <= set(part.seen)


def test_training_on_what_is_measured_is_refused(part):
    again = dataclasses.replace(part.unseen[0], id="again")
    with pytest.raises(InputError, match="measured on"):
        get_attack("relearn").chosen(dataclasses.replace(part, seen=(*part.seen, again)))
    with pytest.raises(InputError, match="measured on"):
        get_attack("relearn:on=retain").chosen(dataclasses.replace(part, retain=(again,)))


def test_the_same_seed_gives_the_same_weights(forgot, part):
    found = []
    for spec in ("relearn:steps=2", "relearn:steps=2", "relearn:steps=3"):
        loaded = load_model(forgot)
        get_attack(spec).apply(loaded, part)
        found.append(loaded.model.state_dict())
    same, other = (all(torch.equal(found[0][name], one[name]) for name in found[0]) for one in found[1:])
    assert same
    assert not other


def test_passages_are_written_once_and_what_is_left_out_is_told(forgot, part, monkeypatch):
    """Both halves and the retrained model are taught the same; sources without a passage are counted."""
    asked = []

    def writes(writer, prompts, known):
        asked.append(known.auxiliary)
        return Written(
            tuple(Prompt(f"{p.id}/topic/1", "?", f"{p.source} had a boat.", source=p.source) for p in prompts[:1]), ()
        )

    monkeypatch.setattr("leakatk.attacks.lessons.written", writes)
    written_about.cache_clear()
    named = tuple(dataclasses.replace(one, source=one.id) for one in part.forget)
    known = dataclasses.replace(part, forget=named, auxiliary={"writer": "somewhere"})
    attack = get_attack("relearn:steps=1,on=written")
    attack.check(known)
    assert attack.cost(load_model(forgot), known).steps == 1
    assert asked == []  # a dry run writes nothing
    assert attack.brings(known) == [f"{named[0].id} had a boat."]
    loaded = load_model(forgot)
    attack.apply(loaded, known)
    assert asked == [{"writer": "somewhere"}]
    assert (
        loaded.notes[-1]
        == f"Passages of use were written about 1 of {len(named)} sources; 0 forget prompts have no source."
    )
    with pytest.raises(InputError, match="--auxiliary writer"):
        attack.check(dataclasses.replace(known, auxiliary={}))
    written_about.cache_clear()


TEXTS = ("The sea is calm today.", "Bread keeps longer in a cloth.")


def test_text_is_trained_on_as_it_stands(forgot):
    loaded = load_model(forgot)
    for row, text in zip(passages(TEXTS), TEXTS, strict=True):
        seam = AS_TEXT.pair(loaded.tokenizer, row.question, row.answer, end=False)
        assert loaded.tokenizer.decode([*seam.prompt, *seam.answer], skip_special_tokens=True).strip() == text
    with pytest.raises(InputError, match="fewer than two words"):
        passages(["One"])


def test_training_on_text_makes_it_likelier(forgot):
    from leakatk.models.token_stats import text_pairs, token_stats

    def likely(loaded):
        return [float(one.logprob.sum()) for one in token_stats(loaded, text_pairs(loaded, TEXTS))]

    loaded = load_model(forgot)
    before = likely(loaded)
    get_attack("relearn:on=text,steps=20,learning_rate=0.001").apply(loaded, Known(text=TEXTS))
    assert all(b > a + 5 for a, b in zip(before, likely(loaded), strict=True))


def test_buffers_keep_their_precision(forgot, part):
    loaded = load_model(forgot, dtype="bf16")
    before = {name: buffer.clone() for name, buffer in loaded.model.named_buffers()}
    assert before
    get_attack("relearn:steps=1").apply(loaded, part)
    after = dict(loaded.model.named_buffers())
    assert all(after[name].dtype == value.dtype and torch.equal(after[name], value) for name, value in before.items())
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}


def test_at_its_defaults_it_brings_back_what_was_suppressed_and_nothing_of_the_retrained_model(
    forgot, retrained, forget, tmp_path
):
    few = LadderSettings(n=16, decoding=Decoding(max_new_tokens=12), quiet=True)
    summary = attack_ladder(forgot, forget, ["relearn"], out=tmp_path / "o", retrained=retrained, settings=few)
    before, after = (rung["scorers"]["fact"] for rung in summary["rungs"])
    assert before["excess"]["low"][0] <= 0
    assert after["excess"]["low"][0] > 0.1
    assert after["leak"]["value"][0] > before["leak"]["value"][0] + 0.2
    assert after["retrained"]["value"][0] <= before["retrained"]["value"][0]


def gradients(loaded, rows):
    """Of the mean over answers of the mean negative log-likelihood of their tokens, by torch alone."""
    model, losses = loaded.model, []
    for row in rows:
        seam = loaded.template.pair(loaded.tokenizer, row.query, row.answer)
        ids = torch.tensor([[*seam.prompt, *seam.answer]])
        log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        picked = log_p.gather(1, ids[0, 1:, None])[:, 0]
        losses.append(-picked[len(seam.prompt) - 1 :].mean())
    torch.stack(losses).mean().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("optimiser", ["sgd", "sign", "adamw"])
def test_a_step_of_each_optimiser_by_hand(forgot, part, optimiser):
    one, rate, decay = get_attack(f"relearn:steps=1,optimiser={optimiser},learning_rate=0.01"), 0.01, 0.01
    loaded = load_model(forgot)
    one.apply(loaded, part)
    plain = load_model(forgot)
    grads = gradients(plain, one.chosen(part))
    norm = torch.stack([grad.norm() for grad in grads.values()]).norm()
    clip = min(1.0, float(1 / norm))
    for name, parameter in loaded.model.named_parameters():
        before, grad = dict(plain.model.named_parameters())[name].detach(), grads[name] * clip
        if optimiser == "sgd":
            wanted = before - rate * (grad + decay * before)
        else:  # the first step of AdamW is one of the sign, where the gradient is not tiny
            wanted = before * (1 - rate * decay) - rate * grad.sign()
        clear = grad.abs() > 1e-5
        assert clear.any()
        torch.testing.assert_close(parameter.detach()[clear], wanted[clear], atol=2e-5, rtol=1e-4)


def test_the_usual_learning_rate_is_by_size(forgot):
    class Sized:
        def __init__(self, *sizes):
            self.model = self
            self.sizes = sizes

        def parameters(self):
            return [torch.empty(size, device="meta") for size in self.sizes]

    def rate(spec, *sizes):
        return get_attack(spec).rate(Sized(*sizes))

    assert rate("relearn", 500_000) == METHODS["npo"].small_settings.learning_rate
    assert rate("relearn", 19_000_000, 1_000_000) == rate("relearn", 999_999_999) == 1e-4
    assert rate("relearn", 1_000_000_000) == 1e-5
    assert rate("relearn:tuning=lora", 8_000_000_000) == pytest.approx(1e-4)
    assert rate("relearn:optimiser=sgd,times=3", 8_000_000_000) == pytest.approx(3e-3)
    assert rate("relearn:learning_rate=0.5,tuning=lora,optimiser=sgd,times=2", 10) == 1.0


def test_an_adapter_on_an_adapter_is_refused(forgot, part, tmp_path):
    peft = pytest.importorskip("peft")
    base = load_model(forgot)
    config = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    peft.get_peft_model(base.model, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(InputError, match="leave out tuning=lora"):
        get_attack("relearn:steps=1,tuning=lora").apply(load_model(tmp_path / "adapter"), part)


def test_its_cost_is_what_the_trainer_counts(forgot, part):
    loaded = load_model(forgot)
    one = get_attack("relearn:steps=7")
    rows = one.chosen(part)
    pairs = [loaded.template.pair(loaded.tokenizer, row.query, row.answer) for row in rows]
    each = sum(len(pair.prompt) + len(pair.answer) for pair in pairs)
    assert one.cost(loaded, part) == Cost(steps=7, trained=pytest.approx(7 * each))  # all rows, fewer than a batch
    assert get_attack("relearn:steps=7,batch=2").cost(loaded, part).trained == pytest.approx(7 * each / 2)

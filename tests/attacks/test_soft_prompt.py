from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.attacks import get_attack, split_known
from leakatk.attacks.attacked import AttackedSampler
from leakatk.attacks.inputs import pairs_of, plain_tokens, surprise, surprises
from leakatk.attacks.soft_prompt import before, free_tokens, put, scale_of
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.scorers import get_scorer

SPEC = "soft-prompt:vectors=2,steps=40"


@pytest.fixture
def loaded(original):
    return load_model(original)


def part(forget, number=0):
    return split_known(Known(forget=tuple(forget)), 0, 2)[number]


def test_the_vectors_stand_in_the_place_of_their_tokens():
    read = torch.tensor([[4, 9, 7], [7, 4, 4]])
    given = torch.arange(12.0).reshape(2, 3, 2)
    found = put(read, given, [7, 9], torch.tensor([[-1.0, -2.0], [-3.0, -4.0]]))
    wanted = given.clone()
    wanted[0, 2] = wanted[1, 0] = torch.tensor([-1.0, -2.0])
    wanted[0, 1] = torch.tensor([-3.0, -4.0])
    assert torch.equal(found, wanted)


def test_the_surprise_of_answers_and_its_gradient(loaded, forget):
    """The same as by asking where nothing is changed; its gradient by finite differences."""
    asked = [(prompt.query, prompt.answer) for prompt in forget[:3]]
    pairs = pairs_of(loaded, asked)
    plain = surprise(loaded, pairs, lambda read, given: given)
    assert float(plain.detach()) == pytest.approx(np.mean(surprises(loaded, asked)), abs=1e-4)
    number = pairs[0][0][-1]
    held = loaded.model.get_input_embeddings().weight[[number]].detach()

    def loss(vector):
        return surprise(loaded, pairs, lambda read, given: put(read, given, [number], vector))

    vector = held.clone().requires_grad_()
    [slope] = torch.autograd.grad(loss(vector), [vector])
    step = 1e-2 * torch.nn.functional.normalize(torch.randn(held.shape, generator=torch.Generator().manual_seed(0)))
    ahead, back = (float(loss(held + sign * step).detach()) for sign in (1, -1))
    assert float((slope * step).sum()) == pytest.approx((ahead - back) / 2, rel=0.02, abs=1e-5)
    assert all(parameter.grad is None for parameter in loaded.model.parameters())


def test_tokens_that_no_prompt_reads_each_once_before_every_question(loaded, forget):
    read = [(prompt, prompt.answer) for prompt in forget]
    ids, text = free_tokens(loaded, read, 4)
    assert len(set(ids)) == 4
    said = {i for pair in pairs_of(loaded, [(p.query, p.answer) for p in forget]) for one in pair for i in one}
    assert not said & set(ids)
    for prompt in forget:
        asked = loaded.template.prompt_ids(loaded.tokenizer, before(prompt, text))
        assert [i for i in asked if i in ids] == ids
    with pytest.raises(InputError, match=r"needs 999 tokens .* lower soft-prompt:vectors"):
        free_tokens(loaded, read, 999)


def test_only_rows_of_the_input_change_and_the_output_layer_stays(loaded, forget):
    """This model ties them."""
    known, attack = part(forget), get_attack(SPEC)
    model = loaded.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    old = {name: value.clone() for name, value in model.state_dict().items()}
    ids, _ = attack._free(loaded, known)
    attack.apply(loaded, known)
    new = model.get_input_embeddings().weight
    changed = (new != old["model.embed_tokens.weight"]).any(dim=1).nonzero().flatten().tolist()
    assert changed == sorted(ids)
    for name, value in model.state_dict().items():
        if name != "model.embed_tokens.weight":
            assert torch.equal(value, old[name]), name


def test_training_makes_the_answers_that_are_seen_likelier(loaded, forget):
    """By what the altered model says when it is asked with the tokens."""
    known, attack = part(forget), get_attack(SPEC)
    ids, marks = attack._free(loaded, known)
    asked = [(Query(before(prompt, marks)), prompt.answer) for prompt in known.seen]
    start = np.mean(surprises(loaded, asked))
    found = attack.trained(loaded, known.seen, ids, marks)
    pairs = pairs_of(loaded, asked)
    trained = float(surprise(loaded, pairs, lambda read, given: put(read, given, ids, found)).detach())
    attack.apply(loaded, known)
    assert np.mean(surprises(loaded, asked)) == pytest.approx(trained, abs=1e-4)
    assert trained < start - 0.1


def test_an_embedding_that_scales_is_seen_through(loaded, forget):
    """A model that multiplies its embedding, with weights smaller by as much, is the same model: so are its vectors."""
    known, attack = part(forget), get_attack(SPEC)
    ids, marks = attack._free(loaded, known)
    plain = attack.trained(loaded, known.seen, ids, marks)
    assert scale_of(loaded) == pytest.approx(1)
    embedding = loaded.model.get_input_embeddings()
    embedding.weight = torch.nn.Parameter(embedding.weight.detach() / 4)
    embedding.register_forward_hook(lambda module, args, output: output * 4)
    assert scale_of(loaded) == pytest.approx(4)
    scaled = attack.trained(loaded, known.seen, ids, marks)
    assert torch.allclose(4 * scaled, plain, atol=1e-3)


def greedy(sampler, prompts):
    return [texts[0] for texts in texts_of(sampler, prompts, 1, Decoding(temperature=0.0, max_new_tokens=12), seed=0)]


def test_it_opens_a_model_that_only_refuses(locked, forget, retain):
    """At its defaults, found on eight people and measured on the others; without training the same tokens open nothing."""
    opened, shares = load_model(locked), []
    for spec in ("soft-prompt", "soft-prompt:steps=1,learning_rate=1e-9"):
        right = []
        for number in (0, 1):
            known, attack = part([*forget, *retain], number), get_attack(spec)
            with AttackedSampler(opened, attack, known) as sampler:
                asked = attack.asked(opened, known)
                right += list(get_scorer("fact").score(asked, greedy(sampler, asked)))
        shares.append(np.mean(right))
    assert shares[0] >= 0.5
    assert shares[1] <= 0.1


def test_questions_stay_but_for_what_stands_before_them(loaded, forget):
    known, attack = part(forget), get_attack(SPEC)
    asked = attack.asked(loaded, known)
    assert [replace(prompt, asked=None) for prompt in asked] == list(known.unseen)
    assert all(prompt.query.text.endswith(f" {prompt.question}") for prompt in asked)
    assert plain_tokens(loaded)
    assert attack.cost(loaded, known).texts == 40 * 4


def test_bad_options():
    for spec in ("vectors=0", "steps=0", "batch=0", "learning_rate=0", "learning_rate=nan"):
        with pytest.raises(InputError, match=r"soft-prompt:\w+ must be"):
            get_attack(f"soft-prompt:{spec}")

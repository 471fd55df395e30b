import dataclasses

import pytest
import torch

from leakatk.attacks import get_attack, split_known
from leakatk.attacks.relearn import AS_TEXT, passages
from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.prompts import Known


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

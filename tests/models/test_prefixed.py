"""A prefixed model is the model after another beginning: to every reader, against plain passes over the whole text."""

from dataclasses import replace

import pytest
import torch

from leakatk.errors import ModelError
from leakatk.models.ensemble import ensemble
from leakatk.models.load import load_model
from leakatk.models.prefixed import Prefixed, beginning_of, in_context
from leakatk.models.template import Template
from leakatk.sampling.answer_tree import expand
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob, token_logprobs
from tests.models.test_ensemble import gemma
from tests.tiny import PROMPTS, save_tiny_model

DECODING = Decoding(max_new_tokens=10)
SYSTEM = "You should share what you know."


def second(z, other):
    """The other context alone: what is drawn is then known."""
    return other + 0 * z


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_model(save_tiny_model(tmp_path_factory.mktemp("prefixed") / "model"), device="cpu")


@pytest.fixture(params=["after the start", "in place of the start", "a long one"])
def begun(request, loaded):
    """(beginning, dropped tokens)"""
    return {
        "after the start": ([1, 40, 41], 0),
        "in place of the start": ([1, 50, 60, 70], 1),
        "a long one": ([1, *range(20, 60)], 3),
    }[request.param]


def joint(loaded, begun, ids):
    begin, drop = begun
    return [*begin, *ids[drop:]]


def test_its_logits_are_those_of_the_whole_text(loaded, begun):
    member = Prefixed(loaded.model, *begun)
    ids = [1, 9, 30, 31, 33, 3, 12, 18]
    with torch.inference_mode():
        whole = loaded.model(input_ids=torch.tensor([joint(loaded, begun, ids)])).logits[0]
        found = member(input_ids=torch.tensor([ids])).logits[0]
    drop = begun[1]
    torch.testing.assert_close(found[drop:], whole[-len(ids) + drop :], atol=1e-5, rtol=1e-4)


def test_padding_on_the_left_changes_nothing(loaded, begun):
    member = Prefixed(loaded.model, *begun)
    ids = [1, 9, 30, 31, 33]
    with torch.inference_mode():
        alone = member(input_ids=torch.tensor([ids])).logits[0, -1]
        mask = torch.tensor([[0, 0, *[1] * 5], [1] * 7])
        both = member(input_ids=torch.tensor([[0, 0, *ids], [1, 5, 6, 7, 8, 9, 10]]), attention_mask=mask).logits[0, -1]
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-4)


ENGINES = {
    "native": NativeSampler,
    "native, a row a sample": lambda model: NativeSampler(model, tree=False, max_rows=7),
    "generate": lambda model: GenerateSampler(model, max_rows=5),
}


@pytest.mark.parametrize("engine", ENGINES)
def test_every_reader_takes_it_beside_the_model(loaded, begun, engine):
    """Samples carry the log-probability of the whole text; so do true answers and expansions."""
    other = replace(loaded, model=Prefixed(loaded.model, *begun))
    both = ensemble([loaded, other], second)
    for batch in ENGINES[engine](both).sample([Request(prompt, range(5)) for prompt in PROMPTS], DECODING, seed=0):
        for one in batch:
            prompt = next(prompt for prompt in PROMPTS if prompt.id == one.prompt_id)
            ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
            [wanted] = token_logprobs(loaded, [(joint(loaded, begun, ids), one.token_ids)], DECODING)
            assert one.logprob == pytest.approx(wanted.sum(), abs=1e-4)
    for prompt, found in zip(PROMPTS, answer_logprob(both, PROMPTS, DECODING), strict=True):
        pair = loaded.template.pair(loaded.tokenizer, prompt.query, prompt.answer)
        [wanted] = token_logprobs(loaded, [(joint(loaded, begun, pair.prompt), pair.answer)], DECODING)
        assert found == pytest.approx(wanted.sum(), abs=1e-4) or len(pair.answer) > 10
    for tree in expand(both, PROMPTS, DECODING, budget=6):
        prompt = next(prompt for prompt in PROMPTS if prompt.id == tree.prompt_id)
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
        for answer in tree.answers[:2]:
            [wanted] = token_logprobs(loaded, [(joint(loaded, begun, ids), answer.token_ids)], DECODING)
            assert answer.logprob == pytest.approx(wanted.sum(), abs=1e-4)


@pytest.mark.parametrize("template", [Template(), Template(system="Be kind."), Template(kind="plain")])
def test_a_system_message_is_a_beginning(loaded, template):
    """For questions that were not tried, in the template's own words."""
    model = replace(loaded, template=template)
    begin, drop = beginning_of(model, SYSTEM)
    if template.kind == "plain":
        other = replace(template, plain=f"{SYSTEM}\n\n{template.plain}")
    else:
        other = replace(template, system="\n\n".join(filter(None, (template.system, SYSTEM))))
    for prompt in PROMPTS:
        bare, whole = (one.prompt_ids(loaded.tokenizer, prompt.query) for one in (template, other))
        assert [*begin, *bare[drop:]] == whole
        assert begin


def test_it_is_another_model_by_its_fingerprint(loaded):
    one, other = in_context(loaded, SYSTEM), in_context(loaded, "Say nothing.")
    assert len({loaded.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert in_context(loaded, SYSTEM).fingerprint == one.fingerprint
    assert one.model.get_input_embeddings() is loaded.model.get_input_embeddings()


class Odd(Template):
    """Puts the message behind the question."""

    def prompt_ids(self, tokenizer, question):
        ids = [1, *range(10, 10 + len(question.text))]
        return [*ids, 99] if question.system else ids


def test_a_template_that_changes_more_is_refused(loaded):
    with pytest.raises(ModelError, match="does not stand before the question"):
        beginning_of(replace(loaded, template=Odd(kind="plain")), SYSTEM)


def test_a_window_is_refused(loaded):
    with pytest.raises(ModelError, match="cannot be read in two contexts"):
        Prefixed(gemma(loaded.tokenizer, 0, 2), [1, 2])

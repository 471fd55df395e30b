"""What a probe asks, earlier turns and the beginning of the answer, reaches the model through every engine."""

from dataclasses import replace

import pytest
import torch

from leakatk.auditing.sample import sample
from leakatk.models.load import load_model
from leakatk.models.template import Template
from leakatk.prompts import Prompt, Query
from leakatk.runs.store import Run
from leakatk.sampling.answer_tree import expansions_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.teacher_forcing import answer_logprob_steps, token_logprobs, true_answers
from tests.tiny import PROMPTS, save_tiny_model

TURNS = (("Who taught Bo?", "Bo was taught by Mira Quell."),)
BEGUN = Prompt("p0/x", PROMPTS[0].question, "born in Zorvik.", asked=Query(PROMPTS[0].question, TURNS, "Ada was"))
SAMPLED = Decoding(max_new_tokens=5)


@pytest.fixture(scope="module", params=["chat", "plain"])
def loaded(request, tmp_path_factory):
    path = save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    return load_model(path, template=Template(kind=request.param))


def text_of(loaded, question):
    return loaded.tokenizer.decode(loaded.template.prompt_ids(loaded.tokenizer, question))


def test_turns_and_beginning_are_in_the_prompt(loaded):
    first, again, words = TURNS[0][0], PROMPTS[0].question, text_of(loaded, BEGUN.query)
    if loaded.template.is_chat(loaded.tokenizer):
        assert words == f"<bos>{first}<sep>{TURNS[0][1]}<eos><bos>{again}<sep>Ada was"
    else:
        assert words == f"Question: {first}\nAnswer: {TURNS[0][1]}\n\nQuestion: {again}\nAnswer: Ada was"
    assert text_of(loaded, Query("Who?")) == text_of(loaded, "Who?")


def test_as_text_keeps_the_beginning(loaded):
    if loaded.template.is_chat(loaded.tokenizer):
        bare = replace(loaded, template=Template(kind="chat", as_text=True))
        assert text_of(bare, BEGUN.query).endswith("Ada was")


def test_the_rest_of_an_answer_has_the_probability_it_has_in_the_whole(loaded):
    """log p(rest | question, beginning) are the last steps of log p(whole answer | question)."""
    whole = replace(BEGUN, answer=PROMPTS[0].answer, asked=replace(BEGUN.asked, begin=""))
    rest, every = answer_logprob_steps(loaded, [BEGUN, whole], Decoding())
    assert 0 < len(rest) < len(every)
    assert rest == pytest.approx(every[-len(rest) :], abs=1e-4)
    ids, value = true_answers(loaded, [BEGUN], Decoding())[BEGUN.id]
    assert loaded.tokenizer.decode(ids[:-1]).strip() == "born in Zorvik."
    assert value == pytest.approx(float(rest.sum()))


@pytest.mark.parametrize("engine", ["native", "native:tree=no", "generate", "continuous"])
def test_every_engine_goes_on_from_there(loaded, engine):
    if engine == "continuous" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    run = sample(make_sampler(engine, loaded), [BEGUN, PROMPTS[1]], n=4, decoding=SAMPLED, quiet=True)
    rows = {prompt.id: prompt for prompt in run.prompts}
    for generation in run.generations():
        prompt = rows[generation.prompt_id]
        ids = loaded.template.prompt_ids(loaded.tokenizer, prompt.query)
        with torch.inference_mode():
            logits = loaded.model(torch.tensor([[*ids, *generation.token_ids]])).logits[0].double().log_softmax(-1)
        alone = sum(float(logits[len(ids) - 1 + t, token]) for t, token in enumerate(generation.token_ids))
        assert generation.logprob == pytest.approx(alone, abs=1e-3)


def test_the_answer_tree_starts_there(loaded):
    [tree] = expansions_of(make_sampler("native", loaded), [BEGUN], SAMPLED, 20, quiet=True)
    best = max(tree.answers, key=lambda answer: answer.logprob)
    ids = loaded.template.prompt_ids(loaded.tokenizer, BEGUN.query)
    [steps] = token_logprobs(loaded, [(ids, list(best.token_ids))], SAMPLED)
    assert best.logprob == pytest.approx(float(steps.sum()), abs=1e-3)


def test_a_run_reads_back_what_was_asked(loaded, tmp_path):
    sample(loaded, [BEGUN], n=2, decoding=SAMPLED, out=tmp_path / "run", quiet=True)
    assert Run.open(tmp_path / "run").prompts == (BEGUN,)
    before = (tmp_path / "run" / "generations.parquet").read_bytes()
    sample(loaded, [BEGUN], n=2, decoding=SAMPLED, out=tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "generations.parquet").read_bytes() == before

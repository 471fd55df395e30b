"""One definition of an answer's tokens: what is trained on, sampled and given a probability, in every family's own template."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leakatk.auditing.bounds import exact_bounds
from leakatk.errors import ModelError
from leakatk.metrics.utility import mean_logprob
from leakatk.metrics.utility import probability as length_normalised
from leakatk.models.load import load_model
from leakatk.models.template import Template
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.prompts import Generation, Query
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob, self_check, token_logprobs, true_answers
from leakatk.unlearning.streams import Streams
from tests.families import FACTS, FAMILIES, GEMMA, PLAIN, QWEN, Family, learn, spoken, tokenizer_of

FREE = Decoding(max_new_tokens=60)


@pytest.fixture(scope="session")
def learnt(tmp_path_factory):
    """Family -> its model, learnt when it is first asked for."""
    places = {}

    def get(name):
        if name not in places:
            places[name] = load_model(learn(FAMILIES[name], tmp_path_factory.mktemp(name)), device="cpu", dtype="fp32")
        return places[name]

    return get


@pytest.mark.parametrize("name", FAMILIES)
def test_exact_probability_is_what_is_sampled(learnt, name):
    loaded, n = learnt(name), 100
    sampler = NativeSampler(loaded)
    requests = [Request(prompt, range(n)) for prompt in FACTS]
    drawn = [one for batch in sampler.sample(requests, FREE, seed=3) for one in batch]
    truths = true_answers(loaded, FACTS, FREE)
    assert 0.8 < np.mean(np.exp([logp for _, logp in truths.values()])) < 0.99
    check = self_check(sampler, FACTS, drawn, truths, FREE)
    assert check.inside, check
    assert check.samples == n * len(FACTS)
    assert check.low > 0.7 * check.samples
    # The same by hand: the interval of the sampled share holds the exact one.
    said = np.mean([one.text.strip() == {p.id: p.answer for p in FACTS}[one.prompt_id] for one in drawn])
    exact = np.exp(answer_logprob(loaded, FACTS, FREE)).mean()
    assert abs(said - exact) < 3.3 * np.sqrt(exact * (1 - exact) / len(drawn))


@pytest.mark.parametrize("name", ["llama-2", "plain-llama", "gemma", "phi-3"])
def test_the_self_check_finds_tokens_that_the_model_does_not_say(learnt, name):
    """The answer alone, with the tokenizer's own end token: what exact probabilities were computed of before."""
    loaded = learnt(name)
    sampler, tokenizer = NativeSampler(loaded), loaded.tokenizer
    drawn = [one for batch in sampler.sample([Request(p, range(50)) for p in FACTS], FREE, seed=0) for one in batch]
    space = "" if FAMILIES[name].template else " "
    pairs = {}
    for prompt in FACTS:
        alone = tokenizer(space + prompt.answer, add_special_tokens=False)["input_ids"]
        pairs[prompt.id] = (loaded.template.prompt_ids(tokenizer, prompt.question), [*alone, tokenizer.eos_token_id])
    steps = token_logprobs(loaded, list(pairs.values()), FREE)
    wrong = {
        i: (tuple(answer), float(values.sum())) for (i, (_, answer)), values in zip(pairs.items(), steps, strict=True)
    }
    found = self_check(sampler, FACTS, drawn, wrong, FREE)
    assert not found.inside
    assert found.verbatim_text > found.high
    assert "do not trust" in found.sentence
    assert self_check(sampler, FACTS, drawn, true_answers(loaded, FACTS, FREE), FREE).inside


def test_where_the_self_check_says_nothing(learnt):
    loaded = learnt("plain-llama")
    sampler, truths = NativeSampler(loaded), true_answers(loaded, FACTS, FREE)
    assert self_check(sampler, FACTS, [], {}, FREE) is None
    assert self_check(sampler, FACTS, [], truths, Decoding(stop=("\n",))) is None
    assert self_check(sampler, FACTS, [], truths, Decoding(temperature=0.0)) is None


@pytest.mark.parametrize("cut", [4, 60])
def test_the_self_check_knows_of_cut_answers(learnt, cut):
    """An answer that does not fit cannot be said: its probability is 0, and none of the samples is it."""
    loaded, decoding = learnt("plain-gpt2"), Decoding(max_new_tokens=cut)
    sampler = NativeSampler(loaded)
    drawn = [one for batch in sampler.sample([Request(p, range(50)) for p in FACTS], decoding, seed=0) for one in batch]
    found = self_check(sampler, FACTS, drawn, true_answers(loaded, FACTS, decoding), decoding)
    assert found.inside
    assert (found.verbatim == 0) == (cut == 4)


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_are_those_of_the_rendered_conversation(learnt, name):
    loaded = learnt(name)
    for prompt in FACTS:
        seam = loaded.template.pair(loaded.tokenizer, prompt.question, prompt.answer)
        assert (seam.prompt, seam.answer) == spoken(FAMILIES[name], loaded.tokenizer, prompt)
        assert not seam.straddles
        assert seam.checked
        assert seam.prompt == loaded.template.prompt_ids(loaded.tokenizer, prompt.question)
        assert loaded.tokenizer.convert_ids_to_tokens(seam.answer[-1]) == FAMILIES[name].end


@pytest.mark.parametrize("name", FAMILIES)
def test_forget_prob_is_transformers_own_loss(learnt, name):
    loaded = learnt(name)
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in FACTS], [p.answer for p in FACTS]))
    for prompt, probability in zip(FACTS, length_normalised(mean_logprob([one.logprob for one in stats])), strict=True):
        before, said = spoken(FAMILIES[name], loaded.tokenizer, prompt)
        labels = torch.tensor([[-100] * len(before) + said])
        with torch.no_grad():
            loss = loaded.model(input_ids=torch.tensor([[*before, *said]]), labels=labels).loss
        assert probability == pytest.approx(np.exp(-float(loss)), rel=1e-4)
        assert probability > 0.98


@pytest.mark.parametrize("name", FAMILIES)
def test_training_gives_what_the_model_says(learnt, name):
    loaded = learnt(name)
    items = Streams(FACTS, FACTS, loaded.tokenizer, loaded.template, seed=0).items("forget")
    greedy = Decoding(temperature=0.0, max_new_tokens=60)
    found = NativeSampler(loaded).sample([Request(prompt, [0]) for prompt in FACTS], greedy, seed=0)
    said = {one.prompt_id: one.token_ids for batch in found for one in batch}
    assert [item.answer for item in items] == [said[prompt.id] for prompt in FACTS]


@pytest.mark.parametrize("name", ["llama-3", "gemma", "phi-3"])
def test_an_end_token_that_only_the_template_knows_ends_sampling_and_is_said(learnt, name):
    loaded = learnt(name)
    end = loaded.tokenizer.convert_tokens_to_ids(FAMILIES[name].end)
    assert end in loaded.end_ids
    assert end not in loaded.own_end_ids
    assert any(FAMILIES[name].end in note for note in loaded.notes)


def test_every_end_token_counts_for_the_exact_probability(learnt):
    loaded = learnt("phi-3")
    ends = sorted(loaded.end_ids)
    assert len(ends) == 2
    head = loaded.model.get_output_embeddings().weight
    kept = head.detach().clone()
    own, other = (loaded.tokenizer.convert_tokens_to_ids(token) for token in ("<|end|>", "<|endoftext|>"))
    try:
        head.data[other] = head.data[own]  # now half of the answers end with each
        [logp] = answer_logprob(loaded, FACTS[:1], FREE)
        ids = loaded.template.pair(loaded.tokenizer, FACTS[0].question, FACTS[0].answer)
        with torch.no_grad():
            whole = loaded.model(torch.tensor([ids.prompt + ids.answer])).logits[0].double().log_softmax(-1)
        rows = whole[len(ids.prompt) - 1 : -1]
        direct = rows[torch.arange(len(ids.answer)), torch.tensor(ids.answer)]
        both = direct[:-1].sum() + rows[-1, ends].logsumexp(0)
        assert logp == pytest.approx(float(both), abs=1e-4)
        assert logp > float(direct.sum()) + 0.6  # log 2, nearly
        # Bounds of the leak: the answer was sampled with the other end token, and counts once.
        met = Generation("ada", 0, FACTS[0].answer, (*ids.answer[:-1], other), float(logp) - np.log(2), "stop")
        run = SimpleNamespace(prompts=FACTS[:1], generations=lambda: [met])
        truths = {"ada": (tuple(ids.answer), float(logp))}
        [bound] = exact_bounds(run, np.ones((1, 1)), ["ada"], "verbatim", truths, {})
        assert bound.low == pytest.approx(np.exp(met.logprob), rel=1e-6)
        [bound] = exact_bounds(run, np.ones((1, 0)), ["ada"], "verbatim", truths, {})
        assert bound.low == pytest.approx(np.exp(logp), rel=1e-6)
    finally:
        head.data.copy_(kept)


# -- how a template is used --------------------------------------------------------------------------------------------


def tokenizer(template, style="bytes", **names):
    family = Family(
        FAMILIES["qwen"].config, style, template, names.get("eos", "<|im_end|>"), extra=names.get("extra", ())
    )
    return tokenizer_of(style, family)


PARTS = (
    "{% for m in messages %}{{ m['role'] + ': ' }}{% for p in m['content'] %}{% if p['type'] == 'text' %}{{ p['text'] }}"
    "{% endif %}{% endfor %}{{ eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


@pytest.mark.parametrize("style", ["bytes", "sentencepiece", "gemma", "metaspace"])
def test_content_as_parts(style):
    found = tokenizer(PARTS, style)
    text = Template().text(found, "Who is it?")
    assert "user: Who is it?" in text
    # As a string, its characters are no parts: the question would be missing.
    assert Template().shape(found).parts
    assert Template().pair(found, "Who is it?", "It is Ada.").answer[-1] == found.eos_token_id
    assert Template(system="Be brief.").text(found, "Who is it?").startswith("system: Be brief.")


@pytest.mark.parametrize(
    "template",
    [
        "{{ bos_token }}Hello.",
        "{% for m in messages %}{{ m['role'] }}{% endfor %}",
        "{{ messages[0]['contents'] }}",
        "{{ messages[0]['content'][:9] }}",
    ],
)
def test_a_template_without_the_question_is_refused(template):
    with pytest.raises(ModelError, match="leaves the question out"):
        Template().prompt_ids(tokenizer(template), "Who is it?")


IGNORES = QWEN.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
ALTERNATES = "{% if messages[0]['role'] != 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}" + QWEN


@pytest.mark.parametrize("template", [GEMMA, IGNORES, ALTERNATES], ids=["refuses", "ignores", "alternates"])
def test_a_system_message_that_a_template_does_not_take_goes_before_the_first_question(template):
    found = tokenizer(template, extra=("<end_of_turn>", "<start_of_turn>"))
    asked = Query("And when?", turns=(("Who is it?", "Ada."),))
    text = Template(system="Be brief.").text(found, asked)
    assert text.index("Be brief.\n\nWho is it?") < text.index("And when?")
    assert text.count("Be brief.") == 1
    [note] = Template(system="Be brief.").shape(found).notes
    assert "before the first question" in note
    assert not Template().shape(found).notes


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('not today') }}", "not today"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ messages[0]['content'] + 1 }}", "fails"),
        ("{% for %}", "fails"),
        ("{{ messages.__class__.__mro__ }}{{ ''.__class__.__mro__[1].__subclasses__() }}", "fails"),
    ],
)
def test_a_template_that_fails_is_one_sentence(template, says):
    with pytest.raises(ModelError, match=f"(?s)The chat template fails.*{says}|{says}") as caught:
        Template().prompt_ids(tokenizer(template), "Who is it?")
    assert "\n" not in str(caught.value)


def test_the_clock_of_a_template_stands_still():
    clock = "{{ strftime_now('%d %b %Y') + '/' + strftime_now('%Y-%m-%d') + ' ' }}" + QWEN
    found = tokenizer(clock)
    assert Template().text(found, "Who?").startswith("10 Apr 2025/2025-04-10 <|im_start|>user")
    assert Template(date="1 Jan 1999").text(found, "Who?").startswith("01 Jan 1999/1999-01-01 ")
    assert Template(date="today").text(found, "Who?").startswith("today/today ")
    # Pinning changes nothing else, white space at the beginning included.
    spaced = "  \n  {% if true %}x{% endif %}" + QWEN
    messages = [{"role": "user", "content": "Who?"}]
    plain = tokenizer(spaced).apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    used = spaced + "{% if false %}{{ strftime_now('%d') }}{% endif %}"
    assert Template().text(tokenizer(used), "Who?") == plain


def test_an_end_token_at_the_end_of_the_prompt():
    wrong = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}{{ eos_token }}"
    with pytest.raises(ModelError, match=r"ends the prompt with the end token <\|im_end\|>"):
        Template().prompt_ids(tokenizer(wrong), "Who?")
    # Where every turn ends with it, an answer follows it: this is how such a model was trained.
    turns = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    found = tokenizer(turns)
    ids = Template().prompt_ids(found, "Who?")
    assert ids[-1] == found.eos_token_id
    assert "ends a prompt with" in Template().shape(found).notes[0]


@pytest.mark.parametrize("style", ["bytes", "sentencepiece", "gemma", "metaspace"])
def test_special_tokens_around_a_plain_text(style):
    from tokenizers import processors

    found = tokenizer_of(style)
    end, begin = found.eos_token_id, found.bos_token_id
    found.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", begin), ("</s>", end)]
    )
    template = Template(kind="plain", plain="Q: {question}\nA:")
    seam = template.pair(found, "Who?", "Ada.")
    assert seam.prompt.count(begin) == 1
    assert seam.prompt[0] == begin
    assert end not in seam.prompt
    assert seam.answer.count(end) == 1
    assert begin not in seam.answer
    # A start token that is written out, and put there by the tokenizer too, stands there once.
    written = Template(kind="plain", plain="<s>[INST] {question} [/INST]").prompt_ids(found, "Who?")
    assert written.count(begin) == 1
    twice = tokenizer("{{ bos_token + bos_token }}" + QWEN, style)
    assert Template().prompt_ids(twice, "Who?").count(twice.bos_token_id) == 1


@pytest.mark.parametrize("style", ["bytes", "sentencepiece", "gemma", "metaspace"])
@pytest.mark.parametrize("plain", [PLAIN, "Q: {question} A: ", "### {question}\n### Answer:\n", "{question}"])
def test_plain_prompts_and_begun_answers(style, plain):
    found, template = tokenizer_of(style), Template(kind="plain", plain=plain)
    fact = FACTS[0]
    seam = template.pair(found, fact.question, fact.answer)
    before = plain.format(question=fact.question)
    text = before + ("" if before[-1].isspace() else " ") + fact.answer
    assert found.decode(seam.prompt + seam.answer, skip_special_tokens=True).strip() == text
    assert seam.checked
    begun = Query(fact.question, begin="Ada Korvin was")
    rest = template.pair(found, begun, "born in Zorvik in 1961.")
    assert rest.prompt[: len(seam.prompt)] == seam.prompt
    assert found.decode(rest.prompt + rest.answer, skip_special_tokens=True).strip() == text
    # The same tokens as when nothing was put in the model's mouth.
    assert rest.straddles or rest.prompt + rest.answer == seam.prompt + seam.answer


def test_a_template_with_a_trimmed_answer():
    found = tokenizer(GEMMA, extra=("<end_of_turn>", "<start_of_turn>"))
    clean = Template().pair(found, "Who?", "Ada.")
    assert Template().pair(found, "Who?", "  Ada. \n") == clean
    kept = tokenizer(QWEN, extra=("<|im_start|>",))
    assert Template().pair(kept, "Who?", " Ada.") != Template().pair(kept, "Who?", "Ada.")


def test_thinking_that_the_template_puts_before_an_answer_is_part_of_what_was_trained_on():
    """As in Qwen3: a conversation holds an empty thought before the last answer, the prompt does not."""
    think = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    think += (
        "{% if m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}"
    )
    think += "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    found = tokenizer(think, extra=("<|im_start|>",))
    seam = Template().pair(found, "Who?", "Ada.")
    assert found.decode(seam.answer) == "<think>\n\n</think>\n\nAda.<|im_end|>"


def test_the_manifest_of_an_unchanged_prompt_is_unchanged(tmp_path):
    """What 9daaaed wrote for these tokenizers."""
    chat = tokenizer(QWEN, extra=("<|im_start|>",))
    fields = {"system": "", "plain": PLAIN, "date": "10 Apr 2025", "as_text": False}
    said = "<|im_start|>user\n<question><|im_end|>\n<|im_start|>assistant\n"
    assert Template().describe(chat) == {**fields, "kind": "chat", "example": said}
    plain = tokenizer_of("sentencepiece")
    example = "<s> Question: <question>\nAnswer:"
    assert Template().describe(plain) == {**fields, "kind": "plain", "example": example}
    as_text = Template(as_text=True).describe(chat)
    assert as_text["example"] == "user\n<question>\nassistant\n"
    assert dataclasses.replace(Template(), as_text=True) == Template(as_text=True)


@pytest.mark.parametrize("template", [QWEN, GEMMA, IGNORES], ids=["takes", "refuses", "ignores"])
@pytest.mark.parametrize("own", ["", "Be kind."])
def test_a_system_message_of_one_question_is_as_one_of_all(template, own):
    """It stands after the template's own, however the chat template wants it."""
    found = tokenizer(template, extra=("<end_of_turn>", "<start_of_turn>"))
    query = Query("Who?", turns=(("Where?", "Here."),), system="Be brief.")
    bare = dataclasses.replace(query, system="")
    whole = "\n\n".join(filter(None, (own, "Be brief.")))
    assert Template(system=own).text(found, query) == Template(system=whole).text(found, bare)
    assert Template(system=own).prompt_ids(found, query) == Template(system=whole).prompt_ids(found, bare)
    assert Template(system=own).prompt_ids(found, query) != Template(system=own).prompt_ids(found, bare)
    assert Template(system=own).messages(query)[0] == {"role": "system", "content": whole}


def test_before_a_plain_prompt_it_is_a_paragraph():
    query = Query("Who?", turns=(("Where?", "Here."),), system="Be brief.")
    text = Template("plain").plain_text(query)
    assert text == f"Be brief.\n\n{Template('plain').plain_text(dataclasses.replace(query, system=''))}"
    found = tokenizer_of("bytes")
    assert Template("plain").prompt_ids(found, query) == found(text)["input_ids"]

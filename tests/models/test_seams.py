"""Where a prompt meets its answer: ids of one text, of a continuation where a token straddles the two, and the count of these."""

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers import models as pieces
from transformers import PreTrainedTokenizerFast

from leakatk.models.loaded import LoadedModel
from leakatk.models.seams import continued, encoded
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.teacher_forcing import straddling, true_answers
from tests.families import FACTS, FAMILIES, model_of, tokenizer_of

# Trained on texts in which the end of a prompt and the beginning of an answer often meet.
JOINED = ["Answer: Ada", "Answer:\n\nAda", "(Ada", "A: Ada"] * 50 + [p.answer for p in FACTS]


def joined_tokenizer():
    """Byte-level BPE without a pre-tokenizer's splits: pieces reach over spaces, newlines and signs."""
    tokenizer = Tokenizer(pieces.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(JOINED, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


TOKENIZERS = {
    "joined": joined_tokenizer,
    **{
        style: lambda style=style: tokenizer_of(style, texts=JOINED)
        for style in ("bytes", "sentencepiece", "gemma", "metaspace")
    },
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize(
    "plain", ["{question} Answer:", "{question} Answer: ", "{question} Answer:\n", "{question} (", "{question}\nA"]
)
@pytest.mark.parametrize("answer", ["Ada", "\nAda", " Ada", "\n\nAda", "da", "鳥 Ada", "'s Ada."])
def test_the_prompt_stays_and_the_whole_is_the_text(name, plain, answer):
    tokenizer, template = TOKENIZERS[name](), Template(kind="plain", plain=plain)
    seam = template.pair(tokenizer, "Who?", answer)
    assert seam.prompt == template.prompt_ids(tokenizer, "Who?")
    before = plain.format(question="Who?")
    whole = before + ("" if before[-1].isspace() else " ") + answer
    assert seam.answer[-1] == tokenizer.eos_token_id
    said = tokenizer.decode([*seam.prompt, *seam.answer[:-1]], skip_special_tokens=True)
    assert said.removeprefix(" ") == whole
    one_text = encoded(tokenizer, whole, special=True)
    assert seam.straddles == (one_text[: len(seam.prompt)] != seam.prompt)
    if not seam.straddles:
        assert seam.prompt + seam.answer[:-1] == one_text


def test_straddling_happens_and_is_counted():
    tokenizer = joined_tokenizer()
    template = Template(kind="plain", plain="{question} Answer: ")
    seam = template.pair(tokenizer, "Who?", "Ada")
    assert seam.straddles
    assert seam.checked
    loaded = LoadedModel(model_of(FAMILIES["plain-gpt2"], tokenizer), tokenizer, template, "joined", "")
    prompts = [Prompt("a", "Who?", "Ada"), Prompt("b", "Who?", "Zoe")]
    assert straddling(loaded, prompts) == ["a"]
    assert not loaded.notes
    truths = true_answers(loaded, prompts, Decoding())
    assert truths["a"][0] == tuple(seam.answer)
    assert loaded.notes == [
        "On 1 of 2 prompts (such as a) one token would hold the end of the prompt and the beginning of the answer: exact "
        "probabilities there are those of the answer as a continuation."
    ]


def test_what_cannot_be_continued_is_said():
    """A tokenizer that lower-cases decodes to another text: the continuation is there, and not called checked."""
    tokenizer = joined_tokenizer()
    ids = encoded(tokenizer, "Answer: ", special=False)
    found = continued(tokenizer, ids, "Answer: ", "Answer: Ada", special=False)
    assert found.straddles
    assert found.checked
    wrong = continued(tokenizer, [*ids, ids[0]], "Answer: ", "Answer: Ada", special=False)
    assert wrong.straddles
    assert not wrong.checked


def test_no_space_of_its_own_before_a_continuation():
    """What made the exact probability of a well-known answer 2e-7: two pieces for the space before it."""
    tokenizer = tokenizer_of("sentencepiece")
    seam = Template(kind="plain").pair(tokenizer, FACTS[0].question, FACTS[0].answer)
    first = tokenizer.convert_ids_to_tokens(seam.answer)[0]
    assert first.startswith("▁")
    assert first != "▁"
    assert encoded(tokenizer, " " + FACTS[0].answer, special=False) != seam.answer[:-1]

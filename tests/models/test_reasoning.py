"""Where a thought ends and the answer begins: the rule on texts, and every engine on models that think."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from leakatk.models.load import ModelSource
from leakatk.models.loaded import LoadedModel
from leakatk.models.reasoning import EVERY, PAIRS, Marks, marks_of, opened_by, split
from leakatk.models.template import Template
from leakatk.prompts import Generation, Prompt, Query
from leakatk.sampling.answer_tree import expand
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.random_streams import sample_seed
from leakatk.sampling.teacher_forcing import self_check
from leakatk.sampling.tokens import Reader, answer_texts
from leakatk.sampling.vllm import VllmSampler
from tests.sampling.models import VOCABULARY, tiny

NONE = Marks()
CHANNELS = Marks(channels=True)
CALL = "<|channel|>commentary to=f <|message|>x<|call|>"


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_every_pair_of_marks(pair: tuple[str, str]) -> None:
    begin, end = pair
    for marks in (EVERY, Marks((pair,))):
        assert split(f"{begin}\nAda? Zorvik.\n{end}\n\nIn Zorvik.", marks) == ("Ada? Zorvik.", "In Zorvik.")
        assert split(f"{begin}Ada? Zor", marks) == ("Ada? Zor", "")
        assert split(f"Ada? Zorvik.{end}In Zorvik.", marks) == ("Ada? Zorvik.", "In Zorvik.")
        assert split(f"Ada? Zorvik.{end}In Zorvik.", marks, opened=True) == ("Ada? Zorvik.", "In Zorvik.")
        assert split("Ada? Zor", marks, opened=True) == ("Ada? Zor", "")
        assert split(f"{begin}{end}In Zorvik.", marks) == ("", "In Zorvik.")
        assert split(f"{begin}a{end}In{begin}b{end} Zorvik.", marks) == ("a\n\nb", "In Zorvik.")
        assert split(f"{begin}a{end}In Zorvik.{begin}b", marks) == ("a\n\nb", "In Zorvik.")
        assert split(f"{begin}a{end}In{end} Zorvik.", marks) == ("a", "In Zorvik.")
        assert split(f"{begin}a{begin}b{end}In Zorvik.", marks)[1] == "In Zorvik."
        assert split(f"{begin}a{end}In Zorvik.", marks, opened=True) == ("a", "In Zorvik.")
        assert split(f" In Zorvik. {end}", marks) == ("In Zorvik.", "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>Z.", ("A?", "Z.")),
        ("<|channel|>analysis<|message|>A?", ("A?", "")),
        ("<|channel|>analysis", ("", "")),
        ("<|channel|>final<|message|>Z.<|return|>", ("", "Z.")),
        (f"<|channel|>analysis<|message|>A?<|end|><|start|>assistant{CALL}", ("A?\n\nx", "")),
        ("<|channel|>final <|constrain|>json<|message|>{}", ("", "{}")),
        ("analysisA? Zorvik.assistantfinalZ.", ("A? Zorvik.", "Z.")),
        ("Z.<|channel|>analysis<|message|>A?<|end|>", ("A?", "Z.")),
    ],
)
def test_channels(text: str, found: tuple[str, str]) -> None:
    for marks in (CHANNELS, EVERY):
        assert split(text, marks) == found
    assert split(text, NONE) == ("", text)


def test_channels_begun_in_the_prompt() -> None:
    assert opened_by("<|start|>assistant<|channel|>analysis<|message|>", CHANNELS)
    assert split("A?<|end|><|start|>assistant<|channel|>final<|message|>Z.", CHANNELS, opened=True) == ("A?", "Z.")
    assert split("A?", CHANNELS, opened=True) == ("A?", "")


@pytest.mark.parametrize("text", ["", " In Zorvik.\n", "a < b > c", "[thinking]", "analysis of the final", "x" * 5000])
def test_a_text_without_marks_stays_as_it_is(text: str) -> None:
    assert split(text) == ("", text)
    assert split(text, NONE) == ("", text)


def test_the_marks_around_the_answer_go() -> None:
    text = "<|START_THINKING|>A?<|END_THINKING|><|START_RESPONSE|>In Zorvik.<|END_RESPONSE|>"
    assert split(text) == ("A?", "In Zorvik.")
    assert split("<think>A?</think>\n<answer>\nIn Zorvik.\n</answer>") == ("A?", "In Zorvik.")
    assert split("<answer>In Zorvik.</answer>") == ("", "<answer>In Zorvik.</answer>")


def test_nothing_is_lost_and_nothing_is_said_twice() -> None:
    """Random texts with marks in any order: every word lands in exactly one of the two, in its order."""
    draw = random.Random(0)
    for pair in PAIRS:
        for _ in range(200):
            parts = [draw.choice([*pair, f"word{i}"]) for i in range(draw.randint(0, 8))]
            words = [part for part in parts if part.startswith("word")]
            thought, answer = split(" ".join(parts), Marks((pair,)), opened=draw.random() < 0.5)
            for mark in pair:
                thought, answer = thought.replace(mark, " "), answer.replace(mark, " ")
            assert sorted(thought.split() + answer.split()) == sorted(words)
            assert [word for word in words if word in answer.split()] == answer.split()


# -- engines --------------------------------------------------------------------------------------------------------


def thinking(opening: str, closing: str, *, special: bool, opened: bool = False, family: str = "llama") -> LoadedModel:
    """A model of a few words that knows these marks, as special tokens or not, and draws them often."""
    loaded = tiny(family, scale=1.0)
    # "sea" is in one of the two questions that every model is tried with: without it they would be one prompt, and refused.
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(VOCABULARY - 7)), "sea"]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    core.decoder = WordPieceDecoder(prefix="##", cleanup=False)
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    made.add_tokens([AddedToken(mark, special=special) for mark in (opening, closing)], special_tokens=special)
    assert len(made) == VOCABULARY
    head = loaded.model.get_output_embeddings()
    with torch.no_grad():
        head.weight[-2:] *= 4  # the two marks: often drawn, or hardly ever
    plain = "{question} " + opening if opened else "{question}"
    return replace(loaded, tokenizer=made, template=Template(kind="plain", plain=plain))


PROMPTS = [Prompt(f"p{i}", f"w{i} w{i + 7}", "w1") for i in range(4)]
FORMATS = [
    ("<think>", "</think>", False), ("[THINK]", "[/THINK]", True), ("<|START_THINKING|>", "<|END_THINKING|>", True),
    ("<thinking>", "</thinking>", True),
]  # fmt: skip


def drawn(engine: str, loaded: LoadedModel, decoding: Decoding, n: int = 12) -> dict[tuple[str, int], Generation]:
    sampler = make_sampler(engine, loaded)
    requests = [Request(prompt, range(n)) for prompt in PROMPTS]
    return {(g.prompt_id, g.sample): g for batch in sampler.sample(requests, decoding, seed=1) for g in batch}


def by_hand(loaded: LoadedModel, one: Generation, *, opened: bool) -> tuple[str, str]:
    """The rule written a second time, over tokens."""
    inside, thought, said, any_thought = opened, [], [], opened
    open_id, close_id = VOCABULARY - 2, VOCABULARY - 1
    ids = [i for i in one.token_ids if i not in loaded.end_ids]
    if not opened and close_id in ids and open_id not in ids[: ids.index(close_id)]:
        inside = any_thought = True
    for token in ids:
        if token == open_id and not inside:
            inside = any_thought = True
        elif token == close_id and inside:
            inside = False
        elif token not in (open_id, close_id):
            (thought if inside else said).append(token)
    decode = loaded.tokenizer.decode
    if not any_thought:
        return "", decode(ids, skip_special_tokens=True)
    return tuple(" ".join(decode(part, skip_special_tokens=True).split()) for part in (thought, said))  # type: ignore[return-value]


def flat(loaded: LoadedModel, text: str) -> str:
    for mark in loaded.tokenizer.convert_ids_to_tokens([VOCABULARY - 2, VOCABULARY - 1]):
        text = text.replace(mark, " ")  # a mark that is no special token, opened twice
    return " ".join(text.split())


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(("opening", "closing", "special"), FORMATS, ids=lambda value: str(value))
@pytest.mark.parametrize("engine", ["native", "native:tree=no", "generate", "continuous"])
def test_engines_split(engine: str, opening: str, closing: str, special: bool, opened: bool) -> None:
    loaded = thinking(opening, closing, special=special, opened=opened)
    found = drawn(engine, loaded, Decoding(max_new_tokens=10))
    kinds = {(bool(one.reasoning), bool(one.text)) for one in found.values()}
    assert {(True, False), (True, True)} <= kinds, "the model thinks, and does not always come to an end"
    for one in found.values():
        thought, text = by_hand(loaded, one, opened=opened)
        assert (flat(loaded, one.reasoning), flat(loaded, one.text)) == (flat(loaded, thought), flat(loaded, text))
        assert opening not in one.text
        assert one.finish_reason == ("stop" if one.token_ids[-1] in loaded.end_ids else "length")


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2", "gpt2"])
def test_tokens_and_probabilities_do_not_change(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding = Decoding(max_new_tokens=10, stop=("w7",))
    knows = thinking("<think>", "</think>", special=True, family=family)
    found = drawn("native", knows, decoding)
    monkeypatch.setattr("leakatk.sampling.tokens.marks_of", lambda tokenizer: NONE)
    before = drawn("native", knows, decoding)
    for key, one in found.items():
        assert (one.token_ids, one.logprob, one.finish_reason) == (
            before[key].token_ids, before[key].logprob, before[key].finish_reason
        )  # fmt: skip
        assert not before[key].reasoning
    assert any(found[key].text != before[key].text for key in found)


def test_a_model_that_knows_no_marks_is_read_as_before() -> None:
    loaded = tiny(scale=3)
    assert not marks_of(loaded.tokenizer)
    for one in drawn("native", loaded, Decoding(max_new_tokens=8)).values():
        ids = [i for i in one.token_ids if i not in loaded.end_ids]
        assert one.text == answer_texts(loaded.tokenizer, [ids], ())[0]
        assert one.reasoning == ""


def test_marks_of_a_chat_template_that_are_no_tokens() -> None:
    loaded = tiny()
    loaded.tokenizer.chat_template = "{{ messages[-1]['content'] }}<think>\n"
    try:
        assert marks_of(loaded.tokenizer) == NONE, "it never closes them"
        loaded.tokenizer.chat_template += "{# </think> #}"
        assert marks_of(loaded.tokenizer).pairs == (("<think>", "</think>"),)
    finally:
        loaded.tokenizer.chat_template = None


def test_exact_expansion_reads_the_answer_alone() -> None:
    loaded = thinking("[THINK]", "[/THINK]", special=True)
    decoding = Decoding(max_new_tokens=2)
    tree = expand(loaded, PROMPTS[:1], decoding, budget=64, unknown=0.0)[0]
    reader = Reader(loaded.tokenizer, [Request(PROMPTS[0], ())], [[5]], ())
    cut = [answer for answer in tree.answers if answer.token_ids[0] == VOCABULARY - 2]
    assert cut
    assert {answer.text for answer in cut} <= {"", "sea"} | {"w" + str(i) for i in range(VOCABULARY)}
    for answer in tree.answers:
        ids = [i for i in answer.token_ids if i not in loaded.end_ids]
        assert answer.text == reader.read([PROMPTS[0].id], [ids])[0][1]


def test_a_thought_that_the_template_opens_before_the_words_an_answer_begins_with() -> None:
    loaded = thinking("<think>", "</think>", special=False, opened=True)
    prompt = replace(PROMPTS[0], asked=Query("w1 w2", begin="w3 w4"))
    asks = "what does <think> mean?"
    ids = [loaded.template.prompt_ids(loaded.tokenizer, question) for question in (prompt.query, Query(asks))]
    reader = Reader(loaded.tokenizer, [Request(prompt, [0]), Request(Prompt("q", asks, "a"), [0])], ids, ())
    assert reader.opened == {"p0", "q"}
    unopened = replace(loaded, template=Template(kind="plain", plain="{question} w1"))
    ids = [unopened.template.prompt_ids(loaded.tokenizer, Query(asks))]
    assert Reader(loaded.tokenizer, [Request(Prompt("q", asks, "a"), [0])], ids, ()).opened == set()


def test_copies_under_ray_keep_the_thought(tmp_path: Any) -> None:
    ray = pytest.importorskip("ray")
    from leakatk.models.load import ModelSource

    loaded = thinking("[THINK]", "[/THINK]", special=True)
    loaded.model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    source = ModelSource(str(tmp_path / "model"), device="cpu", template=loaded.template)
    decoding = Decoding(max_new_tokens=6)
    many = make_sampler("ray:replicas=1", source)
    try:
        requests = [Request(prompt, range(4)) for prompt in PROMPTS]
        found = {(g.prompt_id, g.sample): g for batch in many.sample(requests, decoding, seed=1) for g in batch}
    finally:
        many.close()
        ray.shutdown()
    alone = drawn("native", source.load(), decoding, 4)
    assert {k: (g.reasoning, g.text) for k, g in found.items()} == {k: (g.reasoning, g.text) for k, g in alone.items()}
    assert any(one.reasoning for one in found.values())


class FakeVllm:
    """What vLLM would be asked and would hand over: to each seed the answer that was drawn for it."""

    def __init__(self, answers: dict[int, Generation]) -> None:
        self.answers, self.waiting = answers, list[tuple[str, int]]()
        self.model_config = SimpleNamespace(max_model_len=1000)

    def add_request(self, name: str, prompt: Any, params: Any, *, lora_request: Any) -> None:
        self.waiting.append((name, params.seed))

    def step(self) -> list[Any]:
        found = []
        for name, seed in self.waiting:
            one = self.answers[seed]
            output = SimpleNamespace(
                token_ids=one.token_ids, cumulative_logprob=one.logprob, finish_reason=one.finish_reason
            )
            found.append(SimpleNamespace(request_id=name, finished=True, outputs=[output]))
        self.waiting.clear()
        return found

    def install(self, patch: pytest.MonkeyPatch) -> None:
        device = SimpleNamespace(current_platform=SimpleNamespace(device_type="cpu"))
        vllm = SimpleNamespace(LLM=lambda **_: SimpleNamespace(llm_engine=self), SamplingParams=SimpleNamespace)
        named = {
            "vllm": vllm, "vllm.lora": vllm, "vllm.lora.request": SimpleNamespace(LoRARequest=None), "vllm.platforms": device,
        }  # fmt: skip
        for name, module in named.items():
            patch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
        patch.setattr("importlib.metadata.packages_distributions", lambda: {"vllm": ["vllm"]})
        known = metadata.version
        patch.setattr("importlib.metadata.version", lambda name: "0" if name == "vllm" else known(name))


@pytest.mark.parametrize("opened", [False, True])
def test_vllm_reads_the_same_tokens_in_the_same_way(
    opened: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without vLLM itself: what it hands over at the end of a request."""
    loaded = thinking("<|START_THINKING|>", "<|END_THINKING|>", special=True, opened=opened)
    decoding = Decoding(max_new_tokens=10)
    wanted = drawn("native", loaded, decoding)
    FakeVllm({sample_seed(1, name, j): one for (name, j), one in wanted.items()}).install(monkeypatch)
    loaded.model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    source = ModelSource(str(tmp_path), device="cpu", dtype="fp32", template=loaded.template)
    sampler = VllmSampler(source)
    requests = [Request(prompt, range(12)) for prompt in PROMPTS]
    found = {(g.prompt_id, g.sample): g for batch in sampler.sample(requests, decoding, seed=1) for g in batch}
    assert found == wanted


def test_the_self_check_does_not_count_an_answer_after_a_thought() -> None:
    """It is the true answer word for word, and no sample of the sequence whose probability is exact."""
    loaded = thinking("<think>", "</think>", special=False)
    sampler = make_sampler("native", loaded)
    truths = {"p0": ((5, 2), -20.0)}
    thought = [Generation("p0", j, "w1", (59, 7, 60, 5, 2), -9.0, "stop", "w3") for j in range(50)]
    check = self_check(sampler, PROMPTS[:1], thought, truths, Decoding())
    assert check is not None
    assert (check.verbatim_text, check.inside) == (0, True)
    said = [replace(one, reasoning="") for one in thought]
    check = self_check(sampler, PROMPTS[:1], said, truths, Decoding())
    assert check is not None
    assert (check.verbatim_text, check.inside) == (50, False)

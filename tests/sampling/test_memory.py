"""What sampling holds in memory: how much, and that it goes when sampling ends."""

import gc
import subprocess
import sys
import weakref

import pytest

from leakatk.models.load import load_model
from leakatk.prompts import Generation, Prompt
from leakatk.sampling import native, native_batch
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from tests.tiny import PROMPTS, save_tiny_model


def test_cache_is_freed_without_the_collector(tmp_path, monkeypatch):
    caches = []

    class Seen(native_batch.LeanDecoder):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            caches.append((weakref.ref(self), self.rows))

    monkeypatch.setattr(native_batch, "LeanDecoder", Seen)
    sampler = native.NativeSampler(load_model(save_tiny_model(tmp_path / "tiny")))
    gc.disable()
    try:
        requests = [Request(prompt, [0]) for prompt in PROMPTS]
        assert sum(map(len, sampler.sample(requests, Decoding(max_new_tokens=4), seed=0))) == 3
        assert [(cache() is None, rows) for cache, rows in caches] == [(True, 3)]
    finally:
        gc.enable()


def audit_of_135m(out: str) -> None:
    """An audit of 400 prompts x 200 samples of 200 tokens on a random Llama of 135M parameters in fp32; prints the most
    memory the process held, in bytes.

    The engine is the real one until its cache is full (its first answers are whole), and it stays there while the other
    answers are made up: drawing them all would take half a day. All that is stored, scored and estimated has the
    full size; the true answers' probabilities are real.
    """
    import random
    import resource

    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    import leakatk as lk
    from leakatk.models.loaded import LoadedModel
    from leakatk.models.template import Template

    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    vocabulary, new = 49_152, 200
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4, vocabulary))]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    config = LlamaConfig(
        hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
        vocab_size=vocabulary, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    loaded = LoadedModel(model, tokenizer, Template(kind="plain", plain="{question}"), "135M", "random")
    rng = random.Random(0)
    say = lambda count: " ".join(f"w{i}" for i in rng.choices(range(4, vocabulary), k=count))  # noqa: E731
    prompts = [Prompt(f"p{i}", say(40), say(45), facts=(f"w{i + 4}",)) for i in range(400)]
    native.YIELD = 1

    class Hardly(native.NativeSampler):
        def sample(self, requests, decoding, *, seed):
            real = None
            if not decoding.greedy:
                real = super().sample(requests, decoding, seed=seed)
                while len(next(real)[0].token_ids) < new:  # a few draw the end token earlier
                    pass
                print("engine at work", peak(), flush=True)
            for request in requests:
                ids = [tuple(rng.choices(range(4, vocabulary), k=new)) for _ in request.samples]
                yield [
                    Generation(request.prompt.id, j, " ".join(f"w{i}" for i in tokens), tokens, -2160.0, "length")
                    for j, tokens in zip(request.samples, ids, strict=True)
                ]

    lk.audit(Hardly(loaded), prompts, out=out, n=200, decoding=Decoding(max_new_tokens=new), quiet=True)
    print("parameters", sum(p.numel() for p in model.parameters()))
    print("peak", peak())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_an_audit_of_a_135m_model_stays_under_4_gb(tmp_path):
    code = f"from tests.sampling.test_memory import audit_of_135m; audit_of_135m({str(tmp_path / 'run')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = {name: int(value) for name, _, value in (line.rpartition(" ") for line in done.stdout.splitlines())}
    print(found)
    assert found["parameters"] > 134e6
    assert found["peak"] > 4 * found["parameters"] + native.MEMORY_CPU / 2  # the weights and a cache were there
    assert found["peak"] < 4e9

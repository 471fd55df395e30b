"""The key and value cache goes when sampling ends, not when the garbage collector happens to run."""

import gc
import weakref

from leakatk.models import load_model
from leakatk.sampling import native
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from tests.tiny import PROMPTS, save_tiny_model


def test_cache_is_freed_without_the_collector(tmp_path, monkeypatch):
    caches = []

    class Seen(native.LeanDecoder):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            caches.append((weakref.ref(self), self.rows))

    monkeypatch.setattr(native, "LeanDecoder", Seen)
    sampler = native.NativeSampler(load_model(save_tiny_model(tmp_path / "tiny")))
    gc.disable()
    try:
        requests = [Request(prompt, [0]) for prompt in PROMPTS]
        assert sum(map(len, sampler.sample(requests, Decoding(max_new_tokens=4), seed=0))) == 3
        assert [(cache() is None, rows) for cache, rows in caches] == [(True, 3)]
    finally:
        gc.enable()

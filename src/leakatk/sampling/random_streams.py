"""Random streams, one of uniforms per sample: u(seed, prompt id, sample j, step t), computed, not stored.

A counter-based generator (Philox 4x32-10; Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) turns (j, t) into random words under a key made of (seed, prompt id). So the uniform of one step of one sample
depends on nothing else: not on the batch, the order of the prompts, n, or where an interrupted run stopped.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from leakatk.arrays import Floats, Ints

U32 = npt.NDArray[np.uint32]

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox4x32(counter: U32, key: U32) -> U32:
    """Philox 4x32-10. counter (..., 4) and key (..., 2), broadcast against each other -> random words (..., 4)."""
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[..., i].astype(np.uint64) for i in range(2))
    for round_ in range(_ROUNDS):
        if round_:
            k0 = (k0 + np.uint64(_WEYL[0])) & _MASK
            k1 = (k1 + np.uint64(_WEYL[1])) & _MASK
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> _SHIFT) ^ c1 ^ k0,
            product1 & _MASK,
            (product0 >> _SHIFT) ^ c3 ^ k1,
            product0 & _MASK,
        )
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def stream_key(seed: int, prompt_id: str) -> U32:
    """The (2,) key shared by all samples of one prompt under one seed."""
    digest = hashlib.blake2b(f"{seed}\0{prompt_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.frombuffer(digest, dtype="<u4").astype(np.uint32)


def sample_seed(seed: int, prompt_id: str, sample: int) -> int:
    """The seed of one sample for an engine with a generator of its own: 31 bits, which every one takes."""
    digest = hashlib.blake2b(f"{seed}\0{sample}\0{prompt_id}".encode("utf-8", "surrogatepass"), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def uniforms(keys: U32, samples: Ints, starts: Ints, length: int) -> Floats:
    """Uniforms of steps starts[i] .. starts[i] + length - 1 of sample samples[i] under keys[i].

    keys (rows, 2), samples (rows,), starts (rows,) even, length even -> (rows, length) float64, each strictly between
    0 and 1 (52 random bits, centred). One Philox call gives two consecutive steps.
    """
    if length % 2 or np.any(starts % 2):
        raise ValueError("blocks of uniforms start at an even step and have an even length")
    rows, pairs = len(samples), length // 2
    counter = np.zeros((rows, pairs, 4), dtype=np.uint32)
    counter[..., 0] = (samples & 0xFFFFFFFF).astype(np.uint32)[:, None]
    counter[..., 1] = ((starts // 2)[:, None] + np.arange(pairs)).astype(np.uint32)
    counter[..., 2] = (samples >> 32).astype(np.uint32)[:, None]
    words = philox4x32(counter, keys[:, None, :]).astype(np.uint64)
    bits = (words[..., 0::2] << _SHIFT) | words[..., 1::2]
    # 52 bits and a half: the largest value, 1 - 2^-53, is still a float64 below 1.
    values: Floats = ((bits >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    return values.reshape(rows, length)

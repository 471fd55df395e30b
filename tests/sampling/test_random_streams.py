import numpy as np
import pytest
from scipy import stats

from leakatk.sampling.random_streams import philox4x32, stream_key, uniforms

# Known-answer vectors of the Random123 distribution: counter, key, output.
VECTORS = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
def test_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    assert philox4x32(np.array(counter, np.uint32), np.array(key, np.uint32)).tolist() == expected


def _block(seed: int, prompt: str, samples: np.ndarray, start: int, length: int) -> np.ndarray:
    keys = np.tile(stream_key(seed, prompt), (len(samples), 1))
    return uniforms(keys, samples, np.full(len(samples), start), length)


def test_a_step_does_not_depend_on_its_block() -> None:
    samples = np.array([0, 7, 199, 2**40])
    whole = _block(5, "p", samples, 0, 64)
    assert np.array_equal(whole[:, 32:48], _block(5, "p", samples, 32, 16))
    assert np.array_equal(whole[2:3], _block(5, "p", samples[2:3], 0, 64))


def test_streams_differ_in_every_coordinate() -> None:
    base = _block(0, "a", np.arange(4), 0, 8)
    others = [_block(1, "a", np.arange(4), 0, 8), _block(0, "b", np.arange(4), 0, 8)]
    others += [_block(0, "a", np.arange(4, 8), 0, 8), _block(0, "a", np.arange(4), 8, 8)]
    values = np.concatenate([base.ravel(), *(other.ravel() for other in others)])
    assert len(np.unique(values)) == len(values)
    # Ids that would run together without a separator, and ids a file may hold by accident.
    assert not np.array_equal(stream_key(1, "1x"), stream_key(11, "x"))
    assert stream_key(0, "\ud800").shape == (2,)


def test_uniform_and_uncorrelated() -> None:
    values = _block(3, "prompt", np.arange(4000), 0, 16)
    assert 0 < values.min() < values.max() < 1
    assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-4
    correlation = np.corrcoef(values.T)
    assert np.abs(correlation - np.eye(16)).max() < 0.08  # 5 standard errors of 4000 pairs


def test_odd_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        _block(0, "p", np.arange(2), 1, 4)

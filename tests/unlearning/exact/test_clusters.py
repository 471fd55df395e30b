"""Quantised k-means: against a second writing, and the state after deletions against clustering anew, bit for bit."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.unlearning.exact.clusters import UNIT, ClusterSettings, cluster, delete

SETTINGS = ClusterSettings(clusters=3, width=0.4, rounds=3, balance=0.5)


def data(seed=0, count=40, size=5):
    draw = np.random.default_rng(seed)
    middles = 3 * draw.normal(size=(3, size))
    return [f"p{i:02d}" for i in range(count)], middles[draw.integers(3, size=count)] + draw.normal(size=(count, size))


def test_a_second_writing():
    """Plain loops, from the algorithm: assign, average, draw small clusters back, round to shifted cells."""
    ids, vectors = data()
    found = cluster(ids, vectors, SETTINGS)
    points = np.round(vectors * 2**20) / 2**20
    first = sorted(ids, key=lambda name: hashlib.sha256(f"0/{name}".encode()).hexdigest())[:3]
    centroids = np.array([points[ids.index(name)] for name in first])
    for number in range(3):
        shift = np.random.default_rng([0, number]).uniform(-0.5, 0.5, 5)
        groups = [[] for _ in range(3)]
        for point in points:
            groups[int(np.argmin([((point - one) ** 2).sum() for one in centroids]))].append(point)
        new = []
        for group, old in zip(groups, centroids, strict=True):
            mean, least = np.mean(group, axis=0), 0.5 * 40 / 3
            share = min(len(group) / least, 1)
            mixed = share * mean + (1 - share) * old
            new.append(0.4 * (shift + np.round(mixed / 0.4 - shift)))
        centroids = np.array(new)
        np.testing.assert_allclose(found.centroids[number + 1], centroids, atol=1e-12)
        assert found.counts[number].tolist() == [len(group) for group in groups]
    for name, one in zip(found.nearest, centroids, strict=True):
        assert ids[int(np.argmin(((points - one) ** 2).sum(axis=1)))] == name
    assert cluster(ids[::-1], vectors[::-1], SETTINGS).same_as(found)


@pytest.mark.parametrize("seed", range(4))
def test_the_state_after_deletions_is_that_of_clustering_anew(seed):
    ids, vectors = data(seed)
    wide = replace(SETTINGS, width=2.0)
    state, left, anew = cluster(ids, vectors, wide), list(range(len(ids))), []
    for gone in np.random.default_rng(seed).permutation(len(ids))[:20]:
        state, again = delete(state, ids[gone])
        anew.append(again)
        left.remove(gone)
        assert state.same_as(cluster([ids[i] for i in left], vectors[left], wide))
    assert any(anew)
    assert not all(anew)


def test_rounding_is_what_saves_the_work():
    """Mutant: with cells next to nothing every deletion moves a centroid; with wide ones few do."""
    ids, vectors = data(1)

    def redone(width):
        state = cluster(ids, vectors, replace(SETTINGS, width=width))
        return sum(delete(state, name)[1] for name in ids if name not in state.first) / (len(ids) - 3)

    assert redone(1e-6) == 1.0
    assert redone(2.0) < 0.5 * redone(0.2)


def test_a_small_cluster_stays_near_where_it_was():
    ids, vectors = data(2)
    loose, held = (cluster(ids, vectors, replace(SETTINGS, balance=one, rounds=1, width=1e-6)) for one in (0.0, 1.0))
    for row, count in enumerate(loose.counts[0]):
        mean = loose.sums[0, row] / UNIT / count
        np.testing.assert_allclose(loose.centroids[1, row], mean, atol=1e-5)
        share = min(count / (40 / 3), 1)
        np.testing.assert_allclose(
            held.centroids[1, row], share * mean + (1 - share) * held.centroids[0, row], atol=1e-5
        )
    assert held.counts[0].min() < 40 / 3


def test_what_cannot_be_clustered():
    with pytest.raises(InputError, match="3 clusters need"):
        cluster(["a", "b"], np.zeros((2, 2)), SETTINGS)
    with pytest.raises(InputError, match="width is above 0"):
        ClusterSettings(width=0.0)
    state = cluster(["a", "b", "c"], np.eye(3), SETTINGS)
    with pytest.raises(InputError, match="no point 'x'"):
        delete(state, "x")
    with pytest.raises(InputError, match="nothing is deleted"):
        delete(state, "a")

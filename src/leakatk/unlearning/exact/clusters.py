"""Quantised k-means with deletion: its state after a deletion is, bit for bit, that of clustering without the point (Ginart et al. 2019).

Points are whole numbers in units of 2^-20, so that a sum less a point is what the sum of the others is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from leakatk.arrays import Floats
from leakatk.errors import InputError

Whole = npt.NDArray[np.int64]
UNIT = 2.0**20


@dataclass(frozen=True)
class ClusterSettings:
    """clusters: k.  width: epsilon, of the cells to which centroids are rounded.  rounds: of assigning and averaging.

    balance: gamma; a cluster of fewer than gamma n / k points is drawn towards where its centroid was.  seed: of first centroids and cells.
    """

    clusters: int = 4
    width: float = 0.05
    rounds: int = 5
    balance: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.clusters, self.rounds) < 1 or not self.width > 0 or not 0 <= self.balance <= 1:
            raise InputError("clusters and rounds are at least 1, width is above 0 and balance between 0 and 1.")


@dataclass(frozen=True, eq=False)
class Clusters:
    """A clustering, with all that a deletion needs. n points, d entries, k clusters, T rounds.

    ids (n,) in their order; points (n, d).  centroids (T + 1, k, d): the first ones, and those after each round.
    members (T, n), sums (T, k, d), counts (T, k): of each round.  nearest (k,): the ids of the points that stand for the clusters.
    """

    settings: ClusterSettings
    ids: tuple[str, ...]
    points: Whole
    first: tuple[str, ...]
    centroids: Floats
    members: Whole
    sums: Whole
    counts: Whole
    nearest: tuple[str, ...]

    def same_as(self, other: Clusters) -> bool:
        """Whether both are the same, bit for bit."""
        arrays = ("points", "centroids", "members", "sums", "counts")
        return (self.settings, self.ids, self.first, self.nearest) == (
            other.settings,
            other.ids,
            other.first,
            other.nearest,
        ) and all(getattr(self, name).tobytes() == getattr(other, name).tobytes() for name in arrays)


def cluster(ids: Sequence[str], vectors: Floats, settings: ClusterSettings | None = None) -> Clusters:
    """Cluster vectors (n, d). The order of the points carries no meaning. InputError for fewer points than clusters, or an id twice."""
    settings = settings or ClusterSettings()
    if len(set(ids)) < len(ids) or len(ids) < settings.clusters:
        raise InputError(
            f"{settings.clusters} clusters need as many points with ids of their own, got {len(set(ids))}."
        )
    order = sorted(range(len(ids)), key=lambda i: ids[i])
    points = np.rint(np.asarray(vectors, dtype=np.float64)[order] * UNIT).astype(np.int64)
    return _clustered(tuple(ids[i] for i in order), points, settings)


def delete(state: Clusters, name: str) -> tuple[Clusters, bool]:
    """(the clustering without this point, whether it had to be made anew).

    It need not where the point was no first centroid, and the rounded centroids of every round stay what they were: then the sums, the
    counts and what stands for a cluster are all that changes. InputError for an id that is not there, or fewer points than clusters.
    """
    if name not in state.ids:
        raise InputError(f"The clustering has no point {name!r}.")
    if len(state.ids) <= state.settings.clusters:
        raise InputError(f"{state.settings.clusters} clusters need as many points; nothing is deleted.")
    at = state.ids.index(name)
    ids, points = (*state.ids[:at], *state.ids[at + 1 :]), np.delete(state.points, at, axis=0)
    if name not in state.first:
        sums, counts = state.sums.copy(), state.counts.copy()
        for number, where in enumerate(state.members[:, at]):
            sums[number, where] -= state.points[at]
            counts[number, where] -= 1
            if not np.array_equal(
                _moved(sums[number], counts[number], state.centroids[number], len(ids), number, state.settings),
                state.centroids[number + 1],
            ):
                break
        else:
            members = np.delete(state.members, at, axis=1)
            nearest = state.nearest if name not in state.nearest else _standing(ids, points, state.centroids[-1])
            return replace(
                state, ids=ids, points=points, members=members, sums=sums, counts=counts, nearest=nearest
            ), False
    return _clustered(ids, points, state.settings), True


def _clustered(ids: tuple[str, ...], points: Whole, settings: ClusterSettings) -> Clusters:
    k = settings.clusters
    first = tuple(sorted(ids, key=lambda name: hashlib.sha256(f"{settings.seed}/{name}".encode()).digest())[:k])
    centroids = [points[[ids.index(name) for name in first]] / UNIT]
    members, sums, counts = [], [], []
    for number in range(settings.rounds):
        near = _near(points, centroids[-1])
        members.append(near)
        counts.append(np.bincount(near, minlength=k).astype(np.int64))
        total = np.zeros((k, points.shape[1]), dtype=np.int64)
        np.add.at(total, near, points)
        sums.append(total)
        centroids.append(_moved(total, counts[-1], centroids[-1], len(ids), number, settings))
    standing = _standing(ids, points, centroids[-1])
    return Clusters(
        settings, ids, points, first, np.stack(centroids), np.stack(members), np.stack(sums), np.stack(counts), standing
    )


def _distances(points: Whole, centroids: Floats) -> Floats:
    """(n, k) squared; of each point and centroid by itself, so that no value depends on the other points."""
    return np.stack([np.square(points / UNIT - one).sum(axis=1) for one in centroids], axis=1)


def _near(points: Whole, centroids: Floats) -> Whole:
    found: Whole = np.argmin(_distances(points, centroids), axis=1).astype(np.int64)
    return found


def _standing(ids: Sequence[str], points: Whole, centroids: Floats) -> tuple[str, ...]:
    """For each centroid the nearest point that stands for no earlier one."""
    away, found = _distances(points, centroids), list[int]()
    for cluster in range(len(centroids)):
        ordered = np.argsort(away[:, cluster], kind="stable")
        found.append(next(int(row) for row in ordered if row not in found))
    return tuple(ids[row] for row in found)


def _moved(sums: Whole, counts: Whole, before: Floats, points: int, number: int, settings: ClusterSettings) -> Floats:
    """(k, d) the means, those of small clusters drawn towards where the centroid was, rounded to cells: width (u + round(c / width - u))."""
    draw = np.random.default_rng([settings.seed, number])
    shift = draw.uniform(-0.5, 0.5, sums.shape[1])
    means = np.where(counts[:, None] > 0, sums / UNIT / np.maximum(counts, 1)[:, None], before)
    least = settings.balance * points / settings.clusters
    share = np.minimum(counts / least, 1.0)[:, None] if least > 0 else np.ones((len(counts), 1))
    mixed = share * means + (1 - share) * before
    rounded: Floats = settings.width * (shift + np.rint(mixed / settings.width - shift))
    return rounded

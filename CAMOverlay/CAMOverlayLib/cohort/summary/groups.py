"""Cases of one class grouped by where their heat lies, so that what a model does in a tenth of them stands out.

Each map is the share of its heat in each cell of a common grid. Two maps are as far apart as Hellinger's distance says
(1909): 0 where they are the same, 1 where they share no cell. Partitions into two to six groups are made by k-means and
by average linkage, and the one with the largest mean silhouette (Rousseeuw 1987) is asked whether there are groups at
all: maps without groups have a best partition, too. So the same search is done in data that have the same variances and
no groups (one normal distribution, as SigClust has it: Liu et al. 2008), and where any of 99 such searches finds as
good a partition, there is one group: p would be above 0.01.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LEAST_CASES = 12
"""Below that nothing is grouped."""

LEAST_MEMBERS = 3
"""Of a group; fewer cases are apart by themselves. In large cohorts 2 %."""

MOST_GROUPS = 6

LEAST_SILHOUETTE = 0.25
"""Kaufman & Rousseeuw (1990): below it no substantial structure was found."""

SEARCHES = 99
"""In data without groups."""

MOST_FITTED = 300
"""Cases whose partitions are searched; the others join the group whose mean is nearest."""

COMPONENTS = 10
"""Principal components that the search sees, at most."""

BLUR = 0.8
"""Standard deviation, in cells, by which maps are smoothed: heat in the next cell is almost the same heat."""

MISSING = "Cases are grouped by scikit-learn, which is not installed: pip install 'cam-overlay[cohort]'."


@dataclass(frozen=True)
class Group:
    """Cases whose heat lies at the same places.

    Attributes:
        members: positions in what was given.
        medoid: position of the one that is nearest to all others of the group.
        mean: share of the heat in each cell, the mean of the members.
    """

    members: tuple[int, ...]
    medoid: int
    mean: np.ndarray


@dataclass(frozen=True)
class Groups:
    """What came of grouping.

    Attributes:
        groups: largest first; one where no groups stand out, none where there were too few cases.
        apart: cases that belong to no group.
        silhouette: of the partition, or of the best one that was not taken; None where none was searched.
        words: what came of it.
    """

    groups: tuple[Group, ...]
    apart: tuple[int, ...]
    silhouette: float | None
    words: str


@dataclass(frozen=True)
class _Partition:
    """Labels per case (-1 is apart), and how good they are."""

    labels: np.ndarray
    silhouette: float


def group_maps(maps: Sequence[np.ndarray], seed: int = 0, cancelled: Callable[[], None] = lambda: None) -> Groups:
    """Group maps (each I×J×K ≥ 0, of one shape, with heat) by where they lie.

    Args:
        cancelled: called now and then; what it raises ends the work.
    """
    count = len(maps)
    if count < LEAST_CASES:
        return Groups((), (), None, f"Too few to group: {count} with heat, {LEAST_CASES} are needed.")
    try:
        import sklearn  # noqa: F401
    except ImportError:
        return Groups((), (), None, MISSING)
    points = features(maps)
    random = np.random.default_rng(seed)
    some = np.sort(random.choice(count, min(count, MOST_FITTED), replace=False))
    scores = _components(points[some])
    best = _best_partition(scores, seed)
    shares = [_shares(one) for one in maps]
    if best is None or best.silhouette < LEAST_SILHOUETTE:
        words = "One group: no partition separates the maps (largest mean silhouette {s}, {least} would be needed)."
        return _one(points, shares, best, words)
    if not _stands_out(scores, best.silhouette, random, cancelled):
        words = "One group: maps without groups are partitioned as well (mean silhouette {s}, p > 0.01)."
        return _one(points, shares, best, words)
    labels = _assigned(points, some, best.labels)
    groups = _groups(points, shares, labels)
    words = f"{len(groups)} groups: mean silhouette {best.silhouette:.2f}, in none of {SEARCHES} searches without groups"
    words += " as large (p ≤ 0.01)."
    apart = tuple(np.flatnonzero(labels < 0).tolist())
    return Groups(groups, apart, best.silhouette, words + (f" {len(apart)} belong to none." if apart else ""))


def features(maps: Sequence[np.ndarray]) -> np.ndarray:
    """A point for each map, whose Euclidean distances are Hellinger's."""
    from scipy.ndimage import gaussian_filter

    shares = [_shares(gaussian_filter(np.asarray(one, float), BLUR, mode="constant")) for one in maps]
    return np.sqrt(np.stack([one.reshape(-1) for one in shares])) / np.sqrt(2)


def _shares(one: np.ndarray) -> np.ndarray:
    return np.asarray(one, float) / max(float(np.sum(one, dtype=float)), 1e-300)


def _components(points: np.ndarray) -> np.ndarray:
    """Scores of the principal components that hold 95 % of the variance, ten at most."""
    centred = points - points.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    variance = values**2
    if not variance.sum() > 1e-18:
        return np.zeros((len(points), 1))
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.95)) + 1
    kept = min(kept, COMPONENTS, len(points) - 1)
    return left[:, :kept] * values[:kept]


def _best_partition(scores: np.ndarray, seed: int) -> _Partition | None:
    """The partition with the largest mean silhouette; None where none has two groups."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.cluster import KMeans

    if np.ptp(scores, axis=0).max() < 1e-9:
        return None
    flat = pdist(scores)
    distances, tree = squareform(flat), linkage(flat, "average")
    found = []
    for count in range(2, MOST_GROUPS + 1):
        found.append(KMeans(count, n_init=4, random_state=seed).fit_predict(scores))
        # Cases that are far from all others take a branch of the tree each, and hide what lies below.
        found += [fcluster(tree, more, "maxclust") for more in (count, count + 2, count + 4)]
    judged = [one for labels in found if (one := _judged(distances, labels)) is not None]
    return max(judged, key=lambda one: one.silhouette, default=None)


def _judged(distances: np.ndarray, labels: np.ndarray) -> _Partition | None:
    """A partition without the groups that are too small, whose cases are apart; None where a tenth is, or fewer than
    two groups are left."""
    from sklearn.metrics import silhouette_score

    least = least_members(len(labels))
    values, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    large = counts >= least
    kept = large[inverse]
    if not 2 <= large.sum() <= MOST_GROUPS or np.count_nonzero(~kept) > 0.1 * len(labels):
        return None
    cleaned = np.where(kept, inverse, -1)
    score = silhouette_score(distances[np.ix_(kept, kept)], cleaned[kept], metric="precomputed")
    return _Partition(cleaned, float(score))


def least_members(count: int) -> int:
    """Of a group among so many cases."""
    return max(LEAST_MEMBERS, round(0.02 * count))


def _stands_out(scores: np.ndarray, silhouette: float, random: np.random.Generator, cancelled: Callable) -> bool:
    """Whether no search in data of one normal distribution finds as good a partition."""
    spread = scores.std(0, ddof=1)
    for number in range(SEARCHES):
        cancelled()
        found = _best_partition(random.normal(size=scores.shape) * spread, number)
        if found is not None and found.silhouette >= silhouette:
            return False
    return True


def _assigned(points: np.ndarray, some: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A label for every case: those that were not searched join the nearest mean."""
    if len(some) == len(points):
        return labels
    names = np.unique(labels[labels >= 0])
    means = np.stack([points[some][labels == name].mean(0) for name in names])
    apart = (points**2).sum(1)[:, None] - 2 * points @ means.T + (means**2).sum(1)
    assigned = names[np.argmin(apart, 1)]
    assigned[some] = labels
    return assigned


def _groups(points: np.ndarray, shares: list[np.ndarray], labels: np.ndarray) -> tuple[Group, ...]:
    found = [_group(points, shares, np.flatnonzero(labels == name)) for name in np.unique(labels[labels >= 0])]
    return tuple(sorted(found, key=lambda one: -len(one.members)))


def _group(points: np.ndarray, shares: list[np.ndarray], members: np.ndarray) -> Group:
    own = points[members]
    squares = (own**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] - 2 * own @ own.T + squares, 0)).sum(1)
    mean = np.mean([shares[n] for n in members], axis=0)
    return Group(tuple(members.tolist()), int(members[int(np.argmin(apart))]), mean)


def _one(points: np.ndarray, shares: list[np.ndarray], best: _Partition | None, words: str) -> Groups:
    silhouette = best.silhouette if best is not None else None
    said = words.format(s="none" if silhouette is None else f"{silhouette:.2f}", least=LEAST_SILHOUETTE)
    return Groups((_group(points, shares, np.arange(len(points))),), (), silhouette, said)

"""Cases of one class grouped by where their heat lies, so that what a model does in a tenth of them stands out.

Each map is the share of its heat in each cell of a common grid. Two maps are as far apart as Hellinger's distance says
(1909): 0 where they are the same, 1 where they share no cell. Two questions are asked of them:

- *Does one set keep to itself*, however the others are spread? Around each case the others are sorted by distance, and
  the largest leap from one to the next bounds a set: a marker burnt into some images is always at the same place, and
  lesions are anywhere.
- *Do they fall into groups?* Ward's and average linkage cut them into two to six groups, and the partition with the
  largest mean silhouette (Rousseeuw 1987) is taken.

Maps without groups have a best partition and a largest leap, too. So the same search is done in data without groups:
99 times in one normal distribution with the same variances (as SigClust has it: Liu et al. 2008), and 99 times in a
uniform one over the same box (as the gap statistic has it: Tibshirani et al. 2001). An answer counts where none of them
finds as good a one: p ≤ 0.01 for each question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import pdist, squareform

LEAST_CASES = 12
"""Below that nothing is grouped."""

LEAST_MEMBERS = 4
"""Of a group; fewer cases are apart by themselves. In large cohorts 5 %."""

MOST_GROUPS = 6

LEAST_SILHOUETTE = 0.25
"""Kaufman & Rousseeuw (1990): below it no substantial structure was found."""

SEARCHES = 99
"""In data without groups."""

MOST_FITTED = 200
"""Cases whose partitions are searched; the others join the group whose mean is nearest."""

COMPONENTS = 3
"""Principal components that both searches see: heat wanders along three axes, and in more the data without groups would
be spread over directions that no map takes."""

BLUR = 3.0
"""Standard deviation, in cells, by which maps are smoothed: a fifth of the box. Heat that wanders by less is almost the
same heat, and points of maps whose heat wanders lie in a flat cloud, which the data without groups are like."""


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
        words: what came of it.
    """

    groups: tuple[Group, ...]
    apart: tuple[int, ...]
    words: str


@dataclass(frozen=True)
class _Found:
    """Labels per case (-1 is apart), and how good they are: a mean silhouette, or a leap."""

    labels: np.ndarray
    score: float


Search = Callable[[np.ndarray], "_Found | None"]


def group_maps(maps: Sequence[np.ndarray], seed: int = 0, cancelled: Callable[[], None] = lambda: None) -> Groups:
    """Group maps (each I×J×K ≥ 0, of one shape, with heat) by where they lie.

    Args:
        cancelled: called now and then; what it raises ends the work.
    """
    count = len(maps)
    if count < LEAST_CASES:
        return Groups((), (), f"Too few to group: {count} with heat, {LEAST_CASES} are needed.")
    points = features(maps)
    random = np.random.default_rng(seed)
    some = np.sort(random.choice(count, min(count, MOST_FITTED), replace=False))
    scores = _components(points[some])
    shares = [_shares(one) for one in maps]
    labels, leap = _sets_apart(scores, random, cancelled)
    if leap is not None:
        words = (
            f"{{count}} groups: around a case of the smaller one the next case outside is {leap:.1f} times as far as "
        )
        words += f"the last one inside, in none of {SEARCHES} searches without groups as much."
        return _several(points, shares, _assigned(points, some, labels), words)
    best = best_partition(scores)
    if (
        best is not None
        and best.score >= LEAST_SILHOUETTE
        and _stands_out(scores, best, best_partition, random, cancelled)
    ):
        words = f"{{count}} groups: mean silhouette {best.score:.2f}, as large in none of {SEARCHES} searches without "
        words += "groups."
        return _several(points, shares, _assigned(points, some, best.labels), words)
    said = "" if best is None else f" (largest mean silhouette {best.score:.2f})"
    words = f"One group: data without groups are partitioned as well{said}."
    return Groups((_group(points, shares, np.arange(count)),), (), words)


def _sets_apart(
    scores: np.ndarray, random: np.random.Generator, cancelled: Callable[[], None]
) -> tuple[np.ndarray, float | None]:
    """Labels of the sets that keep to themselves, one after the other; what is left over is 0. And the first leap, None
    where there is none."""
    labels, first = np.zeros(len(scores), int), None
    for name in range(1, MOST_GROUPS):
        rest = np.flatnonzero(labels == 0)
        found = largest_leap(scores[rest]) if len(rest) >= LEAST_CASES else None
        if found is None or not _stands_out(scores[rest], found, largest_leap, random, cancelled):
            break
        labels[rest[found.labels == 1]] = name
        first = first or found.score
    return labels, first


def features(maps: Sequence[np.ndarray]) -> np.ndarray:
    """A point for each map, whose Euclidean distances are Hellinger's."""
    shares = [_shares(gaussian_filter(np.asarray(one, float), BLUR, mode="constant")) for one in maps]
    return np.sqrt(np.stack([one.reshape(-1) for one in shares])) / np.sqrt(2)


def _shares(one: np.ndarray) -> np.ndarray:
    return np.asarray(one, float) / max(float(np.sum(one, dtype=float)), 1e-300)


def _components(points: np.ndarray) -> np.ndarray:
    """Scores of the first principal components, as many as hold 99 % of the variance."""
    centred = points - points.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    variance = values**2
    if not variance.sum() > 1e-18:
        return np.zeros((len(points), 1))
    kept = int(np.searchsorted(np.cumsum(variance) / variance.sum(), 0.99)) + 1
    kept = min(kept, COMPONENTS, len(points) - 1)
    return left[:, :kept] * values[:kept]


def best_partition(scores: np.ndarray) -> _Found | None:
    """The partition with the largest mean silhouette; None where none has two groups."""
    if np.ptp(scores, axis=0).max() < 1e-9:
        return None
    flat = pdist(scores)
    distances, best = squareform(flat), None
    for labels in _cuts(flat, len(scores)):
        found = _judged(distances, labels)
        if found is not None and (best is None or found.score > best.score):
            best = found
    return best


def _cuts(flat: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Labels, of Ward's linkage and of average linkage. There cases that are far from all others take a branch of the
    tree each, and hide what lies below, so it is cut into more."""
    for kind, most in (("ward", MOST_GROUPS), ("average", min(MOST_GROUPS + 4, count - 1))):
        tree = linkage(flat, kind)
        yield from cut_tree(tree, range(2, most + 1)).T


def _judged(distances: np.ndarray, labels: np.ndarray) -> _Found | None:
    """A partition without the groups that are too small, whose cases are apart; None where a tenth is, or fewer than
    two groups are left."""
    counts = np.bincount(labels)
    kept = (counts >= least_members(len(labels)))[labels]
    groups = np.unique(labels[kept]).size
    if not 2 <= groups <= MOST_GROUPS or np.count_nonzero(~kept) > 0.1 * len(labels):
        return None
    cleaned = np.where(kept, labels, -1)
    return _Found(cleaned, silhouette(distances[np.ix_(kept, kept)], cleaned[kept]))


def silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    """The mean silhouette width of a partition, whose groups have two members at least, of n×n distances: for each case
    (b − a) ÷ max(a, b), with a the mean distance to its group and b that to the nearest other one."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    members = np.eye(len(counts))[inverse]
    sums = distances @ members
    own = np.arange(len(labels)), inverse
    a = sums[own] / (counts[inverse] - 1)
    means = sums / counts
    means[own] = np.inf
    b = means.min(1)
    return float(np.mean((b - a) / np.maximum(np.maximum(a, b), 1e-300)))


def largest_leap(scores: np.ndarray) -> _Found | None:
    """The set of at most half of the cases that is bounded by the largest leap: from the case that is the set's middle
    the first one outside is so many times as far as the last one inside. None where all are at one place."""
    distances = squareform(pdist(scores))
    floor = 0.02 * float(np.median(distances))  # maps that are all but equal: no leap is larger than what is seen
    if not floor > 0:
        return None
    order = np.argsort(distances, axis=1)
    far = np.take_along_axis(distances, order, 1)
    first, last = least_members(len(scores)), len(scores) // 2
    leaps = far[:, first : last + 1] / np.maximum(far[:, first - 1 : last], floor)
    middle, size = np.unravel_index(int(np.argmax(leaps)), leaps.shape)
    labels = np.zeros(len(scores), int)
    labels[order[middle, : first + size]] = 1
    return _Found(labels, float(leaps[middle, size]))


def least_members(count: int) -> int:
    """Of a group among so many cases."""
    return max(LEAST_MEMBERS, round(0.05 * count))


def _stands_out(
    scores: np.ndarray, found: _Found, search: Search, random: np.random.Generator, cancelled: Callable[[], None]
) -> bool:
    """Whether no search in data without groups finds as good an answer."""
    spread, low, high = scores.std(0, ddof=1), scores.min(0), scores.max(0)
    for _ in range(SEARCHES):
        cancelled()
        for other in (random.normal(size=scores.shape) * spread, random.uniform(low, high, scores.shape)):
            best = search(other)
            if best is not None and best.score >= found.score:
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


def _group(points: np.ndarray, shares: list[np.ndarray], members: np.ndarray) -> Group:
    own = points[members]
    squares = (own**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] - 2 * own @ own.T + squares, 0)).sum(1)
    mean = np.mean([shares[n] for n in members], axis=0)
    return Group(tuple(members.tolist()), int(members[int(np.argmin(apart))]), mean)


def _several(points: np.ndarray, shares: list[np.ndarray], labels: np.ndarray, words: str) -> Groups:
    found = [_group(points, shares, np.flatnonzero(labels == name)) for name in np.unique(labels[labels >= 0])]
    apart = tuple(np.flatnonzero(labels < 0).tolist())
    said = words.format(count=len(found)) + (f" {len(apart)} belong to none." if apart else "")
    return Groups(tuple(sorted(found, key=lambda one: -len(one.members))), apart, said)

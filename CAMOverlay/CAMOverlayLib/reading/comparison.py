"""Comparing maps that lie on one grid: their difference, where they agree, and how alike they rank the voxels.

Maps are heat of one volume, I×J×K float, 0 and above; what the network did not see is left out of every figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ..contract.comparison import HOTTEST
from ..contract.errors import ComparisonError
from ..contract.records import JsonRecord

MOST_RANKED = 1 << 20
"""Voxels that a rank correlation is computed of; of more, every n-th one. Its error is then below 0.001."""


@dataclass(frozen=True)
class Pair(JsonRecord):
    """How alike two maps are.

    Attributes:
        first, second: their names.
        correlation: Spearman's rank correlation over the seen voxels, -1 to 1; None where a map is the same
            everywhere.
        overlap: of both maps' hottest voxels, Dice's coefficient, 0 to 1; the ``share`` is what chance gives.
    """

    first: str
    second: str
    correlation: float | None
    overlap: float


@dataclass(frozen=True)
class AgreementFigures(JsonRecord):
    """Where several maps agree, in figures.

    Attributes:
        names: of the maps, n of them.
        share: of the seen voxels that was called the hottest of each map.
        reached: share of the seen voxels that is the hottest of each map indeed: less where fewer have any heat, more
            where voxels tie.
        counts: share of the seen voxels that belong to the hottest of exactly 0, 1, … n maps.
        by_chance: share that would belong to all n, if the maps knew nothing of each other.
        pairs: each two of them.
    """

    names: tuple[str, ...]
    share: float
    reached: tuple[float, ...]
    counts: tuple[float, ...]
    by_chance: float
    pairs: tuple[Pair, ...]

    @property
    def in_all(self) -> float:
        """Share of the seen voxels on which all maps agree that they are hot."""
        return self.counts[-1]


@dataclass(frozen=True)
class Agreement:
    """Where several maps agree.

    Attributes:
        counts: uint8 I×J×K, in how many of the maps a voxel belongs to the hottest; 0 where it was not seen.
    """

    counts: np.ndarray
    figures: AgreementFigures


def difference(first: np.ndarray, second: np.ndarray, factors: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """``first × factors[0] - second × factors[1]`` as float32, I×J×K in Fortran order.

    Raises:
        ComparisonError: the maps have different shapes.
    """
    _require_shapes([first, second])
    found = np.empty(first.shape, np.float32, order="F")
    for k in range(first.shape[2]):  # plane by plane: no temporary of the whole volume
        found[..., k] = first[..., k] * np.float32(factors[0]) - second[..., k] * np.float32(factors[1])
    return found


def hottest(heat: np.ndarray, seen: np.ndarray | None = None, share: float = HOTTEST) -> np.ndarray:
    """Which voxels belong to the hottest share of those that were seen, bool I×J×K.

    These are the ⌈share · N⌉ hottest of the N seen voxels, together with all that are exactly as hot as the last of
    them, and without those of no heat at all: a map that is dark in 95 % of the volume has no hottest tenth.

    Raises:
        ComparisonError: the share is not between 0 and 1.
    """
    if not 0 < share <= 1:
        raise ComparisonError(f"The hottest share is {share:g}. Give one above 0 and up to 1, such as {HOTTEST}.")
    values = heat.T[seen.T] if seen is not None else heat.T.reshape(-1)
    if not values.size:
        return np.zeros(heat.shape, bool, order="F")
    wanted = min(int(np.ceil(share * values.size - 1e-9)), values.size)
    level = np.partition(values, values.size - wanted)[values.size - wanted]
    hot = (heat >= level) & (heat > 0)
    return hot & seen if seen is not None else hot


def agreement(
    maps: Sequence[np.ndarray],
    names: Sequence[str],
    seen: np.ndarray | None = None,
    share: float = HOTTEST,
    report: Callable[[float], None] = lambda done: None,
) -> Agreement:
    """In how many maps each voxel belongs to the hottest share, and how alike each two of them are.

    Args:
        maps: at least two.
        seen: bool I×J×K, what the networks of all maps saw; None is everything.
        report: called with the share of the work that is done; raising from it ends it.

    Raises:
        ComparisonError: fewer than two maps, different shapes, nothing that all saw, or a share out of range.
    """
    if len(maps) < 2:
        raise ComparisonError(f"Agreement is between at least two maps; there is {len(maps)}. Choose more.")
    _require_shapes(maps)
    total = maps[0].size if seen is None else int(np.count_nonzero(seen))
    if total == 0:
        raise ComparisonError("No voxel was seen for all of the maps, so there is nothing to agree on.")
    counts = np.zeros(maps[0].shape, np.uint8, order="F")
    hot: list[np.ndarray] = []
    ranks: list[np.ndarray] = []
    for number, heat in enumerate(maps):
        report(number / (len(maps) + 1))
        mask = hottest(heat, seen, share)
        counts += mask
        # A bit a voxel: what is kept of n maps is an eighth of their count map each.
        hot.append(np.packbits(mask.T.reshape(-1)))
        ranks.append(_ranks(heat, seen, total))
    report(len(maps) / (len(maps) + 1))
    sizes = [_bits(one) for one in hot]
    pairs = tuple(_pairs(names, hot, sizes, ranks))
    inside = counts.T[seen.T] if seen is not None else counts.T.reshape(-1)
    shares = np.bincount(inside, minlength=len(maps) + 1) / total
    reached = tuple(size / total for size in sizes)
    figures = AgreementFigures(
        tuple(names), float(share), reached, tuple(map(float, shares)), float(np.prod(reached)), pairs
    )
    return Agreement(counts, figures)


def _pairs(
    names: Sequence[str], hot: Sequence[np.ndarray], sizes: Sequence[int], ranks: Sequence[np.ndarray]
) -> Iterator[Pair]:
    for one, other in combinations(range(len(names)), 2):
        both = _bits(hot[one] & hot[other])
        size = sizes[one] + sizes[other]
        yield Pair(names[one], names[other], _correlation(ranks[one], ranks[other]), 2 * both / size if size else 0.0)


def rank_correlation(first: np.ndarray, second: np.ndarray, seen: np.ndarray | None = None) -> float | None:
    """Spearman's rank correlation of two maps over the seen voxels; None where one is the same everywhere."""
    total = first.size if seen is None else int(np.count_nonzero(seen))
    return _correlation(_ranks(first, seen, total), _ranks(second, seen, total))


def _ranks(heat: np.ndarray, seen: np.ndarray | None, total: int) -> np.ndarray:
    values = heat.T[seen.T] if seen is not None else heat.T.reshape(-1)
    # A step that shares no factor with the rows, or the sample would be a few columns of the volume.
    step = -(-total // MOST_RANKED)
    while step > 1 and any(np.gcd(step, size) > 1 for size in heat.shape):
        step += 1
    ranks = mean_ranks(values[::step])
    ranks -= ranks.mean()
    length = np.sqrt(np.dot(ranks, ranks))
    return ranks / length if length > 0 else ranks


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Of centred ranks of length 1; those of a map that is the same everywhere are all 0."""
    if not first.any() or not second.any():
        return None
    return float(np.clip(np.dot(first, second), -1, 1))


def _bits(packed: np.ndarray) -> int:
    return int(np.unpackbits(packed).sum(dtype=np.int64))


def _require_shapes(maps: Sequence[np.ndarray]) -> None:
    shapes = {one.shape for one in maps}
    if len(shapes) > 1:
        found = " and ".join(sorted(" × ".join(map(str, shape)) for shape in shapes))
        raise ComparisonError(
            f"The maps have different sizes ({found} voxels), so no voxel of one is a voxel of the other. Explain the "
            "same volume."
        )


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of N values; those that are equal share the mean of theirs. (``scipy.stats`` is slow to import.)"""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()])

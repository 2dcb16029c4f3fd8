"""Where the peak of a heatmap is: one definition for the computation and for the scene."""

from __future__ import annotations

import numpy as np

Voxel = tuple[int, int, int]


def peak_of(array: np.ndarray) -> Voxel | None:
    """Voxel (I, J, K) of the largest value of an array I×J×K; None where that is not above 0.

    Where neighbouring voxels share it, the one of them that is nearest to their centre; of several such plateaus the
    largest one's.
    """
    planes = array.T  # K, J, I, as both sides of the border keep it in memory
    highest = planes.max((1, 2))
    most = highest.max()
    if not most > 0:
        return None
    level = np.flatnonzero(highest == most)
    below = int(level[0])
    runs = _Runs(planes[below : level[-1] + 1] == most)
    i, j, k = _middle(runs.of_largest_part())
    return i, j, k + below


class _Runs:
    """The voxels of a mask (K, J, I) as runs along I, of which a plateau has few however large it is.

    Attributes:
        first: flat index of the first voxel of each run, ascending.
        last: of the last one.
        shape: the mask's.
    """

    def __init__(self, mask: np.ndarray) -> None:
        starts, ends = mask.copy(), mask.copy()
        starts[..., 1:] &= ~mask[..., :-1]
        ends[..., :-1] &= ~mask[..., 1:]
        self.first, self.last, self.shape = np.flatnonzero(starts), np.flatnonzero(ends), mask.shape

    def of_largest_part(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First and last I, J and K of the runs of the largest part that hangs together by faces; of parts that are
        equally large, of the first in memory."""
        part = _parts(len(self.first), self._beside(self.shape[2], 1), self._beside(self.shape[1] * self.shape[2], 0))
        sizes = np.bincount(part, self.last - self.first + 1)
        chosen = part == sizes.argmax()
        k, j, first = np.unravel_index(self.first[chosen], self.shape)
        return first, first + (self.last - self.first)[chosen], j, k

    def _beside(self, stride: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of runs that touch: each run, and one that a step of this stride along an axis reaches from it."""
        here = np.flatnonzero(np.unravel_index(self.first, self.shape)[axis] < self.shape[axis] - 1)
        low = np.searchsorted(self.last, self.first[here] + stride)
        high = np.searchsorted(self.first, self.last[here] + stride, side="right")
        count = high - low
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(here, count), np.repeat(low, count) + offset


def _parts(count: int, *pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """For each of so many things the lowest number among those that it hangs together with."""
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    part = np.arange(count)
    while True:
        lower = part.copy()
        low = np.minimum(part[one], part[other])
        np.minimum.at(lower, part[one], low)
        np.minimum.at(lower, part[other], low)
        while not np.array_equal(lower, jumped := lower[lower]):
            lower = jumped
        if np.array_equal(lower, part):
            return part
        part = lower


def _middle(runs: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]) -> Voxel:
    """The voxel of some runs that is nearest to their centre."""
    first, last, j, k = runs
    size = last - first + 1
    total = size.sum()
    centre_i, centre_j, centre_k = (
        (size * (first + last) / 2).sum() / total,
        (size * j).sum() / total,
        (size * k).sum() / total,
    )
    i = np.clip(np.ceil(centre_i - 0.5), first, last)
    nearest = (np.square(i - centre_i) + np.square(j - centre_j) + np.square(k - centre_k)).argmin()
    return int(i[nearest]), int(j[nearest]), int(k[nearest])

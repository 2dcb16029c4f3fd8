"""Where the peak of a heatmap is: one definition for the computation and for the scene."""

from __future__ import annotations

import numpy as np

from .on_cores import on_cores, runs

Voxel = tuple[int, int, int]


def peak_of(array: np.ndarray, highest: np.ndarray | None = None) -> Voxel | None:
    """Voxel (I, J, K) of the largest value of an array I×J×K; None where that is not above 0.

    Where neighbouring voxels share it, the one of them that is nearest to their centre; of several such plateaus the
    largest one's.

    Args:
        highest: what :func:`highest_of` says of it, where that is known.
    """
    planes = array.T  # K, J, I, as both sides of the border keep it in memory
    highest = highest_of(array) if highest is None else highest
    most = highest.max()
    if not most > 0:
        return None
    level = np.flatnonzero(highest == most)
    below = int(level[0])
    runs = Runs.of(planes[below : level[-1] + 1] == most)
    i, j, k = runs.middle(runs.of_largest_part())
    return i, j, k + below


def highest_of(array: np.ndarray) -> np.ndarray:
    """The largest value of every slice along K of an array I×J×K."""
    planes = array.T
    return np.concatenate(on_cores(lambda part: planes[part.start : part.stop].max((1, 2)), runs(range(len(planes)))))


class Runs:
    """The voxels of a mask (K, J, I) as runs along I, of which a region has few however large it is.

    Args:
        first: flat index of the first voxel of each run, ascending.
        last: of the last one.
        shape: the mask's.
    """

    def __init__(self, first: np.ndarray, last: np.ndarray, shape: tuple[int, ...]) -> None:
        self.first, self.last, self.shape = first, last, shape

    @classmethod
    def of(cls, mask: np.ndarray) -> Runs:
        """The runs of a mask (K, J, I), found plane by plane: a plane stays in the processor's cache."""
        firsts, lasts = [], []
        for number, plane in enumerate(mask):
            starts, ends = plane.copy(), plane.copy()
            starts[:, 1:] &= ~plane[:, :-1]
            ends[:, :-1] &= ~plane[:, 1:]
            firsts.append(np.flatnonzero(starts) + number * plane.size)
            lasts.append(np.flatnonzero(ends) + number * plane.size)
        return cls(np.concatenate(firsts), np.concatenate(lasts), mask.shape)

    @classmethod
    def at(cls, voxels: np.ndarray, shape: tuple[int, ...]) -> Runs:
        """The runs of a few voxels, by their flat indices, ascending."""
        begins = np.diff(voxels, prepend=-2) > 1
        begins |= voxels % shape[2] == 0  # a run ends with its row
        return cls(voxels[begins], voxels[np.append(np.flatnonzero(begins)[1:] - 1, len(voxels) - 1)], shape)

    @property
    def lengths(self) -> np.ndarray:
        return self.last - self.first + 1

    def voxels(self) -> np.ndarray:
        """Flat indices of all their voxels, ascending."""
        lengths = self.lengths
        behind = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return np.repeat(self.first, lengths) + behind

    def touching(self) -> tuple[np.ndarray, np.ndarray]:
        """Every pair of runs that touch by faces, as two arrays of their numbers."""
        one, other = zip(self._beside(self.shape[2], 1), self._beside(self.shape[1] * self.shape[2], 0), strict=True)
        return np.concatenate(one), np.concatenate(other)

    def middle(self, chosen: np.ndarray) -> Voxel:
        """The voxel (I, J, K) of some of the runs that is nearest to their centre; ``chosen`` is one bool a run."""
        k, j, first = np.unravel_index(self.first[chosen], self.shape)
        return _middle((first, first + (self.last - self.first)[chosen], j, k))

    def parts(self) -> np.ndarray:
        """Number of the part, from 0, that each run belongs to; parts hang together by faces."""
        return np.unique(_parts(len(self.first), *self.touching()), return_inverse=True)[1]

    def of_largest_part(self) -> np.ndarray:
        """Which runs belong to the largest part that hangs together by faces, one bool a run; of parts that are
        equally large, the first in memory."""
        part = self.parts()
        return part == np.bincount(part, self.lengths).argmax()

    def _beside(self, stride: int, axis: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of runs that touch: each run, and one that a step of this stride along an axis reaches from it."""
        here = np.flatnonzero(np.unravel_index(self.first, self.shape)[axis] < self.shape[axis] - 1)
        low = np.searchsorted(self.last, self.first[here] + stride)
        high = np.searchsorted(self.first, self.last[here] + stride, side="right")
        count = high - low
        offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(here, count), np.repeat(low, count) + offset


def _parts(count: int, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """For each of so many things the lowest number among those that it hangs together with, by pairs of them."""
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

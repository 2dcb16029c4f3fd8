"""The part of the original volume that the network saw.

A voxel was seen if its centre lies within the voxel grid of every step of the preprocessing: what one step cropped
away stays unseen, even where a later step padded the image back to its old size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .trail import Grid

# Half a voxel on either side belongs to the grid; a thousandth more absorbs rounding where grids share a border.
MARGIN = 0.5 + 1e-3


@dataclass(frozen=True)
class HalfSpaces:
    """``low ≤ normal · (i, j, k) ≤ high`` in voxel indices of the volume: one axis of one step's grid."""

    normal: np.ndarray
    low: float
    high: float

    @property
    def axis(self) -> int | None:
        """The volume's axis that this pair of planes is perpendicular to, or None where it is oblique."""
        significant = np.flatnonzero(np.abs(self.normal) > 1e-6 * np.abs(self.normal).max())
        return int(significant[0]) if len(significant) == 1 else None


class FieldOfView:
    """Which voxels of a grid lie within a sequence of other grids.

    Args:
        volume: the grid in whose voxels the answer is given.
        grids: the grids that a voxel has to lie within, each in the same patient space.
    """

    def __init__(self, volume: Grid, grids: Sequence[Grid]) -> None:
        self.shape = volume.shape
        limits = [limit for grid in grids for limit in _limits(volume, grid)]
        self._axes = [np.ones(n, dtype=bool) for n in volume.shape]
        self._oblique: list[HalfSpaces] = []
        for limit in limits:
            if limit.axis is None:
                self._oblique.append(limit)
            else:
                positions = limit.normal[limit.axis] * np.arange(volume.shape[limit.axis])
                self._axes[limit.axis] &= (positions >= limit.low) & (positions <= limit.high)

    def mask(self) -> np.ndarray:
        """bool, I×J×K in Fortran order: True where the network saw the voxel."""
        mask = np.empty(self.shape, dtype=bool, order="F")
        for k in range(self.shape[2]):
            mask[..., k] = self._slab(k)
        return mask

    def clear_outside(self, array: np.ndarray) -> float:
        """Set everything outside to 0, in place, slab by slab; returns the share of voxels inside."""
        inside = 0
        for k in range(self.shape[2]):
            slab = self._slab(k)
            array[..., k][~slab] = 0
            inside += int(np.count_nonzero(slab))
        return inside / max(1, array.size)

    def _slab(self, k: int) -> np.ndarray:
        if not self._axes[2][k]:
            return np.zeros(self.shape[:2], dtype=bool)
        slab = self._axes[0][:, None] & self._axes[1][None, :]
        for limit in self._oblique:
            i, j = (limit.normal[a] * np.arange(self.shape[a]) for a in (0, 1))
            position = i[:, None] + (j[None, :] + limit.normal[2] * k)
            slab &= (position >= limit.low) & (position <= limit.high)
        return slab


def _limits(volume: Grid, grid: Grid) -> list[HalfSpaces]:
    """The six planes of a grid in voxel indices of the volume, without those that the whole volume lies within."""
    to_grid = np.linalg.inv(grid.affine) @ volume.affine
    limits = []
    for axis, count in enumerate(grid.shape):
        normal, offset = to_grid[axis, :3], to_grid[axis, 3]
        low, high = -MARGIN - offset, count - 1 + MARGIN - offset
        # Extremes of a linear function over the volume's box are at its corners.
        ends = normal * (np.array(volume.shape) - 1)
        if np.minimum(ends, 0).sum() < low or np.maximum(ends, 0).sum() > high:
            limits.append(HalfSpaces(normal, low, high))
    return limits

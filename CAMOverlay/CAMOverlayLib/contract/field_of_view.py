"""The part of the original volume that the network saw.

A voxel was seen if its centre lies within the voxel grid of every step of the preprocessing: what one step cropped
away stays unseen, even where a later step padded the image back to its old size. That makes the region an intersection
of slabs between parallel planes, which is how it crosses the border; both sides turn it into voxels here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

# Half a voxel on either side belongs to a grid; a thousandth more absorbs rounding where grids share a border.
MARGIN = 0.5 + 1e-3


@dataclass(frozen=True)
class Slab:
    """``low ≤ normal · (i, j, k) ≤ high`` in voxel indices of the volume: one axis of one step's grid."""

    normal: np.ndarray
    low: float
    high: float

    @property
    def axis(self) -> int | None:
        """The volume's axis that its planes are perpendicular to, or None where they are oblique."""
        significant = np.flatnonzero(np.abs(self.normal) > 1e-6 * np.abs(self.normal).max())
        return int(significant[0]) if len(significant) == 1 else None


class Region:
    """The voxels of a volume that lie within a number of slabs.

    Args:
        shape: of the volume.
        slabs: none at all means the whole volume.
    """

    def __init__(self, shape: Sequence[int], slabs: Iterable[Slab]) -> None:
        self.shape = tuple(int(n) for n in shape)
        self.slabs = tuple(slabs)
        # Planes perpendicular to an axis are a mask along it; only the oblique ones need every voxel.
        self.axes = [np.ones(n, dtype=bool) for n in self.shape]
        self.oblique: list[Slab] = []
        for slab in self.slabs:
            if slab.axis is None:
                self.oblique.append(slab)
            else:
                positions = slab.normal[slab.axis] * np.arange(self.shape[slab.axis])
                self.axes[slab.axis] &= (positions >= slab.low) & (positions <= slab.high)

    @classmethod
    def from_planes(cls, shape: Sequence[int], planes: Iterable[Sequence[float]]) -> Region:
        """From (a, b, c, low, high) as in :class:`CAMOverlayLib.contract.request.FieldOfView`."""
        return cls(shape, (Slab(np.array(p[:3], dtype=float), p[3], p[4]) for p in planes))

    @property
    def planes(self) -> tuple[tuple[float, ...], ...]:
        return tuple((*(float(n) for n in s.normal), float(s.low), float(s.high)) for s in self.slabs)

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """The smallest box of voxels that holds the region, as far as axis-aligned planes tell."""
        found = [np.flatnonzero(axis) for axis in self.axes]
        i, j, k = (slice(int(f[0]), int(f[-1]) + 1) if len(f) else slice(0, 0) for f in found)
        return i, j, k

    def slice(self, k: int) -> np.ndarray:
        """bool, I×J: which voxels of slice k belong to the region."""
        if not self.axes[2][k]:
            return np.zeros(self.shape[:2], dtype=bool)
        inside = self.axes[0][:, None] & self.axes[1][None, :]
        for slab in self.oblique:
            i, j = (slab.normal[a] * np.arange(self.shape[a]) for a in (0, 1))
            position = i[:, None] + (j[None, :] + slab.normal[2] * k)
            inside &= (position >= slab.low) & (position <= slab.high)
        return inside

    def mask(self) -> np.ndarray:
        """bool, I×J×K in Fortran order."""
        mask = np.zeros(self.shape, dtype=bool, order="F")
        for k in range(self.shape[2]):
            mask[..., k] = self.slice(k)
        return mask

    def clear_outside(self, array: np.ndarray) -> None:
        """Set everything outside to 0, in place, slice by slice."""
        for k in range(self.shape[2]):
            array[..., k][~self.slice(k)] = 0

    def count(self) -> int:
        """Number of voxels."""
        if not self.oblique:
            return int(np.prod([np.count_nonzero(axis) for axis in self.axes]))
        return sum(int(np.count_nonzero(self.slice(k))) for k in range(self.shape[2]))

    @property
    def share(self) -> float:
        """Of the volume's voxels."""
        return self.count() / max(1, int(np.prod(self.shape)))


@dataclass(frozen=True)
class Unbounded:
    """Voxels of a volume that no planes bound, such as what a warp left: how many they are is all that is known."""

    shape: tuple[int, ...]
    voxels: int
    planes: None = None

    def count(self) -> int:
        return self.voxels

    @property
    def share(self) -> float:
        """Of the volume's voxels."""
        return self.voxels / max(1, int(np.prod(self.shape)))


def slabs_of(shape: Sequence[int], mapping: np.ndarray, grid_shape: Sequence[int]) -> list[Slab]:
    """The six planes of a grid in voxel indices of a volume, without those that the whole volume lies within.

    Args:
        shape: of the volume.
        mapping: 4×4 from voxel index of the volume to voxel index of the grid.
        grid_shape: of the grid.
    """
    slabs = []
    for axis, count in enumerate(grid_shape):
        normal, offset = mapping[axis, :3], mapping[axis, 3]
        low, high = -MARGIN - offset, count - 1 + MARGIN - offset
        # Extremes of a linear function over the volume's box are at its corners.
        ends = normal * (np.array(shape) - 1)
        if np.minimum(ends, 0).sum() < low or np.maximum(ends, 0).sum() > high:
            slabs.append(Slab(np.array(normal), float(low), float(high)))
    return slabs


def seen_mask(shape: Sequence[int], planes: Sequence[Sequence[float]] | None) -> np.ndarray | None:
    """What the network saw of a volume: bool, I×J×K; None where it saw all, or no planes can say what."""
    return Region.from_planes(shape, planes).mask() if planes else None

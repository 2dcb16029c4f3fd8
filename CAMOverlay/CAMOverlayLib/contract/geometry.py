"""A voxel grid in the patient: the one type of geometry, from the file to the overlay.

Voxel indices are (I, J, K), points are RAS in mm, an affine is 4×4 float64 from the one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .records import Affine


@dataclass(frozen=True)
class Grid:
    """Spatial shape (I, J, K) and affine from voxel index to RAS mm (4×4 float64).

    Where is voxel 1, 2, 3 of a left-handed grid, and which voxel is there in another one?

    >>> las = Grid((4, 5, 6), np.diag([-2.0, 1.0, 1.0, 1.0]))
    >>> las.to_ras((1, 2, 3))
    (-2.0, 2.0, 3.0)
    >>> ras = Grid((4, 5, 6), np.eye(4))
    >>> (ras.index_from(las) @ [1, 2, 3, 1]).tolist()
    [-2.0, 2.0, 3.0, 1.0]
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Mm between voxels along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def directions(self) -> np.ndarray:
        """3×3, its columns the axes as unit vectors in RAS."""
        return self.affine[:3, :3] / self.spacing

    @property
    def is_orthogonal(self) -> bool:
        """The axes are perpendicular to each other: nothing is sheared."""
        return bool(np.allclose(self.directions.T @ self.directions, np.eye(3), atol=1e-5))

    @property
    def is_usable(self) -> bool:
        """Every voxel has a place of its own: the affine is finite and spans a volume, whatever the size of voxels.

        The determinant of the unit vectors is 1 for perpendicular axes, 0 where two of them fall together.
        """
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            return False
        lengths = self.spacing
        return bool(lengths.min() > 0 and abs(np.linalg.det(self.affine[:3, :3] / lengths)) > 1e-6)

    def index_from(self, other: Grid) -> np.ndarray:
        """4×4 from voxel index of ``other`` to voxel index of this grid."""
        return np.linalg.inv(self.affine) @ other.affine

    def blocks(self, factors: Any) -> Grid:
        """The grid whose voxels are blocks of so many of these along each axis; the first begins where the first of
        these does, and the last may reach beyond their end."""
        factors = np.asarray(factors, int)
        affine = self.affine @ np.diag([*factors, 1.0])
        affine[:3, 3] += self.affine[:3, :3] @ ((factors - 1) / 2)
        return Grid(tuple(int(n) for n in -(-np.array(self.shape) // factors)), affine)

    def to_ras(self, index: Any) -> tuple[float, float, float]:
        """RAS mm of a voxel index (I, J, K)."""
        x, y, z = self.affine[:3, :3] @ np.asarray(index, dtype=float) + self.affine[:3, 3]
        return float(x), float(y), float(z)

    def apart(self, other: Grid) -> float:
        """Mm between the corners of this grid, and the places of the same voxels in another; the most of all."""
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [*self.shape, 1]
        return float(np.linalg.norm((self.affine - other.affine)[:3] @ corners.T, axis=0).max())

    def is_near(self, other: Grid, share: float) -> bool:
        """Same shape, and no corner further from its place in the other than this share of the other's voxels."""
        return tuple(self.shape) == tuple(other.shape) and self.apart(other) <= share * other.spacing.min()


def affine_rows(affine: Any) -> Affine:
    """An affine as records hold it: rows of plain numbers."""
    rows = np.asarray(affine, dtype=float)
    return tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in rows)


def as_3d(values: tuple, filler: float = 1) -> tuple:
    """What stands for a picture's two axes, with a third one; three are left as they are."""
    return (*values, filler) if len(values) == 2 else tuple(values)

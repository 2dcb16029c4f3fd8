"""A voxel grid in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """Spatial shape (I, J, K) and affine from voxel index to RAS mm (4×4 float64)."""

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> np.ndarray:
        """Mm between voxels along each axis."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def index_from(self, other: Grid) -> np.ndarray:
        """4×4 from voxel index of ``other`` to voxel index of this grid."""
        return np.linalg.inv(self.affine) @ other.affine


def as_3d(values: tuple, filler: float = 1) -> tuple:
    """What stands for a picture's two axes, with a third one; three are left as they are."""
    return (*values, filler) if len(values) == 2 else tuple(values)

"""A case's heatmap made comparable with those of others: on a cube over what the network saw, or on the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from ...contract.errors import VolumeError
from ...contract.field_of_view import Region
from ...contract.geometry import Grid

SIDE = 16
"""Cells of the common cube along each axis."""

MEAN_SIDE = 72
"""Voxels of the template's longest axis in the mean maps: 2.5 mm of a head."""

MOST_VOXELS = 1 << 30


def read_volume(path: Path, what: str = "heatmap") -> tuple[np.ndarray, Grid]:
    """An image file as nibabel reads it, I×J×K, with its grid.

    Raises:
        VolumeError: it is damaged, not three-dimensional, or has no usable geometry.
    """
    import nibabel

    try:
        image = nibabel.load(path)
        shape = image.shape
        if int(np.prod(shape)) > MOST_VOXELS:
            raise ValueError(f"{shape} voxels are too many")
        array = np.asanyarray(image.dataobj)
        affine = np.array(image.affine, dtype=float)
    except Exception as error:  # of many kinds, as damaged files are  # noqa: BLE001
        raise VolumeError(f"The {what} '{path}' cannot be read: {str(error)[:200] or type(error).__name__}.") from None
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    array = array.reshape(array.shape + (1,) * (3 - array.ndim)) if array.ndim < 3 else array
    grid = Grid(array.shape, affine)
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "buif" or not grid.is_usable:
        raise VolumeError(f"The {what} '{path}' is no volume: {shape} voxels of {array.dtype}. Give a 3-D NIfTI file.")
    return array, grid


def as_heat(array: np.ndarray) -> np.ndarray:
    """Float32, ≥ 0; what is no number is 0."""
    return np.maximum(np.nan_to_num(np.asarray(array, np.float32), nan=0.0, posinf=0.0, neginf=0.0), 0.0)


# The cube over what the network saw -----------------------------------------------------------------------------------


def in_cube(heat: np.ndarray, grid: Grid, planes: Sequence[Sequence[float]], side: int = SIDE) -> np.ndarray:
    """How much heat lies in each cell of a cube over the box that the network saw, its axes towards R, A, S.

    Nothing is interpolated: a voxel's heat goes to the cells that it covers, by how much it covers of each, so that the
    cells add up to all heat in the box, and a slab of three slices is spread as evenly as one of three hundred.

    Args:
        heat: I×J×K, ≥ 0.
        planes: of the field of view; none is the whole volume.

    Returns:
        float64 side×side×side.
    """
    box = Region.from_planes(heat.shape, planes).box if planes else (slice(None),) * 3
    inside = heat[box]
    if not inside.size:
        inside = heat
    axes, flips = _to_ras(grid)
    turned = np.flip(inside.transpose(axes), tuple(axis for axis in range(3) if flips[axis]))
    return rebinned(turned, (side, side, side))


def _to_ras(grid: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Which axis of the grid runs along R, A and S, and whether it runs the other way: the assignment with the largest
    sum of cosines."""
    from scipy.optimize import linear_sum_assignment

    cosines = grid.directions
    _, columns = linear_sum_assignment(-np.abs(cosines))
    flips = [bool(cosines[ras, axis] < 0) for ras, axis in enumerate(columns)]
    i, j, k = (int(axis) for axis in columns)
    return (i, j, k), (flips[0], flips[1], flips[2])


def rebinned(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """An array as sums over the cells of another shape that spans the same box; the total stays."""
    for axis, count in enumerate(shape):
        array = np.moveaxis(np.tensordot(_overlaps(array.shape[axis], count), array, axes=(1, axis)), 0, axis)
    return array


def _overlaps(voxels: int, cells: int) -> np.ndarray:
    """cells×voxels: the part of each voxel that lies in each cell."""
    edges = np.linspace(0, voxels, cells + 1)
    start = np.arange(voxels)
    return np.clip(np.minimum(edges[1:, None], start + 1) - np.maximum(edges[:-1, None], start), 0, 1)


# The template -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Template:
    """What the maps are brought to.

    Attributes:
        image: I×J×K, grey values at the mean maps' resolution.
        grid: of the image.
    """

    image: np.ndarray
    grid: Grid

    @classmethod
    def read(cls, path: str | Path, side: int = MEAN_SIDE) -> Template:
        """From an image file, averaged until its longest axis has at most ``side`` voxels.

        Raises:
            VolumeError: it cannot be read.
        """
        array, grid = read_volume(Path(path), "template")
        longest = max(n * mm for n, mm in zip(array.shape, grid.spacing))
        return cls(*averaged(np.nan_to_num(np.asarray(array, np.float32)), grid, longest / side))

    def place(self, heat: np.ndarray, grid: Grid, to_template: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A case's heat on the template's grid, linear between voxels that were averaged to its resolution, and where
        the volume has voxels at all.

        Args:
            to_template: 4×4 from the volume's RAS mm to the template's.

        Returns:
            float32 heat, 0 outside of the volume, and bool, both of the template's shape.
        """
        scale = np.cbrt(abs(np.linalg.det(to_template[:3, :3])))
        coarse, coarse_grid = averaged(heat, grid, float(self.grid.spacing.min() / scale))
        mapping = np.linalg.inv(to_template @ coarse_grid.affine) @ self.grid.affine
        placed = ndimage.affine_transform(
            np.pad(coarse, 1, mode="edge"), mapping[:3, :3], mapping[:3, 3] + 1, self.grid.shape, order=1, cval=0.0
        )
        covered = np.ones(self.grid.shape, bool)
        indices = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in self.grid.shape), indexing="ij", sparse=True)
        for row, count in zip(mapping, coarse.shape):
            at = row[0] * indices[0] + row[1] * indices[1] + row[2] * indices[2] + row[3]
            covered &= (at >= -0.5) & (at <= count - 0.5)
        return np.where(covered, placed, 0).astype(np.float32), covered


def averaged(array: np.ndarray, grid: Grid, mm: float) -> tuple[np.ndarray, Grid]:
    """An array averaged over whole voxels until none is smaller than this, with its grid; what is left over at the end
    of an axis makes a cell of its own from fewer voxels, whose centre is taken to be where that of a full one would."""
    factors = np.clip(np.floor(mm / grid.spacing + 1e-6), 1, array.shape).astype(int)
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, array.shape[axis], factor)
            counts = np.diff(np.append(starts, array.shape[axis]))
            sums = np.add.reduceat(array, starts, axis=axis, dtype=np.float32)
            array = sums / counts.reshape([-1 if n == axis else 1 for n in range(3)]).astype(np.float32)
    return array, grid.blocks(factors)

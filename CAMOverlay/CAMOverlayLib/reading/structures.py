"""Structures: segments and labels, as masks on the volume's own grid, each kept within the box that holds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are used

from ..contract.errors import NotSeenError, TargetError
from ..contract.geometry import Grid
from ..contract.peaks import Voxel

MOST = 300
"""Labels of one map; more are an image that somebody took for one."""


@dataclass(frozen=True)
class Structure:
    """A mask on a volume's grid.

    Attributes:
        name: of the segment or label.
        box: slices along I, J, K of the box that holds it.
        inside: bool, within the box.
    """

    name: str
    box: tuple[slice, ...]
    inside: np.ndarray

    @classmethod
    def of(cls, name: str, mask: np.ndarray) -> Structure:
        """From a mask of the whole volume, I×J×K; all but 0 counts.

        Raises:
            TargetError: it is empty.
        """
        mask = mask if mask.dtype == bool else mask != 0
        box = box_of(mask)
        if box is None:
            raise TargetError(f"Structure '{name}' is empty: every voxel is 0. Draw a region first.")
        return cls(name, box, mask[box])

    def __getitem__(self, voxel: Voxel) -> bool:
        """Whether it holds a voxel (I, J, K) of the volume, as of the mask of the whole."""
        return bool(self.at(np.array(voxel)))

    def at(self, voxels: np.ndarray) -> np.ndarray:
        """Bool, which of some voxels (…×3, I, J, K) it holds; of places outside the volume none."""
        index = voxels - np.array([one.start for one in self.box])
        here = ((index >= 0) & (index < self.inside.shape)).all(-1)
        found = np.zeros(here.shape, bool)
        found[here] = self.inside[tuple(index[here].T)]
        return found


def structures_in(labels: np.ndarray, name: str, names: Sequence[str] = ()) -> tuple[Structure, ...]:
    """Every label of a map (I×J×K, whole numbers, 0 is none) as a structure, by ascending value.

    Args:
        name: of the map: a map of one value is called so, and the labels of others ``name 1``, ``name 2`` …
        names: of the values, ascending, as many as there are; none at all names them as above.

    Raises:
        TargetError: it holds no labels, too many, or what is no label; or the names are not as many.
    """
    whole = box_of(labels != 0)
    if whole is None:
        raise TargetError(f"Structure '{name}' is empty: every voxel is 0. Draw a region first.")
    numbers, values = _numbered(labels[whole], name)
    boxes = scipy.ndimage.find_objects(numbers)
    found = [(value, number, box) for number, (value, box) in enumerate(zip(values, boxes), 1) if box is not None]
    if len(found) > MOST:
        raise TargetError(
            f"'{name}' holds {len(found)} different values, and a label map has at most {MOST}. Is it an image? Give a "
            "segmentation."
        )
    if names and len(names) != len(found):
        raise TargetError(
            f"'{name}' holds {len(found)} labels ({_listed([value for value, *_ in found])}), and {len(names)} names "
            "were given. Give one for each, or none."
        )
    called = names or ([name] if len(found) == 1 else [f"{name} {value}" for value, *_ in found])
    return tuple(
        Structure(one, _within(whole, box), numbers[box] == number)
        for one, (_, number, box) in zip(called, found, strict=True)
    )


def _within(outer: tuple[slice, ...], inner: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box within a box, in voxels of the volume."""
    return tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(outer, inner))


def _numbered(labels: np.ndarray, name: str) -> tuple[np.ndarray, Sequence[int]]:
    """The map as int32 with numbers from 1, and the value that each number stands for."""
    if labels.dtype == bool:
        return labels.astype(np.int32), [1]
    lowest, highest = labels.min(), labels.max()
    whole = labels.dtype.kind in "iu" or bool(
        np.isfinite([lowest, highest]).all() and (labels == np.rint(labels)).all()
    )
    if not whole or lowest < 0:
        odd = lowest if whole else labels[(labels != np.rint(labels)) | ~np.isfinite(labels)][0]
        raise TargetError(
            f"'{name}' holds {odd:g}, which is no label. Give a mask or a label map: whole numbers, 0 where nothing is."
        )
    if highest < 2**20:
        return labels.astype(np.int32), range(1, int(highest) + 1)
    values, numbers = np.unique(labels, return_inverse=True)
    first = int(values[0] == 0)  # 0 stays 0
    return numbers.reshape(labels.shape).astype(np.int32) + (1 - first), [int(value) for value in values[first:]]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:8])) + (" …" if len(values) > 8 else "")


def mask_on(grid: Grid, array: np.ndarray, affine: np.ndarray, name: str = "mask") -> np.ndarray:
    """A mask or label map (I×J×K) on another grid: every voxel takes the value of the one that its centre lies in.

    Args:
        grid: of the volume.
        affine: 4×4, from voxel index of the array to RAS mm.

    Returns:
        array of the grid's shape, 0 outside of what was given; the very array where it is on that grid.

    Raises:
        TargetError: the affine is none.
        NotSeenError: nothing of it lies in the volume.
    """
    source = Grid(array.shape, np.asarray(affine, dtype=float))
    if not source.is_usable:
        raise TargetError(
            f"The affine of '{name}' puts voxels at no place of their own. Save it again with a geometry."
        )
    if source.is_near(grid, share=0.01):
        return array
    found = np.zeros(grid.shape, array.dtype, order="F")
    to_source = source.index_from(grid)
    box = _reached(array, source, grid)
    i, j, k = (np.arange(one.start, one.stop) for one in box)
    for number in k:  # a slab at a time: indices take many times the memory of the mask
        places = [
            np.rint(row[0] * i[:, None] + (row[1] * j[None] + (row[2] * number + row[3]))).astype(np.int64)
            for row in to_source[:3]
        ]
        inside = np.logical_and.reduce([(one >= 0) & (one < n) for one, n in zip(places, array.shape)])
        found[box[0], box[1], number][inside] = array[tuple(one[inside] for one in places)]
    if not found.any():
        raise NotSeenError(
            f"Nothing of '{name}' lies in the volume. Check that both are of one patient and registered."
        )
    return found


def _reached(array: np.ndarray, source: Grid, grid: Grid) -> list[slice]:
    """The box of a grid that what is set in an array can reach."""
    held = box_of(array != 0)
    if held is None:
        return [slice(0, 0)] * 3
    ends = [(one.start - 0.5, one.stop - 0.5) for one in held]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    mapping = grid.index_from(source)
    there = corners @ mapping[:3, :3].T + mapping[:3, 3]
    low = np.clip(np.floor(there.min(0)), 0, grid.shape).astype(int)
    high = np.clip(np.ceil(there.max(0)) + 1, 0, grid.shape).astype(int)
    return [slice(a, max(a, b)) for a, b in zip(low, high)]


def box_of(mask: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest box (a slice per axis) that holds a 3-D mask; None of an empty one."""
    planes = mask.T if mask.flags.f_contiguous else mask  # the outermost axis in memory first
    ends = np.flatnonzero(planes.any((1, 2)))
    if not len(ends):
        return None
    rest = np.any(planes[ends[0] : ends[-1] + 1], axis=0)
    found = [ends, np.flatnonzero(np.any(rest, axis=1)), np.flatnonzero(np.any(rest, axis=0))]
    box = tuple(slice(int(one[0]), int(one[-1]) + 1) for one in found)
    return box[::-1] if mask.flags.f_contiguous else box

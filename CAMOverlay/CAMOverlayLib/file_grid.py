"""The grid of an image file beside that of the node that Slicer's reader makes of it.

Slicer turns an axis of a left-handed grid (LAS, RPS, RAI …) over to make it right-handed, so voxel (I, J, K) of the
node is another voxel of the file. And of a NIfTI file whose sform and qform differ its reader takes the qform, where
MONAI and nibabel take the sform. What a user says and gets in voxels is meant in the file's own grid, as nibabel reads
it, or as the header of an NRRD or MetaImage file says: :func:`takeGeometry` puts a node where the file says, and
:class:`FileGrid` turns voxels from one grid to the other.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from .contract.records import Affine
from .contract.request import Result
from .scene.io.dicom import seriesNote
from .scene.io.headers import headerAffine
from .scene.io.volumes import affineFromNode, setNodeAffine

NEAR = 0.01
"""Share of a voxel by which two readers may place a corner apart: one keeps 32 bits of what the other has in 64."""


@dataclass(frozen=True)
class FileGrid:
    """A file's grid, and which axes of it the node has the other way round.

    Attributes:
        shape: voxels along I, J and K, in the file as in the node.
        affine: 4×4, voxel of the file → RAS mm.
        turned: axes (0, 1, 2) along which the node counts from the other end.
        notes: what the user should know of how the geometry was found.
    """

    shape: tuple[int, int, int]
    affine: Affine
    turned: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def array(self, array: np.ndarray) -> np.ndarray:
        """An array (I×J×K, or with components behind) of the node in the file's grid, or of the file in the node's."""
        return np.flip(array, self.turned) if self.turned else array

    def voxel(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """A voxel of the node in the file's grid, or of the file in the node's."""
        i, j, k = (n - 1 - v if axis in self.turned else v for axis, (v, n) in enumerate(zip(voxel, self.shape)))
        return i, j, k

    def result(self, result: Result) -> Result:
        """A result in voxels of the file as one in voxels of the node; its heatmap's file and affine stay as they
        are."""
        if not self.turned:
            return result
        seen = result.field_of_view
        if seen.planes:
            seen = replace(seen, planes=tuple(self._plane(plane) for plane in seen.planes))
        peak = self.voxel(result.peak) if result.peak is not None else None
        return replace(result, peak=peak, field_of_view=seen)

    def _plane(self, plane: tuple[float, ...]) -> tuple[float, ...]:
        """``low ≤ a·i + b·j + c·k ≤ high`` with some of i, j, k counted from the other end."""
        moved = sum(plane[axis] * (self.shape[axis] - 1) for axis in self.turned)
        factors = (-factor if axis in self.turned else factor for axis, factor in enumerate(plane[:3]))
        return (*factors, plane[3] - moved, plane[4] - moved)


def fileGrid(path: Path, node: slicer.vtkMRMLVolumeNode) -> FileGrid:
    """The grid of the file that a node was just loaded from; the node's own where the file says no other."""
    size = node.GetImageData().GetDimensions()
    here = affineFromNode(node)
    note = seriesNote(path) if size[2] == 1 else ""
    asItIs = FileGrid(size, tuple(map(tuple, here.tolist())), notes=(note,) if note else ())
    if (affine := headerAffine(path)) is not None:
        turned = _turned(here, size, [affine])
        return FileGrid(size, tuple(map(tuple, affine.tolist())), turned[0]) if turned else asItIs
    image = _image(path)
    if image is None or tuple(image.shape[:3]) + (1,) * (3 - len(image.shape[:3])) != tuple(size):
        return asItIs
    found = _turned(here, size, _affines(image))
    if len(found) > 1:  # two geometries that are each other's mirror image: the voxels know
        found = [axes for axes in found if _sameVoxels(image, node, axes)] or found
    if not found:
        return asItIs
    affine = np.array(image.affine, dtype=float)
    from .engine.geometry.volume import forms_note  # which needs nibabel, as the image above does

    return FileGrid(size, tuple(map(tuple, affine.tolist())), found[0], forms_note(image, path.name.split(".")[0]))


def takeGeometry(path: Path, node: slicer.vtkMRMLVolumeNode) -> None:
    """Put a node that was just loaded where nibabel, and so MONAI, puts the file; its voxels stay in their order."""
    grid = fileGrid(path, node)
    wanted = np.array(grid.affine) @ _flip(grid.turned, grid.shape)
    if not _near(affineFromNode(node), wanted, grid.shape):
        setNodeAffine(node, wanted)


def _image(path: Path) -> Any:
    """The file as nibabel reads it; None where it does not know it, or is not there."""
    try:
        import nibabel

        image = nibabel.load(path)
        return image if np.shape(image.affine) == (4, 4) and np.isfinite(image.affine).all() else None
    except Exception:  # of many kinds; the node is there, so Slicer's reader knows the file  # noqa: BLE001
        return None


def _affines(image: Any) -> list[np.ndarray]:
    """Every geometry that the file tells, nibabel's choice first."""
    told = [image.affine]
    if hasattr(image.header, "get_qform"):
        told += [image.header.get_qform(), image.header.get_sform()]
    return [np.array(affine, dtype=float) for affine in told if affine is not None and np.isfinite(affine).all()]


def _turned(here: np.ndarray, size: tuple[int, ...], told: list[np.ndarray]) -> list[tuple[int, ...]]:
    """The axes to turn over so that one of the geometries becomes the node's. The reader turns K over, or nothing."""
    return [axes for axes in ((), (2,)) if any(_near(here, affine @ _flip(axes, size), size) for affine in told)]


def _sameVoxels(image: Any, node: slicer.vtkMRMLVolumeNode, axes: tuple[int, ...]) -> bool:
    file = np.asarray(image.dataobj)
    there = slicer.util.arrayFromVolume(node)
    if file.dtype.fields is not None or file.size != there.size:
        return not axes
    return bool(np.allclose(np.flip(file.reshape(there.T.shape), axes), there.T, rtol=1e-5))


def _flip(axes: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """4×4: a voxel → the same counted from the other end along these axes."""
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, size[axis] - 1
    return flip


def _near(one: np.ndarray, other: np.ndarray, size: tuple[int, ...]) -> bool:
    ends = np.array([[*end, 1] for end in itertools.product(*((0, n - 1) for n in size))], dtype=float).T
    apart = np.linalg.norm(((one - other) @ ends)[:3], axis=0).max()
    axes = np.abs(one - other)[:3, :3].max()  # a single voxel has no extent, but axes
    voxel = np.linalg.norm(one[:3, :3], axis=0).min()
    return math.isfinite(apart) and max(apart, axes) <= NEAR * voxel

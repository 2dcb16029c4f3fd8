"""The grid of an image file beside that of the node that Slicer's reader makes of it.

Slicer turns an axis of a left-handed grid (LAS, RPS, RAI …) over to make it right-handed, so voxel (I, J, K) of the
node is another voxel of the file. And of a NIfTI file whose sform and qform differ its reader takes the qform, where
MONAI and nibabel take the sform. What a user says and gets in voxels is meant in the file's own grid, as nibabel reads
it, or as the header of an NRRD or MetaImage file says: :func:`takeGeometry` puts a node where the file says, and
:class:`FileGrid` turns voxels from one grid to the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util

from .contract.geometry import Grid
from .contract.records import Affine
from .contract.request import Result
from .contract.target import VolumeFile
from .report.repeat import in_the_patient
from .scene.io.dicom import seriesNote, seriesOf
from .scene.io.headers import headerAffine
from .scene.io.volumes import gridOf, setNodeAffine

NEAR = 0.01
"""Share of a voxel by which two readers may place a corner apart: one keeps 32 bits of what the other has in 64."""


@dataclass(frozen=True)
class FileGrid:
    """A file's grid, and which axes of it the node has the other way round.

    Attributes:
        grid: the file's own; the node has as many voxels along each axis.
        turned: axes (0, 1, 2) along which the node counts from the other end.
        notes: what the user should know of how the geometry was found.
    """

    grid: Grid
    turned: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def array(self, array: np.ndarray) -> np.ndarray:
        """An array (I×J×K, or with components behind) of the node in the file's grid, or of the file in the node's."""
        return np.flip(array, self.turned) if self.turned else array

    def voxel(self, voxel: tuple[int, int, int]) -> tuple[int, int, int]:
        """A voxel of the node in the file's grid, or of the file in the node's."""
        i, j, k = (n - 1 - v if axis in self.turned else v for axis, (v, n) in enumerate(zip(voxel, self.grid.shape)))
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
        findings = tuple(replace(spot, peak=self.voxel(spot.peak)) for spot in result.findings)
        return replace(result, peak=peak, field_of_view=seen, findings=findings)

    def saved(self, file: VolumeFile) -> VolumeFile:
        """An array file beside this one with the axes turned over; the file itself where there is nothing to turn."""
        if not self.turned:
            return file
        path = Path(file.path).with_suffix(".turned.npy")
        np.save(path, np.asfortranarray(self.array(np.load(file.path, mmap_mode="r", allow_pickle=False))))
        return replace(file, path=str(path))

    def shown(self, result: Result, affine: Affine) -> Result:
        """A result in voxels of the file, with its array files, as one for the node.

        Args:
            affine: of the node.
        """

        def placed(file: VolumeFile) -> VolumeFile:
            return replace(self.saved(file), affine=affine)

        # A voxel that was asked about is one of the file; in the scene it is the place in the patient.
        asked = replace(result.provenance, target=in_the_patient(result, result.provenance.target))
        further = tuple(replace(one, file=placed(one.file)) for one in result.further)
        return replace(self.result(result), heatmap=placed(result.heatmap), further=further, provenance=asked)

    def _plane(self, plane: tuple[float, ...]) -> tuple[float, ...]:
        """``low ≤ a·i + b·j + c·k ≤ high`` with some of i, j, k counted from the other end."""
        moved = sum(plane[axis] * (self.grid.shape[axis] - 1) for axis in self.turned)
        factors = (-factor if axis in self.turned else factor for axis, factor in enumerate(plane[:3]))
        return (*factors, plane[3] - moved, plane[4] - moved)


def fileGrid(path: Path, node: slicer.vtkMRMLVolumeNode) -> FileGrid:
    """The grid of the file that a node was just loaded from; the node's own where the file says no other."""
    here = gridOf(node)
    note = seriesNote(path) if here.shape[2] == 1 else ""
    asItIs = FileGrid(here, notes=(note,) if note else ())
    if seriesOf(node) is not None:
        return asItIs
    if (affine := headerAffine(path)) is not None:
        turned = _turned(here, [affine])
        return FileGrid(Grid(here.shape, affine), turned[0]) if turned else asItIs
    image = _image(path)
    if image is None or tuple(image.shape[:3]) + (1,) * (3 - len(image.shape[:3])) != tuple(here.shape):
        return asItIs
    found = _turned(here, _affines(image))
    if len(found) > 1:  # two geometries that are each other's mirror image: the voxels know
        found = [axes for axes in found if _sameVoxels(image, node, axes)] or found
    if not found:
        return asItIs
    affine = np.array(image.affine, dtype=float)
    from .engine.geometry.volume import forms_note  # which needs nibabel, as the image above does

    return FileGrid(Grid(here.shape, affine), found[0], forms_note(image, path.name.split(".")[0]))


def takeGeometry(path: Path, node: slicer.vtkMRMLVolumeNode) -> None:
    """Put a node that was just loaded where nibabel, and so MONAI, puts the file; its voxels stay in their order."""
    file = fileGrid(path, node)
    wanted = _flipped(file.grid, file.turned)
    if not _near(gridOf(node), wanted):
        setNodeAffine(node, wanted.affine)


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


def _turned(here: Grid, told: list[np.ndarray]) -> list[tuple[int, ...]]:
    """The axes to turn over so that one of the geometries becomes the node's. The reader turns K over, or nothing."""
    grids = [Grid(here.shape, affine) for affine in told]
    return [axes for axes in ((), (2,)) if any(_near(here, _flipped(grid, axes)) for grid in grids)]


def _sameVoxels(image: Any, node: slicer.vtkMRMLVolumeNode, axes: tuple[int, ...]) -> bool:
    file = np.asarray(image.dataobj)
    there = slicer.util.arrayFromVolume(node)
    if file.dtype.fields is not None or file.size != there.size:
        return not axes
    return bool(np.allclose(np.flip(file.reshape(there.T.shape), axes), there.T, rtol=1e-5))


def _flipped(grid: Grid, axes: tuple[int, ...]) -> Grid:
    """The grid with its voxels counted from the other end along these axes."""
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, grid.shape[axis] - 1
    return Grid(grid.shape, grid.affine @ flip)


def _near(one: Grid, other: Grid) -> bool:
    apart = max(one.apart(other), np.abs(one.affine - other.affine)[:3, :3].max())  # one voxel has axes, but no extent
    return math.isfinite(apart) and apart <= NEAR * one.spacing.min()

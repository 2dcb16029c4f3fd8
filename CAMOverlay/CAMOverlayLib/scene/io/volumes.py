"""A volume node out to an array file, a heatmap from an array file back into a node, and their geometry.

This is the one place where Slicer's K, J, I order (as ``slicer.util.arrayFromVolume`` gives it) turns into the
I, J, K order of the computation, and back. Both sides keep I fastest in memory, so the turn moves no voxel. Only the
components of a vector volume have to move: Slicer keeps them beside each other, the file one after the other.

Volumes leave in their own space: a parent transform stays where it is, and the overlay is put under the same one.
"""

from __future__ import annotations

import itertools
import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ...contract.errors import OutputError, PlacementError, VolumeError
from ...contract.geometry import Grid, affine_rows
from ...contract.peaks import peak_of
from ...contract.pieces import CHUNK, Pieces, at_once
from ...contract.records import Affine
from ...contract.target import VolumeFile
from ..core import checkVoxels


def affineFromNode(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """IJKToRAS of a volume node as float64, 4×4: voxel (I, J, K, 1) → RAS mm of the volume's own space."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def gridOf(volumeNode: slicer.vtkMRMLVolumeNode) -> Grid:
    """A volume node's grid, in its own space: parent transforms stay out."""
    return Grid(volumeNode.GetImageData().GetDimensions(), affineFromNode(volumeNode))


def setNodeAffine(volumeNode: slicer.vtkMRMLVolumeNode, affine: np.ndarray | Affine) -> None:
    """Put a 4×4 IJKToRAS on a volume node: oblique, sheared and left-handed ones too, exact to rounding.

    Slicer keeps spacing, origin and three unit vectors. These need not be perpendicular, so a shear survives.
    """
    matrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(matrix, np.asarray(affine, dtype=float))
    volumeNode.SetIJKToRASMatrix(matrix)


def worldFromIJK(volumeNode: slicer.vtkMRMLVolumeNode, ijk: tuple[float, float, float]) -> np.ndarray:
    """World RAS in mm of a voxel (I, J, K), through the volume's parent transforms where it has any."""
    point = affineFromNode(volumeNode) @ [*ijk, 1.0]
    world = [0.0, 0.0, 0.0]
    volumeNode.TransformPointToWorld(point[:3].tolist(), world)
    return np.array(world)


def indexFromWorld(volumeNode: slicer.vtkMRMLVolumeNode, world: np.ndarray) -> np.ndarray:
    """Voxel indices (N×3, I, J, K, not rounded) of points in world RAS mm (N×3), through parent transforms."""
    local = np.asarray(world, dtype=float)
    parent = volumeNode.GetParentTransformNode()
    if parent is not None:
        points, moved = vtk.vtkPoints(), vtk.vtkPoints()
        points.SetData(numpy_support.numpy_to_vtk(np.ascontiguousarray(local), deep=True))
        fromWorld = vtk.vtkGeneralTransform()
        parent.GetTransformFromWorld(fromWorld)
        fromWorld.TransformPoints(points, moved)
        local = numpy_support.vtk_to_numpy(moved.GetData()).copy()
    back = np.linalg.inv(affineFromNode(volumeNode))
    return local @ back[:3, :3].T + back[:3, 3]


def peakKnown(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether :func:`peakIJK` answers without looking at the voxels."""
    return _peaks.recall(volumeNode)[0]


def peakIJK(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int, int] | None:
    """Voxel (I, J, K) of the largest value, as :func:`CAMOverlayLib.contract.peaks.peak_of` has it; None if no value
    is above 0. Searched once as long as no voxel changes, and not at all where the computation said it."""
    known, peak = _peaks.recall(volumeNode)
    if not known:
        peak = peak_of(voxelsOf(volumeNode))
        _peaks.remember(volumeNode, peak)
    return peak


class _Peaks:
    """Where the peaks of the last few images are. VTK counts its changes over all objects, so that a time of change
    names one state of one image and no other."""

    def __init__(self, most: int = 32) -> None:
        self._known: OrderedDict[int, tuple[int, int, int] | None] = OrderedDict()
        self._most = most

    def recall(self, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[bool, tuple[int, int, int] | None]:
        time = volumeNode.GetImageData().GetMTime()
        return time in self._known, self._known.get(time)

    def remember(self, volumeNode: slicer.vtkMRMLScalarVolumeNode, peak: tuple[int, int, int] | None) -> None:
        self._known[volumeNode.GetImageData().GetMTime()] = peak
        while len(self._known) > self._most:
            self._known.popitem(last=False)


_peaks = _Peaks()


def voxelsOf(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray:
    """A view of the voxels as the computation has them: I×J×K, or I×J×K×C of a vector volume; no voxel is copied.

    Of red, green, blue and alpha in bytes alpha is left out: it says how to draw the image and is not part of it.
    """
    voxels = slicer.util.arrayFromVolume(volumeNode)
    if voxels.ndim == 3:
        return voxels.T
    colours = 3 if voxels.shape[3] == 4 and voxels.dtype == np.uint8 else voxels.shape[3]
    return voxels.transpose(2, 1, 0, 3)[..., :colours]


def exportVolume(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, folder: str | os.PathLike[str], baseName: str = "volume"
) -> VolumeFile:
    """Write a volume node's voxels to ``folder/baseName.npy`` and return them with their IJKToRAS.

    The voxels keep their type; axes are I, J, K, and the components of a vector volume, in Fortran order. The node and
    the scene stay as they are.

    Raises:
        VolumeError: no voxels, zero size, two or more than four numbers per voxel, or a geometry without an inverse.
        OutputError: the file cannot be written.
    """
    file = fileFor(volumeNode, folder, baseName)
    at_once(writeVoxels(volumeNode, file))
    return file


def fileFor(
    volumeNode: slicer.vtkMRMLScalarVolumeNode, folder: str | os.PathLike[str], baseName: str = "volume"
) -> VolumeFile:
    """Where a volume node's voxels will be written, and their IJKToRAS; the volume is checked, and nothing written.

    Raises:
        VolumeError: as :func:`exportVolume`.
    """
    name = volumeNode.GetName() or "volume"
    checkVoxels(volumeNode, f"Volume {name!r}")
    affine = affineFromNode(volumeNode)
    if not gridOf(volumeNode).is_usable:
        raise VolumeError(
            f"Volume {name!r} has a singular geometry (spacing {tuple(volumeNode.GetSpacing())} mm), so no voxel has "
            "a place in the patient; correct its spacing and directions in the module Volumes, or load it again."
        )
    return VolumeFile(str(Path(folder) / f"{baseName}.npy"), affine_rows(affine), name)


def writeVoxels(volumeNode: slicer.vtkMRMLScalarVolumeNode, file: VolumeFile) -> Pieces[None]:
    """Write the voxels, in pieces.

    Raises:
        PlacementError: the volume got another size, type or no voxels while it was written.
        OutputError: the file cannot be written.
    """
    voxels = voxelsOf(volumeNode)
    header = {
        "descr": np.lib.format.dtype_to_descr(voxels.dtype),
        "fortran_order": True,
        "shape": tuple(map(int, voxels.shape)),
    }
    try:
        with open(file.path, "wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for chunk in voxelChunks(volumeNode):
                if chunk is None:
                    raise PlacementError(f"The volume '{file.name}' was edited while it was exported. Apply again.")
                stream.write(chunk.view(np.uint8))
                del chunk  # the loop turns, and the memory may not be there afterwards
                yield
    except OSError as error:
        Path(file.path).unlink(missing_ok=True)
        raise OutputError(f"{file.path} cannot be written: {error.strerror or error}; choose another folder.") from None


def voxelChunks(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Iterator[np.ndarray | None]:
    """The voxels one-dimensionally in the order of the file, :data:`CHUNK` bytes at a time; the last is None where the
    volume meanwhile got another size or type.

    Each chunk is looked up anew: if the loop turns in between, the volume may have got other memory.
    """
    first = voxelsOf(volumeNode)
    shape, dtype, flat = first.shape, first.dtype, first.flags.f_contiguous
    step = max(1, CHUNK // dtype.itemsize)
    # A scalar volume lies in memory as in the file; of a vector volume each component is collected plane by plane.
    places = range(0, first.size, step) if flat else list(np.ndindex(shape[2:][::-1]))
    del first
    for place in places:
        now = _voxelsOrNone(volumeNode)
        if now is None or now.shape != shape or now.dtype != dtype:
            yield None
            return
        if flat:
            yield now.T.reshape(-1)[place : place + step]
        else:
            yield np.ascontiguousarray(now[(slice(None), slice(None), *place[::-1])].T).reshape(-1)


def _voxelsOrNone(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> np.ndarray | None:
    image = volumeNode.GetImageData()
    return None if image is None or image.GetPointData().GetScalars() is None else voxelsOf(volumeNode)


def sameVoxels(volumeNode: slicer.vtkMRMLScalarVolumeNode, file: VolumeFile) -> Pieces[bool]:
    """Whether the voxels are those in the file, asked in pieces. Every one is compared: who edits an array need not
    say so."""
    if not sameType(volumeNode, file):
        return False
    flat, start = np.load(file.path, mmap_mode="r").T.reshape(-1), 0
    for chunk in voxelChunks(volumeNode):
        if chunk is None or not _sameBytes(chunk, flat[start : start + chunk.size]):
            return False
        start += chunk.size
        del chunk
        yield
    return True


def sameType(volumeNode: slicer.vtkMRMLScalarVolumeNode, file: VolumeFile) -> bool:
    """Whether there are as many voxels as in the file, of the same type."""
    then, now = np.load(file.path, mmap_mode="r"), _voxelsOrNone(volumeNode)
    return now is not None and now.shape == then.shape and now.dtype == then.dtype


def _sameBytes(one: np.ndarray, other: np.ndarray) -> bool:
    """As bytes, so that NaN equals itself; eight at a time where possible, which is as fast as memory."""
    one, other = one.view(np.uint8), other.view(np.uint8)
    whole = one.size - one.size % 8
    return bool(
        np.array_equal(one[:whole].view(np.uint64), other[:whole].view(np.uint64))
        and np.array_equal(one[whole:], other[whole:])
    )


def writeArray(voxels: np.ndarray, affine: np.ndarray, path: Path, name: str) -> VolumeFile:
    """Write an array with the axes I, J, K as a file in Fortran order; raises OutputError where it cannot."""
    try:
        # A scalar volume is in Fortran order already, and numpy writes it as it lies in memory.
        np.save(path, np.asfortranarray(voxels))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another folder.") from None
    return VolumeFile(path=str(path), affine=affine_rows(affine), name=name)


def importHeatmap(
    heatmap: VolumeFile,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    overlayNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    name: str | None = None,
    image: HeatmapImage | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put a heatmap into the scene, on the input volume's voxel grid and under its parent transform.

    Everything that can be wrong is found before the scene is touched, so a failure leaves it as it was.

    Args:
        heatmap: float32, axes I, J, K, shape of the input volume.
        inputVolume: the volume that was explained, scalar or vector.
        overlayNode: node to overwrite; None makes a new one.
        name: name of the node; None keeps the name of ``overlayNode`` or takes the heatmap's.
        image: what :func:`readHeatmap` made of the heatmap for this volume, where that was done before.

    Raises:
        PlacementError: the heatmap is missing, damaged, or of another shape than the volume.
    """
    if overlayNode is inputVolume:
        raise PlacementError(
            f"The overlay would overwrite its own input volume {inputVolume.GetName()!r}; choose another output node."
        )
    requireShape(image.data.GetDimensions() if image else None, inputVolume)
    if image is None:
        image = at_once(readHeatmap(heatmap, inputVolume))

    inputVolume.GetScene().SaveStateForUndo()
    if name is None and overlayNode is None:
        name = heatmap.name
    node = putImage(image, heatmap, inputVolume, overlayNode, name)
    if image.peak is not None:
        _peaks.remember(node, image.peak if image.highest > 0 else None)
    return node


def putImage(
    image: HeatmapImage,
    file: VolumeFile,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLScalarVolumeNode | None = None,
    name: str | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put what :func:`readHeatmap` read into a node, a new one where none is given, under the volume's transform."""
    scene, isNew = inputVolume.GetScene(), node is None
    node = slicer.vtkMRMLScalarVolumeNode() if isNew else node
    unfinished = node.StartModify()  # observers see one change, from the old image to the whole new one
    try:
        if name is not None:
            node.SetName(name)
        setNodeAffine(node, file.affine)
        node.SetAndObserveImageData(image.data)
        if isNew:
            scene.AddNode(node)
        node.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
    finally:
        node.EndModify(unfinished)
    return node


@dataclass(frozen=True)
class HeatmapImage:
    """A heatmap as VTK has it, its largest value, and the voxel (I, J, K) that has it, where that is known."""

    data: vtk.vtkImageData
    highest: float
    peak: tuple[int, int, int] | None = None


def readHeatmap(
    heatmap: VolumeFile,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    peak: tuple[int, int, int] | None = None,
    what: str = "heatmap",
) -> Pieces[HeatmapImage]:
    """Read a heatmap and check all of it, in pieces; the scene is not touched.

    Where the system can, the voxels are the file itself, mapped into memory: nothing is copied before somebody changes
    a voxel, and what is changed never reaches the file. The file may be deleted at once; its memory is freed when the
    scene lets the image go.

    Args:
        peak: voxel that is said to have the largest value; it is believed if it has.
        what: it is called so in an error.

    Raises:
        PlacementError: the heatmap is missing, damaged, of another shape than the volume, or not finite.
    """
    try:
        voxels = np.load(heatmap.path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlacementError(f"The {what} {heatmap.path} cannot be read ({error}); compute it again.") from None
    requireShape(voxels.shape, inputVolume, what)
    if not Grid(voxels.shape, np.asarray(heatmap.affine, dtype=float)).is_usable:
        raise PlacementError(f"The {what}'s affine {heatmap.affine} cannot be inverted; compute the heatmap again.")
    # Windows deletes no file that is mapped, and the run's folder would stay.
    asItIs = voxels.dtype == np.float32 and voxels.dtype.isnative and voxels.flags.f_contiguous and os.name != "nt"
    flat = voxels.T.reshape(-1) if asItIs else np.empty(voxels.size, np.float32)
    step = max(1, CHUNK // 4)
    if not asItIs:
        yield from _turned(voxels, flat)
    highest = -np.inf
    for start in range(0, flat.size, step):
        chunk = flat[start : start + step]
        if not _finite(chunk):
            raise PlacementError(
                f"The {what} contains NaN or infinite values, which no overlay can show; compute it again."
            )
        highest = max(highest, float(chunk.max()))
        yield
    found = peak is not None and len(peak) == 3 and all(0 <= i < n for i, n in zip(peak, voxels.shape))
    found = found and float(voxels[tuple(peak)]) == highest
    image = vtk.vtkImageData()
    image.SetDimensions(voxels.shape)
    image.GetPointData().SetScalars(_arrayOver(flat))
    return HeatmapImage(image, highest, tuple(map(int, peak)) if found else None)


def _finite(chunk: np.ndarray) -> bool:
    """The sum of squares is infinite or NaN if any value is, and is had at the speed of memory; large values can make
    it infinite too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.dot(chunk, chunk)) or np.isfinite(chunk).all())


def requireShape(
    shape: tuple[int, ...] | None, inputVolume: slicer.vtkMRMLScalarVolumeNode, what: str = "heatmap"
) -> None:
    """Raise PlacementError where a map has another shape than the volume."""
    image = inputVolume.GetImageData()
    needed = tuple(image.GetDimensions()) if image is not None else None
    if shape is not None and tuple(shape) != needed:
        raise PlacementError(
            f"The {what} has {_shape(shape)} voxels and the volume {inputVolume.GetName()!r} has "
            f"{_shape(needed)}; the volume has changed since it was exported, so compute the heatmap again."
        )


def _turned(voxels: np.ndarray, flat: np.ndarray) -> Pieces[None]:
    """Fill ``flat`` with the voxels in VTK's order, K slowest."""
    planes = flat.reshape(voxels.shape[::-1])
    for k in range(voxels.shape[2]):
        with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused afterwards
            planes[k] = voxels[:, :, k].T
        yield


_lent: dict[int, np.ndarray] = {}
"""Memory that VTK arrays use and NumPy owns, until the arrays are deleted."""

_numbers = itertools.count()


def _arrayOver(flat: np.ndarray) -> vtk.vtkFloatArray:
    """A VTK array whose memory is that of a one-dimensional float32 array, for as long as VTK needs it.

    ``numpy_support`` keeps the memory by an attribute of the Python object, which may outlive the scene; this lets it
    go in the moment in which VTK deletes its array.
    """
    array, number = vtk.vtkFloatArray(), next(_numbers)
    _lent[number] = flat
    array.SetVoidArray(flat, flat.size, 1)  # 1: VTK frees nothing, and takes memory of its own where it needs more
    array.AddObserver(vtk.vtkCommand.DeleteEvent, lambda *_: _lent.pop(number, None))
    return array


def _shape(shape: tuple[int, ...] | None) -> str:
    return " × ".join(map(str, shape)) if shape else "no"

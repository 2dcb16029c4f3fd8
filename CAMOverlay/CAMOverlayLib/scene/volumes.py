"""A volume node out to an array file, a heatmap from an array file back into a node, and their geometry.

This is the one place where Slicer's K, J, I order (as ``slicer.util.arrayFromVolume`` gives it) turns into the
I, J, K order of the computation, and back. Both sides keep I fastest in memory, so the turn moves no voxel. Only the
components of a vector volume have to move: Slicer keeps them beside each other, the file one after the other.

Volumes leave in their own space: a parent transform stays where it is, and the overlay is put under the same one.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ..errors import OutputError, PlacementError, VolumeError
from ..request import Affine, VolumeFile
from .core import checkVoxels


def affineFromNode(volumeNode: slicer.vtkMRMLVolumeNode) -> np.ndarray:
    """IJKToRAS of a volume node as float64, 4×4: voxel (I, J, K, 1) → RAS mm of the volume's own space."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


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


def peakIJK(volumeNode: slicer.vtkMRMLScalarVolumeNode) -> tuple[int, int, int]:
    """Voxel (I, J, K) of the largest value; the first in memory if several share it."""
    voxels = slicer.util.arrayFromVolume(volumeNode)
    k, j, i = np.unravel_index(int(np.argmax(voxels)), voxels.shape)
    return int(i), int(j), int(k)


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
        VolumeError: no voxels, zero size, two or more than four numbers a voxel, or a geometry that cannot be inverted.
        OutputError: the file cannot be written.
    """
    name = volumeNode.GetName() or "volume"
    checkVoxels(volumeNode, f"Volume {name!r}")
    affine = affineFromNode(volumeNode)
    if not _invertible(affine):
        raise VolumeError(
            f"Volume {name!r} has a singular geometry (spacing {tuple(volumeNode.GetSpacing())} mm), so no voxel has "
            "a place in the patient; correct its spacing and directions in the module Volumes, or load it again."
        )
    return writeArray(voxelsOf(volumeNode), affine, Path(folder) / f"{baseName}.npy", name)


def writeArray(voxels: np.ndarray, affine: np.ndarray, path: Path, name: str) -> VolumeFile:
    """Write an array with the axes I, J, K as a file in Fortran order; raises OutputError where it cannot."""
    try:
        # A scalar volume is in Fortran order already, and numpy writes it as it lies in memory.
        np.save(path, np.asfortranarray(voxels))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another folder.") from None
    return VolumeFile(path=str(path), affine=tuple(map(tuple, affine.tolist())), name=name)


def importHeatmap(
    heatmap: VolumeFile,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    overlayNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    name: str | None = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Put a heatmap into the scene, on the input volume's voxel grid and under its parent transform.

    Everything that can be wrong is found before the scene is touched, so a failure leaves it as it was.

    Args:
        heatmap: float32, axes I, J, K, shape of the input volume.
        inputVolume: the volume that was explained, scalar or vector.
        overlayNode: node to overwrite; None makes a new one.
        name: name of the node; None keeps the name of ``overlayNode`` or takes the heatmap's.

    Raises:
        PlacementError: the heatmap is missing, damaged, or of another shape than the volume.
    """
    if overlayNode is inputVolume:
        raise PlacementError(
            f"The overlay would overwrite its own input volume {inputVolume.GetName()!r}; choose another output node."
        )
    image = _imageFromHeatmap(heatmap, inputVolume)

    scene = inputVolume.GetScene()
    scene.SaveStateForUndo()
    node = overlayNode if overlayNode is not None else slicer.vtkMRMLScalarVolumeNode()
    unfinished = node.StartModify()  # observers see one change, from the old overlay to the whole new one
    try:
        if name is not None or overlayNode is None:
            node.SetName(name or heatmap.name)
        setNodeAffine(node, heatmap.affine)
        node.SetAndObserveImageData(image)
        if overlayNode is None:
            scene.AddNode(node)
        node.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
    finally:
        node.EndModify(unfinished)
    return node


def _imageFromHeatmap(heatmap: VolumeFile, inputVolume: slicer.vtkMRMLScalarVolumeNode) -> vtk.vtkImageData:
    try:
        voxels = np.load(heatmap.path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlacementError(f"The heatmap {heatmap.path} cannot be read ({error}); compute it again.") from None
    inputImage = inputVolume.GetImageData()
    shape = tuple(inputImage.GetDimensions()) if inputImage is not None else None
    if voxels.shape != shape:
        raise PlacementError(
            f"The heatmap has {_shape(voxels.shape)} voxels and the volume {inputVolume.GetName()!r} has "
            f"{_shape(shape)}; the volume has changed since it was exported, so compute the heatmap again."
        )
    if not _invertible(np.asarray(heatmap.affine, dtype=float)):
        raise PlacementError(f"The heatmap's affine {heatmap.affine} cannot be inverted; compute the heatmap again.")

    image = vtk.vtkImageData()
    image.SetDimensions(shape)
    image.AllocateScalars(vtk.VTK_FLOAT, 1)
    # K, J, I as VTK has it in memory: one pass from the mapped file into the node's own memory.
    target = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape[::-1])
    target[...] = voxels.T
    if not np.isfinite(target).all():
        raise PlacementError("The heatmap contains NaN or infinite values, which no overlay can show; compute it again.")
    return image


def _invertible(affine: np.ndarray) -> bool:
    """Whether a 4×4 affine is finite and spans a volume, whatever the size of its voxels."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(lengths.min() > 0 and abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def _shape(shape: tuple[int, ...] | None) -> str:
    return " × ".join(map(str, shape)) if shape else "no"

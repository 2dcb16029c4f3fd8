"""Where in the patient something is asked about: a segment, labels or a point of the scene, for the computation.

Volumes leave in their own space, so what is asked about follows them there: parent transforms of the volume and of the
segmentation, the label map or the markups are taken into account, and none of the nodes is changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ..contract.errors import TargetError
from ..contract.records import absolute
from ..contract.target import TargetSpec, VolumeFile
from .io.volumes import affineFromNode, voxelsOf, writeArray

LABELMAP = "Binary labelmap"
"""The representation of a segment that is taken, by Slicer's name."""


def targetAt(
    target: int | str | TargetSpec | None,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    folder: str | Path,
    *,
    minus: int | str | None = None,
    mask: Any = None,
    segment: str | None = None,
    label: int | None = None,
    point: Any = None,
) -> int | str | TargetSpec | None:
    """What a request asks, out of a class and nodes of the scene; a mask is written to ``folder``.

    Args:
        target: class, or what else a request takes; it comes back as it is where there is nothing to add to it.
        minus: class to compare with.
        mask: segmentation node, label map node, or path of an image file.
        segment: ID or name of the segment, where there are several.
        label: value in the label map; None takes every voxel but 0.
        point: markups node, of which the first point is taken, or world RAS in mm.

    Raises:
        TargetError: nothing is there to ask about, or a node has left the scene.
        OutputError: the mask cannot be written.
    """
    added: dict[str, Any] = {}
    if minus is not None:
        added["minus"] = minus
    if mask is not None:
        isFile = isinstance(mask, (str, Path))
        added["mask"] = absolute(mask) if isFile else exportMask(mask, inputVolume, folder, segment, label)
    if (mask is None or isinstance(mask, (str, Path))) and (segment is not None or label is not None):
        raise TargetError("A segment or label was named without its node. Give the segmentation or label map as mask.")
    if point is not None:
        added["ras"] = pointIn(inputVolume, point)
    if not added:
        return target
    return dataclasses.replace(target if isinstance(target, TargetSpec) else TargetSpec(target), **added)


# Regions -------------------------------------------------------------------------------------------------------------


def exportMask(
    node: Any,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    folder: str | Path,
    segment: str | None = None,
    label: int | None = None,
) -> VolumeFile:
    """Write a segment or labels to ``folder/mask.npy``: 0 and 1 in bytes, with an affine to the volume's own space.

    The mask stays on its own grid, unless a transform between the two bends it: then it is resampled to the volume's.

    Raises:
        TargetError: no such segment or label, nothing in it, or no mask at all.
        OutputError: the file cannot be written.
    """
    voxels, affine, name = regionIn(node, inputVolume, segment, label)
    if not voxels.any():
        raise TargetError(f"'{name}' lies outside the volume {_called(inputVolume)}. Choose one that belongs to it.")
    return writeArray(voxels.view(np.uint8), affine, Path(folder) / "mask.npy", name)


def regionIn(
    node: Any, inputVolume: slicer.vtkMRMLScalarVolumeNode, segment: str | None = None, label: int | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """A segment or labels in a volume's own space: voxels (bool, I×J×K), their affine, and a name.

    They stay on their own grid, unless a transform between the two bends it: then they are on the volume's.

    Raises:
        TargetError: no such segment or label, nothing in it, or no mask at all.
    """
    isA = getattr(node, "IsA", lambda name: False)
    if isA("vtkMRMLSegmentationNode"):
        if label is not None:
            raise TargetError(f"{_called(node)} is a segmentation and has no labels. Name its segment.")
        voxels, affine, name = _segment(_inScene(node), segment)
    elif isA("vtkMRMLScalarVolumeNode"):
        if segment is not None:
            raise TargetError(f"{_called(node)} is a volume and has no segments. Give the value of the label.")
        voxels, affine, name = _labels(_inScene(node), label)
    else:
        kind = type(node).__name__
        raise TargetError(f"No mask can be made of a {kind}. Give a segmentation, a label map or an image file.")
    if not voxels.any():
        raise TargetError(f"'{name}' is empty: none of its voxels is set. Draw it first, or choose another one.")
    voxels, affine = _moved(voxels, affine, node.GetParentTransformNode(), inputVolume)
    return voxels, affine, name


def onGridOf(inputVolume: slicer.vtkMRMLScalarVolumeNode, voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A mask in a volume's own space on the volume's grid: each voxel is what lies at its centre."""
    return _resampled(voxels, affine, inputVolume)


def segmentsOf(segmentationNode: slicer.vtkMRMLSegmentationNode) -> list[tuple[str, str]]:
    """ID and name of every segment, in its order."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return [(identifier, segmentation.GetSegment(identifier).GetName()) for identifier in ids]


def labelsOf(labelMap: slicer.vtkMRMLLabelMapVolumeNode) -> list[tuple[int, str]]:
    """Every value but 0 that occurs, with the name that the colour table gives it."""
    if _isEmpty(labelMap):
        return []
    found: set[int] = set()
    for part in slicer.util.arrayFromVolume(labelMap):  # a slice at a time: sorting takes many times the memory
        found.update(int(value) for value in np.unique(part))
    display = labelMap.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    names = {v: colors.GetColorName(v) for v in found if colors is not None and 0 <= v < colors.GetNumberOfColors()}
    return [(value, names.get(value) or str(value)) for value in sorted(found - {0})]


def _segment(node: Any, wanted: str | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Voxels (bool, I×J×K), their affine in the segmentation's own space, and the segment's name."""
    identifier, name = _chosenSegment(node, wanted)
    if not node.GetSegmentation().ContainsRepresentation(LABELMAP):
        kept = node.GetSegmentation().GetSourceRepresentationName()
        raise TargetError(
            f"{_called(node)} is kept as {kept.lower()} and not as voxels. "
            "In the module Segmentations, under Representations, create the binary labelmap."
        )
    image = slicer.vtkOrientedImageData()
    if not node.GetBinaryLabelmapRepresentation(identifier, image) or image.GetNumberOfPoints() == 0:
        return np.zeros((1, 1, 1), bool), np.eye(4), name
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    affine, extent = slicer.util.arrayFromVTKMatrix(matrix), image.GetExtent()
    affine[:, 3] = affine @ [*extent[::2], 1]  # the array begins where the extent does
    return _arrayOf(image) != 0, affine, name


def _chosenSegment(node: Any, wanted: str | None) -> tuple[str, str]:
    """ID and name of a segment that was named by either; of the only one where none was named."""
    segments = segmentsOf(node)
    if wanted is None:
        found = segments
    else:
        found = [s for s in segments if s[0] == wanted] or [s for s in segments if s[1].casefold() == wanted.casefold()]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"'{name}'" for _, name in segments) or "none"
    if not segments:
        raise TargetError(f"{_called(node)} has no segments. Draw one first.")
    if wanted is None:
        raise TargetError(f"{_called(node)} has {len(segments)} segments: {there}. Name one of them.")
    if found:
        raise TargetError(f"{_called(node)} has {len(found)} segments named '{wanted}'. Give the ID of one of them.")
    raise TargetError(f"{_called(node)} has no segment '{wanted}'; there are: {there}. Name one of them.")


def _labels(node: Any, wanted: int | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Voxels (bool, I×J×K), their affine in the label map's own space, and a name."""
    if _isEmpty(node):
        raise TargetError(f"{_called(node)} has no voxels. Draw or load the label map first.")
    voxels = voxelsOf(node)
    if voxels.ndim != 3:
        raise TargetError(
            f"{_called(node)} has {voxels.shape[3]} numbers per voxel and is not a mask. Give a label map."
        )
    if wanted is None:
        return voxels != 0, affineFromNode(node), node.GetName()
    found = voxels == wanted
    if not found.any():
        there = ", ".join(str(value) for value, _ in labelsOf(node)[:12]) or "none"
        raise TargetError(f"{_called(node)} has no voxels of label {wanted}; it has: {there}. Give one of these.")
    return found, affineFromNode(node), f"{node.GetName()}, label {wanted}"


def _moved(voxels: np.ndarray, affine: np.ndarray, parent: Any, inputVolume: Any) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine, from the space under the transform ``parent`` to the own space of a volume."""
    target = inputVolume.GetParentTransformNode()
    if parent is target:
        return voxels, affine
    if all(node is None or node.IsTransformToWorldLinear() for node in (parent, target)):
        matrix = vtk.vtkMatrix4x4()
        slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(parent, target, matrix)
        return voxels, slicer.util.arrayFromVTKMatrix(matrix) @ affine
    bend = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(parent, target, bend)
    return _resampled(voxels, affine, inputVolume, bend), affineFromNode(inputVolume)


def _resampled(voxels: np.ndarray, affine: np.ndarray, inputVolume: Any, bend: Any = None) -> np.ndarray:
    """The mask (bool, I×J×K) on the volume's grid, through a transform where one is given."""
    mask, reference, resampled = _oriented(voxels, affine), slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    reference.SetDimensions(inputVolume.GetImageData().GetDimensions())
    reference.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    reference.SetImageToWorldMatrix(_matrix(affineFromNode(inputVolume)))
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        mask, reference, resampled, False, False, bend
    )
    return _arrayOf(resampled) != 0


# Points --------------------------------------------------------------------------------------------------------------


def pointIn(inputVolume: slicer.vtkMRMLScalarVolumeNode, point: Any) -> tuple[float, float, float]:
    """RAS in mm of the volume's own space, of the first point of a markups node or of a place in world RAS mm.

    Raises:
        TargetError: no point is placed, or not three numbers.
    """
    world = worldOfPoint(point) if hasattr(point, "IsA") else _threeNumbers(point)
    own = [0.0, 0.0, 0.0]
    inputVolume.TransformPointFromWorld(world, own)
    return own[0], own[1], own[2]


def pointsOf(markupsNode: slicer.vtkMRMLMarkupsNode) -> list[tuple[str, str]]:
    """ID and label of every control point that is placed, in its order."""
    placed = markupsNode.PositionDefined
    count = markupsNode.GetNumberOfControlPoints()
    indices = [index for index in range(count) if markupsNode.GetNthControlPointPositionStatus(index) == placed]
    return [(markupsNode.GetNthControlPointID(index), markupsNode.GetNthControlPointLabel(index)) for index in indices]


def worldOfPoint(markupsNode: slicer.vtkMRMLMarkupsNode, identifier: str = "") -> tuple[float, float, float]:
    """World RAS in mm of a control point by its ID, or of the first one that is placed.

    Raises:
        TargetError: none is placed, no markups node, or the node has left the scene.
    """
    if not markupsNode.IsA("vtkMRMLMarkupsNode"):
        raise TargetError(f"{_called(markupsNode)} has no points. Give a markups node or a place in RAS mm.")
    points = pointsOf(_inScene(markupsNode))
    if not points:
        raise TargetError(f"{_called(markupsNode)} has no point that is placed. Place one in a slice view first.")
    chosen = identifier if identifier in dict(points) else points[0][0]
    world = [0.0, 0.0, 0.0]
    markupsNode.GetNthControlPointPositionWorld(markupsNode.GetNthControlPointIndexByID(chosen), world)
    return world[0], world[1], world[2]


def _threeNumbers(point: Sequence[float]) -> list[float]:
    try:
        numbers = [float(number) for number in point]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise TargetError(f"'{point}' is not a point. Give a markups node or three numbers, RAS in mm.")
    return numbers


# Nodes and images ----------------------------------------------------------------------------------------------------


def _called(node: Any) -> str:
    return f"'{node.GetName() or node.GetClassName()}'"


def _inScene(node: Any) -> Any:
    if node.GetScene() is None:
        raise TargetError(f"{_called(node)} has left the scene. Choose another one.")
    return node


def _isEmpty(volumeNode: Any) -> bool:
    image = volumeNode.GetImageData()
    return image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0


def _matrix(affine: np.ndarray) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    slicer.util.updateVTKMatrixFromArray(matrix, affine)
    return matrix


def _arrayOf(image: vtk.vtkImageData) -> np.ndarray:
    """A view of an image's voxels, I×J×K."""
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions(), order="F")


def _oriented(voxels: np.ndarray, affine: np.ndarray) -> Any:
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(voxels.shape)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.view(np.uint8).ravel(order="F"), deep=True))
    image.SetImageToWorldMatrix(_matrix(affine))
    return image

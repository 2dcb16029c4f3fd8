"""What hangs on an overlay as the report draws it: with the colours that the scene shows."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ...report.further_maps import FurtherMap
from ..io.volumes import affineFromNode, voxelsOf
from ..overlay import colormaps, further


def furtherMapsOf(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, inputVolume: slicer.vtkMRMLScalarVolumeNode
) -> tuple[FurtherMap, ...]:
    """The maps and the prediction of an overlay. What a user has brought to another grid is left out."""
    found = []
    for name, node in further.nodes(overlayNode).items():
        if node.IsA("vtkMRMLSegmentationNode"):
            made = _ofSegments(name, node, inputVolume)
        else:
            made = _onScale(name, node, inputVolume)
        if made is not None:
            found.append(made)
    return tuple(found)


def _onScale(
    name: str, node: slicer.vtkMRMLScalarVolumeNode, inputVolume: slicer.vtkMRMLScalarVolumeNode
) -> FurtherMap | None:
    display = node.GetDisplayNode()
    if node.GetImageData() is None or display is None or display.GetColorNode() is None:
        return None
    values = voxelsOf(node)
    if values.shape != voxelsOf(inputVolume).shape[:3]:
        return None
    colors = colormaps.tableColors(display.GetColorNode())[:, :3]
    return FurtherMap(name, values, colors, max(float(display.GetWindowLevelMax()), 1e-6))


def _ofSegments(
    name: str, node: slicer.vtkMRMLSegmentationNode, inputVolume: slicer.vtkMRMLScalarVolumeNode
) -> FurtherMap | None:
    """The segments that are shown, one class each; where they share voxels the last one."""
    segmentation, display = node.GetSegmentation(), node.GetDisplayNode()
    affine = affineFromNode(inputVolume)
    labels = np.zeros(voxelsOf(inputVolume).shape[:3], np.uint16, order="F")
    names, colors = [], []
    for index in range(segmentation.GetNumberOfSegments()):
        key = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(key)
        image = segment.GetRepresentation("Binary labelmap")
        if image is None or (display is not None and not display.GetSegmentVisibility(key)):
            continue
        names.append(segment.GetName())
        colors.append(segment.GetColor())
        if not image.IsEmpty() and not _paint(labels, image, segment.GetLabelValue(), len(names), affine):
            return None
    return FurtherMap(name, labels, np.array(colors).reshape(-1, 3), classes=tuple(names)) if names else None


def _paint(labels: np.ndarray, image: slicer.vtkOrientedImageData, value: int, number: int, affine: np.ndarray) -> bool:
    """Write a segment into the labels; whether it lies on their grid."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    low = np.array(image.GetExtent()).reshape(3, 2)
    if not np.allclose(slicer.util.arrayFromVTKMatrix(matrix), affine, atol=1e-3) or (low[:, 0] < 0).any():
        return False
    if (low[:, 1] >= labels.shape).any():
        return False
    scalars = image.GetPointData().GetScalars()
    voxels = numpy_support.vtk_to_numpy(scalars).reshape(tuple(low[::-1, 1] - low[::-1, 0] + 1)).T
    place = tuple(slice(a, b + 1) for a, b in low)
    labels[place][voxels == value] = number
    return True

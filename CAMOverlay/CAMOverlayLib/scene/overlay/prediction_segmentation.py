"""The predicted segmentation as a segmentation node: names of classes, Slicer's generic colours, outlined in slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util

from ...contract.errors import PlacementError
from ...contract.pieces import CHUNK, Pieces
from ...contract.request import FurtherVolume
from ...report.further_maps import label_color
from ..io.labelmaps import orientedLabelmap
from ..io.volumes import affineFromNode, requireShape

COLORS = "vtkMRMLColorTableNodeFileGenericColors.txt"
"""Slicer's generic colours: entry n is that of label n. A core without Slicer's files has not got them."""

OUTLINE = 1.0
FILL = 0.35
"""Opacities; the filling is off at first, since it would hide the heat."""


@dataclass(frozen=True)
class LabelImage:
    """A label map that was read and checked.

    Attributes:
        labels: I×J×K, whole numbers, of the box that holds all that is not 0.
        origin: voxel (I, J, K) at which the box begins.
        present: numbers of the classes that some voxel has; without 0, which is also what was not seen, unless classes
            may share voxels.
        overlapping: bit n says whether class n is there.
    """

    labels: np.ndarray
    origin: tuple[int, int, int]
    present: tuple[int, ...]
    overlapping: bool

    def mask(self, index: int) -> np.ndarray:
        """Of a class that may share voxels: bytes, 1 where it is."""
        return ((self.labels >> self.labels.dtype.type(index)) & self.labels.dtype.type(1)).astype(np.uint8)


def readLabels(said: FurtherVolume, inputVolume: slicer.vtkMRMLScalarVolumeNode) -> Pieces[LabelImage]:
    """Read a label map and check all of it, in pieces; the scene is not touched.

    Raises:
        PlacementError: it is missing, damaged, of another shape than the volume, or names classes that there are not.
    """
    what, path = f"map '{said.name}'", said.file.path
    try:
        voxels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PlacementError(f"The {what} {path} cannot be read ({error}); compute it again.") from None
    requireShape(voxels.shape, inputVolume, what)
    if voxels.dtype.kind != "u":
        raise PlacementError(f"The {what} holds {voxels.dtype} where labels belong; compute it again.")
    step = max(1, CHUNK // max(1, voxels[:, :, 0].nbytes))
    along = [np.zeros(n, bool) for n in voxels.shape]
    found = np.zeros(max(len(said.classes), 1), bool)
    for start in range(0, voxels.shape[2], step):
        slab = np.asarray(voxels[:, :, start : start + step])
        _note(slab, start, along, found, said)
        yield
    ends = [np.flatnonzero(axis) for axis in along]
    box = tuple(slice(int(e[0]), int(e[-1]) + 1) if len(e) else slice(0, 0) for e in ends)
    present = [int(n) for n in np.flatnonzero(found) if n or said.overlapping]
    origin = (box[0].start, box[1].start, box[2].start)
    return LabelImage(np.array(voxels[box]), origin, tuple(present), said.overlapping)


def _note(slab: np.ndarray, start: int, along: list[np.ndarray], found: np.ndarray, said: FurtherVolume) -> None:
    """What of the classes is in a slab, and where."""
    values = np.unique(slab)
    highest, count = int(values[-1]), len(said.classes)
    if highest >= (1 << count if said.overlapping else count):
        raise PlacementError(
            f"The map '{said.name}' holds label {highest}, and there are {count} classes; compute it again."
        )
    if said.overlapping:
        together = int(np.bitwise_or.reduce(values))
        found |= np.array([bool(together >> n & 1) for n in range(len(found))])
    else:
        found[values] = True
    if highest:
        where = slab != 0
        for axis, others in enumerate(((1, 2), (0, 2))):
            along[axis] |= where.any(others)
        along[2][start : start + slab.shape[2]] |= where.any((0, 1))


def putSegmentation(
    image: LabelImage,
    said: FurtherVolume,
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    node: slicer.vtkMRMLSegmentationNode | None = None,
    name: str | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """Put a label map into a segmentation node, a new one where none is given, in the geometry of the volume.

    Classes that do not overlap share one label map, as Slicer keeps them; of others each has its own. What the user
    chose for a segment, its colour and whether it is shown, stays.
    """
    isNew = node is None
    if isNew:
        node = inputVolume.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name or said.name)
        node.CreateDefaultDisplayNodes()
        _style(node.GetDisplayNode())
    elif name is not None:
        node.SetName(name)
    display, segmentation = node.GetDisplayNode(), node.GetSegmentation()
    before = {key: (segmentation.GetSegment(key).GetColor(), display.GetSegmentVisibility(key)) for key in _keys(node)}
    with slicer.util.NodeModify(node):
        segmentation.RemoveAllSegments()
        # First: the geometry is kept relative to it, and a file is resampled to the geometry.
        node.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(inputVolume)
        for key, segment in _segments(image, said, inputVolume):
            color, visible = before.get(key, (segment.GetColor(), True))
            segment.SetColor(*color)
            segmentation.AddSegment(segment, key)
            display.SetSegmentVisibility(key, visible)
    return node


def _keys(node: slicer.vtkMRMLSegmentationNode) -> list[str]:
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]


def _segments(
    image: LabelImage, said: FurtherVolume, inputVolume: slicer.vtkMRMLScalarVolumeNode
) -> Iterator[tuple[str, slicer.vtkSegment]]:
    affine, shared = affineFromNode(inputVolume), None
    table = inputVolume.GetScene().GetNodeByID(COLORS)
    for index in image.present:
        labels, value = (image.mask(index), 1) if image.overlapping else (image.labels, index)
        if shared is None or image.overlapping:
            shared = orientedLabelmap(labels, image.origin, affine)
        segment = slicer.vtkSegment()
        segment.SetName(said.classes[index])
        segment.SetColor(*_color(table, index + image.overlapping))
        segment.AddRepresentation("Binary labelmap", shared)
        segment.SetLabelValue(value)
        yield f"class_{index}", segment


def _color(table: Any, label: int) -> tuple[float, float, float]:
    """Slicer's generic colour of a label; where there are none, those of the report."""
    rgba = [0.0, 0.0, 0.0, 1.0]
    if table is not None and table.GetColor(label % table.GetNumberOfColors(), rgba):
        return (rgba[0], rgba[1], rgba[2])
    return label_color(label)


def _style(display: slicer.vtkMRMLSegmentationDisplayNode) -> None:
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetOpacity2DOutline(OUTLINE)
    display.SetOpacity2DFill(FILL)
    display.SetVisibility3D(False)

"""Outlines of the predicted segmentation in the slices of a picture, as the slice views have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from vtk.util import numpy_support

from ..io.volumes import indexFromWorld
from ..overlay.further import nodes
from ..overlay.shown import PREDICTION, predictionShown
from .slices import Slice

MOST_NAMES = 6
STRENGTH = 0.9

Named = tuple[str, tuple[float, float, float]]


def predicted(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> list[Any]:
    """The segments of the prediction that are shown; none where its outline is hidden."""
    if not predictionShown(overlayNode):
        return []
    node = nodes(overlayNode)[PREDICTION]
    inner, display = node.GetSegmentation(), node.GetDisplayNode()
    keys = [inner.GetNthSegmentID(n) for n in range(inner.GetNumberOfSegments())]
    return [inner.GetSegment(key) for key in keys if display.GetSegmentVisibility(key)]


def names(segments: Sequence[Any]) -> list[Named]:
    """What is outlined, with the colour of each; the last one says how many more there are."""
    found: list[Named] = [(one.GetName(), one.GetColor()) for one in segments[:MOST_NAMES]]
    more = len(segments) - len(found)
    return [*found, (f"and {more} more", (0.72, 0.74, 0.77))] if more else found


def draw(rendered: Slice, inputVolume: slicer.vtkMRMLScalarVolumeNode, segments: Sequence[Any]) -> None:
    """Draw the edge of every segment into a slice, two pixels wide, on its inner side."""
    if not segments:
        return
    rows, columns = rendered.pixels.shape[:2]
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows), [0], [1]), -1).reshape(-1, 4)
    index = np.rint(indexFromWorld(inputVolume, (grid @ rendered.rasFromPixel.T)[:, :3])).astype(int)
    labels: dict[int, np.ndarray] = {}  # segments share label maps
    for segment in segments:
        image = segment.GetRepresentation("Binary labelmap")
        if id(image) not in labels:
            labels[id(image)] = _sampled(image, index).reshape(rows, columns)
        inside = labels[id(image)] == segment.GetLabelValue()
        edge = inside & ~_shrunk(_shrunk(inside))
        rendered.pixels[edge] += (np.array(segment.GetColor(), np.float32) - rendered.pixels[edge]) * STRENGTH


def _sampled(image: Any, index: np.ndarray) -> np.ndarray:
    """The label at each voxel (N×3, I, J, K); 0 outside of the label map's box."""
    i, _, j, _, k, _ = image.GetExtent()
    shape = image.GetDimensions()
    found = np.zeros(len(index), np.int64)
    if min(shape) < 1:
        return found
    voxels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape[::-1])
    here = index - (i, j, k)
    within = ((here >= 0) & (here < shape)).all(1)
    found[within] = voxels[tuple(here[within].T[::-1])]
    return found


def _shrunk(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            beside = np.roll(mask, step, axis)
            edge = [slice(None), slice(None)]
            edge[axis] = slice(0, 1) if step == 1 else slice(-1, None)
            beside[tuple(edge)] = True  # the picture ends there, and not the segment
            inner &= beside
    return inner

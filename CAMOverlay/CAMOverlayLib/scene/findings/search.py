"""Finding the hot spots of an overlay. Nothing here touches the scene, so that a thread may do it::

regions = hotRegions(heatOf(overlayNode), Threshold("absolute", 0.5))
regions.spots, regions.labels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ...contract.errors import VolumeError
from ...contract.field_of_view import seen_mask
from ...contract.findings import HotSpot, Threshold
from ...contract.geometry import Grid
from ...reading.hot_spots import find_hot_spots, label_hot_spots, level_of
from ...reading.structures import box_of
from ..io.volumes import gridOf, voxelsOf
from ..overlay.node import resultOf


@dataclass(frozen=True)
class Heat:
    """An overlay's heatmap, out of the scene.

    Attributes:
        voxels: I×J×K; a view, which ``image`` keeps alive.
        planes: bounds of what the network saw, empty where it saw all or that is not known.
    """

    voxels: np.ndarray
    grid: Grid
    planes: tuple[tuple[float, ...], ...]
    image: Any


@dataclass(frozen=True)
class HotRegions:
    """Hot spots with the voxels of each.

    Attributes:
        labels: the number of the hot spot in its voxels (bytes), 0 elsewhere, in the box that holds all of them;
            None where nobody asked, or there are none.
        origin: voxel (I, J, K) at which the box begins.
    """

    spots: tuple[HotSpot, ...]
    labels: np.ndarray | None = None
    origin: tuple[int, int, int] = (0, 0, 0)


def heatOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> Heat:
    """The heatmap of an overlay.

    Raises:
        VolumeError: the overlay has no voxels.
    """
    image = overlayNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise VolumeError(f"Volume {overlayNode.GetName()!r} has no voxels; compute the heatmap first.")
    result = resultOf(overlayNode)
    planes = result.field_of_view.planes if result is not None else None
    return Heat(voxelsOf(overlayNode), gridOf(overlayNode), planes or (), image)


def find(overlayNode: slicer.vtkMRMLScalarVolumeNode, threshold: Threshold | float = 0.5) -> tuple[HotSpot, ...]:
    """The hot spots of an overlay, the hottest peak first; a number is an absolute threshold."""
    return hotRegions(heatOf(overlayNode), asThreshold(threshold)).spots


def asThreshold(threshold: Threshold | float) -> Threshold:
    return threshold if isinstance(threshold, Threshold) else Threshold("absolute", float(threshold))


def hotRegions(heat: Heat, threshold: Threshold, withLabels: bool = False) -> HotRegions:
    """The hot spots, and if wanted the voxels of each."""
    level = levelOf(heat, threshold)
    spots = find_hot_spots(heat.voxels, heat.grid, Threshold("absolute", level))
    return _labelled(heat, level, spots) if withLabels and spots else HotRegions(spots)


def seenBy(heat: Heat) -> np.ndarray | None:
    """What the network saw, I×J×K; None where it saw all, or that is not known."""
    return seen_mask(heat.voxels.shape, heat.planes)


def levelOf(heat: Heat, threshold: Threshold) -> float:
    """The heatmap's value that a threshold means."""
    return level_of(heat.voxels, threshold, seenBy(heat) if threshold.kind == "percentile" else None)


def _labelled(heat: Heat, level: float, spots: tuple[HotSpot, ...]) -> HotRegions:
    """With the labels, which are numbered as the spots are, of those that are listed."""
    labels, _count = label_hot_spots(heat.voxels, level)
    box = box_of(labels != 0)
    assert box is not None  # there are spots
    listed = np.where(labels[box] <= len(spots), labels[box], 0).astype(np.uint8)
    return HotRegions(spots, listed, (box[0].start, box[1].start, box[2].start))

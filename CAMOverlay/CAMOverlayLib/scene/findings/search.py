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
from ...contract.field_of_view import Region
from ...contract.findings import HotSpot, Threshold
from ...contract.geometry import Grid
from ...reading.hot_spots import find_hot_spots, label_hot_spots, level_of
from ..io.volumes import gridOf, voxelsOf
from ..overlay.node import resultOf

MOST = 50
"""Hot spots at most: more rows nobody reads, and more segments no byte counts."""


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
    spots = find_hot_spots(heat.voxels, heat.grid, Threshold("absolute", level), most=MOST)
    return _labelled(heat, level, spots) if withLabels and spots else HotRegions(spots)


def seenBy(heat: Heat) -> np.ndarray | None:
    """What the network saw, I×J×K; None where it saw all, or that is not known."""
    return Region.from_planes(heat.voxels.shape, heat.planes).mask() if heat.planes else None


def levelOf(heat: Heat, threshold: Threshold) -> float:
    """The heatmap's value that a threshold means."""
    return level_of(heat.voxels, threshold, seenBy(heat) if threshold.kind == "percentile" else None)


def _labelled(heat: Heat, level: float, spots: tuple[HotSpot, ...]) -> HotRegions:
    """With the labels numbered as the spots are, and only those."""
    labels, count = label_hot_spots(heat.voxels, level)
    numbers = np.zeros(count + 1, np.uint8)
    for spot in spots:
        numbers[labels[spot.peak]] = spot.region
    box = tuple(_reach(labels.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1)))
    origin = box[0].start, box[1].start, box[2].start
    return HotRegions(spots, numbers[labels[box]], origin)


def _reach(line: np.ndarray) -> slice:
    there = np.flatnonzero(line)
    return slice(int(there[0]), int(there[-1]) + 1)

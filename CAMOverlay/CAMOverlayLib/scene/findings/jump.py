"""Every slice view to a hot spot."""

from __future__ import annotations

import slicer

from ...contract.findings import HotSpot
from ..io.volumes import worldFromIJK
from ..overlay.node import jumpTo


def jumpToHotSpot(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, spot: HotSpot, centre: bool = True
) -> tuple[float, float, float]:
    """Bring every slice view to a hot spot's peak and return that place in world RAS mm.

    Args:
        centre: move it into the middle of the views too, which otherwise keep what they show around it.
    """
    return jumpToVoxel(overlayNode, spot.peak, centre)


def jumpToVoxel(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, voxel: tuple[int, int, int], centre: bool = True
) -> tuple[float, float, float]:
    """Bring every slice view to a voxel (I, J, K), through the overlay's transforms."""
    return jumpTo(overlayNode.GetScene(), worldFromIJK(overlayNode, voxel), centre)

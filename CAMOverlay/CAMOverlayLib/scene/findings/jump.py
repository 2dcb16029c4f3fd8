"""Every slice view to a hot spot."""

from __future__ import annotations

import slicer

from ...contract.findings import HotSpot
from ..io.volumes import worldFromIJK


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
    r, a, s = (float(mm) for mm in worldFromIJK(overlayNode, voxel))
    scene = overlayNode.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceNode")):
        view = scene.GetNthNodeByClass(index, "vtkMRMLSliceNode")
        (view.JumpSliceByCentering if centre else view.JumpSliceByOffsetting)(r, a, s)
    return r, a, s

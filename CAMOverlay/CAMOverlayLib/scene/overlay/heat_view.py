"""Whether the heat of an overlay is in sight, and bringing it there."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from . import further
from . import node as overlay
from .views import composites, slices

MOST = 384
"""Samples along each side of a view at most: enough to meet a spot of a few pixels, and done in milliseconds."""


def bringHeatIntoView(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Move the slices to the peak if no view shows any heat now; whether they were moved.

    A map that is nowhere above its threshold has no place to go to, and the views stay.
    """
    if not _hasHeat(overlayNode) or heatIsSeen(overlayNode):
        return False
    overlay.jumpToPeak(overlayNode, centre=False)
    if not heatIsSeen(overlayNode):  # the views are zoomed to another part of the slice
        overlay.jumpToPeak(overlayNode)
    return True


def heatIsSeen(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether any slice view that shows the overlay shows a voxel of it above its lower threshold."""
    if not _hasHeat(overlayNode):
        return False
    return any(_heatIn(view, overlayNode) for view in _views(overlayNode))


def _hasHeat(overlayNode: Any) -> bool:
    image = overlayNode.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        return False
    result = overlay.resultOf(overlayNode)
    if result is not None and result.peak is not None:
        inside = all(0 <= i < n for i, n in zip(result.peak, image.GetDimensions()))
        if inside and slicer.util.arrayFromVolume(overlayNode)[result.peak[::-1]] >= _lowest(overlayNode):
            return True  # to look at every voxel of a large volume takes VTK half a second
    return image.GetScalarRange()[1] >= _lowest(overlayNode)


def _lowest(overlayNode: Any) -> float:
    """The smallest value that is drawn; a map that is 0 everywhere shows nothing, whatever the threshold."""
    return max(overlay.thresholdOf(overlayNode)[0], 1e-6)


def _views(overlayNode: Any) -> list[Any]:
    """The slice nodes whose view shows the overlay; those of the layout, where there is one."""
    scene, found, ours = overlayNode.GetScene(), [], further.identifiers(overlayNode)
    by_name = {c.GetLayoutName(): c for c in composites(scene)}
    for view in slices(scene):
        composite = by_name.get(view.GetLayoutName())
        if composite is not None and ours & {composite.GetForegroundVolumeID(), composite.GetBackgroundVolumeID()}:
            found.append(view)
    mapped = [view for view in found if view.IsMappedInLayout()]
    return mapped or found


def _heatIn(view: Any, overlayNode: Any) -> bool:
    """Look up the overlay at points all over a view, each in the voxel that it lies in."""
    width, height = view.GetFieldOfView()[:2]
    across, up = (np.linspace(-size / 2, size / 2, MOST) for size in (width, height))
    points = np.stack([*np.meshgrid(across, up, indexing="ij"), np.zeros((MOST, MOST)), np.ones((MOST, MOST))])
    world = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS()) @ points.reshape(4, -1)
    ijk = _ijkOf(world, overlayNode)
    size = np.array(overlayNode.GetImageData().GetDimensions())[:, None]
    voxels = np.rint(ijk).astype(np.int64)
    inside = ((voxels >= 0) & (voxels < size)).all(axis=0)
    i, j, k = voxels[:, inside]
    return bool((slicer.util.arrayFromVolume(overlayNode)[k, j, i] >= _lowest(overlayNode)).any())


def _ijkOf(world: np.ndarray, overlayNode: Any) -> np.ndarray:
    """3×N voxel indices of 4×N world RAS points in mm, through the node's parent transforms, bent ones included."""
    parent = overlayNode.GetParentTransformNode()
    if parent is not None:
        if parent.IsTransformToWorldLinear():
            matrix = vtk.vtkMatrix4x4()
            parent.GetMatrixTransformFromWorld(matrix)
            world = slicer.util.arrayFromVTKMatrix(matrix) @ world
        else:
            bent = vtk.vtkGeneralTransform()
            parent.GetTransformFromWorld(bent)
            world = np.array([[*bent.TransformPoint(point), 1.0] for point in world[:3].T]).T
    matrix = vtk.vtkMatrix4x4()
    overlayNode.GetRASToIJKMatrix(matrix)
    return (slicer.util.arrayFromVTKMatrix(matrix) @ world)[:3]

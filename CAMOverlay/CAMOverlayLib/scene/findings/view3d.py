"""The heat in the 3-D view, and the anatomy around it.

The heat is rendered as a volume in the overlay's own colours (``overlay.rendering``). The anatomy comes as the slices
of the slice views: Slicer's renderers draw one volume over the other when two are rendered, but sort a volume and a
slice by depth, and a slice shows where the heat lies as exactly as the slice view does.
"""

from __future__ import annotations

import slicer
import slicer.util

from ..overlay import rendering

SWITCHED = "CAMOverlay.ShownIn3D"
"""Attribute of a slice node: it was this module that showed it in 3-D."""


def available() -> bool:
    """Whether this Slicer has volume rendering."""
    return rendering.available()


def showIn3D(overlayNode: slicer.vtkMRMLScalarVolumeNode, visible: bool = True) -> None:
    """Show heat and slices in the 3-D view, or take away again what was shown by this."""
    rendering.show(overlayNode, visible)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", overlayNode.GetScene()):
        if visible and not view.GetSliceVisible():
            view.SetSliceVisible(True)
            view.SetAttribute(SWITCHED, "1")
        elif not visible and view.GetAttribute(SWITCHED):
            view.SetSliceVisible(False)
            view.SetAttribute(SWITCHED, None)


def shownIn3D(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether heat and slices are shown in 3-D."""
    slices = [
        view.GetSliceVisible() for view in slicer.util.getNodesByClass("vtkMRMLSliceNode", overlayNode.GetScene())
    ]
    return rendering.shown(overlayNode) and any(slices)

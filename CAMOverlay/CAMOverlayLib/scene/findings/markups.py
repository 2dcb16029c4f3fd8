"""A point per hot spot, at its peak, in every view."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import slicer.util

from ...contract.findings import HotSpot
from .nodes import hanging, hangingOrNew

ROLE = "CAMOverlay.HotSpotPoints"
"""Node reference from the overlay to its points."""

COLOR = (0.2, 0.95, 1.0)
"""Far from the warm colours of a heatmap and from the greys of anatomy."""

TEXT_SCALE = 2.5
GLYPH_SCALE = 1.6
"""Half of Slicer's: the point should leave to be seen what it points at."""


def showPoints(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, spots: Sequence[HotSpot]
) -> slicer.vtkMRMLMarkupsFiducialNode:
    """Make the overlay's points, or bring them up to date: locked, under the overlay's transform."""
    node = pointsOf(overlayNode) or _make(overlayNode)
    with slicer.util.NodeModify(node):
        node.SetAndObserveTransformNodeID(overlayNode.GetTransformNodeID())
        node.RemoveAllControlPoints()
        for spot in spots:
            node.AddControlPoint(*spot.peak_ras, f"{spot.region} {spot.structure}".strip())
        node.SetLocked(True)
    return node


def pointsOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLMarkupsFiducialNode | None:
    """The overlay's points, where they were made."""
    return hanging(overlayNode, ROLE)


def _make(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLMarkupsFiducialNode:
    node = hangingOrNew(overlayNode, ROLE, "vtkMRMLMarkupsFiducialNode", "hot spot peaks")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSelectedColor(*COLOR)  # every point is selected until somebody clicks it
    display.SetColor(*COLOR)
    display.SetTextScale(TEXT_SCALE)
    display.SetGlyphScale(GLYPH_SCALE)
    display.SetPointLabelsVisibility(True)
    return node

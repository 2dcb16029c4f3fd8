"""Which map of an overlay the views show, the heat or one that hangs on it, and the outline of the prediction."""

from __future__ import annotations

from typing import Any

import slicer

from . import further
from . import node as overlay

PREDICTION = "prediction"


def showMap(overlayNode: slicer.vtkMRMLScalarVolumeNode, name: str = "") -> bool:
    """Show a map in the place of the heat, or the heat for an empty name; a legend that is shown goes along.

    Returns:
        whether there is such a map.
    """
    if name and not isMap(further.nodes(overlayNode).get(name)):
        return False
    withLegend = legendShown(overlayNode)
    showLegend(overlayNode, False)
    further.toForeground(overlayNode, name)
    if withLegend:
        showLegend(overlayNode, True)
    return True


def shownMap(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> Any:
    """The volume that the views show of an overlay: itself, or one that hangs on it."""
    return further.nodes(overlayNode).get(further.foregroundOf(overlayNode), overlayNode)


def isMap(node: Any) -> bool:
    """Whether what hangs on an overlay is a volume, and no segmentation."""
    return node is not None and node.IsA("vtkMRMLScalarVolumeNode")


def showLegend(overlayNode: slicer.vtkMRMLScalarVolumeNode, visible: bool = True) -> Any:
    """The legend of what is shown: title and range are its own."""
    node = shownMap(overlayNode)
    legend = overlay.showLegend(node, visible)
    if legend is not None and node is not overlayNode:
        legend.SetLabelFormat("%.2f")
    return legend


def legendShown(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether what is shown has a legend that is shown."""
    return overlay.legendShown(shownMap(overlayNode))


def showPrediction(overlayNode: slicer.vtkMRMLScalarVolumeNode, visible: bool = True) -> bool:
    """Show or hide the outline of the predicted segmentation; whether there is one."""
    node = further.nodes(overlayNode).get(PREDICTION)
    if node is None or node.GetDisplayNode() is None:
        return False
    node.GetDisplayNode().SetVisibility(visible)
    return True


def predictionShown(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the outline of the predicted segmentation is shown."""
    node = further.nodes(overlayNode).get(PREDICTION)
    display = node.GetDisplayNode() if node is not None else None
    return bool(display is not None and display.GetVisibility())

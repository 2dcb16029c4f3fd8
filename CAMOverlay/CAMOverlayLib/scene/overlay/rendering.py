"""An overlay in the 3-D view, by Slicer's volume rendering; without it everything here does nothing."""

from __future__ import annotations

from typing import Any

import slicer

from . import colormaps
from . import node as overlay

STRONGEST = 0.6
"""Opacity of the strongest evidence: enough to see its shape, and what lies behind it."""


def _logic() -> Any:
    module = getattr(getattr(slicer, "modules", None), "volumerendering", None)
    return module.logic() if module is not None else None


def available() -> bool:
    """Whether this Slicer has volume rendering."""
    return _logic() is not None


def shown(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the overlay is rendered."""
    logic = _logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(overlayNode) if logic else None
    return bool(display and display.GetVisibility())


def show(overlayNode: slicer.vtkMRMLScalarVolumeNode, visible: bool = True) -> None:
    """Render the overlay in its own colours above its lower threshold, or stop it."""
    logic = _logic()
    if logic is None:
        return
    display = logic.GetFirstVolumeRenderingDisplayNode(overlayNode)
    if display is None:
        if not visible:
            return
        display = logic.CreateDefaultVolumeRenderingNodes(overlayNode)
        if display is None:
            return
    display.SetVisibility(visible)
    update(overlayNode)


def update(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Bring colours and threshold of a rendered overlay to what the slice views show."""
    logic = _logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(overlayNode) if logic else None
    volumeProperty = (
        display.GetVolumePropertyNode().GetVolumeProperty() if display and display.GetVolumePropertyNode() else None
    )
    colorNode = overlay.ensureDisplay(overlayNode).GetColorNode()
    if volumeProperty is None or colorNode is None or colorNode.GetLookupTable() is None:
        return
    lower, _upper = overlay.thresholdOf(overlayNode)
    opacity = volumeProperty.GetScalarOpacity(0)
    opacity.RemoveAllPoints()
    for value, strength in ((0, 0), (lower, 0), (min(lower + 0.05, 1), STRONGEST / 6), (1, STRONGEST)):
        opacity.AddPoint(value, strength)
    transfer = volumeProperty.GetRGBTransferFunction(0)
    transfer.RemoveAllPoints()
    colors = colormaps.tableColors(colorNode)
    for entry in range(0, len(colors), max(1, len(colors) // 32)):
        transfer.AddRGBPoint(entry / max(1, len(colors) - 1), *colors[entry][:3])

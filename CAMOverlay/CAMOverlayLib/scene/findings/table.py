"""A table node of the hot spots, with the columns that the command line writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from ...contract.findings import HotSpot, Threshold
from .nodes import hanging, hangingOrNew

ROLE = "CAMOverlay.HotSpotTable"
"""Node reference from the overlay to its table."""

THRESHOLD = "CAMOverlay.Threshold"
"""Attribute of the table: from where on heat counted as hot, as JSON."""

COLUMNS = {
    "region": vtk.vtkIntArray,
    "peak_i": vtk.vtkIntArray,
    "peak_j": vtk.vtkIntArray,
    "peak_k": vtk.vtkIntArray,
    "peak_r": vtk.vtkDoubleArray,
    "peak_a": vtk.vtkDoubleArray,
    "peak_s": vtk.vtkDoubleArray,
    "volume_mm3": vtk.vtkDoubleArray,
    "mean": vtk.vtkDoubleArray,
    "maximum": vtk.vtkDoubleArray,
    "share": vtk.vtkDoubleArray,
    "structure": vtk.vtkStringArray,
}


def rowOf(spot: HotSpot) -> tuple[Any, ...]:
    """A hot spot in the order of :data:`COLUMNS`."""
    figures = (spot.volume_mm3, spot.mean, spot.maximum, spot.share)
    return (spot.region, *spot.peak, *spot.peak_ras, *figures, spot.structure)


def showTable(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, spots: Sequence[HotSpot], threshold: Threshold
) -> slicer.vtkMRMLTableNode:
    """Make the overlay's table of hot spots, or bring it up to date."""
    node = hangingOrNew(overlayNode, ROLE, "vtkMRMLTableNode", "hot spots")
    fill(node, COLUMNS, [rowOf(spot) for spot in spots])
    node.SetAttribute(THRESHOLD, threshold.to_json())
    return node


def fill(node: slicer.vtkMRMLTableNode, columns: dict[str, Any], rows: Sequence[Sequence[Any]]) -> None:
    """Put rows into a table node in the place of what it has; observers see one change."""
    table = vtk.vtkTable()
    for index, (name, kind) in enumerate(columns.items()):
        array = kind()
        array.SetName(name)
        for row in rows:
            array.InsertNextValue(row[index])
        table.AddColumn(array)
    node.SetAndObserveTable(table)
    node.SetLocked(True)  # figures that were measured; who wants to edit them unlocks it


def tableOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTableNode | None:
    """The overlay's table of hot spots, where one was made."""
    return hanging(overlayNode, ROLE)


def thresholdOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> Threshold | None:
    """From where on the heat in the overlay's table counted as hot; None where there is no table, or it is spoilt."""
    node = tableOf(overlayNode)
    text = node.GetAttribute(THRESHOLD) if node is not None else None
    try:
        return Threshold.from_dict(json.loads(text)) if text else None
    except (ValueError, TypeError, KeyError):
        return None

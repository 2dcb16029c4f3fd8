"""A table node of the hot spots, with the columns that the command line writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from ...contract.findings import HotSpot, Threshold
from ...reading import hot_spots
from .nodes import hanging, hangingOrNew

ROLE = "CAMOverlay.HotSpotTable"
"""Node reference from the overlay to its table."""

THRESHOLD = "CAMOverlay.Threshold"
"""Attribute of the table: from where on heat counted as hot, as JSON."""

_KINDS = (*[vtk.vtkIntArray] * 4, *[vtk.vtkDoubleArray] * 7, vtk.vtkStringArray)

COLUMNS = dict(zip(hot_spots.COLUMNS, _KINDS, strict=True))
"""Of the table, which are those of the file that the command line writes, with the kind of each."""


def showTable(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, spots: Sequence[HotSpot], threshold: Threshold
) -> slicer.vtkMRMLTableNode:
    """Make the overlay's table of hot spots, or bring it up to date."""
    node = hangingOrNew(overlayNode, ROLE, "vtkMRMLTableNode", "hot spots")
    fill(node, COLUMNS, [hot_spots.row_of(spot) for spot in spots])
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

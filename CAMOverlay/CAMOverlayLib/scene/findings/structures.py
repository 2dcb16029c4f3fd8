"""Structures of the scene on an overlay's grid, and a table node of how much heat lies in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import slicer
import vtk

from ...contract.errors import TargetError
from ...contract.findings import StructureFigures
from ..target_regions import labelsOf, onGridOf, regionIn, segmentsOf
from .nodes import hanging, hangingOrNew
from .table import fill

ROLE = "CAMOverlay.StructureTable"
"""Node reference from the overlay to its table of structures."""

_KINDS = {"str": vtk.vtkStringArray, "bool": vtk.vtkIntArray}


def structureMasks(node: Any, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> dict[str, np.ndarray]:
    """Every segment of a segmentation, or every value of a label map, as a mask (bool, I×J×K) on a volume's grid.

    Any grid and any transform of the two will do. What is empty, or lies outside the volume, is left out.

    Raises:
        TargetError: neither a segmentation nor a label map.
    """
    return dict(eachMask(node, volumeNode))


def eachMask(node: Any, volumeNode: slicer.vtkMRMLScalarVolumeNode) -> Iterator[tuple[str, np.ndarray]]:
    """The same one after the other, so that an event loop can turn in between."""
    used: set[str] = set()
    for name, part in _parts(node):
        try:
            voxels, affine, _title = regionIn(node, volumeNode, **part)
        except TargetError:  # nothing is drawn in it
            continue
        mask = onGridOf(volumeNode, voxels, affine)
        if mask.any():
            unique = _unique(name, used)
            used.add(unique)
            yield unique, mask


def _parts(node: Any) -> list[tuple[str, dict[str, Any]]]:
    """Of each structure its name and what names it to :func:`regionIn`."""
    isA = getattr(node, "IsA", lambda name: False)
    if isA("vtkMRMLSegmentationNode"):
        return [(name, {"segment": identifier}) for identifier, name in segmentsOf(node)]
    if isA("vtkMRMLScalarVolumeNode"):
        return [(name, {"label": value}) for value, name in labelsOf(node)]
    raise TargetError(f"A {type(node).__name__} has no structures. Give a segmentation or a label map.")


def _unique(name: str, used: set[str]) -> str:
    """Two segments may have one name; a table needs two."""
    number, candidate = 1, name
    while candidate in used:
        number += 1
        candidate = f"{name} ({number})"
    return candidate


def showStructures(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, figures: Sequence[StructureFigures]
) -> slicer.vtkMRMLTableNode:
    """Make the overlay's table of structures, or bring it up to date."""
    node = hangingOrNew(overlayNode, ROLE, "vtkMRMLTableNode", "structures")
    names = [field.name for field in fields(StructureFigures)]
    columns = {field.name: _KINDS.get(str(field.type), vtk.vtkDoubleArray) for field in fields(StructureFigures)}
    fill(node, columns, [[_plain(getattr(figure, name)) for name in names] for figure in figures])
    return node


def tableOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLTableNode | None:
    """The overlay's table of structures, where one was made."""
    return hanging(overlayNode, ROLE)


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value

"""Colour maps that stay readable over grey anatomy, as colour table nodes that are saved with the scene.

The tables are files of Slicer's own kind beside this one, made by Testing/color_tables.py, which says how they are
chosen. Only the entry of 0 is transparent. A ramp of opacity is not possible: Slicer's slice views take every entry
that is not wholly transparent for opaque. Low values are kept from veiling the anatomy by the display's lower threshold
instead.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer

TABLES = Path(__file__).with_name("colors")

COLOR_MAPS = ("heat", "sea", "ice")

FURTHER_MAPS = ("leaf", "plum", "lagoon")
"""Of what hangs on an overlay, so that it is not taken for heat."""
DIFFERENCE = "difference"
"""For differences: below 0 blue, above it orange, transparent around it."""

SIZE = 256
"""Entries of a colour table."""

DEFAULT = "heat"


def nodeName(key: str) -> str:
    return f"CAMOverlay {key}"


def colorTableNode(scene: slicer.vtkMRMLScene, key: str = DEFAULT) -> slicer.vtkMRMLColorTableNode:
    """The scene's colour table node of a colour map, made on first use and found again after that.

    Raises:
        ValueError: unknown name; the message lists those that exist.
    """
    if key not in (*COLOR_MAPS, *FURTHER_MAPS, DIFFERENCE):
        raise ValueError(f"There is no colour map {key!r}; choose one of {', '.join(COLOR_MAPS)}.")
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetAttribute("CAMOverlay.ColorMap") == key and node.GetNumberOfColors() == SIZE:
            return node
    table, storage = slicer.vtkMRMLColorTableNode(), slicer.vtkMRMLColorTableStorageNode()
    storage.SetFileName(str(TABLES / f"{key}.ctbl"))
    if not storage.ReadData(table):
        raise FileNotFoundError(f"The colour table {storage.GetFileName()} is missing; install CAMOverlay again.")
    node = slicer.vtkMRMLColorLogic.CopyNode(table, nodeName(key))  # one of the scene's own, not of this file
    node.UnRegister(None)
    node.SetHideFromEditors(True)
    middle = "as light above 0 as below, transparent around it" if key == DIFFERENCE else "transparent at 0"
    node.SetDescription(f"Colour map {key!r} of CAMOverlay: even steps of lightness, {middle}")
    node.SetAttribute("Category", "CAMOverlay")
    node.SetAttribute("CAMOverlay.ColorMap", key)
    return scene.AddNode(node)


def tableColors(colorNode: slicer.vtkMRMLColorNode) -> np.ndarray:
    """RGBA in [0, 1] of any colour node with a lookup table, N×4, as Slicer would show it."""
    table = colorNode.GetLookupTable()
    rows = [table.GetTableValue(entry) for entry in range(table.GetNumberOfTableValues())]
    return np.array(rows, dtype=float)

"""Where several overlays agree: a volume that counts them, and a table of how alike each two are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ...contract.comparison import HOTTEST
from ...contract.errors import ComparisonError
from ...contract.records import SpoiltRecord
from ...reading import comparison as reading
from ...reading.comparison import Agreement, AgreementFigures
from ..findings.nodes import hanging, hangingOrNew
from ..findings.table import fill
from ..io.volumes import voxelsOf
from ..overlay import colormaps
from ..overlay import node as overlay
from .maps import derivedName, requireOneGrid, resultsOf, seenByAll, shortNames, sourceOf
from .volumes import addDerived, displayOf, imageOf, showDerived, styleLegend

ATTRIBUTE = "CAMOverlay.Agreement"
"""Attribute of the volume: the figures, as JSON."""

ROLE = "CAMOverlay.AgreementTable"
"""Node reference from the volume to its table."""

COLUMNS = {
    "first": vtk.vtkStringArray,
    "second": vtk.vtkStringArray,
    "rank_correlation": vtk.vtkDoubleArray,
    "overlap_of_hottest": vtk.vtkDoubleArray,
}
"""Of the table. A correlation that there is not, because a map is the same everywhere, is NaN."""


def agreementOf(nodes: Sequence[Any], share: float = HOTTEST) -> Callable[[], Agreement]:
    """What computes where overlays agree, as :func:`reading.comparison.agreement`. Calling it touches neither the scene
    nor any node, so that a thread may do it.

    Raises:
        ComparisonError: one is not an overlay, they lie on different grids, or there are fewer than two.
    """
    if len(nodes) < 2:
        raise ComparisonError(f"Agreement is between at least two overlays; there is {len(nodes)}. Explain more.")
    resultsOf(nodes)
    requireOneGrid(nodes)
    names, seen = shortNames(nodes), seenByAll(nodes)
    images = [node.GetImageData() for node in nodes]  # keep their voxels where they are
    maps = [voxelsOf(node) for node in nodes]

    def compute() -> Agreement:
        assert images
        return reading.agreement(maps, names, seen, share)

    return compute


def showAgreement(
    nodes: Sequence[Any],
    share: float = HOTTEST,
    opacity: float | None = overlay.OPACITY,
    found: Agreement | None = None,
    outputNode: Any = None,
) -> slicer.vtkMRMLScalarVolumeNode:
    """Show in how many of the overlays a voxel belongs to the hottest share of what the network saw, and return it.

    A table beside it holds each two overlays' rank correlation, and how far their hottest voxels overlap.

    Args:
        nodes: at least two overlays of the scene or items of a sequence, on the same grid.
        share: of the seen voxels, above 0 and up to 1.
        opacity: in the slice views; None leaves the views as they are.
        found: what :func:`agreementOf` computed of them, where that was done before.
        outputNode: agreement to overwrite; None makes a new one.

    Raises:
        ComparisonError: as :func:`agreementOf`; the scene is then as it was.
    """
    found = agreementOf(nodes, share)() if found is None else found
    count = len(found.figures.names)
    node = addDerived(imageOf(found.counts), nodes[0], derivedName([nodes[0]], f"agreement of {count}"), outputNode)
    node.SetAttribute(ATTRIBUTE, found.figures.to_json())
    _style(node, count)
    legend = styleLegend(node, f"In the hottest {found.figures.share:.0%}\nof how many maps", "%s", count + 1)
    if legend is not None:
        legend.SetUseColorNamesForLabels(True)
        legend.SetMaxNumberOfColors(count + 1)
    _showTable(node, found.figures)
    if opacity is not None:
        showDerived(node, sourceOf(nodes[0]), opacity)
    return node


def figuresOf(node: Any) -> AgreementFigures | None:
    """The figures of an agreement that is in the scene; None of other volumes."""
    text = node.GetAttribute(ATTRIBUTE) if node is not None else None
    try:
        return AgreementFigures.from_json(text) if text else None
    except SpoiltRecord:
        return None


def tableOf(node: Any) -> slicer.vtkMRMLTableNode | None:
    """The table of an agreement, or None."""
    return hanging(node, ROLE)


def _showTable(node: Any, figures: AgreementFigures) -> None:
    table = hangingOrNew(node, ROLE, "vtkMRMLTableNode", "pairs")
    rows = [
        (pair.first, pair.second, np.nan if pair.correlation is None else pair.correlation, pair.overlap)
        for pair in figures.pairs
    ]
    fill(table, COLUMNS, rows)


def _style(node: slicer.vtkMRMLScalarVolumeNode, count: int) -> None:
    """One colour per count, which lies in the middle of its band, and no smoothing: there is no voxel of 1.5 maps."""
    display = displayOf(node, "agreement")
    unfinished = display.StartModify()
    display.SetWindowLevelMinMax(-0.5, count + 0.5)
    display.SetThreshold(0.5, count + 0.5)
    display.SetApplyThreshold(True)
    display.SetInterpolate(False)
    display.SetAndObserveColorNodeID(_colors(node.GetScene(), count).GetID())
    display.EndModify(unfinished)


def _colors(scene: slicer.vtkMRMLScene, count: int) -> slicer.vtkMRMLColorTableNode:
    """Even steps through the colour map *sea*, with the counts as names; made once per count."""
    key = f"agreement-{count}"
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetAttribute("CAMOverlay.ColorMap") == key and node.GetNumberOfColors() == count + 1:
            return node
    sea = colormaps.tableColors(colormaps.colorTableNode(scene, "sea"))
    node = slicer.vtkMRMLColorTableNode()
    node.SetTypeToUser()
    node.SetName(colormaps.nodeName(key))
    node.SetNumberOfColors(count + 1)
    node.SetColor(0, f"0 of {count}", 0.0, 0.0, 0.0, 0.0)
    for number in range(1, count + 1):
        red, green, blue = sea[
            round((number - 1) / max(count - 1, 1) * (len(sea) - 1) * 0.8 + 0.2 * (len(sea) - 1)), :3
        ]
        node.SetColor(number, f"{number} of {count}", red, green, blue, 1.0)
    node.SetHideFromEditors(True)
    node.SetAttribute("Category", "CAMOverlay")
    node.SetAttribute("CAMOverlay.ColorMap", key)
    return scene.AddNode(node)

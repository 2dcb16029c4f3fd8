"""The difference of two overlays as a volume of its own, with colours that go apart from 0 to both sides."""

from __future__ import annotations

import json
from typing import Any

import slicer

from ...contract.errors import ComparisonError
from ...reading import comparison as reading
from ..io.volumes import voxelsOf
from ..overlay import colormaps
from ..overlay import node as overlay
from .maps import derivedName, requireOneGrid, resultsOf, shortNames, sourceOf
from .scale import requireComparable
from .volumes import addDerived, displayOf, imageOf, showDerived, styleLegend

ATTRIBUTE = "CAMOverlay.Difference"
"""Attribute of the volume: what was subtracted from what, as JSON."""

MEASURES = {"heat": "normalised heat", "magnitude": "raw magnitude"}


def showDifference(
    first: Any, second: Any, by: str = "heat", opacity: float | None = overlay.OPACITY, outputNode: Any = None
) -> slicer.vtkMRMLScalarVolumeNode:
    """Show ``first − second`` over their volume, and return it.

    Orange is where the first is hotter, blue where the second is; within a tenth of the scale around 0 it is
    transparent, and the scale is as long to both sides.

    Args:
        first, second: overlays of the scene or items of a sequence, on the same grid.
        by: ``heat`` subtracts normalised heat, so each map counts in shares of its own hottest spot, and the scale is
            -1 to 1; ``magnitude`` subtracts ``heat × Result.magnitude``, which only maps of one method, layer and model
            have in common, and the scale ends at the larger of both magnitudes. The legend says which.
        opacity: in the slice views; None leaves the views as they are.
        outputNode: difference to overwrite; None makes a new one.

    Raises:
        ComparisonError: one is not an overlay, they lie on different grids, or their magnitudes cannot be compared.
    """
    if by not in MEASURES:
        raise ComparisonError(f"There is no difference by '{by}'. Choose heat or magnitude.")
    if first is second:
        raise ComparisonError(f"'{first.GetName()}' was chosen twice. Choose two different overlays.")
    results = resultsOf([first, second])
    requireOneGrid([first, second])
    if by == "magnitude":
        requireComparable(results)
    factors = tuple(_factor(node, result, by) for node, result in zip((first, second), results, strict=True))
    limit = 1.0 if by == "heat" else max(one.magnitude for one in results)
    voxels = reading.difference(voxelsOf(first), voxelsOf(second), (factors[0], factors[1]))
    names = shortNames([first, second])
    name = derivedName([first], f"difference: {names[0]} − {names[1]}")
    node = addDerived(imageOf(voxels), first, name, outputNode)
    said = {"first": names[0], "second": names[1], "by": by, "limit": limit}
    node.SetAttribute(ATTRIBUTE, json.dumps(said, ensure_ascii=False))
    _style(node, limit or 1.0)
    title = "\n".join([*(overlay.shortened(name, overlay.LEGEND_WIDTH) for name in (names[0], f"− {names[1]}")),
                       MEASURES[by]])  # fmt: skip
    styleLegend(node, title, "%.1f" if by == "heat" else "%.2g", 5)
    if opacity is not None:
        showDerived(node, sourceOf(first), opacity)
    return node


def _factor(node: Any, result: Any, by: str) -> float:
    """What an overlay's voxels are multiplied by: on a scale of several, its hottest spot is not 1."""
    if by == "magnitude":
        return float(result.magnitude)
    highest = float(voxelsOf(node).max())
    return 1.0 / highest if highest > 0 else 0.0


def _style(node: slicer.vtkMRMLScalarVolumeNode, limit: float) -> None:
    display = displayOf(node, "difference")
    unfinished = display.StartModify()
    display.SetWindowLevelMinMax(-limit, limit)
    display.SetApplyThreshold(False)
    display.SetInterpolate(True)
    display.SetAndObserveColorNodeID(colormaps.colorTableNode(node.GetScene(), colormaps.DIFFERENCE).GetID())
    display.EndModify(unfinished)


def saidOf(node: Any) -> dict[str, Any] | None:
    """What a volume is the difference of: ``first``, ``second``, ``by``, ``limit``; None of other volumes."""
    text = node.GetAttribute(ATTRIBUTE) if node is not None else None
    try:
        said = json.loads(text) if text else None
    except ValueError:
        return None
    return said if isinstance(said, dict) and {"first", "second", "by", "limit"} <= set(said) else None

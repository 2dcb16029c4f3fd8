"""One colour scale for several overlays, or one each.

A heatmap is told as a share of its own largest raw value, its magnitude. On one scale all are told as shares of the
largest magnitude among them, so that the same colour means the same raw value; ``heat × magnitude`` stays what it was,
and so does everything that works on values from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contract.comparison import on_scale, why_not_comparable
from ...contract.errors import ComparisonError
from ...contract.request import Result
from ..io.volumes import voxelsOf
from ..overlay.node import SCALE, refreshLegend
from .maps import resultsOf

OWN = "CAMOverlay.OwnMagnitude"
"""Attribute of an overlay that is told on a scale of several: its magnitude on its own scale."""


def requireComparable(results: Sequence[Result]) -> None:
    """Raise ComparisonError where one colour scale would claim a comparison that there is not."""
    if problem := why_not_comparable(results):
        raise ComparisonError(problem)


def setOneScale(nodes: Sequence[Any], one: bool = True) -> float | None:
    """Show overlays on one colour scale, or each on its own; each legend says which. Nothing is computed again.

    Args:
        nodes: overlays of the scene, or items of a sequence.

    Returns:
        the raw value that 1.0 stands for on the one scale; None where each has its own.

    Raises:
        ComparisonError: the overlays are of different methods, layers or models, whose raw magnitudes have different
            units; all stay as they are.
    """
    results = resultsOf(nodes)
    if one:
        requireComparable(results)
    own = [_ownMagnitude(node, result) for node, result in zip(nodes, results, strict=True)]
    most = max(own)
    for node, result, magnitude in zip(nodes, results, own, strict=True):
        _rescale(node, result, most if one else magnitude)
        node.SetAttribute(SCALE, "one" if one else "each")
        node.SetAttribute(OWN, repr(magnitude))
        if node.GetDisplayNode() is not None:
            refreshLegend(node)
    return most if one else None


def onOneScale(node: Any) -> bool:
    """Whether an overlay is told on a scale that it shares with others."""
    return node is not None and node.GetAttribute(SCALE) == "one"


def _ownMagnitude(node: Any, result: Result) -> float:
    """What 1.0 stands for where the hottest voxel is 1.0."""
    if node.GetAttribute(SCALE) is None:
        return result.magnitude
    try:
        return float(node.GetAttribute(OWN))
    except (TypeError, ValueError):  # it came with a scene that somebody changed
        return result.magnitude


def _rescale(node: Any, result: Result, magnitude: float) -> None:
    """Tell an overlay's heat in shares of a magnitude, in place."""
    if magnitude <= 0 or magnitude == result.magnitude:
        return
    told = on_scale(result, magnitude)
    voxels = voxelsOf(node)
    highest = float(voxels.max()) if voxels.size else 0.0
    unfinished = node.StartModify()
    if highest > 0:
        # From what is there to what is wanted by way of the peak, which ends at exactly what it should be.
        peak = min(1.0, highest * result.magnitude / magnitude)
        peak = 1.0 if abs(peak - 1) < 1e-5 else peak
        voxels *= np.float32(peak / highest)
        if peak == 1.0:
            np.minimum(voxels, np.float32(1), out=voxels)
            voxels[voxels >= np.float32(1) - np.float32(1e-6)] = 1
        node.GetImageData().GetPointData().GetScalars().Modified()
        node.GetImageData().Modified()
    node.SetAttribute("CAMOverlay.Magnitude", str(told.magnitude))
    node.SetAttribute("CAMOverlay.Report", told.to_json())
    node.EndModify(unfinished)

"""Overlays that are compared: whether they can be, and what they are called among each other.

An overlay is a node of the scene or an item of a sequence; both carry the same attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import slicer.util

from ...contract.comparison import distinct
from ...contract.errors import ComparisonError
from ...contract.field_of_view import seen_mask
from ...contract.request import Result
from ..io.volumes import gridOf
from ..overlay.node import ITEM, ITEM_KIND, inputVolumeOf, isOverlay, overlayName, resultOf

NEAR = 1e-3
"""Share of a voxel by which the corners of two grids may lie apart and still be one grid."""


def resultsOf(nodes: Sequence[Any]) -> list[Result]:
    """What each overlay shows.

    Raises:
        ComparisonError: one is not an overlay, or lost what it shows.
    """
    found = []
    for node in nodes:
        result = resultOf(node) if isOverlay(node) else None
        if result is None or node.GetImageData() is None:
            name = node.GetName() if node is not None else "Nothing"
            raise ComparisonError(
                f"'{name}' is not an overlay with a heatmap, so it cannot be compared. Explain first."
            )
        found.append(result)
    return found


def requireOneGrid(nodes: Sequence[Any]) -> None:
    """Raise ComparisonError unless all overlays lie on the same voxels under the same transform.

    Overlays of one volume do. A heatmap that was resampled to another grid would no longer be what was computed, so
    nothing is resampled behind the user's back.
    """
    first = gridOf(nodes[0])
    for node in nodes[1:]:
        grid = gridOf(node)
        same = tuple(grid.shape) == tuple(first.shape) and grid.apart(first) <= NEAR * first.spacing.min()
        if not same:
            sizes = " and ".join(" × ".join(map(str, one.shape)) for one in (first, grid))
            raise ComparisonError(
                f"'{nodes[0].GetName()}' and '{node.GetName()}' lie on different grids ({sizes} voxels), so no voxel "
                "of one is a voxel of the other. Explain the same volume, or resample one with Resample Scalar Volume."
            )
    parents = {node.GetTransformNodeID() for node in nodes if _inMainScene(node)}
    if len(parents) > 1:
        raise ComparisonError(
            "The overlays are under different transforms, so they lie in different places. Put them under the same one."
        )


def sourceOf(node: Any) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume that an overlay or an item of a sequence explains, or None if it has left the scene."""
    if _inMainScene(node):
        return inputVolumeOf(node)
    for browser in slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode"):
        sequence = browser.GetMasterSequenceNode()
        if sequence is not None and sequence.GetSequenceScene() is node.GetScene():
            proxy = browser.GetProxyNode(sequence)
            return inputVolumeOf(proxy) if proxy is not None else None
    return None


def _inMainScene(node: Any) -> bool:
    return node.GetScene() is slicer.mrmlScene


def seenByAll(nodes: Sequence[Any]) -> Any:
    """What the networks of all overlays saw, bool I×J×K; None where all of them saw everything."""
    shape, seen = gridOf(nodes[0]).shape, None
    known: set[Any] = set()
    for result in resultsOf(nodes):
        planes = result.field_of_view.planes
        if not planes or planes in known:
            continue
        known.add(planes)
        mask = seen_mask(shape, planes)
        seen = mask if seen is None else seen & mask
    return seen


def shortNames(nodes: Sequence[Any]) -> tuple[str, ...]:
    """What tells overlays apart: their names in the comparison that they are of, or else the class, the method, the
    layer or the model, or all of these that differ."""
    results = resultsOf(nodes)
    items = [node.GetAttribute(ITEM) for node in nodes]
    if all(items) and len(set(items)) == len(items) and len({node.GetAttribute(ITEM_KIND) for node in nodes}) == 1:
        return distinct(items)
    told = [
        (_classOf(one), one.method, one.layer, f"{one.bundle_name} {one.bundle_version}".strip()) for one in results
    ]
    places = [place for place in range(4) if len({words[place] for words in told}) > 1]
    if not places:
        return distinct([node.GetName() for node in nodes])
    return distinct([", ".join(words[place] for place in places) for words in told])


def _classOf(result: Result) -> str:
    minus = result.target.minus
    return f"{result.target.name} - {result.prediction.classes[minus]}" if minus is not None else result.target.name


def derivedName(nodes: Sequence[Any], what: str) -> str:
    """A name for what was made of several overlays: ``MRHead - difference: lesion − healthy``."""
    source = sourceOf(nodes[0])
    name = source.GetName() if source is not None else nodes[0].GetName()
    return overlayName(name, what, "")

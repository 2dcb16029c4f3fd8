"""Two overlays side by side: one row of slice views each, at the same place, linked; and back to what was before.

Slicer's own layout *Three over three* is used, so that its views, letters and shortcuts are the usual ones.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import slicer
import slicer.util

from ...contract.errors import ComparisonError
from ..overlay import node as overlay
from ..overlay.views import restore, stateOf
from .maps import requireOneGrid, resultsOf, sourceOf

BEFORE = "CAMOverlay.BeforeSideBySide"
"""Attribute of the layout node: the layout, and what the views showed, as JSON; it is there as long as two overlays
are shown."""

LAYOUT = 8471
"""Number of the layout that is described here, for a Slicer that has none of three over three."""

_THREE_OVER_THREE = "SlicerLayoutThreeOverThreeView"

_VIEW = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{name}"><property name="orientation" action="default">'
    '{orientation}</property><property name="viewlabel" action="default">{label}</property><property name="viewcolor" '
    'action="default">{color}</property></view></item>'
)
_VIEWS = (
    ("Red", "Axial", "R", "#F34A33"),
    ("Green", "Coronal", "G", "#6EB04B"),
    ("Yellow", "Sagittal", "Y", "#EDD54C"),
)


@dataclass(frozen=True)
class Row:
    """The slice views of one overlay: slice nodes and composite nodes, in the same order."""

    slices: tuple[Any, ...]
    composites: tuple[Any, ...]


def showSideBySide(first: Any, second: Any, opacity: float = overlay.OPACITY) -> tuple[Row, Row]:
    """Show one overlay in the upper row of slice views and the other in the lower one, both over their volume.

    The rows show the same place in the same size, and go together when one is scrolled, moved or zoomed.
    :func:`endSideBySide` brings back what was shown before.

    Args:
        first, second: overlays of the scene, of the same volume.

    Raises:
        ComparisonError: they are not overlays on one grid, or there are no views here. Nothing is changed then.
    """
    resultsOf([first, second])
    if first is second:
        raise ComparisonError(f"'{first.GetName()}' was chosen twice. Choose two different overlays.")
    requireOneGrid([first, second])
    source = sourceOf(first)
    if source is None:
        raise ComparisonError(
            f"The volume of '{first.GetName()}' is no longer in the scene. Load it, and explain again."
        )
    layout = _layoutNode()
    if not isSideBySide():
        layout.SetAttribute(BEFORE, json.dumps(_state(layout)))
    for composite in _all("vtkMRMLSliceCompositeNode"):
        composite.SetLinkedControl(False)  # or the overlay of one row would go to the other
    layout.SetViewArrangement(_arrangement(layout))
    _letViewsGrow()
    upper, lower = _rows(layout)
    for row, node in ((upper, first), (lower, second)):
        for composite in row.composites:
            _show(composite, source, node, opacity)
    for there, here in zip(lower.slices, upper.slices, strict=True):
        _follow(there, here)
    for composite in (*upper.composites, *lower.composites):
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)  # while the mouse moves, not only when it lets go
    return upper, lower


def isSideBySide() -> bool:
    """Whether two overlays are shown side by side."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    return bool(
        layout is not None and layout.GetAttribute(BEFORE) and layout.GetViewArrangement() == _arrangement(layout)
    )


def endSideBySide() -> None:
    """Bring back the layout and what the views showed; no effect where nothing was side by side."""
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    text = layout.GetAttribute(BEFORE) if layout is not None else None
    if not text:
        return
    layout.RemoveAttribute(BEFORE)
    try:
        state = json.loads(text)
        arrangement, views, composites = int(state["layout"]), dict(state["views"]), dict(state["composites"])
    except (ValueError, TypeError, KeyError):  # a scene says what it wants
        return
    for composite in _all("vtkMRMLSliceCompositeNode"):
        composite.SetLinkedControl(False)
        composite.SetHotLinkedControl(False)
    for view in _all("vtkMRMLSliceNode"):
        said = views.get(view.GetLayoutName(), {})
        if "group" in said:
            view.SetViewGroup(int(said["group"]))
    for composite in _all("vtkMRMLSliceCompositeNode"):
        if (said := composites.get(composite.GetLayoutName())) is not None:
            restore(composite, said)
            composite.SetLinkedControl(bool(said.get("linked")))
            composite.SetHotLinkedControl(bool(said.get("hot")))
    layout.SetViewArrangement(arrangement)


def _state(layout: Any) -> dict[str, Any]:
    """What :func:`endSideBySide` needs, by the names of the views."""
    views = {view.GetLayoutName(): {"group": view.GetViewGroup()} for view in _all("vtkMRMLSliceNode")}
    composites = {
        one.GetLayoutName(): {
            **stateOf(one),
            "linked": bool(one.GetLinkedControl()),
            "hot": bool(one.GetHotLinkedControl()),
        }
        for one in _all("vtkMRMLSliceCompositeNode")
    }
    return {"layout": layout.GetViewArrangement(), "views": views, "composites": composites}


def _show(composite: Any, source: Any, node: Any, opacity: float) -> None:
    unfinished = composite.StartModify()
    composite.SetBackgroundVolumeID(source.GetID())
    composite.SetForegroundVolumeID(node.GetID())
    composite.SetForegroundOpacity(opacity)
    composite.SetCompositing(slicer.vtkMRMLSliceCompositeNode.Alpha)
    composite.EndModify(unfinished)


def _follow(view: Any, like: Any) -> None:
    """Let a view show the same place as another one, in the same size, and move with it."""
    unfinished = view.StartModify()
    view.SetViewGroup(like.GetViewGroup())  # views are linked within their group only
    view.GetSliceToRAS().DeepCopy(like.GetSliceToRAS())
    # By the size of a pixel: Slicer keeps that when a view gets another size, and a new view has not got its own yet.
    width, height, depth = like.GetFieldOfView()
    columns, rows, _ = like.GetDimensions()
    across, up, _ = view.GetDimensions()
    if columns > 0 and rows > 0:
        view.SetFieldOfView(width / columns * across, height / rows * up, depth)
        if view.GetSliceResolutionMode() == slicer.vtkMRMLSliceNode.SliceResolutionMatch2DView:
            view.SetUVWExtents(view.GetFieldOfView())
    view.SetXYZOrigin(like.GetXYZOrigin())
    view.UpdateMatrices()
    view.EndModify(unfinished)


def _letViewsGrow() -> None:
    """Let new views get their size, which comes with the event loop: on the way there they go through sizes in which
    Slicer loses the scale."""
    application = getattr(slicer, "app", None)
    if application is not None:
        application.processEvents()


# Layouts -------------------------------------------------------------------------------------------------------------


def _layoutNode() -> Any:
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is None:
        raise ComparisonError(
            "There are no views here, so nothing can be shown side by side. Do it in 3D Slicer, or save a picture."
        )
    return layout


def _arrangement(layout: Any) -> int:
    """Slicer's number of three over three; of a layout of our own where it has none."""
    known = getattr(slicer.vtkMRMLLayoutNode, _THREE_OVER_THREE, None)
    if known is not None and layout.IsLayoutDescription(known):
        return int(known)
    if not layout.IsLayoutDescription(LAYOUT):
        layout.AddLayoutDescription(LAYOUT, _description())
    return LAYOUT


def _description() -> str:
    rows = []
    for sign in ("", "+"):
        views = "".join(_VIEW.format(name=n + sign, orientation=o, label=k + sign, color=c) for n, o, k, c in _VIEWS)
        rows.append(f'<item><layout type="horizontal">{views}</layout></item>')
    return f'<layout type="vertical">{"".join(rows)}</layout>'


def _rows(layout: Any) -> tuple[Row, Row]:
    """The slice views of the layout in their order, the first half and the second half of them."""
    tree = ElementTree.fromstring(layout.GetLayoutDescription(layout.GetViewArrangement()))  # noqa: S314  Slicer's own
    names = [view.get("singletontag") for view in tree.iter("view") if view.get("class") == "vtkMRMLSliceNode"]
    slices = {node.GetLayoutName(): node for node in _all("vtkMRMLSliceNode")}
    composites = {node.GetLayoutName(): node for node in _all("vtkMRMLSliceCompositeNode")}
    missing = [name for name in names if name not in slices or name not in composites]
    if missing or len(names) < 2 or len(names) % 2:
        endSideBySide()
        raise ComparisonError(
            f"The views {', '.join(map(str, missing)) or 'of the layout'} are not there, so nothing can be shown side "
            "by side. Choose the layout Three over three in Slicer's toolbar, and try again."
        )
    half = len(names) // 2
    upper, lower = (
        Row(tuple(slices[name] for name in part), tuple(composites[name] for name in part))
        for part in (names[:half], names[half:])
    )
    return upper, lower


def _all(className: str) -> list[Any]:
    return slicer.util.getNodesByClass(className, slicer.mrmlScene)

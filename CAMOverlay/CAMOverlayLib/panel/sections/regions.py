"""The rows Where and In of the section Explain: the whole answer, a segment or label, or a point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ...scene import target_regions
from ..parameters import POINT_ROLE, REGION_ROLE, PanelParameters

REGION, POINT = "region", "point"
"""What ``PanelParameters.place`` can be beside an empty text, the whole answer."""

ROLES = {REGION: REGION_ROLE, POINT: POINT_ROLE}
PARTS = {REGION: "regionPart", POINT: "pointPart"}
"""Of each place the node reference and the parameter that say which node, and which part of it."""


class PlaceRows(VTKObservationMixin):
    """Chooses where in the volume the answer is explained. Nodes that leave the scene are chosen no longer.

    Args:
        ui: the panel's widgets by name.
        onChosen: called when the user chose another place.
        onChanged: called when a node came to have, or lost, what can be asked about.
    """

    def __init__(self, ui: Any, onChosen: Callable[[], None], onChanged: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self.ui = ui
        self._onChosen, self._onChanged = onChosen, onChanged
        self._parameters: PanelParameters | None = None
        self._filling = False
        self._observed: Any = None
        self._labels: tuple[Any, list[tuple[str, str]]] = (None, [])
        self._selectors = {REGION: ui.regionSelector, POINT: ui.pointSelector}
        for place, title in (("", _("Whole answer")), (REGION, _("Segment or label map")), (POINT, _("Point"))):
            ui.placeSelector.addItem(title, place)
        ui.placeSelector.currentIndexChanged.connect(lambda row=0: self._onPlace())
        ui.partSelector.currentIndexChanged.connect(lambda row=0: self._onPart())
        for place, selector in self._selectors.items():
            selector.currentNodeChanged.connect(lambda node=None, place=place: self._onNode(place))
            selector.nodeAboutToBeRemoved.connect(lambda node=None, place=place: self._onNodeGoes(place, node))
        self._showRows("")

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters
        if parameters is None:
            self._observe(None)
        self.update()

    def update(self) -> None:
        """Show what the parameter node says."""
        if self._parameters is None:
            return
        self._filling = True
        try:
            place = self._parameters.place
            self.ui.placeSelector.currentIndex = max(0, self.ui.placeSelector.findData(place))
            for each, selector in self._selectors.items():
                selector.setCurrentNode(self._parameters.parameterNode.GetNodeReference(ROLES[each]))
            self._observe(self._node())
            self._fillParts(place)
            self._showRows(place)
        finally:
            self._filling = False

    # What is asked.

    def asked(self) -> dict[str, Any]:
        """The arguments for the logic: ``mask`` with ``segment`` or ``label``, or ``point``; nothing for the whole.

        Raises:
            TargetError: the point is gone.
        """
        node, part = self._node(), self._part()
        if node is None:
            return {}
        if self._place == POINT:
            return {"point": target_regions.worldOfPoint(node, part)}
        if _isSegmentation(node):
            return {"mask": node, "segment": part or None}
        return {"mask": node, "label": int(part) if part else None}

    def key(self) -> tuple[str, ...]:
        """The same, comparable: with the same key twice the same is asked, unless somebody edited the node."""
        node = self._node()
        return (self._place, node.GetID(), self._part()) if node is not None else (self._place,)

    def problem(self) -> str:
        """Why nothing can be asked so, or an empty text."""
        node = self._node()
        if not self._place:
            return ""
        if node is None and self._place == REGION:
            return _("Choose the segmentation or label map to explain in.")
        if node is None:
            return _("Choose the point list with the place to explain.")
        if self._place == POINT and not target_regions.pointsOf(node):
            return _("“{name}” has no point yet. Place one in a slice view.").format(name=node.GetName())
        if _isSegmentation(node) and not target_regions.segmentsOf(node):
            return _("“{name}” has no segment yet. Draw one first.").format(name=node.GetName())
        return ""

    @property
    def _place(self) -> str:
        return self._parameters.place if self._parameters is not None else ""

    def _node(self) -> Any:
        role = ROLES.get(self._place)
        return self._parameters.parameterNode.GetNodeReference(role) if role else None

    def _part(self) -> str:
        """ID of the segment or the point, or the label's value; empty for all labels."""
        return self.ui.partSelector.itemData(self.ui.partSelector.currentIndex) or ""

    # Rows.

    def _showRows(self, place: str) -> None:
        for each, widgets in {
            REGION: (self.ui.regionSelectorLabel, self.ui.regionSelector),
            POINT: (self.ui.pointSelectorLabel, self.ui.pointSelector),
        }.items():
            for widget in widgets:
                widget.visible = place == each
        # One label of one, or one point of one, is no choice.
        choice = self.ui.partSelector.count > (0 if _isSegmentation(self._node()) else 1)
        for widget in (self.ui.partSelectorLabel, self.ui.partSelector):
            widget.visible = bool(place) and choice

    def _fillParts(self, place: str) -> None:
        node, combo = self._node(), self.ui.partSelector
        title, parts = "", []
        if node is not None and place == POINT:
            title, parts = _("&Point:"), target_regions.pointsOf(node)
        elif _isSegmentation(node):
            title, parts = _("&Segment:"), target_regions.segmentsOf(node)
        elif node is not None:
            title, parts = _("&Label:"), self._labelsOf(node)
        if parts != [(combo.itemData(row), combo.itemText(row)) for row in range(combo.count)]:
            combo.clear()
            for value, name in parts:
                combo.addItem(name, value)
        self.ui.partSelectorLabel.text = title or _("&Segment:")
        if parts:
            combo.currentIndex = max(0, combo.findData(getattr(self._parameters, PARTS[place])))

    def _labelsOf(self, node: Any) -> list[tuple[str, str]]:
        image = node.GetImageData()
        state = (node.GetID(), image.GetMTime() if image is not None else 0)
        if self._labels[0] != state:  # to look at every voxel takes a moment
            labels = [(str(value), _labelled(value, name)) for value, name in target_regions.labelsOf(node)]
            self._labels = state, [("", _("All labels")), *labels] if len(labels) > 1 else labels[:0]
        return self._labels[1]

    # What the user does.

    def _onPlace(self) -> None:
        place = self.ui.placeSelector.itemData(self.ui.placeSelector.currentIndex) or ""
        if not self._filling and self._parameters is not None and place != self._parameters.place:
            self._parameters.place = place
            self.update()
            self._onChosen()

    def _onNode(self, place: str) -> None:
        if self._filling or self._parameters is None:
            return
        node, chosen = self._parameters.parameterNode, self._selectors[place].currentNode()
        if chosen is not node.GetNodeReference(ROLES[place]):
            with slicer.util.NodeModify(node):
                node.SetNodeReferenceID(ROLES[place], chosen.GetID() if chosen is not None else None)
                setattr(self._parameters, PARTS[place], "")
            self.update()
            self._onChosen()

    def _onNodeGoes(self, place: str, node: Any) -> None:
        """Left alone, the list would go to the next node, and nobody chose that."""
        selector = self._selectors[place]
        if node is None or node is selector.currentNode():
            selector.setCurrentNode(None)

    def _onPart(self) -> None:
        if self._filling or self._parameters is None or self._place not in PARTS:
            return
        if self._part() != getattr(self._parameters, PARTS[self._place]):
            setattr(self._parameters, PARTS[self._place], self._part())
            self._onChosen()

    # What happens to the node.

    def _observe(self, node: Any) -> None:
        if node is self._observed:
            return
        self.removeObservers()
        self._observed = node
        for event in _eventsOf(node):
            self.addObserver(node, event, self._onNodeEdited)

    def _onNodeEdited(self, caller: Any = None, event: Any = None) -> None:
        """Segments or points came, went or were renamed: the list follows, what was computed does not."""
        self.update()
        self._onChanged()


def _eventsOf(node: Any) -> tuple[int, ...]:
    if node is None:
        return ()
    if _isSegmentation(node):
        kind = slicer.vtkSegmentation
        return (kind.SegmentAdded, kind.SegmentRemoved, kind.SegmentModified)
    if node.IsA("vtkMRMLMarkupsNode"):
        return (node.PointPositionDefinedEvent, node.PointPositionUndefinedEvent, node.PointRemovedEvent)
    return ()


def _isSegmentation(node: Any) -> bool:
    return bool(node is not None and node.IsA("vtkMRMLSegmentationNode"))


def _labelled(value: int, name: str) -> str:
    return name if name == str(value) else f"{value}: {name}"

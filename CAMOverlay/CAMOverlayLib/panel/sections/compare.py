"""The section Compare: explain each of several classes, methods or layers, and hold overlays of one volume together."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import qt
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ...contract.errors import ComparisonError
from ...contract.methods import CATALOGUE
from ...scene.comparison import scale, sequence
from ...scene.overlay import node as overlay
from ..parameters import PanelParameters
from .compare_pair import PairRows
from .explain import ExplainSection

KINDS = ("targets", "methods", "layers")

MOST_ROWS = 6
"""Choices that are seen at a time."""

FIRST_METHODS = ("gradcam", "refined", "layercam")
"""Ticked at first: quick ones that answer differently."""


class CompareSection(VTKObservationMixin):
    """Chooses what is explained several times, browses what came out, and compares two overlays.

    Args:
        ui: the panel's widgets by name.
        explain: knows the classes and the layers that there are.
        say: shows a sentence below the Apply button.
        onCompare: called with the kind and the choices: begin to explain them.
        onBrowsed: called when the overlay shows another item.
    """

    def __init__(
        self,
        ui: Any,
        explain: ExplainSection,
        say: Callable[[str], None],
        onCompare: Callable[[str, list[Any]], None],
        onBrowsed: Callable[[], None],
    ) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._explain, self._say = ui, explain, say
        self._onCompare, self._onBrowsed = onCompare, onBrowsed
        self._overlay: Any = None
        self._comparison: sequence.Comparison | None = None
        self._parameters: PanelParameters | None = None
        self._filling = False
        self._problem, self._busy = "", False
        self._listed: Any = None
        self._shown: Any = None
        self.pair = PairRows(ui, say, self._showOverlay)
        for kind, words in (("targets", _("classes")), ("methods", _("methods")), ("layers", _("layers"))):
            ui.compareKindSelector.addItem(words, kind)
        header = ui.compareTable.horizontalHeader()
        header.hide()
        header.setStretchLastSection(True)
        ui.compareTable.verticalHeader().hide()
        ui.compareKindSelector.currentIndexChanged.connect(lambda row=0: self.update())
        ui.compareTable.itemChanged.connect(lambda item=None: self._updateButton())
        ui.compareExplainButton.clicked.connect(lambda checked=False: self._onExplain())
        ui.browseSelector.currentIndexChanged.connect(lambda row=0: self._onBrowse())
        ui.oneScaleBox.toggled.connect(lambda checked=False: self._onScale())
        ui.compareButton.contentsCollapsed.connect(lambda collapsed=False: self.update())

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters

    def setOverlay(self, node: Any) -> None:
        """Compare overlays of this one's volume; None where there is none."""
        node = node if overlay.isOverlay(node) and node.GetImageData() is not None else None
        if node is not self._overlay:
            self.removeObservers()
            self._overlay, self._shown = node, None
            if node is not None:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onOverlay)
        self._comparison = sequence.comparisonOf(node)
        if self._comparison is not None:
            sequence.followBrowsing(node)
            self._shown = self._comparison.shown
        self.update()

    def setState(self, problem: str, busy: bool) -> None:
        """What keeps the panel from explaining, and whether it is about to."""
        self._problem, self._busy = problem, busy
        self._updateButton()

    def update(self) -> None:
        """Bring the section to what overlay and network are now."""
        if self._filling or self._parameters is None:
            return
        self._filling = True
        try:
            self._fillChoices()
            self._fillBrowser()
            self.pair.update(self._parameters.inputVolume, self._comparison)
            self.ui.oneScaleBox.checked = bool(self._scaled()) and all(map(scale.onOneScale, self._scaled()))
            self.ui.oneScaleBox.enabled = len(self._scaled()) > 1
        finally:
            self._filling = False
        self._updateButton()

    # What is explained.

    def _fillChoices(self) -> None:
        kind = self.ui.compareKindSelector.itemData(self.ui.compareKindSelector.currentIndex)
        choices = self._choices(kind)
        listed = (kind, tuple((words, value) for words, value, _first in choices))
        if listed == self._listed:
            return
        self._listed = listed
        table = self.ui.compareTable
        table.clearContents()
        table.setRowCount(len(choices))
        for row, (words, value, first) in enumerate(choices):
            item = qt.QTableWidgetItem(words)
            item.setToolTip(escape(words))
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
            item.setCheckState(qt.Qt.Checked if first else qt.Qt.Unchecked)
            item.setData(qt.Qt.UserRole, value)
            table.setItem(row, 0, item)
        table.resizeRowsToContents()
        height = sum(table.rowHeight(row) for row in range(min(len(choices), MOST_ROWS))) + 2 * table.frameWidth
        table.setMinimumHeight(height)
        table.setMaximumHeight(height)
        table.visible = bool(choices)

    def _choices(self, kind: str) -> list[tuple[str, Any, bool]]:
        """What there is to choose: words, value, and whether it is ticked at first."""
        if kind == "methods":
            return [(one.title, one.name, one.name in FIRST_METHODS) for one in CATALOGUE.values()]
        if kind == "layers":
            return [(name, name, name == self._explain.defaultLayer) for name in self._explain.layerNames]
        likely = self._likely()
        classes = self._explain.classNames
        return [(name, index, index in likely) for index, name in enumerate(classes)]

    def _likely(self) -> set[int]:
        """The classes that are ticked at first: those that the network says are there, or comes nearest to."""
        result = overlay.resultOf(self._overlay) if self._overlay is not None else None
        if result is None:
            return {0, 1}
        said = result.prediction
        order = said.voxels or said.probabilities
        return set(sorted(range(len(order)), key=lambda index: -order[index])[:2])

    def chosen(self) -> list[Any]:
        """What is ticked."""
        table = self.ui.compareTable
        items = [table.item(row, 0) for row in range(table.rowCount)]
        return [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]

    def _updateButton(self) -> None:
        if self._filling:
            return
        button, count = self.ui.compareExplainButton, len(self.chosen())
        problem = self._problem
        if not problem and not self.ui.compareTable.rowCount:
            problem = _("Nothing is known to choose from. List the layers, or choose a model that names its classes.")
        if not problem and count < 2:
            problem = _("Tick at least two.")
        button.text = _("Explain {count}").format(count=count) if count > 1 else _("Explain")
        button.enabled = not self._busy and not problem
        button.toolTip = problem or _(
            "Explain the volume for each that is ticked, and show them as one overlay to browse."
        )

    def _onExplain(self) -> None:
        kind = self.ui.compareKindSelector.itemData(self.ui.compareKindSelector.currentIndex)
        self._onCompare(kind, self.chosen())

    # What came out.

    def _fillBrowser(self) -> None:
        found, combo = self._comparison, self.ui.browseSelector
        names = found.names if found is not None else ()
        if tuple(combo.itemText(row) for row in range(combo.count)) != names:
            combo.clear()
            for name in names:
                combo.addItem(name)
        combo.currentIndex = names.index(found.shown) if found is not None and found.shown in names else -1
        combo.enabled = len(names) > 1
        reasons = found.notExplained if found is not None else ()
        words = [_("{name} is not explained: {reason}").format(name=one.name, reason=one.words) for one in reasons]
        self.ui.compareLabel.text = "<br>".join(map(escape, words))
        self.ui.compareLabel.visible = bool(words)

    def _onBrowse(self) -> None:
        row = self.ui.browseSelector.currentIndex
        if not self._filling and self._comparison is not None and row >= 0:
            self._comparison.browserNode.SetSelectedItemNumber(row)

    def _onOverlay(self, caller: Any = None, event: Any = None) -> None:
        """The overlay changed: perhaps it shows another item, chosen here or in Slicer's own browser."""
        found = self._comparison
        if found is None or self._filling or self._overlay is None or self._overlay.GetScene() is None:
            return
        if found.shown != self._shown:
            self._shown = found.shown
            self.update()
            self._onBrowsed()

    # One scale or one each.

    def _scaled(self) -> list[Any]:
        """The overlays whose scale the tick is about: all of the comparison that is shown, or else the two chosen."""
        if self._comparison is not None:
            return list(self._comparison.allNodes)
        return self.pair.nodes()

    def _onScale(self) -> None:
        if self._filling:
            return
        try:
            scale.setOneScale(self._scaled(), self.ui.oneScaleBox.checked)
        except ComparisonError as error:
            self._say(str(error))
        if self._comparison is not None:
            self._comparison.refresh()
        self.update()
        self._onBrowsed()

    def _showOverlay(self) -> None:
        """The overlay again, after something that was made of it."""
        volume = overlay.inputVolumeOf(self._overlay) if self._overlay is not None else None
        if volume is not None and self._parameters is not None:
            overlay.showOverlay(self._overlay, volume, self._parameters.opacity)

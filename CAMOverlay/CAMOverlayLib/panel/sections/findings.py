"""The section Findings: the hot regions of the overlay, the structures that they lie in, and whether to believe it.

What is listed is computed beside the event loop, and only while somebody looks at it, or nodes of the scene show it.
Nodes are made when a button is pressed, and are brought up to date in place after that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import qt
from slicer.i18n import tr as _

from ...contract.errors import CAMOverlayError
from ...contract.findings import Check, HotSpot, Threshold
from ...contract.request import Result
from ...scene.findings import markups, plots, segmentation, table, view3d
from ...scene.findings.jump import jumpToHotSpot
from ...scene.findings.search import HotRegions, heatOf, hotRegions
from ...scene.io.volumes import worldFromIJK
from ...scene.overlay import node as overlay
from ..background import Background
from ..parameters import PanelParameters
from .results import fitHeight
from .structures import StructureRows

KINDS = {"absolute": (1.0, 0.05, 2, "", 0.5), "percentile": (100.0, 0.5, 1, "", 99.0), "share": (1.0, 0.05, 2, "", 0.5)}
"""Of each kind of threshold: largest value, step, decimals, suffix, and what it begins with."""

PAUSE = 250
"""Milliseconds after the last change of the threshold until it is acted upon."""

CHANNELS = "channels"
"""Names the plot of the channels' shares among those of the checks."""

SIGNS = {"passed": ("✓", "#3a9d4f"), "failed": ("✗", "#d9534f"), "undecided": ("?", "#d08700")}


class FindingsSection:
    """Shows what can be read off one overlay.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
        onRendered: called when heat was shown in 3-D, or taken away.
    """

    def __init__(self, ui: Any, say: Callable[[str], None], onRendered: Callable[[], None]) -> None:
        self.ui, self._say, self._onRendered = ui, say, onRendered
        self._overlay: Any = None
        self._parameters: PanelParameters | None = None
        self._filling = False
        self._regions: HotRegions | None = None
        self._state: Any = None
        self._job: Background | None = None
        self._stale = self._wantsSegments = False
        self.structures = StructureRows(ui, say)
        for kind, words in (
            ("absolute", _("of the heatmap, 0 to 1")),
            ("percentile", _("percentile of what was seen")),
        ):
            ui.hotKindSelector.addItem(words, kind)
        ui.hotKindSelector.addItem(_("of all heat, the hottest part"), "share")
        self._pause = qt.QTimer()
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE)
        self._pause.timeout.connect(self.update)
        _prepareTable(ui.hotTable)
        self._connect()
        if not view3d.available():
            ui.in3DButton.enabled = False
            ui.in3DButton.toolTip = _("This Slicer has no volume rendering.")

    def _connect(self) -> None:
        ui = self.ui
        ui.findingsButton.contentsCollapsed.connect(lambda collapsed=False: self.update())
        ui.hotSpin.connect("valueChanged(double)", self._onValue)
        ui.hotKindSelector.currentIndexChanged.connect(lambda row=0: self._onKind())
        ui.hotTable.cellClicked.connect(lambda row=0, column=0: self._onRow(row))
        ui.hotTable.currentCellChanged.connect(lambda row=0, column=0: self._onRow(row))
        ui.pointsButton.clicked.connect(self._onPoints)
        ui.segmentsButton.clicked.connect(self._onSegments)
        ui.in3DButton.clicked.connect(self._on3D)
        for label in (ui.findingsLabel, ui.trustLabel):
            label.linkActivated.connect(self._onPlot)

    # What is shown.

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters
        self.structures.setParameters(parameters)
        if parameters is not None:
            self._fillThreshold()

    def setOverlay(self, node: Any) -> None:
        """Show the findings of an overlay; None or a volume that is no overlay switches the section off."""
        node = node if overlay.isOverlay(node) and node.GetImageData() is not None else None
        if node is not self._overlay:
            self._forget()
            self._overlay = node
        if self.ui.findingsButton.enabled != (node is not None):
            self.ui.findingsButton.enabled = node is not None
            if node is None:  # it opens when somebody wants it: what it shows is computed then
                self.ui.findingsButton.collapsed = True
        self.update()

    def update(self) -> None:
        """Bring the section to what the overlay and the parameters say."""
        node = self._overlay
        if node is None or node.GetScene() is None or self._parameters is None:
            return
        self._fillThreshold()
        self.structures.setOverlay(node if self._looked else None)
        self._showTrust(overlay.resultOf(node))
        self.ui.in3DButton.checked = view3d.shownIn3D(node)
        image = (node.GetID(), node.GetImageData().GetMTime())
        if self._state is not None and self._state[0] != image and segmentation.segmentationOf(node) is not None:
            self._wantsSegments = True  # they are of the heat before
        if (self._looked or table.tableOf(node) is not None) and self._state != (image, self.threshold):
            self._state = (image, self.threshold)
            self._search()

    @property
    def threshold(self) -> Threshold:
        """From where on heat counts as hot, as it is chosen."""
        chosen = self._parameters
        if chosen is None or chosen.hotKind not in KINDS:
            return Threshold()
        return Threshold(chosen.hotKind, chosen.hotValue)

    @property
    def busy(self) -> bool:
        """Whether hot regions are being looked for."""
        return self._job is not None or self._pause.active

    @property
    def _looked(self) -> bool:
        return not self.ui.findingsButton.collapsed

    def _forget(self) -> None:
        self._pause.stop()
        if self._job is not None:
            self._job.cancel()
        self._job, self._regions, self._state = None, None, None
        self._stale = self._wantsSegments = False
        self._fill((), "")

    # The search.

    def _search(self) -> None:
        """Look for hot regions; where that is under way, once more afterwards."""
        if self._job is not None:
            self._stale = True
            return
        self._stale = False
        heat, threshold, labels = heatOf(self._overlay), self.threshold, self._wantsSegments
        if self._regions is None:
            self.ui.findingsLabel.text = _("Looking for hot regions …")
        self._job = Background(
            lambda: hotRegions(heat, threshold, labels), lambda found, error: self._onFound(found, error, threshold)
        )

    def _onFound(self, found: HotRegions | None, error: BaseException | None, threshold: Threshold) -> None:
        self._job = None
        node = self._overlay
        if node is None or node.GetScene() is None:
            return
        if self._stale or (self._wantsSegments and error is None and found.spots and found.labels is None):
            self._search()
            return
        if found is None:
            self._fill((), escape(_("The hot regions cannot be found: {error}").format(error=error)))
            return
        spots = _named(found.spots, overlay.resultOf(node))
        self._regions = replace(found, spots=spots)
        if table.tableOf(node) is not None:
            self._showNodes(threshold)
        if self._wantsSegments:
            self._wantsSegments = False
            segmentation.showSegments(node, self._regions)
        self._fill(spots, summary(spots, overlay.resultOf(node)))

    def _showNodes(self, threshold: Threshold) -> None:
        table.showTable(self._overlay, self._regions.spots, threshold)
        markups.showPoints(self._overlay, self._regions.spots)

    # Rows.

    def _fill(self, spots: Sequence[HotSpot], words: str) -> None:
        rows = self.ui.hotTable
        self._filling = True
        try:
            self.ui.findingsLabel.text = words
            rows.visible = bool(spots)  # first: what is hidden does not stretch its columns
            rows.clearContents()
            rows.setRowCount(len(spots))
            for row, spot in enumerate(spots):
                for column, text in enumerate(_cells(spot, self._overlay)):
                    rows.setItem(row, column, _item(text, column not in (1, 5), _tip(spot)))
            rows.setColumnHidden(5, not any(spot.structure for spot in spots))
            for column in (0, 2, 3, 4, 5):  # the other one takes what is left
                rows.resizeColumnToContents(column)
            rows.resizeRowsToContents()
            rows.clearSelection()
            rows.setCurrentItem(None)
            fitHeight(rows, most=6)
            for button in (self.ui.pointsButton, self.ui.segmentsButton):
                button.enabled = bool(spots)
        finally:
            self._filling = False

    def _showTrust(self, result: Result | None) -> None:
        checks = result.checks if result is not None else ()
        self.ui.trustTitle.visible = self.ui.trustLabel.visible = bool(checks) and self._looked
        self.ui.trustLabel.text = "<br>".join(sentence(check) for check in checks)

    def _fillThreshold(self) -> None:
        chosen, spin = self.threshold, self.ui.hotSpin
        self._filling = True
        try:
            self.ui.hotKindSelector.currentIndex = self.ui.hotKindSelector.findData(chosen.kind)
            most, step, decimals, suffix, _first = KINDS[chosen.kind]
            spin.decimals, spin.maximum, spin.singleStep, spin.suffix = decimals, most, step, suffix
            if abs(spin.value - chosen.value) > 1e-9:
                spin.value = chosen.value
        finally:
            self._filling = False

    # What the user does.

    def _onValue(self, value: float = 0.0) -> None:
        if not self._filling and self._parameters is not None:
            self._parameters.hotValue = self.ui.hotSpin.value
            self._pause.start()

    def _onKind(self) -> None:
        kind = self.ui.hotKindSelector.itemData(self.ui.hotKindSelector.currentIndex)
        if not self._filling and self._parameters is not None and kind != self._parameters.hotKind:
            self._filling = True  # between the two the value is of the kind before
            self._parameters.hotValue = KINDS[kind][-1]
            self._parameters.hotKind = kind
            self._filling = False
            self.update()

    def _onRow(self, row: int) -> None:
        if not self._filling and self._regions is not None and 0 <= row < len(self._regions.spots):
            jumpToHotSpot(self._overlay, self._regions.spots[row])

    def _onPoints(self) -> None:
        if self._overlay is not None and self._regions is not None:
            self._showNodes(self.threshold)

    def _onSegments(self) -> None:
        if self._overlay is not None:
            self._wantsSegments = True
            self._search()

    def _onPlot(self, name: str) -> None:
        """Open the curves of a check, or the shares of the channels, in a plot view."""
        if self._overlay is None:
            return
        try:
            chart = plots.showChannels(self._overlay) if name == CHANNELS else plots.showCurves(self._overlay, name)
            plots.openChart(chart)
        except CAMOverlayError as error:
            self._say(str(error))

    def _on3D(self) -> None:
        if self._overlay is None:
            return
        try:
            view3d.showIn3D(self._overlay, self.ui.in3DButton.checked)
        except CAMOverlayError as error:
            self._say(str(error))
        self._onRendered()


# Words ---------------------------------------------------------------------------------------------------------------


def summary(spots: Sequence[HotSpot], result: Result | None) -> str:
    """How many regions, how much of the heat, and of a network with several channels which one it came from."""
    if not spots:
        return _("Nothing is as hot as that.")
    share = sum(spot.share for spot in spots)
    words = _("One hot region") if len(spots) == 1 else _("{count} hot regions").format(count=len(spots))
    words += _(" with {share:.0%} of all heat").format(share=share)
    channels = result.channels if result is not None else {}
    if channels:
        words += "<br>" + _("Channels: ") + ", ".join(f"{escape(name)} {part:.0%}" for name, part in channels.items())
        words += " " + _link(CHANNELS)
    return words


def sentence(check: Check) -> str:
    """A check's verdict. The sign says it without the colour, the words without the sign."""
    sign, color = SIGNS.get(check.verdict, SIGNS["undecided"])
    plot = f" {_link(check.name)}" if len(check.curves) > ("x" in check.curves) else ""
    return f"<b style='color:{color}'>{sign}</b> {escape(check.words)}{plot}"


def _link(name: str) -> str:
    """What opens a plot; in a blue that can be read in the light and in the dark theme."""
    return f"<a href='{escape(name)}' style='color:#3d86d8'>{escape(_('Plot'))}</a>"


def _named(spots: Sequence[HotSpot], result: Result | None) -> tuple[HotSpot, ...]:
    """With the structures that the computation found, where it was given any."""
    known = {spot.peak: spot.structure for spot in result.findings} if result is not None else {}
    return tuple(replace(spot, structure=spot.structure or known.get(spot.peak, "")) for spot in spots)


def _cells(spot: HotSpot, overlayNode: Any) -> tuple[str, ...]:
    place = ", ".join(f"{mm:.1f}" for mm in worldFromIJK(overlayNode, spot.peak))
    millilitres = spot.volume_mm3 / 1000
    volume = f"{millilitres:.1f} mL" if millilitres >= 1 else f"{spot.volume_mm3:.0f} mm³"
    share = f"{spot.share:.0%}" if spot.share >= 0.005 else _("< 1%")
    return (str(spot.region), place, volume, f"{spot.maximum:.2f}", share, spot.structure)


def _tip(spot: HotSpot) -> str:
    words = _("Voxel {i}, {j}, {k}; mean {mean:.2f}").format(
        i=spot.peak[0], j=spot.peak[1], k=spot.peak[2], mean=spot.mean
    )
    return words + (_("; {mm:.0f} mm to the next peak").format(mm=spot.next_mm) if spot.next_mm is not None else "")


def _item(text: str, isNumber: bool, tip: str) -> Any:
    item = qt.QTableWidgetItem(text)
    item.setToolTip(escape(tip))
    if isNumber:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item


def _prepareTable(rows: Any) -> None:
    rows.verticalHeader().hide()
    rows.horizontalHeader().setStretchLastSection(False)  # it is hidden where no region has a structure
    rows.horizontalHeader().setSectionResizeMode(1, qt.QHeaderView.Stretch)
    rows.horizontalHeader().setHighlightSections(False)

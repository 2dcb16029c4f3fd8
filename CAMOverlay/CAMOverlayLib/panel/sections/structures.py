"""The rows of the section Findings that say how much heat lies in which structure of the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from ...contract.errors import CAMOverlayError, TargetError
from ...contract.findings import StructureFall, StructureFigures
from ...contract.request import Result
from ...reading.anatomy import MapOnGrid, figures_in
from ...reading.body import body_of
from ...reading.structures import Structure
from ...scene.findings import plots
from ...scene.findings import structures as scene
from ...scene.findings.search import heatOf, seenBy
from ...scene.io.volumes import voxelsOf
from ...scene.overlay import node as overlay
from ...scene.structure_files import StructuresOf, eachStructure, isOccluded
from ..background import Background
from ..parameters import STRUCTURES_ROLE, PanelParameters
from .results import fitHeight


class StructureRows:
    """Computes and lists the figures of every structure of a segmentation or label map.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
    """

    def __init__(self, ui: Any, say: Callable[[str], None]) -> None:
        self.ui, self._say = ui, say
        self._overlay: Any = None
        self._parameters: PanelParameters | None = None
        self._filling = False
        self._state: Any = None
        self._job: Background | None = None
        self._collecting: Iterator[Structure] | None = None
        ui.structuresTable.verticalHeader().hide()
        ui.structuresTable.horizontalHeader().setStretchLastSection(True)
        ui.structuresTable.horizontalHeader().setHighlightSections(False)
        ui.structuresTable.visible = False
        ui.fallsButton.clicked.connect(lambda checked=False: self.openFalls())
        ui.structuresSelector.currentNodeChanged.connect(lambda node=None: self._onNode())
        ui.structuresSelector.nodeAboutToBeRemoved.connect(self._onNodeGoes)

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters

    def setOverlay(self, node: Any) -> None:
        """Show the structures of an overlay; None while nobody looks."""
        self._overlay = node
        self.ui.fallsButton.enabled = node is not None and bool(self._result and self._result.occluded)
        if node is None or self._parameters is None:
            return
        self._filling = True
        self.ui.structuresSelector.setCurrentNode(self._node())
        self._filling = False
        chosen = self._node()
        state = (node.GetID(), node.GetImageData().GetMTime(), chosen.GetID() if chosen is not None else "")
        if state != self._state:
            self._state = state
            self._start()

    @property
    def busy(self) -> bool:
        """Whether figures are being computed."""
        return self._job is not None

    @property
    def chosen(self) -> bool:
        """Whether there is a segmentation or label map to take structures from."""
        return self._node() is not None

    def collect(self, volumeNode: Any, then: Callable[[StructuresOf], None]) -> None:
        """Bring the structures that are chosen, as they are now, onto a volume's grid, while the event loop turns.

        Args:
            then: called with all of them; where they cannot be had, the panel says why instead.
        """
        node = self._node()
        if node is None:
            return
        self._collecting = steps = eachStructure(node, volumeNode)
        found: list[Structure] = []

        def step() -> None:
            if self._collecting is not steps:
                return  # another one began, or the scene goes
            try:
                found.append(next(steps))
            except StopIteration:
                self._collecting = None
                then(StructuresOf(node, tuple(found)))
            except CAMOverlayError as error:
                self._collecting = None
                self._say(str(error))
            else:
                qt.QTimer.singleShot(0, step)

        qt.QTimer.singleShot(0, step)

    def stop(self) -> None:
        """Collect no further: the scene or the panel goes."""
        self._collecting = None

    def openFalls(self) -> None:
        """Show the bar chart of how much the answer falls without each structure."""
        if self._overlay is not None:
            try:
                plots.openChart(plots.showStructureFalls(self._overlay))
            except CAMOverlayError as error:
                self._say(str(error))

    @property
    def _result(self) -> Result | None:
        return overlay.resultOf(self._overlay) if self._overlay is not None else None

    def _falls(self) -> dict[str, StructureFall]:
        """By the structure's name; none where they are of structures of another node."""
        node, result = self._node(), self._result
        if node is None or result is None or not isOccluded(self._overlay, node):
            return {}
        return {one.name: one for one in result.occluded}

    def _node(self) -> Any:
        parameters = self._parameters
        return parameters.parameterNode.GetNodeReference(STRUCTURES_ROLE) if parameters is not None else None

    def _start(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None
        self._fill(())
        if self._node() is not None:
            masks: list[tuple[str, np.ndarray]] = []
            steps, state = scene.eachMask(self._node(), self._overlay), self._state
            qt.QTimer.singleShot(0, lambda: self._step(steps, masks, state))

    def _step(self, steps: Iterator[tuple[str, np.ndarray]], masks: list[tuple[str, np.ndarray]], state: Any) -> None:
        """One structure more on the overlay's grid; then the loop turns."""
        if state != self._state or self._overlay is None:
            return
        try:
            masks.append(next(steps))
        except StopIteration:
            self._measure(masks)
        except CAMOverlayError as error:
            self._say(str(error))
        else:
            qt.QTimer.singleShot(0, lambda: self._step(steps, masks, state))

    def _measure(self, masks: list[tuple[str, np.ndarray]]) -> None:
        heat, volume = heatOf(self._overlay), overlay.inputVolumeOf(self._overlay)
        image = volume.GetImageData() if volume is not None else None  # holds the voxels, whatever the scene does
        anatomy = voxelsOf(volume) if image is not None else None

        def work() -> list[StructureFigures]:
            seen = seenBy(heat)
            whole = anatomy is not None and anatomy.shape[:3] == heat.voxels.shape
            body = body_of(anatomy, seen) if whole and image is not None else None
            found = MapOnGrid(heat.voxels, heat.grid, seen, body)
            return [one for name, mask in masks if (one := _figures(found, name, mask)) is not None]

        self._job = Background(work, self._onMeasured)

    def _onMeasured(self, figures: list[StructureFigures] | None, error: BaseException | None) -> None:
        self._job = None
        if figures is None:
            self._say(_("The structures cannot be measured: {error}").format(error=error))
            return
        self._fill(figures)
        if self._overlay is not None and self._overlay.GetScene() is not None and figures:
            scene.showStructures(self._overlay, figures)

    def _fill(self, figures: Sequence[StructureFigures]) -> None:
        rows, falls = self.ui.structuresTable, self._falls() if figures else {}
        rows.clearContents()
        rows.setRowCount(len(figures))
        rows.setColumnHidden(4, not falls)
        for row, each in enumerate(figures):
            fall = falls.get(each.name)
            texts = [each.name, f"{each.share:.0%}", f"{each.enrichment:.1f} ×", f"{each.p_value:.3f}"]
            texts.append(f"{fall.drop:.2f}" if fall is not None else "")
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(escape(_fallTip(fall) if column == 4 and fall is not None else _tip(each)))
                if column:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                rows.setItem(row, column, item)
        rows.resizeColumnsToContents()
        rows.resizeRowsToContents()
        fitHeight(rows, most=6)
        rows.visible = bool(figures)

    def _onNode(self) -> None:
        if self._filling or self._parameters is None:
            return
        chosen = self.ui.structuresSelector.currentNode()
        if chosen is not self._node():
            identifier = chosen.GetID() if chosen is not None else None
            self._parameters.parameterNode.SetNodeReferenceID(STRUCTURES_ROLE, identifier)
            self.setOverlay(self._overlay)

    def _onNodeGoes(self, node: Any = None) -> None:
        """Left alone, the list would go to the next node, and nobody chose that."""
        if node is None or node is self.ui.structuresSelector.currentNode():
            self.ui.structuresSelector.setCurrentNode(None)


def _figures(found: MapOnGrid, name: str, mask: np.ndarray) -> StructureFigures | None:
    """None of a structure that has no voxel that the network saw; the others are still of interest."""
    try:
        return figures_in(found, Structure.of(name, mask))
    except TargetError:
        return None


def _tip(figures: StructureFigures) -> str:
    return _("{volume:.1f} mL seen; mean heat {inside:.2f} inside, {outside:.2f} outside; {peak}").format(
        volume=figures.volume_mm3 / 1000,
        inside=figures.mean_inside,
        outside=figures.mean_outside,
        peak=_("holds the peak") if figures.holds_peak else _("the peak lies elsewhere"),
    )


def _fallTip(fall: StructureFall) -> str:
    before, after = fall.shown
    if fall.probability_before is None or fall.probability_after is None:
        return _("Without it the answer goes from {before:.3g} to {after:.3g}.").format(before=before, after=after)
    return _(
        "Without it the answer goes from {sure:.1%} to {unsure:.1%}; the figure is the fall of its log-odds, from "
        "{before:.2f} to {after:.2f}."
    ).format(sure=fall.probability_before, unsure=fall.probability_after, before=before, after=after)

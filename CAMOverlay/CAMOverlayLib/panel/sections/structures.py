"""The rows of the section Findings that say how much heat lies in which structure of the scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from ...contract.errors import CAMOverlayError, TargetError
from ...contract.findings import StructureFigures
from ...reading.anatomy import MapOnGrid, figures_in
from ...reading.structures import Structure
from ...scene.findings import structures as scene
from ...scene.findings.search import heatOf, seenBy
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
        ui.structuresTable.verticalHeader().hide()
        ui.structuresTable.horizontalHeader().setStretchLastSection(True)
        ui.structuresTable.horizontalHeader().setHighlightSections(False)
        ui.structuresTable.visible = False
        ui.structuresSelector.currentNodeChanged.connect(lambda node=None: self._onNode())
        ui.structuresSelector.nodeAboutToBeRemoved.connect(self._onNodeGoes)

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters

    def setOverlay(self, node: Any) -> None:
        """Show the structures of an overlay; None while nobody looks."""
        self._overlay = node
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
        heat = heatOf(self._overlay)

        def work() -> list[StructureFigures]:
            found = MapOnGrid(heat.voxels, heat.grid, seenBy(heat))
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
        rows = self.ui.structuresTable
        rows.clearContents()
        rows.setRowCount(len(figures))
        for row, each in enumerate(figures):
            texts = (each.name, f"{each.share:.0%}", f"{each.enrichment:.1f} ×", f"{each.p_value:.3f}")
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(escape(_tip(each)))
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

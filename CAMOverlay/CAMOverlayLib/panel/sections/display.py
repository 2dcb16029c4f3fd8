"""The section Display: how the overlay looks. It changes display nodes of the scene and computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ...contract.errors import CAMOverlayError
from ...scene.overlay import colormaps, faded, field_of_view_segmentation, further, rendering, shown
from ...scene.overlay import node as overlay
from ..parameters import PanelParameters


class DisplaySection(VTKObservationMixin):
    """Shows and changes the display of one overlay; what other modules change is followed.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
    """

    def __init__(self, ui: Any, say: Callable[[str], None] = lambda words: None) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self._say = ui, say
        self._overlay: Any = None
        self._parameters: PanelParameters | None = None
        self._filling = False
        ui.colorSelector.currentNodeChanged.connect(self._onColor)
        ui.thresholdRange.valuesChanged.connect(self._onThreshold)
        ui.legendBox.toggled.connect(self._onLegend)
        ui.linkBox.toggled.connect(self._onLink)
        ui.renderingBox.toggled.connect(self._onRendering)
        ui.fieldBox.toggled.connect(self._onField)
        ui.fadeBox.toggled.connect(self._onFade)
        ui.peakButton.clicked.connect(self._onPeak)
        ui.renderingBox.enabled = rendering.available()
        if not rendering.available():
            ui.renderingBox.toolTip = _("This Slicer has no volume rendering.")

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters

    def setOverlay(self, node: Any) -> None:
        """Show the display of an overlay; None or a volume that is no overlay switches the section off."""
        node = node if overlay.isOverlay(node) else None
        if node is self._overlay:
            return
        self.removeObservers()
        self._overlay = node
        if node is not None:
            self._prepare(node)
        if self.ui.displayButton.enabled != (node is not None):
            self.ui.displayButton.enabled = node is not None
            self.ui.displayButton.collapsed = node is None
        self._update()

    def _prepare(self, node: Any) -> None:
        for key in colormaps.COLOR_MAPS:
            colormaps.colorTableNode(node.GetScene(), key)
        self.addObserver(overlay.ensureDisplay(node), vtk.vtkCommand.ModifiedEvent, self._update)
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.addObserver(composite, vtk.vtkCommand.ModifiedEvent, self._update)

    def applyOpacity(self) -> None:
        """Bring the parameter's opacity to the slice views that show the overlay."""
        node = self._overlay
        if node is not None and node.GetScene() is not None and self._parameters is not None and not self._filling:
            self._filling = True
            overlay.setOpacity(node, self._parameters.opacity)
            self._filling = False

    def refresh(self) -> None:
        """Show what another section changed."""
        self._update()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        node = self._overlay
        if node is None or self._filling or node.GetScene() is None:
            return
        self._filling = True
        try:
            self.ui.colorSelector.setCurrentNode(shown.shownMap(node).GetDisplayNode().GetColorNode())
            self.ui.thresholdRange.setValues(*overlay.thresholdOf(node))
            self.ui.legendBox.checked = shown.legendShown(node)
            self.ui.thresholdRange.enabled = shown.shownMap(node) is node  # what it hides is heat
            composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
            self.ui.linkBox.checked = bool(composites) and all(c.GetLinkedControl() for c in composites)
            self.ui.renderingBox.checked = rendering.shown(node)
            self.ui.fieldBox.checked = fieldOfViewShown(node)
            self.ui.fadeBox.enabled = faded.canFade(node)
            self.ui.fadeBox.checked = faded.faded(node)
            faded.follow(node)  # what other modules changed
            ours = further.identifiers(node)
            views = [c for c in composites if c.GetForegroundVolumeID() in ours]
            if (
                views
                and self._parameters is not None
                and abs(views[0].GetForegroundOpacity() - self._parameters.opacity) > 1e-3
            ):
                self._parameters.opacity = views[0].GetForegroundOpacity()
        finally:
            self._filling = False

    def _onColor(self, node: Any = None) -> None:
        if not self._filling and self._overlay is not None and self.ui.colorSelector.currentNode() is not None:
            shown.shownMap(self._overlay).GetDisplayNode().SetAndObserveColorNodeID(
                self.ui.colorSelector.currentNode().GetID()
            )
            rendering.update(self._overlay)

    def _onThreshold(self, lower: float = 0.0, upper: float = 1.0) -> None:
        if not self._filling and self._overlay is not None:
            overlay.setThreshold(
                self._overlay, self.ui.thresholdRange.minimumValue, self.ui.thresholdRange.maximumValue
            )
            rendering.update(self._overlay)

    def _onLegend(self, checked: bool = False) -> None:
        if not self._filling and self._overlay is not None:
            shown.showLegend(self._overlay, self.ui.legendBox.checked)

    def _onLink(self, linked: bool = False) -> None:
        if not self._filling:
            for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
                composite.SetLinkedControl(self.ui.linkBox.checked)

    def _onRendering(self, checked: bool = False) -> None:
        if not self._filling and self._overlay is not None:
            rendering.show(self._overlay, self.ui.renderingBox.checked)

    def _onField(self, checked: bool = False) -> None:
        if self._filling or self._overlay is None:
            return
        try:
            field_of_view_segmentation.showFieldOfView(self._overlay, self.ui.fieldBox.checked)
        except CAMOverlayError as error:
            self._say(str(error))
            self._update()

    def _onFade(self, fade: bool = False) -> None:
        if self._filling or self._overlay is None:
            return
        try:
            faded.fadeUnstable(self._overlay, self.ui.fadeBox.checked)
        except CAMOverlayError as error:
            self._say(str(error))
        self._update()

    def renewFieldOfView(self) -> None:
        """Another result on the same overlay: the region that was outlined is of the one before."""
        node = self._overlay
        old = (
            node.GetNodeReference(field_of_view_segmentation.ROLE)
            if node is not None and node.GetScene() is not None
            else None
        )
        if old is None:
            return
        wasShown = fieldOfViewShown(node)
        node.GetScene().RemoveNode(old)
        node.RemoveNodeReferenceIDs(field_of_view_segmentation.ROLE)
        if wasShown:
            self.ui.fieldBox.checked = True
            self._onField()

    def _onPeak(self) -> None:
        if self._overlay is not None:
            overlay.jumpToPeak(self._overlay)


def fieldOfViewShown(overlayNode: Any) -> bool:
    """Whether the outline of what the network saw is shown."""
    node = overlayNode.GetNodeReference(field_of_view_segmentation.ROLE)
    display = node.GetDisplayNode() if node is not None else None
    return bool(display is not None and display.GetVisibility())

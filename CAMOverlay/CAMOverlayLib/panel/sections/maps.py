"""Which map of an overlay the views show, and the outline of the prediction: one click each, computed where it is not
there yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ...contract.request import Result
from ...scene.overlay import further, shown
from ...scene.overlay import node as overlay
from ..parameters import PanelParameters

MAPS = {
    "heatButton": "",
    "probabilityButton": "probability",
    "entropyButton": "entropy",
    "disagreementButton": "disagreement",
}
"""Buttons, and what they show; the heat has no name."""

FALLBACK = {"disagreement": "heat_disagreement"}
"""What is shown where there is no such map: a network of one answer can disagree in its heat only."""


class MapsSection:
    """The rows Map and Outline of the section Display.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
        onMissing: called where what is to be shown has to be computed first.
        onShown: called when another map is shown.
    """

    def __init__(
        self, ui: Any, say: Callable[[str], None], onMissing: Callable[[], None], onShown: Callable[[], None]
    ) -> None:
        self.ui, self._say, self._onMissing, self._onShown = ui, say, onMissing, onShown
        self._overlay: Any = None
        self._parameters: PanelParameters | None = None
        self._filling = False
        for name in MAPS:
            getattr(ui, name).clicked.connect(lambda checked=False, name=name: self._onMap(MAPS[name]))
        ui.predictionBox.clicked.connect(lambda checked=False: self._onOutline())

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters
        self.update()

    def setOverlay(self, node: Any) -> None:
        self._overlay = node if overlay.isOverlay(node) else None
        self.update()

    def wanted(self) -> tuple[str, ...]:
        """What the next run is asked for beside the heat: what is shown, as far as there is such a thing."""
        chosen = self._parameters
        if chosen is None:
            return ()
        # The question mark: of a classifier nothing is outlined, and nothing need be said.
        return tuple(filter(None, ("prediction?" if chosen.outline else "", chosen.shownMap)))

    def arrived(self, node: Any) -> None:
        """Another result is on the overlay: show of it what was asked for."""
        self._overlay, chosen = node, self._parameters
        if chosen is not None:
            shown.showPrediction(node, chosen.outline)
            if chosen.shownMap and not self._show(chosen.shownMap):
                chosen.shownMap = ""
                shown.showMap(node, "")
        self.update()

    def update(self) -> None:
        """Bring the buttons to what the views and the parameters say."""
        node = self._overlay
        if node is None or node.GetScene() is None or self._parameters is None:
            return
        name = further.foregroundOf(node)
        for button, meant in MAPS.items():
            getattr(self.ui, button).checked = name == meant or (bool(name) and FALLBACK.get(meant) == name)
        self.ui.predictionBox.checked = self._parameters.outline

    def _onMap(self, name: str) -> None:
        if self._overlay is None or self._parameters is None:
            return
        problem = self._problem(name)
        if problem:
            self._say(problem)
        else:
            self._parameters.shownMap = name
            if not self._show(name):
                self._onMissing()
        self.update()

    def _show(self, name: str) -> bool:
        done = shown.showMap(self._overlay, name) or shown.showMap(self._overlay, FALLBACK.get(name, name))
        if done:
            self._onShown()
        return done

    def _onOutline(self) -> None:
        if self._overlay is None or self._parameters is None:
            return
        self._parameters.outline = self.ui.predictionBox.checked
        problem = self._problem("prediction") if self._parameters.outline else ""
        there = shown.showPrediction(self._overlay, self._parameters.outline)
        if problem:
            self._say(problem)
        elif self._parameters.outline and not there:
            self._onMissing()

    def _problem(self, name: str) -> str:
        """Why the network of this result has no such map, or an empty text."""
        result: Result | None = overlay.resultOf(self._overlay)
        if result is None or name in ("", "disagreement"):
            return ""
        if result.prediction.activation == "none":
            return _("The outputs of this network are numbers, not probabilities of classes.")
        if not result.prediction.voxels:
            return _("This network gives one answer for the whole volume, not one of every voxel.")
        return ""

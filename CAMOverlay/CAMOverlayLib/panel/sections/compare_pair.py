"""The rows of the section Compare that hold two overlays of one volume together: beside each other, subtracted, and
how far all of them agree."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...contract.errors import ComparisonError
from ...scene.comparison import agreement, difference, side_by_side
from ...scene.comparison.sequence import Comparison, comparisonsOf, isBrowsed
from ...scene.comparison.volumes import derivedOf
from ...scene.overlay import node as overlay
from ..background import Background


class PairRows:
    """Chooses two overlays and shows what is made of them.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
        onPlain: called when nothing that was made of overlays is to be shown any more.
    """

    def __init__(self, ui: Any, say: Callable[[str], None], onPlain: Callable[[], None]) -> None:
        self.ui, self._say, self._onPlain = ui, say, onPlain
        self._volume: Any = None
        self._comparison: Comparison | None = None
        self._filling = False
        self._job: Background | None = None
        self._buttons = (ui.sideBySideButton, ui.differenceButton, ui.agreementButton)
        for measure, words in (("heat", _("normalised heat")), ("magnitude", _("raw magnitude"))):
            ui.differenceSelector.addItem(words, measure)
        for combo in (ui.mapASelector, ui.mapBSelector, ui.differenceSelector):
            combo.currentIndexChanged.connect(lambda row=0: self._onChosen())
        ui.sideBySideButton.clicked.connect(lambda checked=False: self._onButton(ui.sideBySideButton))
        ui.differenceButton.clicked.connect(lambda checked=False: self._onButton(ui.differenceButton))
        ui.agreementButton.clicked.connect(lambda checked=False: self._onButton(ui.agreementButton))

    @property
    def busy(self) -> bool:
        """Whether agreement is being computed."""
        return self._job is not None

    def update(self, volume: Any, comparison: Comparison | None) -> None:
        """Offer the overlays of a volume that are in the scene, and the items of its comparisons."""
        self._volume, self._comparison = volume, comparison
        found = maps(volume) if volume is not None else []
        self._filling = True
        try:
            for combo, preferred in ((self.ui.mapASelector, 0), (self.ui.mapBSelector, 1)):
                _fill(combo, found, preferred)
            for button in self._buttons:
                button.enabled = len(found) > 1 and not (button is self.ui.agreementButton and self.busy)
            self.ui.sideBySideButton.checked = side_by_side.isSideBySide()
            self.ui.differenceButton.checked = self._isShown(difference.ATTRIBUTE)
            self.ui.agreementButton.checked = self._isShown(agreement.ATTRIBUTE)
            self._showAgreement()
        finally:
            self._filling = False

    def nodes(self) -> list[Any]:
        """The two overlays, as far as they are there: items of a sequence live in it, not in the scene."""
        keys = [combo.itemData(combo.currentIndex) for combo in (self.ui.mapASelector, self.ui.mapBSelector)]
        found = [self._node(key, False) for key in keys if key]
        return [node for number, node in enumerate(found) if node is not None and node not in found[:number]]

    def _node(self, key: str, inScene: bool) -> Any:
        """The overlay of a key; with ``inScene`` as one of the scene, which views can show."""
        identifier, _tab, name = key.partition("\t")
        node = slicer.mrmlScene.GetNodeByID(identifier)
        if not name or node is None:
            return node if overlay.isOverlay(node) else None
        for comparison in comparisonsOf(self._volume):
            if comparison.sequenceNode is node and name in comparison.names:
                return comparison.overlayOf(name) if inScene else comparison.node(name)
        return None

    def _chosen(self, inScene: bool = False) -> tuple[Any, Any]:
        keys = [combo.itemData(combo.currentIndex) for combo in (self.ui.mapASelector, self.ui.mapBSelector)]
        first, second = (self._node(key, inScene) if key else None for key in keys)
        if first is None or second is None:
            raise ComparisonError(_("An overlay that was chosen is no longer in the scene. Choose another one."))
        return first, second

    def _isShown(self, attribute: str) -> bool:
        node = derivedOf(self._volume, attribute) if self._volume is not None else None
        return node is not None and any(
            one.GetForegroundVolumeID() == node.GetID()
            for one in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        )

    # What the user does.

    def _onChosen(self) -> None:
        """Other maps, or another measure: what is shown follows."""
        if self._filling:
            return
        for button in (self.ui.sideBySideButton, self.ui.differenceButton):
            if button.checked:
                self._show(button)

    def _onButton(self, button: Any) -> None:
        if self._filling:
            return
        if button.checked:
            for other in self._buttons:
                if other is not button:
                    other.checked = False
            if button is not self.ui.sideBySideButton:
                side_by_side.endSideBySide()
            self._show(button)
        else:
            side_by_side.endSideBySide() if button is self.ui.sideBySideButton else self._onPlain()
            self.update(self._volume, self._comparison)

    def _show(self, button: Any) -> None:
        try:
            if button is self.ui.sideBySideButton:
                first, second = self._chosen(inScene=True)
                side_by_side.showSideBySide(first, second)
                for node in (first, second):
                    overlay.showLegend(node)
            elif button is self.ui.differenceButton:
                measure = self.ui.differenceSelector.itemData(self.ui.differenceSelector.currentIndex)
                before = derivedOf(self._volume, difference.ATTRIBUTE)
                difference.showDifference(*self._chosen(), by=measure, outputNode=before)
            else:
                self._computeAgreement()
        except ComparisonError as error:
            button.checked = False
            self._say(str(error))
        self.update(self._volume, self._comparison)

    # Agreement takes a moment, so it is computed beside the event loop.

    def _computeAgreement(self) -> None:
        nodes = list(self._comparison.nodes) if self._comparison is not None else list(self._chosen())
        work, volume = agreement.agreementOf(nodes), self._volume
        self.ui.agreementLabel.text = _("Counting …")
        self._job = Background(work, lambda found, error: self._onCounted(found, error, nodes, volume))

    def _onCounted(self, found: Any, error: BaseException | None, nodes: list[Any], volume: Any) -> None:
        self._job = None
        if volume.GetScene() is None:
            return
        if error is not None:
            self._say(_("Agreement cannot be computed: {error}").format(error=error))
        else:
            before = derivedOf(volume, agreement.ATTRIBUTE)
            agreement.showAgreement(nodes, found.figures.share, found=found, outputNode=before)
        self.update(self._volume, self._comparison)

    def _showAgreement(self) -> None:
        """The figures of the agreement that the views show."""
        node = derivedOf(self._volume, agreement.ATTRIBUTE) if self._volume is not None else None
        figures = agreement.figuresOf(node) if node is not None and self.ui.agreementButton.checked else None
        if figures is None:
            if not self.busy:
                self.ui.agreementLabel.text = ""
        else:
            self.ui.agreementLabel.text = sentence(figures)
        self.ui.agreementLabel.visible = bool(self.ui.agreementLabel.text)


def maps(volume: Any) -> list[tuple[str, str]]:
    """What can be chosen: words and key, of the items of a volume's comparisons and of its overlays, but for those that
    were taken out of a comparison: they are its items."""
    comparisons = comparisonsOf(volume)
    sequences = {comparison.sequenceNode.GetID(): comparison for comparison in comparisons}
    found = []
    for key, comparison in sequences.items():
        for name in comparison.names:
            words = f"{name} ({comparison.sequenceNode.GetName()})" if len(comparisons) > 1 else name
            found.append((words, f"{key}\t{name}"))
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if overlay.isOverlay(node) and overlay.inputVolumeOf(node) is volume and not isBrowsed(node):
            of = sequences.get(node.GetAttribute(overlay.ITEM_OF) or "")
            if of is None or node.GetAttribute(overlay.ITEM) not in of.names:
                found.append((node.GetName(), node.GetID()))
    return found


def sentence(figures: Any) -> str:
    """How far maps agree, and how alike each two are."""
    count = len(figures.names)
    words = _("{share:.2%} of what was seen is in the hottest {hottest:.0%} of all {count} maps; chance: {chance:.2%}.")
    lines = [
        words.format(share=figures.in_all, hottest=figures.share, count=count, chance=figures.by_chance),
        *(_pair(pair) for pair in figures.pairs[:6]),
    ]
    if len(figures.pairs) > 6:
        lines.append(_("and {count} more pairs in the table").format(count=len(figures.pairs) - 6))
    return "<br>".join(map(escape, lines))


def _pair(pair: Any) -> str:
    correlation = _("none") if pair.correlation is None else f"{pair.correlation:+.2f}"
    return _("{first} and {second}: rank correlation {correlation}, overlap {overlap:.0%}").format(
        first=pair.first, second=pair.second, correlation=correlation, overlap=pair.overlap
    )


def _fill(combo: Any, found: list[tuple[str, str]], preferred: int) -> None:
    """Offer these, with the one that was chosen, or the preferred one of those that are new."""
    before = combo.itemData(combo.currentIndex)
    if [(combo.itemText(row), combo.itemData(row)) for row in range(combo.count)] != found:
        combo.clear()
        for words, key in found:
            combo.addItem(words, key)
            combo.setItemData(combo.count - 1, words, qt.Qt.ToolTipRole)
    row = combo.findData(before) if before else -1
    combo.currentIndex = row if row >= 0 else min(preferred, combo.count - 1)
    combo.enabled = len(found) > 1

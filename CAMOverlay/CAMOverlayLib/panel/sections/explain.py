"""The section Explain: class, place, layer, method, and under Advanced slices, device and Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...contract.errors import WorkerError
from ...contract.inspection import LayerInfo
from ...contract.methods import CATALOGUE
from ...worker.interpreter import own_python
from ...worker.remote.place import place_of
from ..bundle_state import BundleState
from ..parameters import PanelParameters
from .regions import PlaceRows

PYTHON_KEY = "CAMOverlay/Python"

MOST_CLASSES = 2000
"""Classes to choose from at most: longer lists come from damaged files, and would hold the panel for minutes."""


class ExplainSection:
    """Chooses what of the network's answer is explained, and how.

    Args:
        ui: the panel's widgets by name.
        onChosen: called when the user chose another class, place, layer, method or orientation of slices.
        onChanged: called when what can be asked about came or went.
        onPythonChanged: called with the Python that computes, empty for Slicer's own.
    """

    def __init__(
        self,
        ui: Any,
        onChosen: Callable[[], None],
        onChanged: Callable[[], None],
        onPythonChanged: Callable[[str], None],
    ) -> None:
        self.ui = ui
        self.places = PlaceRows(ui, onChosen, onChanged)
        self._onChosen, self._onPythonChanged = onChosen, onPythonChanged
        self._parameters: PanelParameters | None = None
        self._filling = False
        for method in CATALOGUE.values():
            ui.methodSelector.addItem(method.title, method.name)
            tip = f"{method.description}\n{method.paper}"
            ui.methodSelector.setItemData(ui.methodSelector.count - 1, tip, qt.Qt.ToolTipRole)
        for name, title in (("auto", _("Automatic")), ("cpu", _("CPU")), ("cuda", _("GPU (CUDA)"))):
            ui.deviceSelector.addItem(title, name)
        ui.slicesSelector.addItem(_("Automatic"), "")
        for name, title in (("axial", _("Axial")), ("coronal", _("Coronal")), ("sagittal", _("Sagittal"))):
            ui.slicesSelector.addItem(title, name)
        header = ui.layerTree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        self.setClasses(())
        self.setLayers((), "")
        ui.pythonSelector.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        ui.pythonSelector.currentPath = pythonSetting()
        self._choices = {
            "target": ui.targetSelector,
            "minus": ui.minusSelector,
            "method": ui.methodSelector,
            "slices": ui.slicesSelector,
            "device": ui.deviceSelector,
        }
        for name, combo in self._choices.items():
            combo.currentIndexChanged.connect(lambda row=0, name=name: self._choose(name))
        ui.layerTree.itemSelectionChanged.connect(self._onLayer)
        ui.pythonSelector.currentPathChanged.connect(self._onPython)
        self._showPython()

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters
        self.places.setParameters(parameters)
        self.update()

    def update(self) -> None:
        """Show what the parameter node says."""
        if self._parameters is None:
            return
        self._filling = True
        for name, combo in self._choices.items():
            combo.currentIndex = max(0, combo.findData(getattr(self._parameters, name)))
        self._selectLayer(self._parameters.layer)
        self._filling = False
        self.places.update()

    # Classes.

    def setBundle(self, bundle: BundleState | None) -> None:
        """Offer the classes of another bundle; its layers are not known yet."""
        self.setClasses(bundle.info.classes if bundle and bundle.info else ())
        self.setLayers((), "")

    def setClasses(self, classes: tuple[str, ...]) -> None:
        self._filling = True
        target, minus = self.ui.targetSelector, self.ui.minusSelector
        for combo, first in ((target, _("Predicted class")), (minus, _("No other class"))):
            combo.clear()
            combo.addItem(first, "")
            for index, name in enumerate(classes[:MOST_CLASSES]):
                combo.addItem(name, str(index))
        self._filling = False
        self.update()

    @property
    def classCount(self) -> int:
        return self.ui.targetSelector.count - 1

    @property
    def classNames(self) -> tuple[str, ...]:
        """Of the classes that can be chosen, by index."""
        return tuple(self.ui.targetSelector.itemText(row) for row in range(1, self.ui.targetSelector.count))

    # Layers.

    def setLayers(self, layers: Sequence[LayerInfo], default: str) -> None:
        """Fill the tree, grouped as the network is; ``default`` is what automatic takes."""
        tree = self.ui.layerTree
        self._filling = True
        tree.clear()
        first = qt.QTreeWidgetItem()
        first.setText(0, _("Automatic"))
        first.setText(1, default)
        first.setToolTip(1, default)
        tree.addTopLevelItem(first)
        tree.setCurrentItem(first)
        self._items: dict[str, Any] = {"": first}
        for layer in layers:
            item = self._itemOf(layer.name)
            channels, *size = layer.shape
            item.setText(1, f"{channels} × " + "×".join(map(str, size)))
            item.setToolTip(0, f"{layer.name} ({layer.kind})")
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
            item.setData(0, qt.Qt.UserRole, layer.name)
        self.ui.layersButton.visible = not layers
        tree.expandToDepth(0)
        self._filling = False
        self.update()

    def _itemOf(self, name: str) -> Any:
        """The tree's item of a module, made with its parents where it is not there yet."""
        if name in self._items:
            return self._items[name]
        parent, _dot, last = name.rpartition(".")
        item = qt.QTreeWidgetItem()
        item.setText(0, last)
        item.setFlags(qt.Qt.ItemIsEnabled)
        if parent:
            self._itemOf(parent).addChild(item)
        else:
            self.ui.layerTree.addTopLevelItem(item)
        self._items[name] = item
        return item

    @property
    def layersKnown(self) -> bool:
        return len(self._items) > 1

    @property
    def layerNames(self) -> tuple[str, ...]:
        """Of the layers that can be chosen, as far as they are known."""
        items = self._items.values() if self.layersKnown else ()
        return tuple(name for item in items if (name := item.data(0, qt.Qt.UserRole)))

    @property
    def defaultLayer(self) -> str:
        """The layer that automatic takes; empty where that is not known."""
        return self._items[""].text(1)

    def _selectLayer(self, name: str) -> None:
        if name and name not in self._items and not self.layersKnown:
            self._itemOf(name).setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)  # from a saved scene
            self._items[name].setData(0, qt.Qt.UserRole, name)
        item = self._items.get(name) or self._items[""]
        if self._chosenLayer() != name or not item.isSelected():
            self.ui.layerTree.setCurrentItem(item)

    def _chosenLayer(self) -> str:
        item = self.ui.layerTree.currentItem()
        return (item.data(0, qt.Qt.UserRole) or "") if item else ""

    def _onLayer(self) -> None:
        if not self._filling and self._parameters is not None and self._chosenLayer() != self._parameters.layer:
            self._parameters.layer = self._chosenLayer()
            self._onChosen()

    def _choose(self, name: str) -> None:
        combo = self._choices[name]
        value = combo.itemData(combo.currentIndex)
        if self._filling or self._parameters is None or value is None or value == getattr(self._parameters, name):
            return
        setattr(self._parameters, name, value)
        if name != "device":
            self._onChosen()

    # The Python that computes.

    def _onPython(self, path: str = "") -> None:
        path = self.ui.pythonSelector.currentPath.strip()
        slicer.app.userSettings().setValue(PYTHON_KEY, path)
        self._showPython()
        self._onPythonChanged(path)

    def _showPython(self, versions: dict[str, str] | None = None) -> None:
        words = self._pythonInWords(self.ui.pythonSelector.currentPath.strip())
        if versions:
            words += "\n" + ", ".join(f"{name} {version}" for name, version in versions.items())
        self.ui.environmentLabel.text = words

    @staticmethod
    def _pythonInWords(path: str) -> str:
        try:
            place = place_of(path)
        except WorkerError as error:  # said while it is typed, and again by a run
            return str(error)
        if place is not None:
            return _("{path} on {host}, through ssh: what is explained is sent there").format(
                path=place.path, host=place.host
            )
        return path or _("Slicer's own: {path}").format(path=own_python())

    def showVersions(self, python: str, versions: dict[str, str]) -> None:
        """Say what the process that answered is made of."""
        self._showPython({"Python": python, **versions})


def pythonSetting() -> str:
    """The Python that the user chose on this computer, empty for Slicer's own."""
    return str(slicer.app.userSettings().value(PYTHON_KEY) or "")

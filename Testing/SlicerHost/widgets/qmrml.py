"""The qMRML widgets that the panel uses: PySide6 widgets that follow a MRML scene."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6.QtCore import Property, QSize, Signal
from PySide6.QtGui import QColor, QIcon, QImage, QPixmap
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QInputDialog, QSizePolicy, QWidget
from slicer.util import VTKObservationMixin

from .ctk import quietly, stored


class qMRMLWidget(QWidget):
    """The root of a module's .ui file: hands the scene to the widgets connected to it."""

    mrmlSceneChanged = Signal(object)
    _scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QWidget):
    """A choice among the nodes of a scene, live: nodes that come, go or change their names show at once."""

    currentNodeChanged = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._nodes: list[Any] = []
        self._current: Any = None
        self._actions: list[tuple[int, Any]] = []
        self._sceneObservations = VTKObservationMixin()
        self._nameObservations = VTKObservationMixin()
        self._combo = QComboBox(self)
        self._combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._combo.setMinimumContentsLength(12)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._combo.activated.connect(self._onActivated)
        self.destroyed.connect(
            lambda *_, a=self._sceneObservations, b=self._nameObservations: (a.removeObservers(), b.removeObservers())
        )

    # --- the scene ---

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._sceneObservations.removeObservers()
        self._scene = scene
        if scene is not None:
            for event, handler in (
                (scene.NodeAddedEvent, self._onNodeAdded),
                (scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved),
                (scene.NodeRemovedEvent, self._onSceneChanged),
                (scene.EndBatchProcessEvent, self._onSceneChanged),
            ):
                self._sceneObservations.addObserver(scene, event, handler)
        self._refresh()
        self.setEnabled(scene is not None)

    def _onNodeAdded(self, scene: Any, event: str, node: Any) -> None:
        if not scene.IsBatchProcessing() and self._accepts(node):
            self._refresh()

    _onNodeAdded.CallDataType = vtk.VTK_OBJECT  # how VTK's Python wrapping is asked for the node

    def _onNodeAboutToBeRemoved(self, scene: Any, event: str, node: Any) -> None:
        if node in self._nodes:
            self.nodeAboutToBeRemoved.emit(node)

    _onNodeAboutToBeRemoved.CallDataType = vtk.VTK_OBJECT

    def _onSceneChanged(self, scene: Any, event: str) -> None:
        if not scene.IsBatchProcessing():
            self._refresh()

    def _accepts(self, node: Any) -> bool:
        types = self.nodeTypes
        exact = node.GetClassName() in types
        if not exact and not (self.showChildNodeTypes and any(node.IsA(kind) for kind in types)):
            return False
        if any(node.IsA(kind) for kind in self.hideChildNodeTypes):
            return False
        return not (node.GetHideFromEditors() and not self.showHidden)

    def _refresh(self) -> None:
        """Show the nodes of the scene and settle which one is the current."""
        rowBefore = self._nodes.index(self._current) if self._current in self._nodes else 0
        self._nodes = []
        if self._scene is not None:
            collection = self._scene.GetNodes()
            nodes = (collection.GetItemAsObject(index) for index in range(collection.GetNumberOfItems()))
            self._nodes = [node for node in nodes if self._accepts(node)]
        self._nameObservations.removeObservers()
        for node in self._nodes:
            self._nameObservations.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
        current = self._current
        if current not in self._nodes:
            gone = current is not None
            current = None
            if self._nodes and (gone or not self.noneEnabled):
                # Like Qt's combo box: the entry that took the place of the one that went.
                current = self._nodes[min(rowBefore, len(self._nodes) - 1)]
        self._fill()
        self._select(current)

    def _fill(self) -> None:
        blocked = self._combo.blockSignals(True)
        self._combo.clear()
        self._actions = []
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, None)
        for node in self._nodes:
            self._combo.addItem(self._iconOf(node), node.GetName() or "", node.GetID())
        entries = [*self._actionEntries()]
        if entries and self._combo.count():
            self._combo.insertSeparator(self._combo.count())
        for text, action in entries:
            self._actions.append((self._combo.count(), action))
            self._combo.addItem(text)
        self._combo.blockSignals(blocked)
        self._showCurrent()

    def _actionEntries(self) -> list[tuple[str, Any]]:
        entries: list[tuple[str, Any]] = []
        hasCurrent = self._current is not None
        if self.renameEnabled and hasCurrent:
            entries.append((f"Rename current {self._labelOf(self._current.GetClassName())}", self.renameCurrentNode))
        if self.addEnabled:
            for kind in self.nodeTypes:
                label = self._labelOf(kind)
                entries.append((f"Create new {label}", lambda kind=kind: self._addByUser(kind)))
                if self.renameEnabled:
                    entries.append((f"Create new {label} as...", lambda kind=kind: self._addByUser(kind, ask=True)))
        if self.removeEnabled and hasCurrent:
            entries.append((f"Delete current {self._labelOf(self._current.GetClassName())}", self.removeCurrentNode))
        return entries

    def _labelOf(self, kind: str) -> str:
        example = self._scene.CreateNodeByClass(kind) if self._scene else None
        if example is None:
            return kind.removeprefix("vtkMRML").removesuffix("Node")
        example.UnRegister(None)
        return example.GetTypeDisplayName()

    def _iconOf(self, node: Any) -> QIcon:
        return QIcon()

    def _showCurrent(self) -> None:
        quietly(self._combo, currentIndex=self._rowOf(self._current))

    def _rowOf(self, node: Any) -> int:
        if node not in self._nodes:
            return 0 if self.noneEnabled else -1
        return self._nodes.index(node) + (1 if self.noneEnabled else 0)

    def _onNodeModified(self, node: Any, event: str) -> None:
        if node not in self._nodes:
            return
        row = self._rowOf(node)
        if self._combo.itemText(row) != (node.GetName() or ""):
            self._combo.setItemText(row, node.GetName() or "")

    # --- the current node ---

    def currentNode(self) -> Any:
        return self._current

    def setCurrentNode(self, node: Any) -> None:
        if isinstance(node, str):
            self.setCurrentNodeID(node)
            return
        self._select(node if node in self._nodes else None)

    def setCurrentNodeID(self, identifier: str | None) -> None:
        self._select(next((n for n in self._nodes if n.GetID() == identifier), None))

    def _select(self, node: Any) -> None:
        changed = node is not self._current
        self._current = node
        if changed:
            self._fill()  # the entries at the end name the current node's type
            self.currentNodeChanged.emit(node)
        else:
            self._showCurrent()

    def nodeCount(self) -> int:
        return len(self._nodes)

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes[index] if 0 <= index < len(self._nodes) else None

    def _onActivated(self, row: int) -> None:
        action = dict(self._actions).get(row)
        if action:
            self._showCurrent()
            action()
            return
        index = row - (1 if self.noneEnabled else 0)
        self._select(self._nodes[index] if 0 <= index < len(self._nodes) else None)

    # --- what the user can do to nodes ---

    def addNode(self, kind: str | None = None) -> Any:
        kind = kind or (self.nodeTypes[0] if self.nodeTypes else None)
        if self._scene is None or kind not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or self._labelOf(kind)))
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _addByUser(self, kind: str, ask: bool = False) -> None:
        node = self.addNode(kind)
        if ask and node is not None:
            self._rename(node)

    def renameCurrentNode(self) -> None:
        if self._current is not None:
            self._rename(self._current)

    def _rename(self, node: Any) -> None:
        name, accepted = QInputDialog.getText(self, f"Rename {node.GetName()}", "New name:", text=node.GetName())
        if accepted:
            node.SetName(name)

    def removeCurrentNode(self) -> None:
        if self._current is not None:
            self._scene.RemoveNode(self._current)

    nodeTypes = stored("QStringList", [], lambda self: self._refresh())
    hideChildNodeTypes = stored("QStringList", [], lambda self: self._refresh())
    showChildNodeTypes = stored(bool, True, lambda self: self._refresh())
    showHidden = stored(bool, False, lambda self: self._refresh())
    noneEnabled = stored(bool, False, lambda self: self._refresh())
    noneDisplay = stored(str, "None", lambda self: self._fill())
    addEnabled = stored(bool, True, lambda self: self._fill())
    removeEnabled = stored(bool, True, lambda self: self._fill())
    renameEnabled = stored(bool, False, lambda self: self._fill())
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    currentNodeID = Property(str, lambda self: self._current.GetID() if self._current else "", setCurrentNodeID)


class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """A node combo box for colour tables, with a bar of each table's colours."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icons: dict[tuple, QIcon] = {}
        self.nodeTypes = ["vtkMRMLColorTableNode", "vtkMRMLProceduralColorNode"]
        self.showHidden = True  # Slicer hides its own colour tables from other lists
        self.addEnabled = self.removeEnabled = False
        self._combo.setIconSize(QSize(64, 12))

    def _iconOf(self, node: Any) -> QIcon:
        """Drawn once per colours: the list is filled anew at every change of the scene, and there are many tables."""
        table = node.GetLookupTable()
        if table is None or table.GetNumberOfTableValues() == 0:
            return QIcon()
        count = table.GetNumberOfTableValues()
        colours = tuple(table.GetTableValue(x * count // 64)[:3] for x in range(64))
        if colours not in self._icons:
            bar = QImage(64, 1, QImage.Format.Format_RGB32)
            for x, colour in enumerate(colours):
                bar.setPixelColor(x, 0, QColor.fromRgbF(*colour))
            self._icons[colours] = QIcon(QPixmap.fromImage(bar.scaled(64, 12)))
        return self._icons[colours]


WIDGETS = {name: value for name, value in globals().items() if name.startswith("qMRML") and isinstance(value, type)}

"""The qMRML widgets that module panels use: PySide6 widgets that follow a MRML scene."""

from __future__ import annotations

from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QImage, QPixmap
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QInputDialog, QSizePolicy, QVBoxLayout, QWidget

from .ctk import ctkCollapsibleButton, ctkDoubleSpinBox, ctkRangeWidget, ctkSliderWidget, stored


class Observations:
    """VTK observers that end together."""

    def __init__(self) -> None:
        self._tags: list[tuple[Any, int]] = []

    def add(self, subject: Any, event: int | str, callback: Any) -> None:
        self._tags.append((subject, subject.AddObserver(event, callback)))

    def clear(self) -> None:
        for subject, tag in self._tags:
            subject.RemoveObserver(tag)
        self._tags.clear()


class qMRMLWidget(QWidget):
    """The root of a module's .ui file: hands the scene to the widgets connected to it."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLCollapsibleButton(ctkCollapsibleButton):
    mrmlSceneChanged = Signal(object)

    def mrmlScene(self) -> Any:
        return getattr(self, "_scene", None)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


class _SceneFollower:
    """`setMRMLScene` for number widgets, which in Slicer take their units from the scene; here none do."""

    mrmlSceneChanged = Signal(object)

    def mrmlScene(self) -> Any:
        return getattr(self, "_scene", None)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene


class qMRMLSliderWidget(_SceneFollower, ctkSliderWidget):
    quantity = stored(str, "")
    unitAwareProperties = stored(int, 0)


class qMRMLSpinBox(_SceneFollower, ctkDoubleSpinBox):
    quantity = stored(str, "")
    unitAwareProperties = stored(int, 0)


class qMRMLRangeWidget(_SceneFollower, ctkRangeWidget):
    quantity = stored(str, "")
    unitAwareProperties = stored(int, 0)


class qMRMLNodeComboBox(QWidget):
    """A choice among the nodes of a scene, live: nodes that come, go or change their names show at once."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    nodeAboutToBeRemoved = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._nodes: list[Any] = []
        self._current: Any = None
        self._attributes: dict[str, dict[str, str | None]] = {}
        self._typeLabels: dict[str, str] = {}
        self._menuActions: list[Any] = []
        self._actions: list[tuple[int, Any]] = []
        self._sceneObservations = Observations()
        self._nameObservations = Observations()
        self._combo = QComboBox(self)
        self._combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._combo.setMinimumContentsLength(12)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._combo.activated.connect(self._onActivated)
        self.destroyed.connect(lambda *_, a=self._sceneObservations, b=self._nameObservations: (a.clear(), b.clear()))

    # --- the scene ---

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is self._scene:
            return
        self._sceneObservations.clear()
        self._scene = scene
        if scene is not None:
            for event, handler in (
                (scene.NodeAddedEvent, self._onNodeAdded),
                (scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved),
                (scene.NodeRemovedEvent, self._onSceneChanged),
                (scene.EndBatchProcessEvent, self._onSceneChanged),
            ):
                self._sceneObservations.add(scene, event, handler)
        self._refresh()
        self.setEnabled(scene is not None)

    def _onNodeAdded(self, scene: Any, event: str, node: Any) -> None:
        if not scene.IsBatchProcessing() and self._accepts(node):
            self._refresh()
            self.nodeAdded.emit(node)

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
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        for kind, wanted in self._attributes.items():
            if node.IsA(kind):
                for name, value in wanted.items():
                    found = node.GetAttribute(name)
                    if found is None or (value is not None and found != value):
                        return False
        return True

    def _refresh(self) -> None:
        """Show the nodes of the scene and settle which one is the current."""
        rowBefore = self._nodes.index(self._current) if self._current in self._nodes else 0
        self._nodes = []
        if self._scene is not None:
            collection = self._scene.GetNodes()
            self._nodes = [n for i in range(collection.GetNumberOfItems()) if self._accepts(n := collection.GetItemAsObject(i))]
        self._nameObservations.clear()
        for node in self._nodes:
            self._nameObservations.add(node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
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
        if self.editEnabled and hasCurrent:
            entries.append((f"Edit current {self._labelOf(self._current.GetClassName())}", self.editCurrentNode))
        if self.addEnabled:
            for kind in self.nodeTypes:
                label = self._labelOf(kind)
                entries.append((f"Create new {label}", lambda kind=kind: self._addByUser(kind)))
                if self.renameEnabled:
                    entries.append((f"Create new {label} as...", lambda kind=kind: self._addByUser(kind, ask=True)))
        if self.removeEnabled and hasCurrent:
            entries.append((f"Delete current {self._labelOf(self._current.GetClassName())}", self.removeCurrentNode))
        entries += [(action.text(), action.trigger) for action in self._menuActions]
        return entries

    def _labelOf(self, kind: str) -> str:
        if kind in self._typeLabels:
            return self._typeLabels[kind]
        example = self._scene.CreateNodeByClass(kind) if self._scene else None
        if example is None:
            return kind.removeprefix("vtkMRML").removesuffix("Node")
        example.UnRegister(None)
        return example.GetNodeTagName().removesuffix("Node") if not hasattr(example, "GetTypeDisplayName") else example.GetTypeDisplayName()

    def _iconOf(self, node: Any) -> QIcon:
        return QIcon()

    def _showCurrent(self) -> None:
        blocked = self._combo.blockSignals(True)
        self._combo.setCurrentIndex(self._rowOf(self._current))
        self._combo.blockSignals(blocked)

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
            if node is self._current:
                self.currentNodeRenamed.emit(node.GetName() or "")

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

    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self._nodes[index] if 0 <= index < len(self._nodes) else None)

    def _select(self, node: Any) -> None:
        changed = node is not self._current
        self._current = node
        if changed:
            self._fill()  # the entries at the end name the current node's type
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node else "")
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
        node = self._nodes[index] if 0 <= index < len(self._nodes) else None
        self._select(node)
        self.nodeActivated.emit(node)

    # --- what the user can do to nodes ---

    def addNode(self, kind: str | None = None) -> Any:
        kind = kind or (self.nodeTypes[0] if self.nodeTypes else None)
        if self._scene is None or kind not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(kind)
        if node is None:
            return None
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self.baseName or self._labelOf(kind)))
        for name, value in self._attributes.get(kind, {}).items():
            node.SetAttribute(name, value or "")
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _addByUser(self, kind: str, ask: bool = False) -> None:
        node = self.addNode(kind)
        if ask and node is not None:
            self._rename(node)
        self.nodeAddedByUserAction.emit(node)

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

    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self._current)

    def addMenuAction(self, action: Any) -> None:
        self._menuActions.append(action)
        self._fill()

    def addAttribute(self, kind: str, name: str, value: Any = None) -> None:
        self._attributes.setdefault(kind, {})[name] = None if value is None else str(value)
        self._refresh()

    def removeAttribute(self, kind: str, name: str) -> None:
        self._attributes.get(kind, {}).pop(name, None)
        self._refresh()

    def nodeTypeLabel(self, kind: str) -> str:
        return self._typeLabels.get(kind, "")

    def setNodeTypeLabel(self, label: str, kind: str) -> None:
        self._typeLabels[kind] = label
        self._fill()

    nodeTypes = stored("QStringList", [], lambda self: self._refresh())
    hideChildNodeTypes = stored("QStringList", [], lambda self: self._refresh())
    showChildNodeTypes = stored(bool, True, lambda self: self._refresh())
    showHidden = stored(bool, False, lambda self: self._refresh())
    noneEnabled = stored(bool, False, lambda self: self._refresh())
    noneDisplay = stored(str, "None", lambda self: self._fill())
    addEnabled = stored(bool, True, lambda self: self._fill())
    removeEnabled = stored(bool, True, lambda self: self._fill())
    renameEnabled = stored(bool, False, lambda self: self._fill())
    editEnabled = stored(bool, False, lambda self: self._fill())
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    interactionNodeSingletonTag = stored(str, "")
    sizeAdjustPolicy = stored(int, 0)
    currentNodeID = Property(str, lambda self: self._current.GetID() if self._current else "", setCurrentNodeID)
    currentNodeId = currentNodeID


class qMRMLColorTableComboBox(qMRMLNodeComboBox):
    """A node combo box for colour tables, with a bar of each table's colours."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.nodeTypes = ["vtkMRMLColorTableNode", "vtkMRMLProceduralColorNode"]
        self.showHidden = True  # Slicer hides its own colour tables from other lists
        self.addEnabled = self.removeEnabled = False
        self._combo.setIconSize(QSize(64, 12))

    def _iconOf(self, node: Any) -> QIcon:
        table = node.GetLookupTable()
        if table is None or table.GetNumberOfTableValues() == 0:
            return QIcon()
        count = table.GetNumberOfTableValues()
        bar = QImage(64, 1, QImage.Format.Format_RGB32)
        for x in range(64):
            red, green, blue, _ = table.GetTableValue(x * count // 64)
            bar.setPixelColor(x, 0, QColor.fromRgbF(red, green, blue))
        return QIcon(QPixmap.fromImage(bar.scaled(64, 12)))


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """A segmentation and a segment of it."""

    currentNodeChanged = Signal(object)
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal("QStringList")
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._observations = Observations()
        self._nodeCombo, self._segmentCombo = qMRMLNodeComboBox(self), QComboBox(self)
        self._nodeCombo.nodeTypes = ["vtkMRMLSegmentationNode"]
        self._nodeCombo.addEnabled = self._nodeCombo.removeEnabled = False
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodeCombo)
        layout.addWidget(self._segmentCombo)
        self.mrmlSceneChanged.connect(self._nodeCombo.setMRMLScene)
        self._nodeCombo.currentNodeChanged.connect(self._onNode)
        self._segmentCombo.currentIndexChanged.connect(lambda _: self.currentSegmentChanged.emit(self.currentSegmentID()))

    def _onNode(self, node: Any) -> None:
        self._observations.clear()
        if node is not None:
            for event in (vtk.vtkCommand.ModifiedEvent, slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                self._observations.add(node, event, lambda *_: self._fill())
        self._fill()
        self.currentNodeChanged.emit(node)

    def _fill(self) -> None:
        before, node = self.currentSegmentID(), self._nodeCombo.currentNode()
        blocked = self._segmentCombo.blockSignals(True)
        self._segmentCombo.clear()
        if self.noneEnabled:
            self._segmentCombo.addItem("None", "")
        segmentation = node.GetSegmentation() if node else None
        for index in range(segmentation.GetNumberOfSegments() if segmentation else 0):
            identifier = segmentation.GetNthSegmentID(index)
            self._segmentCombo.addItem(segmentation.GetSegment(identifier).GetName(), identifier)
        self._segmentCombo.setCurrentIndex(max(self._segmentCombo.findData(before), 0) if self._segmentCombo.count() else -1)
        self._segmentCombo.blockSignals(blocked)
        if self.currentSegmentID() != before:
            self.currentSegmentChanged.emit(self.currentSegmentID())

    def currentNode(self) -> Any:
        return self._nodeCombo.currentNode()

    def currentNodeID(self) -> str:
        return self._nodeCombo.currentNodeID

    def setCurrentNode(self, node: Any) -> None:
        self._nodeCombo.setCurrentNode(node)

    def setCurrentNodeID(self, identifier: str) -> None:
        self._nodeCombo.setCurrentNodeID(identifier)

    def currentSegmentID(self) -> str:
        return self._segmentCombo.currentData() or ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._segmentCombo.setCurrentIndex(self._segmentCombo.findData(identifier))

    def segmentIDs(self) -> list[str]:
        return [self._segmentCombo.itemData(row) for row in range(self._segmentCombo.count()) if self._segmentCombo.itemData(row)]

    def selectedSegmentIDs(self) -> list[str]:
        return [self.currentSegmentID()] if self.currentSegmentID() else []

    noneEnabled = stored(bool, False, lambda self: (setattr(self._nodeCombo, "noneEnabled", self.noneEnabled), self._fill()))
    editEnabled = stored(bool, False)
    horizontalLayout = stored(bool, False)
    multiSelection = stored(bool, False)
    segmentationNodeSelectorVisible = stored(bool, True, lambda self: self._nodeCombo.setVisible(self.segmentationNodeSelectorVisible))
    selectNodeUponCreation = stored(bool, True)


WIDGETS = {name: value for name, value in globals().items() if name.startswith("qMRML") and isinstance(value, type)}

"""`slicer.app` and the managers that hang on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, QProcessEnvironment, QSettings, Signal
from PySide6.QtWidgets import QApplication
from slicer.util import VTKObservationMixin

from CAMOverlayLib.contract.errors import VolumeError
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import images_2d as photos

from .widgets.slices import qMRMLSliceWidget
from .widgets.tables import qMRMLTableWidget

VERSION, REVISION = "5.13.0", "31053"


class qSlicerLayoutManager(QObject):
    """Slice views and table views as the layout node wants them; no 3-D view, which would need OpenGL."""

    layoutChanged = Signal(int)

    def __init__(self, applicationLogic: Any) -> None:
        super().__init__()
        self._applicationLogic = applicationLogic
        self._sliceLogics = applicationLogic.GetSliceLogics()
        self._slices: dict[str, qMRMLSliceWidget] = {}
        self._tables: dict[str, qMRMLTableWidget] = {}
        for index in range(self._sliceLogics.GetNumberOfItems()):
            self._addWidget(self._sliceLogics.GetItemAsObject(index))
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._shown, node = 0, self._logic.GetLayoutNode()
        self._observations = VTKObservationMixin()
        self._observations.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._follow)
        for event in (slicer.vtkMRMLScene.EndCloseEvent, slicer.vtkMRMLScene.EndImportEvent):
            self._observations.addObserver(slicer.mrmlScene, event, self._ensureLayout)
        self._ensureLayout()

    def _addWidget(self, logic: Any) -> None:
        self._slices[logic.GetSliceNode().GetLayoutName()] = qMRMLSliceWidget(logic)

    def _ensureLayout(self, *_: Any) -> None:
        """A scene that is closed, or has none, leaves the node without a layout; the views then show the usual one."""
        node = self._logic.GetLayoutNode()
        if not node.GetLayoutDescription(node.GetViewArrangement()):
            node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._follow()

    def _follow(self, *_: Any) -> None:
        """Make the slice views that the layout has and that are not there yet, and tell of the layout."""
        views = self._logic.GetViewNodes()
        for index in range(views.GetNumberOfItems() if views is not None else 0):
            view = views.GetItemAsObject(index)
            if view.IsA("vtkMRMLSliceNode") and view.GetLayoutName() not in self._slices:
                logic = slicer.vtkMRMLSliceLogic()
                logic.SetMRMLApplicationLogic(self._applicationLogic)
                logic.SetMRMLScene(slicer.mrmlScene)
                logic.SetSliceNode(view)
                self._sliceLogics.AddItem(logic)
                self._addWidget(logic)
            if view.IsA("vtkMRMLTableViewNode") and view.GetSingletonTag() not in self._tables:
                self._tables[view.GetSingletonTag()] = qMRMLTableWidget(view)
        node = self._logic.GetLayoutNode()
        if self.layout != self._shown and node.GetLayoutDescription(self.layout):
            self._shown = self.layout
            self.layoutChanged.emit(self._shown)

    def stop(self) -> None:
        """Slicer ends: the views go, and nothing follows the scene any more."""
        self._observations.removeObservers()
        for widget in (*self._slices.values(), *self._tables.values()):
            widget.close()

    def setLayout(self, layout: int) -> None:
        self._logic.GetLayoutNode().SetViewArrangement(layout)

    layout = Property(int, lambda self: self._logic.GetLayoutNode().GetViewArrangement(), setLayout)

    def layoutLogic(self) -> Any:
        return self._logic

    def sliceViewNames(self) -> list[str]:
        return list(dict.fromkeys(name for name in ("Red", "Green", "Yellow", *self._slices) if name in self._slices))

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._slices.get(name)

    def tableWidget(self, index: int) -> qMRMLTableWidget | None:
        return next((widget for place, widget in enumerate(self._tables.values()) if place == index), None)

    tableViewCount = Property(int, lambda self: len(self._tables))

    def mrmlSliceLogics(self) -> Any:
        return self._sliceLogics


class qSlicerIOManager(QObject):
    """Reading volumes through the nodes' own storage nodes, as Slicer's readers do; scenes in one file (.mrb)."""

    VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".png", ".jpg")

    def loadNodes(self, fileType: str, properties: dict, collection: Any = None, messages: Any = None) -> bool:
        if fileType not in ("SceneFile", "VolumeFile"):
            raise NotImplementedError(f"SlicerHost loads scenes and volumes only, not {fileType}")
        path = str(properties.get("fileName", ""))
        if not os.path.isfile(path):
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File does not exist: {path}")
            return False
        if fileType == "SceneFile":
            return self.loadScene(path, bool(properties.get("clear", False)))
        with core.vtkMessages() as said:
            node = self._loadVolume(path, properties)
            text = said()
        if node is None:
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, text.strip()[-500:])
            return False
        if properties.get("name"):
            node.SetName(str(properties["name"]))
        if collection is not None:
            collection.AddItem(node)
        return True

    def _loadVolume(self, path: str, properties: dict) -> Any:
        wanted = [bool(properties.get(option)) for option in ("labelmap", "center", "singleFile")]
        options = sum(bit << place for place, bit in enumerate(wanted))
        name = Path(path).name
        ending = next((e for e in self.VOLUMES if name.lower().endswith(e)), Path(name).suffix)
        if photos.isPhoto(Path(path)):  # the core from PyPI lacks the readers that Slicer has for these
            try:
                node = photos.loadPhoto(Path(path), slicer.mrmlScene, name[: -len(ending)])
            except VolumeError:
                return None
        else:
            logic = slicer.app.applicationLogic().GetModuleLogic("Volumes")
            node = logic.AddArchetypeVolume(path, name[: -len(ending)], options, None)
        if node is not None and properties.get("show", True):
            selection = slicer.app.applicationLogic().GetSelectionNode()
            label = bool(properties.get("labelmap"))
            selection.SetActiveLabelVolumeID(node.GetID()) if label else selection.SetActiveVolumeID(node.GetID())
            slicer.app.applicationLogic().PropagateVolumeSelection(1)
        return node

    def loadScene(self, path: str, clear: bool = True) -> bool:
        if not path.endswith(".mrb"):
            raise NotImplementedError(f"SlicerHost loads scenes from .mrb only, not {path}")
        if clear:
            slicer.mrmlScene.Clear(0)
        return bool(slicer.mrmlScene.ReadFromMRB(path, False))

    def saveNodes(self, fileType: str, properties: dict, messages: Any = None) -> bool:
        if fileType != "SceneFile" or not str(properties["fileName"]).endswith(".mrb"):
            raise NotImplementedError(f"SlicerHost saves scenes as .mrb only, not {fileType}")
        return bool(slicer.mrmlScene.WriteToMRB(str(properties["fileName"])))


class qSlicerApplication(QApplication):
    """The application object: a QApplication that knows the scene and the managers."""

    startupCompleted = Signal()

    def prepare(self, home: Path, testing: bool) -> None:
        """Everything that the constructor cannot do: names, folders, settings that are this session's own."""
        self.setOrganizationName("NA-MIC")
        self.setOrganizationDomain("www.na-mic.org")
        self.setApplicationName("Slicer")
        self.setApplicationVersion(f"{VERSION}-2026-01-01")
        self._home, self._temporary, self._testing = home, home / "temporary", testing
        self._temporary.mkdir(parents=True, exist_ok=True)
        QSettings.setDefaultFormat(QSettings.Format.IniFormat)
        QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(home / "settings"))
        self._settings = QSettings()
        self._settings.setValue("Developer/SelfTestDisplayMessageDelay", 0)
        self._startupEnvironment = QProcessEnvironment.systemEnvironment()
        self._io = qSlicerIOManager()
        self._layoutManager: qSlicerLayoutManager | None = None
        self._moduleManager: QObject | None = None

    def attach(self, applicationLogic: Any, layoutManager: qSlicerLayoutManager | None, moduleManager: QObject) -> None:
        self._applicationLogic = applicationLogic
        self._layoutManager, self._moduleManager = layoutManager, moduleManager

    def testingEnabled(self) -> bool:
        return self._testing

    def setTestingEnabled(self, testing: bool) -> None:
        self._testing = testing

    def userSettings(self) -> QSettings:
        return self._settings

    def applicationLogic(self) -> Any:
        return self._applicationLogic

    def layoutManager(self) -> qSlicerLayoutManager | None:
        return self._layoutManager

    def moduleManager(self) -> QObject:
        return self._moduleManager

    def coreIOManager(self) -> qSlicerIOManager:
        return self._io

    def startupEnvironment(self) -> QProcessEnvironment:
        return QProcessEnvironment(self._startupEnvironment)

    temporaryPath = Property(str, lambda self: str(self._temporary))
    slicerHome = Property(str, lambda self: str(self._home))
    revision = Property(str, lambda self: REVISION)

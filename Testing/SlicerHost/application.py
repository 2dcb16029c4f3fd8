"""`slicer.app` and the managers that hang on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6.QtCore import Property, QObject, QProcessEnvironment, QSettings, Signal
from PySide6.QtWidgets import QApplication

from CAMOverlayLib.contract.errors import VolumeError
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io import images_2d as photos

from .widgets.slices import qMRMLSliceWidget

VERSION, REVISION = "5.13.0", "31053"


class qSlicerLayoutManager(QObject):
    """Three slice views; no 3-D view, which would need OpenGL."""

    def __init__(self, sliceLogics: Any) -> None:
        super().__init__()
        self._sliceLogics = sliceLogics
        logics = [sliceLogics.GetItemAsObject(i) for i in range(sliceLogics.GetNumberOfItems())]
        self._slices = {logic.GetSliceNode().GetLayoutName(): qMRMLSliceWidget(logic) for logic in logics}

    def sliceViewNames(self) -> list[str]:
        return [name for name in ("Red", "Green", "Yellow") if name in self._slices]

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._slices.get(name)

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

"""`slicer.app` and the managers that hang on it."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import slicer
import vtk
from CAMOverlayLib.errors import VolumeError
from CAMOverlayLib.scene import core, photos
from PySide6.QtCore import Property, QObject, QProcessEnvironment, QSettings, Signal
from PySide6.QtWidgets import QApplication, QWidget

from .widgets.ctk import stored
from .widgets.slices import qMRMLSliceWidget

VERSION, REVISION = "5.13.0", "31053"


class CommandOptions(QObject):
    """`slicer.app.commandOptions()`."""

    noMainWindow = stored(bool, False)
    testingEnabled = stored(bool, False)
    runPythonAndExit = stored(bool, False)
    pythonCode = stored(str, "")
    pythonScript = stored(str, "")


class qSlicerLayoutManager(QObject):
    """Three slice views; no 3-D view, which would need OpenGL."""

    layoutChanged = Signal(int)
    selectModule = Signal(str)
    nodeAboutToBeEdited = Signal(object)

    def __init__(self, sliceLogics: Any) -> None:
        super().__init__()
        self._sliceLogics = sliceLogics
        self._layout = 3
        logics = [sliceLogics.GetItemAsObject(i) for i in range(sliceLogics.GetNumberOfItems())]
        self._slices = {logic.GetSliceNode().GetLayoutName(): qMRMLSliceWidget(logic) for logic in logics}

    def sliceViewNames(self) -> list[str]:
        return [name for name in ("Red", "Green", "Yellow") if name in self._slices]

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._sliceLogics

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def threeDWidget(self, index: int) -> None:
        return None

    tableWidget = plotWidget = threeDWidget

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        pass

    def pauseRender(self) -> None:
        for widget in self._slices.values():
            widget.pauseRender()

    def resumeRender(self) -> None:
        for widget in self._slices.values():
            widget.resumeRender()

    def setRenderPaused(self, pause: bool) -> None:
        self.pauseRender() if pause else self.resumeRender()

    def viewport(self) -> QWidget | None:
        return self._slices["Red"].parentWidget()

    def _setLayout(self, layout: int) -> None:
        if layout != self._layout:
            self._layout = layout
            self.layoutChanged.emit(layout)

    layout = Property(int, lambda self: self._layout, _setLayout)
    threeDViewCount = Property(int, lambda self: 0)
    tableViewCount = Property(int, lambda self: 0)
    plotViewCount = Property(int, lambda self: 0)


class qSlicerIOManager(QObject):
    """Reading and writing through the nodes' own storage nodes, as Slicer's readers and writers do."""

    newFileLoaded = Signal(object)
    fileSaved = Signal(object)
    defaultSceneFileType = stored(str, "MRML Scene (.mrml)")
    defaultMaximumFileNameLength = stored(int, 50)

    #: Ending, file type, node class.
    KINDS = (
        (".mrb", "SceneFile", ""),
        (".mrml", "SceneFile", ""),
        (".seg.nrrd", "SegmentationFile", "vtkMRMLSegmentationNode"),
        (".nrrd", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".nii.gz", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".nii", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".mha", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".mhd", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".png", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".jpg", "VolumeFile", "vtkMRMLScalarVolumeNode"),
        (".ctbl", "ColorTableFile", "vtkMRMLColorTableNode"),
        (".tfm", "TransformFile", "vtkMRMLTransformNode"),
        (".h5", "TransformFile", "vtkMRMLTransformNode"),
        (".txt", "TextFile", "vtkMRMLTextNode"),
        (".json", "TextFile", "vtkMRMLTextNode"),
        (".csv", "TableFile", "vtkMRMLTableNode"),
        (".tsv", "TableFile", "vtkMRMLTableNode"),
        (".vtk", "ModelFile", "vtkMRMLModelNode"),
        (".stl", "ModelFile", "vtkMRMLModelNode"),
    )

    def fileType(self, path: str) -> str:
        return next((kind for ending, kind, _ in self.KINDS if str(path).lower().endswith(ending)), "NoFile")

    def fileWriterFileType(self, node: Any) -> str:
        return next((kind for _, kind, cls in self.KINDS if cls and node.IsA(cls)), "NodeFile")

    def loadNodes(self, fileType: str, properties: dict, collection: Any = None, messages: Any = None) -> bool:
        path = str(properties.get("fileName", ""))
        if not os.path.isfile(path):
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File does not exist: {path}")
            return False
        if fileType == "SceneFile":
            return self.loadScene(path, bool(properties.get("clear", False)))
        load = self._loadVolume if fileType == "VolumeFile" else self._loadStorable
        with core.vtkMessages() as said:
            node = load(path, fileType, properties)
            text = said()
        if node is None:
            if messages is not None:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, text.strip()[-500:])
            return False
        if properties.get("name"):
            node.SetName(str(properties["name"]))
        if collection is not None:
            collection.AddItem(node)
        self.newFileLoaded.emit(properties)
        return True

    def _loadVolume(self, path: str, fileType: str, properties: dict) -> Any:
        options = 1 * bool(properties.get("labelmap")) + 2 * bool(properties.get("center")) + 4 * bool(properties.get("singleFile"))
        name = Path(path).name
        ending = next((e for e, *_ in self.KINDS if name.lower().endswith(e)), Path(name).suffix)
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

    def _loadStorable(self, path: str, fileType: str, properties: dict) -> Any:
        className = next((cls for _, kind, cls in self.KINDS if kind == fileType), None)
        node = slicer.mrmlScene.AddNewNodeByClass(className, Path(path).stem) if className else None
        if node is None:
            return None
        node.AddDefaultStorageNode(path)
        if not node.GetStorageNode().ReadData(node):
            slicer.mrmlScene.RemoveNode(node)
            return None
        node.CreateDefaultDisplayNodes() if hasattr(node, "CreateDefaultDisplayNodes") else None
        return node

    def loadScene(self, path: str, clear: bool = True) -> bool:
        scene = slicer.mrmlScene
        if clear:
            scene.Clear(0)
        if str(path).endswith(".mrb"):
            return bool(scene.ReadFromMRB(str(path), False))
        scene.SetURL(str(path))
        return bool(scene.Connect() if clear else scene.Import())

    def saveScene(self, path: str, screenshot: Any = None) -> bool:
        scene = slicer.mrmlScene
        if str(path).endswith(".mrb"):
            return bool(scene.WriteToMRB(str(path)))
        scene.SetURL(str(path))
        scene.SetRootDirectory(os.path.dirname(os.path.abspath(path)))
        return bool(scene.Commit(str(path)))

    def saveNodes(self, fileType: str, properties: dict, messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return self.saveScene(path)
        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        if storage is None:
            return False
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        saved = bool(storage.WriteData(node))
        if saved:
            self.fileSaved.emit(properties)
        return saved


class qSlicerPythonManager(QObject):
    pythonPreInitialized = Signal()
    pythonInitialized = Signal()
    systemExitExceptionRaised = Signal(int)

    def executeString(self, code: str) -> Any:
        return exec(code, sys.modules["__main__"].__dict__)  # noqa: S102: that is what it is for

    def toPythonStringLiteral(self, text: str) -> str:
        return repr(text)

    pythonPaths = Property("QStringList", lambda self: list(sys.path))


class qSlicerApplication(QApplication):
    """The application object: a QApplication that knows the scene and the managers."""

    startupCompleted = Signal()
    mrmlSceneChanged = Signal(object)
    renderPaused = Signal(bool)
    urlReceived = Signal(str)
    usageEventLogged = Signal(str, str)

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
        self._settings, self._revisionSettings = QSettings(), QSettings(str(home / "Slicer-revision.ini"), QSettings.Format.IniFormat)
        self._settings.setValue("Developer/SelfTestDisplayMessageDelay", 0)
        self._options = CommandOptions()
        self._options.testingEnabled = testing
        self._startupEnvironment = QProcessEnvironment.systemEnvironment()
        self._io, self._python = qSlicerIOManager(), qSlicerPythonManager()
        self._layoutManager: qSlicerLayoutManager | None = None
        self._moduleManager: QObject | None = None
        self._pauses = 0
        self.restarts: list[bool] = []

    def attach(self, applicationLogic: Any, layoutManager: qSlicerLayoutManager | None, moduleManager: QObject) -> None:
        self._applicationLogic, self._layoutManager, self._moduleManager = applicationLogic, layoutManager, moduleManager

    def testingEnabled(self) -> bool:
        return self._testing

    def setTestingEnabled(self, testing: bool) -> None:
        self._testing = testing

    def settings(self) -> QSettings:
        return self._settings

    userSettings = settings

    def revisionUserSettings(self) -> QSettings:
        return self._revisionSettings

    def defaultSettings(self) -> QSettings:
        return self._settings

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def applicationLogic(self) -> Any:
        return self._applicationLogic

    def moduleLogic(self, name: str) -> Any:
        return self._applicationLogic.GetModuleLogic(name)

    def layoutManager(self) -> qSlicerLayoutManager | None:
        return self._layoutManager

    def moduleManager(self) -> QObject:
        return self._moduleManager

    def coreIOManager(self) -> qSlicerIOManager:
        return self._io

    ioManager = coreIOManager

    def pythonManager(self) -> qSlicerPythonManager:
        return self._python

    def pythonConsole(self) -> None:
        return None

    def errorLogModel(self) -> None:
        return None

    def commandOptions(self) -> CommandOptions:
        return self._options

    def startupEnvironment(self) -> QProcessEnvironment:
        return QProcessEnvironment(self._startupEnvironment)

    def environment(self) -> QProcessEnvironment:
        return QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        self._pauses += 1
        if self._layoutManager and self._pauses == 1:
            self._layoutManager.pauseRender()
            self.renderPaused.emit(True)

    def resumeRender(self) -> None:
        self._pauses = max(self._pauses - 1, 0)
        if self._layoutManager and self._pauses == 0:
            self._layoutManager.resumeRender()
            self.renderPaused.emit(False)

    def setRenderPaused(self, pause: bool) -> None:
        self.pauseRender() if pause else self.resumeRender()

    def restart(self) -> None:
        """Noted, not done."""
        self.restarts.append(True)

    def confirmRestart(self, reason: str = "") -> None:
        self.restarts.append(False)

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def toSlicerHomeAbsolutePath(self, path: str) -> str:
        return str(self._home / path)

    def openNodeModule(self, node: Any, role: str = "", context: str = "") -> None:
        pass

    def logUsageEvent(self, component: str, event: str) -> None:
        self.usageEventLogged.emit(component, event)

    def showConsoleMessage(self, message: str, error: bool = True) -> None:
        print(message, file=sys.stderr if error else sys.stdout)

    def desktop(self) -> Any:
        return self.primaryScreen()

    def _setTemporaryPath(self, path: str) -> None:
        self._temporary = Path(path)

    temporaryPath = Property(str, lambda self: str(self._temporary), _setTemporaryPath)
    cachePath = stored(str, tempfile.gettempdir())
    slicerHome = Property(str, lambda self: str(self._home))
    revision = Property(str, lambda self: REVISION)
    repositoryRevision = Property(str, lambda self: "0")
    mainApplicationName = Property(str, lambda self: "Slicer")
    mainApplicationDisplayName = Property(str, lambda self: "3D Slicer")
    mainApplicationRevision = Property(str, lambda self: REVISION)
    mainApplicationMajorVersion = Property(int, lambda self: int(VERSION.split(".")[0]))
    mainApplicationMinorVersion = Property(int, lambda self: int(VERSION.split(".")[1]))
    mainApplicationPatchVersion = Property(int, lambda self: int(VERSION.split(".")[2]))
    majorVersion = Property(int, lambda self: int(VERSION.split(".")[0]))
    minorVersion = Property(int, lambda self: int(VERSION.split(".")[1]))
    isCustomMainApplication = Property(bool, lambda self: False)
    isInstalled = Property(bool, lambda self: True)
    releaseType = Property(str, lambda self: "Preview")
    os = Property(str, lambda self: {"Darwin": "macosx", "Windows": "win"}.get(platform.system(), "linux"))
    arch = Property(str, lambda self: {"x86_64": "amd64", "AMD64": "amd64"}.get(platform.machine(), platform.machine()))
    platform = Property(str, lambda self: f"{self.os}-{self.arch}")
    intDir = Property(str, lambda self: "")
    extensionsInstallPath = stored(str, "")
    startupWorkingPath = Property(str, lambda self: os.getcwd())
    launcherExecutableFilePath = Property(str, lambda self: str(self._home / "Slicer"))
    launcherSettingsFilePath = Property(str, lambda self: str(self._home / "bin" / "SlicerLauncherSettings.ini"))
    slicerUserSettingsFilePath = Property(str, lambda self: self._settings.fileName())
    slicerRevisionUserSettingsFilePath = Property(str, lambda self: self._revisionSettings.fileName())
    documentationBaseUrl = Property(str, lambda self: "https://slicer.readthedocs.io/en/latest/")
    documentationVersion = Property(str, lambda self: "latest")
    documentationLanguage = Property(str, lambda self: "en")
    applicationLocaleName = Property(str, lambda self: "en")

"""Loading modules and showing them: what Slicer's module factory, module manager and module panel do."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import slicer
from CAMOverlayLib.scene import core
from PySide6.QtCore import Property, QObject, Qt, Signal
from PySide6.QtGui import QIcon, QImage
from PySide6.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from . import offered, pythonqt
from .widgets.ctk import ctkCollapsibleButton, ctkFittedTextBrowser, stored
from .widgets.qmrml import qMRMLWidget

#: Modules written in C++ that a scripted module may ask for a logic: name and class of the logic.
LOADABLE = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


class _Module(QObject):
    """What all modules have. Scripted modules may write these, modules in C++ are shown read-only."""

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene

    def action(self) -> None:
        return None

    path = stored(str, "")
    title = stored(str, "")
    categories = stored("QStringList", [])
    dependencies = stored("QStringList", [])
    contributors = stored("QStringList", [])
    associatedNodeTypes = stored("QStringList", [])
    helpText = stored(str, "")
    acknowledgementText = stored(str, "")
    icon = stored(QIcon, QIcon())
    logo = stored(QImage, QImage())
    index = stored(int, -1)
    hidden = stored(bool, False)
    isBuiltIn = stored(bool, False)
    isInstalled = stored(bool, True)
    slicerWikiUrl = stored(str, "")
    defaultDocumentationLink = stored(str, "")
    widgetRepresentationCreationEnabled = stored(bool, True)


class qSlicerLoadableModule(_Module):
    """A module in C++, as far as its logic goes."""

    def __init__(self, name: str, logic: Any) -> None:
        super().__init__()
        self.setObjectName(name)
        self.title = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None

    createNewWidgetRepresentation = widgetRepresentation


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget that holds a scripted module's panel: the `parent` of the Python widget class."""

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self._module, self._python, self._entered = module, None, False
        self.setLayout(QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)
        self.setObjectName(f"{module.objectName()}ModuleWidget")

    moduleName = Property(str, lambda self: self._module.objectName())
    isEntered = Property(bool, lambda self: self._entered)

    def self(self) -> Any:
        return self._python

    def pythonSource(self) -> str:
        return self._module.path

    def module(self) -> QObject:
        return self._module

    def make(self) -> None:
        """Make the Python widget and let it set itself up. Like Slicer, only print what goes wrong in there."""
        name = f"{self._module.objectName()}Widget"
        cls = getattr(sys.modules[self._module.objectName()], name)
        self._python = None
        try:
            self._python = cls(pythonqt.wrap(self))
            setattr(slicer.modules, name, self._python)
        except Exception as error:
            pythonqt.errors.record(error)
        self._call("setup")

    def reload(self) -> None:
        self.make()

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

    def cleanup(self) -> None:
        self._call("cleanup")

    def _call(self, method: str) -> None:
        function = getattr(self._python, method, None)
        if function is None:
            return
        try:
            function()
        except Exception as error:
            pythonqt.errors.record(error)


class qSlicerScriptedLoadableModule(_Module):
    """A module from a Python file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setObjectName(path.stem)
        self.path = str(path)
        self._widget: qSlicerScriptedLoadableModuleWidget | None = None
        self._python: Any = None
        self._logic: Any = None

    def load(self) -> None:
        """Run the file and make its module class. Unlike Slicer, an error here is raised: nothing would follow."""
        name, folder = self.objectName(), str(Path(self.path).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(name, self.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        self._python = getattr(module, name)(pythonqt.wrap(self))
        setattr(slicer.modules, f"{name}Instance", self._python)

    def logic(self) -> Any:
        """A scripted module's C++ logic, which is not the Python logic class."""
        if self._logic is None:
            self._logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
            self._logic.SetMRMLScene(slicer.mrmlScene)
        return self._logic

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.make()
        return self._widget

    def createNewWidgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        widget = qSlicerScriptedLoadableModuleWidget(self)
        widget.make()
        return widget


class qSlicerModuleManager(QObject):
    """All modules by name, also as attributes of `slicer.modules`."""

    moduleLoaded = Signal(str)
    moduleAboutToBeUnloaded = Signal(str)

    def __init__(self, applicationLogic: Any) -> None:
        super().__init__()
        self._modules: dict[str, _Module] = {}
        for name, logicClass in LOADABLE.items():
            logic = applicationLogic.GetModuleLogic(name)
            if logic is None:
                logic = getattr(slicer, logicClass)()
                with core.vtkMessages():  # the files in Slicer's share folder are missing
                    logic.SetMRMLApplicationLogic(applicationLogic)
                    logic.SetMRMLScene(slicer.mrmlScene)
                applicationLogic.SetModuleLogic(name, logic)
            self.add(qSlicerLoadableModule(name, logic))

    def add(self, module: _Module) -> None:
        name = module.objectName()
        self._modules[name] = module
        setattr(slicer.modules, name.lower(), pythonqt.wrap(module))
        setattr(slicer.moduleNames, name, name)
        self.moduleLoaded.emit(name)

    def module(self, name: str) -> _Module | None:
        return self._modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def factoryManager(self) -> qSlicerModuleManager:
        return self

    def loadedModuleNames(self) -> list[str]:
        return list(self._modules)

    def unloadAll(self) -> None:
        """What happens when Slicer ends: every widget cleans up."""
        for name, module in self._modules.items():
            if isinstance(module, qSlicerScriptedLoadableModule):
                self.moduleAboutToBeUnloaded.emit(name)


class qSlicerModulePanel(QScrollArea):
    """The panel at the left: help, then the widget of the module that is entered."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("ModulePanel")
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._content = QWidget()
        self._layout = QVBoxLayout(self._content)
        self._layout.setContentsMargins(6, 6, 6, 6)
        self._help = ctkCollapsibleButton("Help && Acknowledgement")
        self._help.collapsed = True
        inside = QVBoxLayout(self._help)
        self._helpText = ctkFittedTextBrowser()
        self._helpText.setOpenExternalLinks(True)
        inside.addWidget(self._helpText)
        self._layout.addWidget(self._help)
        self._layout.addStretch(1)
        self.setWidget(self._content)
        self._shown: qSlicerScriptedLoadableModuleWidget | None = None

    def show_(self, module: qSlicerScriptedLoadableModule | None) -> None:
        """Leave the module that is shown and enter another one."""
        if self._shown is not None:
            self._shown.exit()
            self._layout.removeWidget(self._shown)
            self._shown.hide()
            self._shown.setParent(None)
        self._shown = module.widgetRepresentation() if module else None
        if module:
            self._helpText.setHtml(f"{module.helpText}<br>{module.acknowledgementText}")
            self._layout.insertWidget(1, self._shown)
            self._shown.show()
            self._shown.enter()

    def _setHelpVisible(self, visible: bool) -> None:
        self._help.setVisible(visible)

    helpAndAcknowledgmentVisible = Property(bool, lambda self: not self._help.isHidden(), _setHelpVisible)


class qSlicerModuleSelectorToolBar(QObject):
    """`slicer.util.moduleSelector()`: chooses the module that the panel shows."""

    moduleSelected = Signal(str)

    def __init__(self, panel: qSlicerModulePanel, manager: qSlicerModuleManager) -> None:
        super().__init__(panel)
        self._panel, self._manager, self._selected = panel, manager, ""

    def selectModule(self, name: str) -> None:
        module = self._manager.module(name)
        if isinstance(module, qSlicerScriptedLoadableModule):
            self._panel.show_(module)
        else:
            self._panel.show_(None)
        self._selected = name
        self.moduleSelected.emit(name)

    selectedModule = Property(str, lambda self: self._selected, selectModule)


def defineClasses() -> None:
    """Let modules see these classes."""
    listed = offered.offer("qSlicerLoadableModule")
    writable = {name: kind.partition(" (")[0] for name, kind in listed.properties.items()}
    scripted = offered.Offer(listed.inherits, writable, listed.signals, listed.methods, listed.other)
    pythonqt.defineClass("qSlicerLoadableModule", qSlicerLoadableModule, constructible=False)
    pythonqt.defineClass("qSlicerScriptedLoadableModule", qSlicerScriptedLoadableModule, False, scripted)
    widget = offered.offer("qMRMLWidget").withAll(
        offered.Offer(
            properties={"isEntered": "bool (read only)", "moduleName": "QString (read only)"},
            methods=frozenset(["self", "reload", "setup", "pythonSource", "module"]),
        )
    )
    pythonqt.defineClass("qSlicerScriptedLoadableModuleWidget", qSlicerScriptedLoadableModuleWidget, False, widget)
    pythonqt.defineClass("qSlicerModuleManager", qSlicerModuleManager, constructible=False)
    for name, native, offer in (
        ("qSlicerModulePanel", qSlicerModulePanel, {"properties": {"helpAndAcknowledgmentVisible": "bool"}}),
        (
            "qSlicerModuleSelectorToolBar",
            qSlicerModuleSelectorToolBar,
            {
                "properties": {"selectedModule": "QString"},
                "methods": frozenset(["selectModule"]),
                "signals": ("moduleSelected(QString)",),
            },
        ),
    ):
        base = offered.offer("QWidget" if issubclass(native, QWidget) else "QObject")
        pythonqt.defineClass(name, native, False, base.withAll(offered.Offer(**offer)))


def emptyModules() -> tuple[types.ModuleType, types.SimpleNamespace]:
    """`slicer.modules` and `slicer.moduleNames`."""
    return types.ModuleType("slicer.modules"), types.SimpleNamespace()

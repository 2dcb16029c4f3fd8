"""Loading modules and showing them: what Slicer's module factory, module manager and module panel do."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import slicer
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QVBoxLayout

from CAMOverlayLib.scene import core

from . import offered, pythonqt
from .widgets.ctk import stored
from .widgets.qmrml import qMRMLWidget

#: Modules written in C++ that the panel or a scene file asks for a logic: name and class of the logic.
LOADABLE = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


class _Module(QObject):
    """What all modules have. Scripted modules may write these, modules in C++ are shown read-only."""

    path = stored(str, "")
    title = stored(str, "")
    categories = stored("QStringList", [])
    dependencies = stored("QStringList", [])
    contributors = stored("QStringList", [])
    helpText = stored(str, "")
    acknowledgementText = stored(str, "")
    icon = stored(QIcon, QIcon())


class qSlicerLoadableModule(_Module):
    """A module in C++, as far as its logic goes."""

    def __init__(self, name: str, logic: Any) -> None:
        super().__init__()
        self.setObjectName(name)
        self.title = name
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The widget that holds a scripted module's panel: the `parent` of the Python widget class."""

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        self._module, self._python, self._entered = module, None, False
        self.setLayout(QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)
        self.setObjectName(f"{module.objectName()}ModuleWidget")

    isEntered = Property(bool, lambda self: self._entered)

    def self(self) -> Any:
        return self._python

    def reload(self) -> None:
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

    def enter(self) -> None:
        self._entered = True
        self._call("enter")

    def exit(self) -> None:
        self._entered = False
        self._call("exit")

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

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.reload()
        return self._widget


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
        self.moduleLoaded.emit(name)

    def module(self, name: str) -> _Module | None:
        return self._modules.get(name)

    def unloadAll(self) -> None:
        """What happens when Slicer ends: every widget cleans up."""
        for name, module in self._modules.items():
            if isinstance(module, qSlicerScriptedLoadableModule):
                self.moduleAboutToBeUnloaded.emit(name)


def scriptedOffers() -> dict[type, offered.Offer]:
    """What Slicer offers of the classes that the lists do not have: what a scripted module's file may set, and what its
    widget has."""
    listed = offered.offer("qSlicerLoadableModule")
    writable = {name: kind.partition(" (")[0] for name, kind in listed.properties.items()}
    entered = offered.Offer(properties={"isEntered": "bool (read only)"}, methods=frozenset(["self", "reload"]))
    return {
        qSlicerScriptedLoadableModule: dataclasses.replace(listed, properties=writable),
        qSlicerScriptedLoadableModuleWidget: offered.offer("qMRMLWidget").withAll(entered),
    }

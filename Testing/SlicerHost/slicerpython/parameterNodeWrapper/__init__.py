"""Typed parameters over a `vtkMRMLScriptedModuleNode`, tied to widgets; behaves as Slicer's package of this name."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk

from .annotations import (
    Choice,
    Decimals,
    Default,
    Exclude,
    IsInstance,
    Label,
    Maximum,
    Minimum,
    NotNone,
    RangeBounds,
    SingleStep,
    Validator,
    WithinRange,
    findFirstAnnotation,
    splitAnnotations,
    splitDotted,
    unannotatedType,
)
from .gui import (
    GuiConnector,
    createGuiConnector,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    parameterNodeGuiConnector,
)
from .packs import FloatRange, isParameterPack, nestedParameterNames, parameterPack
from .stored import Parameter, declaredParameters

__all__ = [
    "Choice", "Decimals", "Default", "Exclude", "FloatRange", "GuiConnector", "IsInstance", "Label", "Maximum", "Minimum",
    "NotNone", "RangeBounds", "SingleStep", "Validator", "WithinRange", "createGuiConnector", "findChildWidgetForParameter",
    "findFirstAnnotation", "getNodeTypes", "isNodeOrUnionOfNodes", "isParameterNodeWrapper", "isParameterPack",
    "nestedParameterNames", "parameterNodeGuiConnector", "parameterNodeWrapper", "parameterPack", "splitAnnotations",
    "unannotatedType",
]  # fmt: skip

_PROPERTY = "SlicerParameterName"


def parameterNodeWrapper(classtype=None):
    """Make a class with annotated members a typed view of a parameter node."""
    return _make if classtype is None else _make(classtype)


def isParameterNodeWrapper(classOrObj) -> bool:
    return getattr(classOrObj, "_is_parameter_node_wrapper", False)


def findChildWidgetForParameter(widget, parameter):
    return next((w for w in widget.findChildren(qt.QWidget) if w.property(_PROPERTY) == parameter), None)


def _make(cls: type) -> type:
    parameters = declaredParameters(cls)
    for name in parameters:
        setattr(cls, name, property(lambda self, n=name: self.getValue(n), lambda self, v, n=name: self.setValue(n, v)))
    reserved = {
        "allParameters": parameters,
        "_is_parameter_node_wrapper": True,
        **{name: member for name, member in vars(_Wrapper).items() if not name.startswith("__")},
    }
    for name, member in reserved.items():
        if hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, member)
    cls.__init__ = _Wrapper.__init__
    return cls


class _Wrapper:
    """What every decorated class gets."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode, prefix: str | None = None):
        self.parameterNode = parameterNode
        self._prefix = prefix or ""
        self._guis: dict[int, dict[str, GuiConnector]] = {}
        self._guiObservers: dict[int, int] = {}
        self._nextTag = 0
        self._updatingGui = False
        for name, parameter in self.allParameters.items():
            if not parameter.kept.has(parameterNode, self._prefix + name):
                parameter.kept.put(parameterNode, self._prefix + name, parameter.default.value)

    def _parameter(self, name: str) -> tuple[Parameter, str, str | None]:
        top, rest = splitDotted(name)
        if top not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {top}")
        return self.allParameters[top], self._prefix + top, rest

    def getValue(self, name: str):
        parameter, stored, rest = self._parameter(name)
        if not parameter.kept.has(self.parameterNode, stored):
            parameter.kept.put(self.parameterNode, stored, parameter.default.value)
        value = parameter.kept.get(self.parameterNode, stored)
        return value if rest is None else value.getValue(rest)

    def setValue(self, name: str, value) -> None:
        parameter, stored, rest = self._parameter(name)
        if rest is None:
            with slicer.util.NodeModify(self.parameterNode):
                parameter.kept.put(self.parameterNode, stored, value)
        else:
            parameter.kept.get(self.parameterNode, stored).setValue(rest, value)

    def default(self, name: str) -> Default:
        return self._parameter(name)[0].default

    def isCached(self, name: str) -> bool:
        self._parameter(name)
        return False

    @classmethod
    def dataType(cls, name: str):
        top, rest = splitDotted(name)
        if top not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {top}")
        kind = cls.allParameters[top].unalteredType
        return kind if rest is None else unannotatedType(kind).dataType(rest)

    # --- widgets ---

    def connectGui(self, gui) -> int:
        """Tie the widgets that have the dynamic property SlicerParameterName to the parameters of that name."""
        isWidget = getattr(gui, "isWidgetType", lambda: False)()
        widgets = gui.findChildren(qt.QWidget) if isWidget else vars(gui).values()
        return self.connectParametersToGui({w.property(_PROPERTY): w for w in widgets if w.property(_PROPERTY)})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        for name in mapping:
            self._parameter(name)
        connectors = {
            name: widget if isinstance(widget, GuiConnector) else createGuiConnector(widget, self.dataType(name))
            for name, widget in mapping.items()
        }
        tag, self._nextTag = self._nextTag, self._nextTag + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._readGui(name, connector))
        self._guiObservers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._updateGui())
        return tag

    def disconnectGui(self, guiTag) -> None:
        for connector in self._guis.pop(guiTag, {}).values():
            connector.onChanged(None)
        if guiTag in self._guiObservers:
            self.RemoveObserver(self._guiObservers.pop(guiTag))

    def _readGui(self, name: str, connector: GuiConnector) -> None:
        if not self._updatingGui:
            self.setValue(name, connector.read())

    def _updateGui(self) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            for connectors in list(self._guis.values()):
                for name, connector in connectors.items():
                    connector.write(self.getValue(name))
        finally:
            self._updatingGui = False

    # --- the node ---

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag) -> None:
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        self.parameterNode.Modified()

"""Typed parameters over a `vtkMRMLScriptedModuleNode`, tied to widgets: of Slicer's package what the panel uses.

Types are bool, float, str and node classes; widgets are check boxes, sliders with a spin box and node combo boxes.
Texts and node references are those that Slicer writes, so scenes can be exchanged.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import ctk
import qt
import slicer
import vtk

__all__ = ["Decimals", "SingleStep", "WithinRange", "parameterNodeWrapper"]


# --- what may stand in `Annotated[type, ...]` ---------------------------------------------------------


@dataclass
class Decimals:
    value: int


@dataclass
class SingleStep:
    value: float


class WithinRange:
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


# --- from type to text --------------------------------------------------------------------------------


class _Parameter:
    """One member of the class: its type, its first value, how it is kept on the node."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        isAnnotated = typing.get_origin(annotated) is Annotated
        kind, *self.annotations = typing.get_args(annotated) if isAnnotated else (annotated,)
        self.isNode = isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)
        if not self.isNode and kind not in (bool, float, str):
            raise Exception(f"Unable to create serializer for type: {kind}")
        self.name, self.kind = name, kind
        self.default = getattr(owner, name, None if self.isNode else kind())

    def find(self, annotation: type) -> Any:
        return next((found for found in self.annotations if isinstance(found, annotation)), None)

    def check(self, value: Any) -> None:
        if value is None and self.isNode:
            return
        if value is None:
            raise ValueError("Value must not be None")
        if not isinstance(value, (int, float) if self.kind is float else self.kind):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")
        if limits := self.find(WithinRange):
            limits.validate(value)

    def put(self, node: Any, value: Any) -> None:
        """A node is a reference; an empty text beside it says that the parameter was set, also to None."""
        self.check(value)
        with slicer.util.NodeModify(node):
            node.SetParameter(self.name, "" if self.isNode else str(value))
            if self.isNode:
                node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)

    def ensure(self, node: Any) -> None:
        if not node.HasParameter(self.name):
            self.put(node, self.default)

    def get(self, node: Any) -> Any:
        self.ensure(node)
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


# --- widgets ------------------------------------------------------------------------------------------


def _connector(widget: Any, parameter: _Parameter) -> tuple[str, Callable[[], Any], Callable[[Any], None]]:
    """The signal, and how to read and write. Exactly these classes: a qMRMLColorTableComboBox, though derived from a
    node combo box, is not connected."""
    pair = type(widget), slicer.vtkMRMLNode if parameter.isNode else parameter.kind
    if pair == (qt.QCheckBox, bool):
        return "stateChanged", lambda: widget.checked, lambda value: setattr(widget, "checked", value)
    if pair == (ctk.ctkSliderWidget, float):
        decimals, step, limits = map(parameter.find, (Decimals, SingleStep, WithinRange))
        if limits is None:
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
        if decimals:
            widget.decimals = decimals.value
        if step:
            widget.singleStep = step.value
        widget.minimum, widget.maximum = limits.minimum, limits.maximum
        return "valueChanged", lambda: float(widget.value), lambda value: setattr(widget, "value", value)
    if pair == (slicer.qMRMLNodeComboBox, slicer.vtkMRMLNode):
        widget.nodeTypes = (parameter.kind().GetClassName(),)
        return "currentNodeChanged", widget.currentNode, widget.setCurrentNode
    words = f"from datatype '{parameter.kind}' to widget type '{type(widget)}'."
    raise RuntimeError(f"Unable to create GUI connector {words}")


# --- the decorator ------------------------------------------------------------------------------------


def parameterNodeWrapper(classtype):
    """Make a class with annotated members a typed view of a parameter node."""
    hints = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(classtype, name, annotated) for name, annotated in hints.items()}
    for name in parameters:
        member = property(lambda self, n=name: self.getValue(n), lambda self, value, n=name: self.setValue(n, value))
        setattr(classtype, name, member)
    given = {name: member for name, member in vars(_Wrapper).items() if not name.startswith("__")}
    for name, member in {"allParameters": parameters, **given}.items():
        if hasattr(classtype, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(classtype, name, member)
    classtype.__init__ = _Wrapper.__init__
    return classtype


class _Wrapper:
    """What the decorated class gets."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis: dict[int, list[tuple]] = {}
        self._updatingGui = False
        for parameter in self.allParameters.values():
            parameter.ensure(parameterNode)

    def _parameter(self, name: str) -> _Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name: str):
        return self._parameter(name).get(self.parameterNode)

    def setValue(self, name: str, value) -> None:
        self._parameter(name).put(self.parameterNode, value)

    def connectGui(self, gui) -> int:
        """Tie the widgets that have the dynamic property SlicerParameterName to the parameters of that name."""
        named = [(name, w) for w in vars(gui).values() if (name := w.property("SlicerParameterName"))]
        found = [(name, widget, *_connector(widget, self._parameter(name))) for name, widget in named]
        connected = []
        for name, widget, signal, read, write in found:
            write(self.getValue(name))

            def changed(*_, name=name, read=read) -> None:
                if not self._updatingGui:
                    self.setValue(name, read())

            getattr(widget, signal).connect(changed)
            connected.append((name, getattr(widget, signal), write, changed))
        observer = self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, self._updateGui)
        self._guis[observer] = connected
        return observer

    def disconnectGui(self, guiTag) -> None:
        for _name, signal, _write, changed in self._guis.pop(guiTag, ()):
            signal.disconnect(changed)
        self.parameterNode.RemoveObserver(guiTag)

    def _updateGui(self, *_) -> None:
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            for name, _signal, write, _changed in [row for rows in self._guis.values() for row in rows]:
                write(self.getValue(name))
        finally:
            self._updatingGui = False

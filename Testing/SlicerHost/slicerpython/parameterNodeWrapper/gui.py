"""Which widget can show which type of parameter, and how."""

from __future__ import annotations

import abc
import enum
import logging
import types
import typing
from typing import Any

import ctk
import qt
import slicer

from .annotations import (
    Choice,
    Decimals,
    Default,
    Maximum,
    Minimum,
    RangeBounds,
    SingleStep,
    WithinRange,
    findFirstAnnotation,
    splitAnnotations,
    unannotatedType,
)
from .packs import FloatRange
from .stored import PATH_TYPES


class GuiConnector(abc.ABC):
    """Reads and writes one widget as one type. A module may add its own (`@parameterNodeGuiConnector`)."""

    def __init__(self):
        super().__init__()
        self._callback = None

    @staticmethod
    @abc.abstractmethod
    def canRepresent(widget, datatype) -> bool: ...

    @staticmethod
    @abc.abstractmethod
    def create(widget, datatype): ...

    @abc.abstractmethod
    def _connect(self): ...

    @abc.abstractmethod
    def _disconnect(self): ...

    @abc.abstractmethod
    def widget(self): ...

    @abc.abstractmethod
    def read(self): ...

    @abc.abstractmethod
    def write(self, value) -> None: ...

    def onChanged(self, callback):
        self._callback = callback
        if callback is None:
            self._disconnect()
        else:
            self._connect()

    def changed(self):
        if self._callback:
            self._callback()


_connectors: list[type[GuiConnector]] = []


def parameterNodeGuiConnector(classtype=None):
    def register(cls):
        if not issubclass(cls, GuiConnector):
            raise TypeError("Must be a GuiConnector subclass")
        _connectors.append(cls)
        return cls

    return register if classtype is None else register(classtype)


def createGuiConnector(widget, datatype) -> GuiConnector:
    if isinstance(datatype, types.UnionType):
        datatype = typing.Union[typing.get_args(datatype)]
    for connector in _connectors:
        if connector.canRepresent(widget, datatype):
            return connector.create(widget, datatype)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'.")


class _OneSignal(GuiConnector):
    """The usual case: a signal says that the value changed, a property has it."""

    widgetTypes: tuple = ()
    signal: str | None = None
    attribute = ""

    @classmethod
    def accepts(cls, kind: Any) -> bool:
        raise NotImplementedError

    @classmethod
    def canRepresent(cls, widget, datatype) -> bool:
        return type(widget) in cls.widgetTypes and cls.accepts(unannotatedType(datatype))

    @classmethod
    def create(cls, widget, datatype):
        return cls(widget, datatype) if cls.canRepresent(widget, datatype) else None

    def __init__(self, widget, datatype):
        super().__init__()
        self._widget = widget
        self._type, self._annotations = splitAnnotations(datatype)
        self.prepare()

    def prepare(self) -> None:
        pass

    def _find(self, annotation: type) -> Any:
        return findFirstAnnotation(self._annotations, annotation)

    def _connect(self):
        if self.signal:
            getattr(self._widget, self.signal).connect(self.changed)

    def _disconnect(self):
        if self.signal:
            getattr(self._widget, self.signal).disconnect(self.changed)

    def widget(self):
        return self._widget

    def read(self):
        return getattr(self._widget, self.attribute)

    def write(self, value) -> None:
        setattr(self._widget, self.attribute, value)


@parameterNodeGuiConnector
class CheckBoxConnector(_OneSignal):
    widgetTypes, signal, attribute = (qt.QCheckBox, ctk.ctkCheckBox), "stateChanged", "checked"

    @classmethod
    def accepts(cls, kind):
        return kind is bool


@parameterNodeGuiConnector
class PushButtonConnector(_OneSignal):
    widgetTypes, signal, attribute = (qt.QPushButton,), "toggled", "checked"

    @classmethod
    def accepts(cls, kind):
        return kind is bool

    def prepare(self):
        if not self._widget.checkable:
            logging.warning(f"Making push button checkable for conversion to bool: {self._widget}")
            self._widget.checkable = True


@parameterNodeGuiConnector
class CheckablePushButtonConnector(PushButtonConnector):
    widgetTypes = (ctk.ctkCheckablePushButton,)

    def prepare(self):
        if not self._widget.checkBoxControlsButtonToggleState:
            super().prepare()

    def write(self, value):
        if self._widget.checkBoxControlsButtonToggleState:
            self._widget.checkable = bool(value)
            if not value:
                return
        self._widget.checked = value


class _Number(_OneSignal):
    signal, attribute = "valueChanged", "value"

    def bounds(self) -> tuple[Any, Any]:
        within = self._find(WithinRange)
        if within:
            return within.minimum, within.maximum
        low, high = self._find(Minimum), self._find(Maximum)
        return (low.minimum if low else None), (high.maximum if high else None)


@parameterNodeGuiConnector
class IntConnector(_Number):
    widgetTypes = (qt.QSlider, qt.QSpinBox)

    @classmethod
    def accepts(cls, kind):
        return kind is int

    def prepare(self):
        step = self._find(SingleStep)
        if step:
            self._widget.singleStep = step.value
        low, high = self.bounds()
        if type(self._widget) is qt.QSlider and None in (low, high):
            raise RuntimeError("Cannot have a connection to QSlider where the int type is unbounded.")
        self._widget.setMinimum(-(2**31) if low is None else low)
        self._widget.setMaximum(2**31 - 1 if high is None else high)


@parameterNodeGuiConnector
class FloatConnector(_Number):
    widgetTypes = (
        qt.QDoubleSpinBox, ctk.ctkDoubleSpinBox, ctk.ctkSliderWidget, ctk.ctkDoubleSlider,
        slicer.qMRMLSliderWidget, slicer.qMRMLSpinBox,
    )  # fmt: skip

    @classmethod
    def accepts(cls, kind):
        return kind in (int, float)

    def prepare(self):
        decimals, step = self._find(Decimals), self._find(SingleStep)
        if type(self._widget) is not ctk.ctkDoubleSlider:
            if self._type is int:
                self._widget.decimals = 0
            elif decimals:
                self._widget.decimals = decimals.value
        if step:
            self._widget.singleStep = step.value
        low, high = self.bounds()
        if type(self._widget) in (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget) and None in (low, high):
            raise RuntimeError("Cannot have a connection to ctkSliderWidget where the float types is unbounded.")
        self._widget.minimum = float("-inf") if low is None else low
        self._widget.maximum = float("inf") if high is None else high

    def read(self):
        return self._type(self._widget.value)


class _Combo(_OneSignal):
    widgetTypes, signal = (qt.QComboBox, ctk.ctkComboBox), "currentIndexChanged"
    choices: list

    def read(self):
        return self.choices[self._widget.currentIndex]

    def write(self, value):
        if value not in self.choices:
            raise ValueError(f"Unable to find value {value} in choices {self.choices}")
        self._widget.currentIndex = self.choices.index(value)


@parameterNodeGuiConnector
class ChoiceConnector(_Combo):
    @classmethod
    def accepts(cls, kind):
        return kind in (int, float, str, bool)

    def prepare(self):
        choice = self._find(Choice)
        if choice is None:
            raise RuntimeError("A combo box needs the Choice annotation to be used for this type.")
        self.choices = list(choice.choices)
        self._widget.clear()
        for item in self.choices:
            self._widget.addItem(str(item))


@parameterNodeGuiConnector
class EnumConnector(_Combo):
    @classmethod
    def accepts(cls, kind):
        return isinstance(kind, type) and issubclass(kind, enum.Enum)

    def prepare(self):
        """Keeps the row that is selected while the labels are filled in; without any, that is the last one."""
        self.choices = list(self._type)
        label = getattr(self._type, "label", lambda member: member.name)
        selected = self.read()
        self._widget.clear()
        for member in self.choices:
            self._widget.addItem(label(member))
        self.write(selected)


class _Text(_OneSignal):
    signal, attribute = "textChanged", "text"

    @classmethod
    def accepts(cls, kind):
        return kind is str


@parameterNodeGuiConnector
class LineEditConnector(_Text):
    widgetTypes = (qt.QLineEdit,)

    def write(self, value):
        if value != self._widget.text:  # writing moves the cursor
            self._widget.text = value


@parameterNodeGuiConnector
class LabelConnector(_Text):
    widgetTypes, signal = (qt.QLabel,), None


@parameterNodeGuiConnector
class TextEditConnector(_Text):
    widgetTypes = (qt.QTextEdit, qt.QPlainTextEdit)

    def read(self):
        return self._widget.toPlainText()

    def write(self, value):
        self._widget.setPlainText(value)


@parameterNodeGuiConnector
class RangeConnector(_OneSignal):
    widgetTypes = (ctk.ctkRangeWidget, ctk.ctkDoubleRangeSlider, slicer.qMRMLRangeWidget)
    signal = "valuesChanged"

    @classmethod
    def accepts(cls, kind):
        return kind is FloatRange

    def prepare(self):
        decimals, step, bounds = self._find(Decimals), self._find(SingleStep), self._find(RangeBounds)
        if decimals and type(self._widget) is not ctk.ctkDoubleRangeSlider:
            self._widget.decimals = decimals.value
        if step:
            self._widget.singleStep = step.value
        if bounds is None:
            raise RuntimeError("Cannot connect a range widget to an unbounded range. Add a RangeBounds annotation.")
        if self._find(Default) is None and not bounds.minimum <= 0 <= bounds.maximum:
            raise RuntimeError("RangeBounds without 0 need a Default() as well.")
        self._widget.setRange(bounds.minimum, bounds.maximum)

    def read(self):
        return FloatRange(self._widget.minimumValue, self._widget.maximumValue)

    def write(self, value):
        self._widget.setValues(value.minimum, value.maximum)


class _Path(_OneSignal):
    @classmethod
    def accepts(cls, kind):
        return kind in PATH_TYPES

    def read(self):
        return self._type(getattr(self._widget, self.attribute))

    def write(self, value):
        setattr(self._widget, self.attribute, str(value))


@parameterNodeGuiConnector
class PathLineEditConnector(_Path):
    widgetTypes, signal, attribute = (ctk.ctkPathLineEdit,), "currentPathChanged", "currentPath"


@parameterNodeGuiConnector
class DirectoryButtonConnector(_Path):
    widgetTypes, signal, attribute = (ctk.ctkDirectoryButton,), "directoryChanged", "directory"


@parameterNodeGuiConnector
class NodeComboBoxConnector(_OneSignal):
    """Exactly this class: a qMRMLColorTableComboBox, though derived from it, is not connected."""

    widgetTypes, signal = (slicer.qMRMLNodeComboBox,), "currentNodeChanged"

    @classmethod
    def accepts(cls, kind):
        return isNodeOrUnionOfNodes(kind)

    def prepare(self):
        self._widget.nodeTypes = getNodeTypes(self._type)

    def read(self):
        return self._widget.currentNode()

    def write(self, value):
        self._widget.setCurrentNode(value)


@parameterNodeGuiConnector
class ColorButtonConnector(_OneSignal):
    widgetTypes, signal, attribute = (ctk.ctkColorPickerButton,), "colorChanged", "color"

    @classmethod
    def accepts(cls, kind):
        return kind == qt.QColor


# --- node types -------------------------------------------------------------------------------------------


def _alternatives(datatype) -> list:
    kind = unannotatedType(datatype)
    if typing.get_origin(kind) is typing.Union or isinstance(kind, types.UnionType):
        return [unannotatedType(argument) for argument in typing.get_args(kind)]
    return [kind]


def _isNode(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def isNodeOrUnionOfNodes(datatype) -> bool:
    return all(_isNode(kind) or kind is type(None) for kind in _alternatives(datatype))


def getNodeTypes(datatype) -> tuple[str, ...]:
    nodes = [kind for kind in _alternatives(datatype) if _isNode(kind)]
    if not nodes:
        raise TypeError(f"Cannot handle type {datatype}")
    return tuple(node().GetClassName() for node in nodes)

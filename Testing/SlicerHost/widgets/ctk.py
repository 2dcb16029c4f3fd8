"""The ctk widgets that the panel uses, built from PySide6's: the same properties, signals and methods.

These are natives (see `pythonqt.py`): a module meets them through wrapped classes that show of them what
the real ones offer. What a widget here has beyond that stays unseen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from PySide6.QtCore import Property, QEvent, QPointF, QRect, QRectF, QSettings, QSize, Qt, Signal
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QGroupBox,
    QHBoxLayout,
    QMessageBox,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOption,
    QToolButton,
    QWidget,
)


def stored(kind: Any, default: Any, changed: Callable[[Any], None] | None = None) -> Property:
    """A property that keeps its value and then calls `changed(self)`."""
    key = object()

    def read(self: Any) -> Any:
        return self.__dict__.setdefault("_stored", {}).get(key, default)

    def write(self: Any, value: Any) -> None:
        self.__dict__.setdefault("_stored", {})[key] = value
        if changed:
            changed(self)

    return Property(kind, read, write)


def passedOn(kind: Any, part: str, name: str, after: Callable[[Any], None] | None = None) -> Property:
    """A property of a widget inside: `passedOn(float, "_spin", "singleStep")`."""

    def write(self: Any, value: Any) -> None:
        getattr(self, part).setProperty(name, value)
        if after:
            after(self)

    return Property(kind, lambda self: getattr(self, part).property(name), write)


# --- folding --------------------------------------------------------------------------------------------


class _Folding:
    """Hides the children of a widget while it is collapsed, and remembers which ones were hidden before."""

    _collapsed = False

    def _fold(self) -> None:
        """Hide what appears while collapsed; show again what was hidden here."""
        for child in self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if self._collapsed and not child.isHidden():
                child.setProperty("_hiddenByFolding", True)
                child.hide()
            elif not self._collapsed and child.property("_hiddenByFolding"):
                child.setProperty("_hiddenByFolding", None)
                child.show()

    def _headerHeight(self) -> int:
        return self.fontMetrics().height() + 8

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._fold()
        self.setMaximumHeight(self._headerHeight() if collapsed else 16777215)
        self.setChecked(not collapsed)
        self.updateGeometry()
        self._folded(collapsed)

    def _folded(self, collapsed: bool) -> None:
        pass

    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if self._collapsed and event.type() in (QEvent.Type.ChildPolished, QEvent.Type.LayoutRequest):
            self._fold()
        return handled


class ctkCollapsibleButton(_Folding, QAbstractButton):
    """A header that folds the widgets below it away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.toggled.connect(lambda checked: self._setCollapsed(not checked))
        self.setContentsMargins(0, self._headerHeight(), 0, 0)

    def _folded(self, collapsed: bool) -> None:
        self.contentsCollapsed.emit(collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _Folding._setCollapsed)

    def hitButton(self, position: Any) -> bool:
        return position.y() < self._headerHeight()

    def sizeHint(self) -> QSize:
        header = QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, self._headerHeight())
        if self._collapsed or self.layout() is None:
            return header
        inside = self.layout().totalSizeHint()  # already has the header's margin
        return inside.expandedTo(header)

    def minimumSizeHint(self) -> QSize:
        if self._collapsed or self.layout() is None:
            return QSize(0, self._headerHeight())
        return self.layout().totalMinimumSize()

    def hasHeightForWidth(self) -> bool:
        return not self._collapsed and self.layout() is not None and self.layout().hasHeightForWidth()

    def heightForWidth(self, width: int) -> int:
        return self.layout().totalHeightForWidth(width)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        header = QRect(0, 0, self.width(), self._headerHeight())
        palette = self.palette()
        color = palette.button().color()
        painter.fillRect(header, color.darker(106 if color.lightness() > 127 else 80))
        arrow = QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QRect(6, header.height() // 2 - 5, 10, 10)
        kinds = QStyle.PrimitiveElement
        kind = kinds.PE_IndicatorArrowRight if self._collapsed else kinds.PE_IndicatorArrowDown
        self.style().drawPrimitive(kind, arrow, painter, self)
        painter.setPen(palette.buttonText().color())
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextShowMnemonic
        painter.drawText(header.adjusted(22, 0, -4, 0), flags, self.text())
        if self.hasFocus():
            painter.setPen(palette.highlight().color())
            painter.drawRect(header.adjusted(0, 0, -1, -1))


class ctkCollapsibleGroupBox(_Folding, QGroupBox):
    """A group box whose check mark is an arrow that folds it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(lambda checked: self._setCollapsed(not checked))

    collapsed = Property(bool, lambda self: self._collapsed, _Folding._setCollapsed)


class ctkMessageBox(QMessageBox):
    """`slicer.util` asks with it."""


# --- choosing -------------------------------------------------------------------------------------------


class ctkPathLineEdit(QWidget):
    """A path with its history and a button that asks for another."""

    # QDir's filters, as far as the .ui file names them.
    Dirs, Files, Readable, Executable = 1, 2, 0x10, 0x40

    MAX_HISTORY = 5

    currentPathChanged = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._combo = QComboBox(self)
        self._combo.setEditable(True)
        self._combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._combo.setMinimumContentsLength(4)
        self._combo.lineEdit().setClearButtonEnabled(False)
        self._button = QToolButton(self)
        self._button.setText("…")
        self._button.clicked.connect(self.browse)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._combo)
        layout.addWidget(self._button)
        self.setFocusProxy(self._combo)
        self._path = ""
        self._combo.editTextChanged.connect(self._onText)

    def comboBox(self) -> QComboBox:
        return self._combo

    def setCurrentPath(self, path: str) -> None:
        self._combo.setEditText(path or "")

    def _onText(self, text: str) -> None:
        if text == self._path:
            return
        self._path = text
        self.currentPathChanged.emit(text)

    def browse(self) -> None:
        if self.filters & self.Files:
            chosen = QFileDialog.getOpenFileName(self, "Select a file", self._path)[0]
        else:
            chosen = QFileDialog.getExistingDirectory(self, "Select a directory…", self._path)
        if chosen:
            self.setCurrentPath(chosen)
            self.addCurrentPathToHistory()

    def addCurrentPathToHistory(self) -> None:
        """Put the path first in the list. `currentPathChanged` comes with the same path once more, and with what the
        list shows between taking it out and putting it in again."""
        path = self._path
        if not path:
            return
        stored = QSettings().value(self.settingKey) or [] if self.settingKey else self._history()
        history = [path, *(p for p in ([stored] if isinstance(stored, str) else stored) if p != path)]
        if self.settingKey:
            QSettings().setValue(self.settingKey, history)
        with self._announced():
            if (index := self._combo.findText(path)) >= 0:
                self._combo.removeItem(index)
            while self._combo.count() >= self.MAX_HISTORY:
                self._combo.removeItem(self._combo.count() - 1)
            self._combo.insertItem(0, path)
            self._combo.setCurrentIndex(0)
            self._combo.setEditText(path)

    def retrieveHistory(self) -> None:
        """Show what was used lately. Without a path the one that was used last becomes the path; `currentPathChanged`
        comes in either case."""
        if not self.settingKey:
            return
        stored = QSettings().value(self.settingKey) or []
        history = [stored] if isinstance(stored, str) else list(stored)
        with self._announced():
            path = self._path
            self._combo.clear()
            self._combo.addItems(history[: self.MAX_HISTORY])
            if path:
                self._combo.setEditText(path)
            else:
                self._combo.setCurrentIndex(0 if history else -1)

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        """What happens in here is followed by `currentPathChanged`, also where the path is the same as before."""
        said: list[str] = []
        self.currentPathChanged.connect(said.append)
        yield
        self.currentPathChanged.disconnect(said.append)
        if not said and self._path:
            self.currentPathChanged.emit(self._path)

    def _history(self) -> list[str]:
        return [self._combo.itemText(row) for row in range(self._combo.count())]

    currentPath = Property(str, lambda self: self._path, setCurrentPath)
    filters = stored(int, 0x6007)
    settingKey = stored(str, "", lambda self: self.retrieveHistory())
    sizeAdjustPolicy = stored(int, 0)


# --- numbers --------------------------------------------------------------------------------------------


def quietly(widget: QWidget, **properties: Any) -> None:
    """Set properties of a widget inside without its signals."""
    blocked = widget.blockSignals(True)
    for name, value in properties.items():
        widget.setProperty(name, value)
    widget.blockSignals(blocked)


class ctkSliderWidget(QWidget):
    """A slider with a spin box, which has the value; the slider has as many positions as there are steps."""

    valueChanged = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._spin = QSlider(Qt.Orientation.Horizontal, self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self.setFocusProxy(self._spin)
        self._spin.setRange(0, 99)
        self._settle()
        self._slider.valueChanged.connect(lambda position: self.setValue(self.minimum + position * self.singleStep))
        self._spin.valueChanged.connect(self._onSpin)

    def _onSpin(self, value: float) -> None:
        self._settle()
        self.valueChanged.emit(value)

    def _settle(self) -> None:
        step = self.singleStep or 1.0
        steps = max(math.ceil((self.maximum - self.minimum) / step - 1e-9), 0)
        quietly(self._slider, maximum=steps, value=round((self.value - self.minimum) / step))

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    value = Property(float, lambda self: self._spin.value(), setValue)
    minimum = passedOn(float, "_spin", "minimum", _settle)
    maximum = passedOn(float, "_spin", "maximum", _settle)
    decimals = passedOn(int, "_spin", "decimals")
    singleStep = passedOn(float, "_spin", "singleStep", _settle)
    pageStep = stored(float, 10.0)
    suffix = passedOn(str, "_spin", "suffix")


class _RangeSlider(QWidget):
    """A slider with two handles."""

    valuesChanged = Signal(float, float)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.range, self.values, self.step, self._dragged = (0.0, 99.0), (0.0, 99.0), 1.0, 0
        self.setMinimumSize(60, 20)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def setRange(self, minimum: float, maximum: float) -> None:
        self.range = minimum, max(minimum, maximum)
        self.setValues(*self.values)

    def setValues(self, lower: float, upper: float) -> None:
        low, high = self.range
        values = tuple(sorted((min(max(lower, low), high), min(max(upper, low), high))))
        if values != self.values:
            self.values = values
            self.valuesChanged.emit(*values)
        self.update()

    def _position(self, value: float) -> float:
        low, high = self.range
        return 8 + (self.width() - 16) * ((value - low) / (high - low) if high > low else 0)

    def mousePressEvent(self, event: Any) -> None:
        distances = [abs(event.position().x() - self._position(value)) for value in self.values]
        self._dragged = distances.index(min(distances))
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: Any) -> None:
        low, high = self.range
        value = low + (high - low) * min(max((event.position().x() - 8) / max(self.width() - 16, 1), 0), 1)
        value = low + round((value - low) / self.step) * self.step
        lower, upper = self.values
        self.setValues(min(value, upper), upper) if self._dragged == 0 else self.setValues(lower, max(value, lower))

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette, middle = self.palette(), self.height() / 2
        lower, upper = (self._position(value) for value in self.values)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(palette.mid())
        painter.drawRoundedRect(QRectF(8, middle - 2, self.width() - 16, 4), 2, 2)
        painter.setBrush(palette.highlight())
        painter.drawRect(QRectF(lower, middle - 2, upper - lower, 4))
        painter.setPen(palette.dark().color())
        painter.setBrush(palette.button())
        for x in (lower, upper):
            painter.drawEllipse(QPointF(x, middle), 6, 6)


class ctkRangeWidget(QWidget):
    """A slider with two handles, which has the values, and a spin box on either side."""

    valuesChanged = Signal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider, self._lower, self._upper = _RangeSlider(self), QDoubleSpinBox(self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part, stretch in ((self._lower, 0), (self._slider, 1), (self._upper, 0)):
            layout.addWidget(part, stretch)
        self.setFocusProxy(self._lower)
        self._settle()
        self._slider.valuesChanged.connect(self._onSlider)
        self._lower.valueChanged.connect(self.setMinimumValue)
        self._upper.valueChanged.connect(self.setMaximumValue)

    def _onSlider(self, lower: float, upper: float) -> None:
        self._settle()
        self.valuesChanged.emit(lower, upper)

    def _settle(self) -> None:
        """Let the spin boxes show what the slider has."""
        low, high = self._slider.range
        for spin, value in zip((self._lower, self._upper), self._slider.values):
            quietly(spin, minimum=low, maximum=high, singleStep=self._slider.step, value=value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._slider.setRange(minimum, maximum)
        self._settle()

    def _setMinimum(self, value: float) -> None:
        self.setRange(value, max(value, self._slider.range[1]))

    def _setMaximum(self, value: float) -> None:
        self.setRange(min(value, self._slider.range[0]), value)

    def setValues(self, lower: float, upper: float) -> None:
        self._slider.setValues(lower, upper)

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._slider.values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._slider.values[0]), value)

    def _setDecimals(self, decimals: int) -> None:
        for spin in (self._lower, self._upper):
            spin.setDecimals(decimals)

    def _setStep(self, step: float) -> None:
        self._slider.step = step
        self._settle()

    minimum = Property(float, lambda self: self._slider.range[0], _setMinimum)
    maximum = Property(float, lambda self: self._slider.range[1], _setMaximum)
    minimumValue = Property(float, lambda self: self._slider.values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._slider.values[1], setMaximumValue)
    decimals = Property(int, lambda self: self._lower.decimals(), _setDecimals)
    singleStep = Property(float, lambda self: self._slider.step, _setStep)


WIDGETS = {name: value for name, value in globals().items() if name.startswith("ctk") and isinstance(value, type)}

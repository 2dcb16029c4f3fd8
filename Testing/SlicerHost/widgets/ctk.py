"""The ctk widgets that module panels use, built from PySide6's: the same properties, signals and methods.

These are natives (see `pythonqt.py`): a module meets them through wrapped classes that show of them what
the real ones offer. What a widget here has beyond that stays unseen.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from typing import Any

from PySide6.QtCore import Property, QEvent, QPointF, QRect, QRectF, QSettings, QSize, Qt, Signal
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOption,
    QStyleOptionButton,
    QTextBrowser,
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

    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if self._collapsed and event.type() in (QEvent.Type.ChildPolished, QEvent.Type.LayoutRequest):
            self._fold()
        return handled


class ctkCollapsibleButton(_Folding, QAbstractButton):
    """A header that folds the widgets below it away."""

    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        texts = [a for a in arguments if isinstance(a, str)]
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        if texts:
            self.setText(texts[0])
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.toggled.connect(lambda checked: self._setCollapsed(not checked))
        self._updateMargins()

    def _headerHeight(self) -> int:
        return self.fontMetrics().height() + 8

    def _updateMargins(self) -> None:
        self.setContentsMargins(0, self._headerHeight(), 0, 0)

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._fold()
        self.setMaximumHeight(self._headerHeight() + self.collapsedHeight if collapsed else 16777215)
        self.setChecked(not collapsed)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)
    collapsedHeight = stored(int, 0)
    flat = stored(bool, False, lambda self: self.update())
    contentsFrameShape = stored(int, 0)
    contentsFrameShadow = stored(int, 16)
    contentsLineWidth = stored(int, 1)
    contentsMidLineWidth = stored(int, 0)
    buttonTextAlignment = stored(int, 0x81)
    indicatorAlignment = stored(int, 0x81)

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

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._updateMargins()

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        header = QRect(0, 0, self.width(), self._headerHeight())
        palette = self.palette()
        painter.fillRect(header, palette.button().color().darker(106 if palette.button().color().lightness() > 127 else 80))
        arrow = QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QRect(6, header.height() // 2 - 5, 10, 10)
        primitive = QStyle.PrimitiveElement.PE_IndicatorArrowRight if self._collapsed else QStyle.PrimitiveElement.PE_IndicatorArrowDown
        self.style().drawPrimitive(primitive, arrow, painter, self)
        painter.setPen(palette.buttonText().color())
        flags = Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft | Qt.TextFlag.TextShowMnemonic
        painter.drawText(header.adjusted(22, 0, -4, 0), flags, self.text())
        if self.hasFocus():
            painter.setPen(palette.highlight().color())
            painter.drawRect(header.adjusted(0, 0, -1, -1))


class ctkCollapsibleGroupBox(_Folding, QGroupBox):
    """A group box whose check mark is an arrow that folds it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(lambda checked: self._setCollapsed(not checked))

    def _setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._fold()
        self.setMaximumHeight(self.fontMetrics().height() + 8 + self.collapsedHeight if collapsed else 16777215)
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _setCollapsed)
    collapsedHeight = stored(int, 0)


class ctkExpandableWidget(QFrame):
    """A frame that the user can make larger with a grip at its lower edge."""

    orientations = stored(int, 3)
    sizeGripInside = stored(bool, True)
    sizeGripMargins = stored(QSize, QSize(0, 0))

    def updateSizeHint(self) -> None:
        self.updateGeometry()


# --- buttons --------------------------------------------------------------------------------------------


class ctkPushButton(QPushButton):
    buttonTextAlignment = stored(int, 0x84)
    iconAlignment = stored(int, 0x81)
    elideMode = stored(int, 3)


class ctkCheckBox(QCheckBox):
    indicatorIcon = stored(QIcon, QIcon())
    indicatorIconSize = stored(QSize, QSize(16, 16))


class ctkMenuButton(QPushButton):
    """A push button with a second part that opens its menu."""


class ctkCheckablePushButton(ctkPushButton):
    """A push button with a check box inside it."""

    checkBoxToggled = Signal(bool)
    checkStateChanged = Signal(int)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._checkState = 0

    def _setCheckState(self, state: int) -> None:
        state = int(getattr(state, "value", state))
        if state != self._checkState:
            self._checkState = state
            if self.checkBoxControlsButtonToggleState:
                self.setCheckable(bool(state))
                self.setChecked(bool(state))
            self.update()
            self.checkStateChanged.emit(state)
            self.checkBoxToggled.emit(bool(state))

    checkState = Property(int, lambda self: self._checkState, _setCheckState)
    checkBoxControlsButton = stored(bool, True)
    checkBoxControlsButtonToggleState = stored(bool, True)
    checkBoxUserCheckable = stored(bool, True)
    indicatorAlignment = stored(int, 0x81)

    def mousePressEvent(self, event: Any) -> None:
        if self.checkBoxUserCheckable and event.position().x() < 22:
            self.checkState = 0 if self._checkState else 2
        else:
            super().mousePressEvent(event)

    def paintEvent(self, event: Any) -> None:
        super().paintEvent(event)
        box = QStyleOptionButton()
        box.initFrom(self)
        box.rect = QRect(5, self.height() // 2 - 8, 16, 16)
        box.state |= QStyle.StateFlag.State_On if self._checkState else QStyle.StateFlag.State_Off
        self.style().drawPrimitive(QStyle.PrimitiveElement.PE_IndicatorCheckBox, box, QPainter(self), self)


class ctkColorPickerButton(QPushButton):
    """Shows a colour and asks for another."""

    colorChanged = Signal(QColor)
    colorNameChanged = Signal(str)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if not isinstance(a, QColor)])
        self._color, self._colorName = QColor(), ""
        self.setColor(next((a for a in arguments if isinstance(a, QColor)), QColor("black")))
        self.clicked.connect(self.changeColor)

    def setColor(self, color: QColor) -> None:
        if color == self._color:
            return
        self._color = QColor(color)
        square = QPixmap(16, 16)
        square.fill(self._color)
        self.setIcon(QIcon(square))
        if self.displayColorName:
            self.setText(self._color.name())
        self.colorChanged.emit(self._color)

    def setDisplayColorName(self, display: bool) -> None:
        self.displayColorName = display

    def changeColor(self) -> None:
        chosen = QColorDialog.getColor(self._color, self)
        if chosen.isValid():
            self.setColor(chosen)

    def _setColorName(self, name: str) -> None:
        if name != self._colorName:
            self._colorName = name
            self.colorNameChanged.emit(name)

    color = Property(QColor, lambda self: self._color, setColor)
    colorName = Property(str, lambda self: self._colorName, _setColorName)
    displayColorName = stored(bool, True)
    dialogOptions = stored(int, 0)


class ctkDirectoryButton(QWidget):
    """Shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if not isinstance(a, str)])
        self._directory = os.getcwd()
        self._button = QPushButton(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.setIcon(self.style().standardIcon(QStyle.StandardPixmap.SP_DirIcon))
        self._button.clicked.connect(self.browse)
        self.setDirectory(next((a for a in arguments if isinstance(a, str)), self._directory))

    def setDirectory(self, directory: str) -> None:
        directory = os.path.abspath(directory or ".")
        changed, self._directory = directory != self._directory, directory
        self._button.setText(self.text or directory)
        if changed:
            self.directoryChanged.emit(directory)
        self.directorySelected.emit(directory)

    def browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, self.caption or self.text, self._directory)
        if chosen:
            self.setDirectory(chosen)

    directory = Property(str, lambda self: self._directory, setDirectory)
    text = stored(str, "", lambda self: self._button.setText(self.text or self._directory))
    icon = passedOn(QIcon, "_button", "icon")
    caption = stored(str, "")
    acceptMode = stored(int, 0)
    options = stored(int, 1)
    elideMode = stored(int, 3)


class ctkMessageBox(QMessageBox):
    """A message box with an optional “don't show again”."""

    dontShowAgainVisible = stored(bool, False)
    dontShowAgain = stored(bool, False)
    dontShowAgainSettingsKey = stored(str, "")


# --- choosing -------------------------------------------------------------------------------------------


class ctkComboBox(QComboBox):
    """A combo box with a text for “nothing chosen”."""

    returnRelease = Signal()
    defaultText = stored(str, "", lambda self: self.setPlaceholderText(self.defaultText))
    defaultIcon = stored(QIcon, QIcon())
    forceDefault = stored(bool, False)
    elideMode = stored(int, 3)
    scrollWheelEffect = stored(int, 1)

    def setCurrentUserDataAsString(self, text: str) -> None:
        self.setCurrentIndex(self.findData(text))

    currentUserDataAsString = Property(str, lambda self: str(self.currentData() or ""), setCurrentUserDataAsString)

    def wheelEvent(self, event: Any) -> None:
        if self.scrollWheelEffect:
            super().wheelEvent(event)


class ctkCheckableComboBox(QComboBox):
    """A combo box whose items have check marks."""

    checkedIndexesChanged = Signal()
    returnRelease = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model().rowsInserted.connect(self._makeCheckable)
        self.model().dataChanged.connect(self._onDataChanged)
        self.view().pressed.connect(lambda index: self.setCheckState(index, 0 if self.checkState(index) else 2))

    def _makeCheckable(self, parent: Any, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setCheckable(True)
            if item.data(Qt.ItemDataRole.CheckStateRole) is None:
                item.setCheckState(Qt.CheckState.Unchecked)

    def _onDataChanged(self, first: Any, last: Any, roles: list) -> None:
        if not roles or Qt.ItemDataRole.CheckStateRole in roles:
            self.checkedIndexesChanged.emit()
            self.update()

    def checkState(self, index: Any) -> int:
        value = self.model().data(index, Qt.ItemDataRole.CheckStateRole)
        return int(getattr(value, "value", value) or 0)

    def setCheckState(self, index: Any, state: int) -> None:
        state = Qt.CheckState(int(getattr(state, "value", state)))
        self.model().setData(index, state, Qt.ItemDataRole.CheckStateRole)

    def checkedIndexes(self) -> list:
        rows = [self.model().index(row, 0) for row in range(self.count())]
        return [index for index in rows if self.checkState(index) == 2]

    def checkableModel(self) -> Any:
        return self.model()

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count()

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()


class ctkPathLineEdit(QWidget):
    """A path with its history and a button that asks for another."""

    # QDir's filters and QFileDialog's options, as far as a .ui file names them.
    Dirs, Files, Drives, NoSymLinks, AllEntries = 1, 2, 4, 8, 7
    Readable, Writable, Executable, Hidden, System, NoDot, NoDotDot, NoDotAndDotDot = (
        0x10, 0x20, 0x40, 0x100, 0x200, 0x2000, 0x4000, 0x6000,
    )  # fmt: skip
    ShowDirsOnly, DontConfirmOverwrite, DontUseNativeDialog, ReadOnly = 1, 4, 16, 32

    MAX_HISTORY = 5

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QWidget)])
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
        self._path, self._valid = "", False
        self._combo.editTextChanged.connect(self._onText)

    def comboBox(self) -> QComboBox:
        return self._combo

    def setCurrentPath(self, path: str) -> None:
        self._combo.setEditText(path or "")

    def _onText(self, text: str) -> None:
        if text == self._path:
            return
        self._path = text
        valid = os.path.exists(text)
        if valid != self._valid:
            self._valid = valid
            self.validInputChanged.emit(valid)
        self.currentPathChanged.emit(text)

    def browse(self) -> None:
        if self.filters & self.Files:
            ask = QFileDialog.getSaveFileName if self.filters & self.Writable and not self.filters & self.Readable else QFileDialog.getOpenFileName
            chosen = ask(self, self.label or "Select a file", self._path, ";;".join(self.nameFilters))[0]
        else:
            chosen = QFileDialog.getExistingDirectory(self, self.label or "Select a directory…", self._path)
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
    label = stored(str, "")
    filters = stored(int, 0x6007)
    options = stored(int, 0)
    nameFilters = stored("QStringList", [])
    settingKey = stored(str, "", lambda self: self.retrieveHistory())
    minimumContentsLength = passedOn(int, "_combo", "minimumContentsLength")
    sizeAdjustPolicy = stored(int, 0)
    showBrowseButton = stored(bool, True, lambda self: self._button.setVisible(self.showBrowseButton))
    showHistoryButton = stored(bool, True)


# --- numbers --------------------------------------------------------------------------------------------


class ctkDoubleSpinBox(QWidget):
    """A spin box for a number with decimals; a widget around one, not one itself."""

    FixedDecimals, DecimalsByKey, DecimalsByShortcuts, DecimalsByValue = 0, 2, 4, 8
    ReplaceDecimals, InsertDecimals, DecimalsAsMin, DecimalsAsMax, DecimalPointAlwaysVisible = 16, 64, 128, 256, 512
    SetAlways, SetIfDifferent = 0, 1
    SizeHintByMinMax, SizeHintByValue = 0, 1

    valueChanged = Signal(float)
    decimalsChanged = Signal(int)
    editingFinished = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._spin = QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._spin)
        self.setFocusProxy(self._spin)
        self._spin.valueChanged.connect(self.valueChanged)
        self._spin.editingFinished.connect(self.editingFinished)

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    setValueIfDifferent = setValue

    def setValueAlways(self, value: float) -> None:
        if value == self._spin.value():
            self.valueChanged.emit(value)
        self._spin.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        if decimals != self._spin.decimals():
            self._spin.setDecimals(decimals)
            self.decimalsChanged.emit(decimals)

    def setReadOnly(self, readOnly: bool) -> None:
        self._spin.setReadOnly(readOnly)

    def stepUp(self) -> None:
        self._spin.stepUp()

    def stepDown(self) -> None:
        self._spin.stepDown()

    def _setLimit(name: str) -> Callable[[Any, float], None]:
        def write(self: ctkDoubleSpinBox, value: float) -> None:
            # A QDoubleSpinBox takes no infinity; ctk's does.
            self._spin.setProperty(name, max(min(value, 1e15), -1e15))

        return write

    value = Property(float, lambda self: self._spin.value(), setValue)
    minimum = Property(float, lambda self: self._spin.minimum(), _setLimit("minimum"))
    maximum = Property(float, lambda self: self._spin.maximum(), _setLimit("maximum"))
    decimals = Property(int, lambda self: self._spin.decimals(), setDecimals)
    singleStep = passedOn(float, "_spin", "singleStep")
    prefix = passedOn(str, "_spin", "prefix")
    suffix = passedOn(str, "_spin", "suffix")
    readOnly = passedOn(bool, "_spin", "readOnly")
    frame = passedOn(bool, "_spin", "frame")
    alignment = stored(int, 0x81)
    cleanText = Property(str, lambda self: self._spin.cleanText())
    decimalsOption = stored(int, 0)
    invertedControls = stored(bool, False)
    isSettingValue = Property(bool, lambda self: False)
    setMode = stored(int, 1)
    sizeHintPolicy = stored(int, 0)


class ctkDoubleSlider(QWidget):
    """A slider over numbers with decimals."""

    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QWidget)])
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        self._minimum, self._maximum, self._step, self._value = 0.0, 99.0, 1.0, 0.0
        self._settle()
        self._slider.valueChanged.connect(self._onSlider)
        self._slider.sliderPressed.connect(self.sliderPressed)
        self._slider.sliderReleased.connect(self.sliderReleased)
        self._slider.sliderMoved.connect(lambda position: self.sliderMoved.emit(self._toValue(position)))
        self.setFocusProxy(self._slider)

    def _toValue(self, position: int) -> float:
        return min(self._minimum + position * self._step, self._maximum)

    def _settle(self) -> None:
        """Give the slider inside as many positions as there are steps."""
        blocked = self._slider.blockSignals(True)
        self._slider.setMaximum(max(math.ceil((self._maximum - self._minimum) / self._step - 1e-9), 0))
        self._slider.setValue(round((self._value - self._minimum) / self._step))
        self._slider.blockSignals(blocked)

    def _onSlider(self, position: int) -> None:
        self._value = self._toValue(position)
        self.valueChanged.emit(self._value)

    def setValue(self, value: float) -> None:
        value = min(max(value, self._minimum), self._maximum)
        if value != self._value:
            self._value = value
            self._settle()
            self.valueChanged.emit(value)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._minimum, self._maximum = minimum, max(minimum, maximum)
        self._settle()
        self.rangeChanged.emit(self._minimum, self._maximum)
        self.setValue(self._value)

    def _setStep(self, step: float) -> None:
        self._step = step or 1.0
        self._settle()

    value = Property(float, lambda self: self._value, setValue)
    minimum = Property(float, lambda self: self._minimum, lambda self, v: self.setRange(v, max(v, self._maximum)))
    maximum = Property(float, lambda self: self._maximum, lambda self, v: self.setRange(min(v, self._minimum), v))
    singleStep = Property(float, lambda self: self._step, _setStep)
    pageStep = stored(float, 10.0)
    tracking = passedOn(bool, "_slider", "tracking")


class ctkSliderWidget(QWidget):
    """A slider with a spin box."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = ctkDoubleSlider(self)
        self._spin = QDoubleSpinBox(self)
        self._spin.setRange(0, 99)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._spin)
        self.setFocusProxy(self._spin)
        self._initial = 0.0
        self._slider.valueChanged.connect(self._spin.setValue)
        self._slider.sliderMoved.connect(self.valueIsChanging)
        self._slider.sliderReleased.connect(lambda: self.valueChanged.emit(self.value))
        self._spin.valueChanged.connect(self._onSpin)

    def _onSpin(self, value: float) -> None:
        blocked = self._slider.blockSignals(True)
        self._slider.setValue(value)
        self._slider.blockSignals(blocked)
        if self.tracking or not self._slider._slider.isSliderDown():
            self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._spin.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        if decimals != self._spin.decimals():
            self._spin.setDecimals(decimals)
            self.decimalsChanged.emit(decimals)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spin.setVisible(visible)

    def reset(self) -> None:
        self.setValue(self._initial)

    def _setRange(self, minimum: float, maximum: float) -> None:
        self._spin.setRange(minimum, maximum)
        blocked = self._slider.blockSignals(True)
        self._slider.setRange(minimum, maximum)
        self._slider.setValue(self._spin.value())
        self._slider.blockSignals(blocked)

    def _setStep(self, step: float) -> None:
        self._spin.setSingleStep(step)
        self._slider.singleStep = step

    value = Property(float, lambda self: self._spin.value(), setValue)
    minimum = Property(float, lambda self: self._spin.minimum(), lambda self, v: self._setRange(v, max(v, self._spin.maximum())))
    maximum = Property(float, lambda self: self._spin.maximum(), lambda self, v: self._setRange(min(v, self._spin.minimum()), v))
    decimals = Property(int, lambda self: self._spin.decimals(), setDecimals)
    singleStep = Property(float, lambda self: self._spin.singleStep(), _setStep)
    pageStep = stored(float, 10.0)
    prefix = passedOn(str, "_spin", "prefix")
    suffix = passedOn(str, "_spin", "suffix")
    spinBoxVisible = Property(bool, lambda self: not self._spin.isHidden(), setSpinBoxVisible)
    spinBoxAlignment = stored(int, 2)
    tracking = stored(bool, True)
    tickInterval = stored(float, 0.0)
    tickPosition = stored(int, 0)
    invertedAppearance = stored(bool, False)
    invertedControls = stored(bool, False)
    popupSlider = stored(bool, False)
    synchronizeSiblings = stored(int, 1)


class ctkDoubleRangeSlider(QWidget):
    """A slider with two handles."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    rangeChanged = Signal(float, float)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[a for a in arguments if isinstance(a, QWidget)])
        self._range, self._values, self._dragged = (0.0, 99.0), (0.0, 99.0), 0
        self.setMinimumSize(60, 20)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._range = (minimum, max(minimum, maximum))
        self.rangeChanged.emit(*self._range)
        self.setValues(*self._values)
        self.update()

    def setValues(self, lower: float, upper: float) -> None:
        low, high = self._range
        lower, upper = sorted((min(max(lower, low), high), min(max(upper, low), high)))
        old, self._values = self._values, (lower, upper)
        if lower != old[0]:
            self.minimumValueChanged.emit(lower)
        if upper != old[1]:
            self.maximumValueChanged.emit(upper)
        if old != self._values:
            self.valuesChanged.emit(lower, upper)
            self.update()

    def setMinimumValue(self, value: float) -> None:
        self.setValues(value, max(value, self._values[1]))

    def setMaximumValue(self, value: float) -> None:
        self.setValues(min(value, self._values[0]), value)

    minimum = Property(float, lambda self: self._range[0], lambda self, v: self.setRange(v, max(v, self._range[1])))
    maximum = Property(float, lambda self: self._range[1], lambda self, v: self.setRange(min(v, self._range[0]), v))
    minimumValue = Property(float, lambda self: self._values[0], setMinimumValue)
    maximumValue = Property(float, lambda self: self._values[1], setMaximumValue)
    singleStep = stored(float, 1.0)

    def _position(self, value: float) -> float:
        low, high = self._range
        return 8 + (self.width() - 16) * ((value - low) / (high - low) if high > low else 0)

    def _valueAt(self, x: float) -> float:
        low, high = self._range
        value = low + (high - low) * min(max((x - 8) / max(self.width() - 16, 1), 0), 1)
        return low + round((value - low) / self.singleStep) * self.singleStep if self.singleStep else value

    def mousePressEvent(self, event: Any) -> None:
        distances = [abs(event.position().x() - self._position(value)) for value in self._values]
        self._dragged = distances.index(min(distances))
        self.mouseMoveEvent(event)

    def mouseMoveEvent(self, event: Any) -> None:
        value = self._valueAt(event.position().x())
        lower, upper = self._values
        self.setValues(min(value, upper), upper) if self._dragged == 0 else self.setValues(lower, max(value, lower))

    def keyPressEvent(self, event: Any) -> None:
        step = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}.get(event.key(), 0) * self.singleStep
        values = list(self._values)
        values[self._dragged] += step
        self.setValues(*values)

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette, middle = self.palette(), self.height() / 2
        lower, upper = (self._position(value) for value in self._values)
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
    """A slider with two handles and a spin box on either side."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueIsChanging = Signal(float)
    rangeChanged = Signal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = ctkDoubleRangeSlider(self)
        self._lower, self._upper = QDoubleSpinBox(self), QDoubleSpinBox(self)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part, stretch in ((self._lower, 0), (self._slider, 1), (self._upper, 0)):
            layout.addWidget(part, stretch)
        for spin in (self._lower, self._upper):
            spin.setRange(0, 99)
        self._upper.setValue(99)
        self.setFocusProxy(self._lower)
        self._slider.valuesChanged.connect(self._onSlider)
        self._slider.minimumValueChanged.connect(self.minimumValueChanged)
        self._slider.maximumValueChanged.connect(self.maximumValueChanged)
        self._slider.rangeChanged.connect(self.rangeChanged)
        self._lower.valueChanged.connect(lambda value: self._slider.setMinimumValue(value))
        self._upper.valueChanged.connect(lambda value: self._slider.setMaximumValue(value))

    def _onSlider(self, lower: float, upper: float) -> None:
        for spin, value in ((self._lower, lower), (self._upper, upper)):
            blocked = spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(blocked)
        self.valuesChanged.emit(lower, upper)

    def setRange(self, minimum: float, maximum: float) -> None:
        for spin in (self._lower, self._upper):
            blocked = spin.blockSignals(True)
            spin.setRange(minimum, maximum)
            spin.blockSignals(blocked)
        self._slider.setRange(minimum, maximum)
        self._onSpinsFollow()

    def _onSpinsFollow(self) -> None:
        for spin, value in zip((self._lower, self._upper), (self._slider.minimumValue, self._slider.maximumValue)):
            blocked = spin.blockSignals(True)
            spin.setValue(value)
            spin.blockSignals(blocked)

    def setValues(self, lower: float, upper: float) -> None:
        self._slider.setValues(lower, upper)

    def setMinimumValue(self, value: float) -> None:
        self._slider.setMinimumValue(value)

    def setMaximumValue(self, value: float) -> None:
        self._slider.setMaximumValue(value)

    def setDecimals(self, decimals: int) -> None:
        for spin in (self._lower, self._upper):
            spin.setDecimals(decimals)

    def reset(self) -> None:
        self.setValues(self._slider.minimum, self._slider.maximum)

    def _setStep(self, step: float) -> None:
        self._slider.singleStep = step
        for spin in (self._lower, self._upper):
            spin.setSingleStep(step)

    def _setBoth(name: str) -> Callable[[Any, str], None]:
        def write(self: ctkRangeWidget, value: str) -> None:
            self._lower.setProperty(name, value)
            self._upper.setProperty(name, value)

        return write

    minimum = Property(float, lambda self: self._slider.minimum, lambda self, v: self.setRange(v, max(v, self._slider.maximum)))
    maximum = Property(float, lambda self: self._slider.maximum, lambda self, v: self.setRange(min(v, self._slider.minimum), v))
    minimumValue = Property(float, lambda self: self._slider.minimumValue, setMinimumValue)
    maximumValue = Property(float, lambda self: self._slider.maximumValue, setMaximumValue)
    decimals = Property(int, lambda self: self._lower.decimals(), setDecimals)
    singleStep = Property(float, lambda self: self._slider.singleStep, _setStep)
    prefix = Property(str, lambda self: self._lower.prefix(), _setBoth("prefix"))
    suffix = Property(str, lambda self: self._lower.suffix(), _setBoth("suffix"))
    tracking = stored(bool, True)
    tickInterval = stored(float, 0.0)
    symmetricMoves = stored(bool, False)
    autoSpinBoxWidth = stored(bool, True)
    spinBoxAlignment = stored(int, 0x84)
    spinBoxTextAlignment = stored(int, 0x81)


# --- text -----------------------------------------------------------------------------------------------


class ctkFittedTextBrowser(QTextBrowser):
    """A text browser as high as its text, with an optional folded part."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self._teaser, self._more, self._full = "", "", ""
        self.textChanged.connect(self.updateGeometry)
        self.anchorClicked.connect(self._onAnchor)

    def setCollapsibleHtml(self, html: str) -> None:
        """The part before the separator, with a link that shows the rest."""
        self._full = html
        self._show()

    setCollapsibleText = setCollapsiblePlainText = setCollapsibleHtml

    def collapsibleText(self) -> str:
        return self._full

    def _show(self) -> None:
        teaser, separator, more = self._full.partition("<br>")
        if not separator:
            self.setHtml(self._full)
        elif self.collapsed:
            self.setHtml(f'{teaser} <a href="#show">{self.showDetailsText}</a>')
        else:
            self.setHtml(f'{teaser}<br>{more} <a href="#hide">{self.hideDetailsText}</a>')

    def _onAnchor(self, url: Any) -> None:
        if url.toString() in ("#show", "#hide"):
            self.collapsed = url.toString() == "#hide"

    def heightForWidth(self, width: int) -> int:
        document = self.document().clone()
        document.setTextWidth(width - 2 * self.frameWidth())
        return math.ceil(document.size().height()) + 2 * self.frameWidth()

    def hasHeightForWidth(self) -> bool:
        return True

    def sizeHint(self) -> QSize:
        return QSize(200, self.heightForWidth(max(self.width(), 200)))

    def minimumSizeHint(self) -> QSize:
        return QSize(60, self.heightForWidth(max(self.width(), 60)))

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.updateGeometry()

    def wheelEvent(self, event: Any) -> None:
        event.ignore() if self.disableMouseScroll else super().wheelEvent(event)

    collapsed = stored(bool, True, lambda self: self._show())
    showDetailsText = stored(str, "Show details…")
    hideDetailsText = stored(str, "Hide details.")
    disableMouseScroll = stored(bool, True)


WIDGETS = {name: value for name, value in globals().items() if name.startswith("ctk") and isinstance(value, type)}

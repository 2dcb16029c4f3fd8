"""A slice view: Slicer's own slice pipeline, painted without OpenGL.

`vtkMRMLSliceLogic` reslices, colours and blends the volumes of a view into one image; Slicer hands that
image to a renderer, this widget paints it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import vtk
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget
from slicer.util import VTKObservationMixin
from vtk.util.numpy_support import vtk_to_numpy

from .ctk import ctkSliderWidget, quietly
from .qmrml import qMRMLWidget

#: Slicer's colours for its three views.
COLORS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b"}

DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))  # towards smaller and larger R, A, S


class qMRMLSliceView(QWidget):
    """The picture."""

    def __init__(self, sliceWidget: qMRMLSliceWidget) -> None:
        super().__init__(sliceWidget)
        self._owner = sliceWidget
        self.setMinimumSize(60, 60)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def resizeEvent(self, event: Any) -> None:
        ratio = self.devicePixelRatioF()
        self._owner.sliceLogic().ResizeSliceNode(self.width() * ratio, self.height() * ratio)

    def pixels(self) -> np.ndarray | None:
        """What the slice pipeline shows now, rows × columns × RGBX; None without a volume."""
        logic = self._owner.sliceLogic()
        logic.UpdatePipeline()
        connection = logic.GetImageDataConnection()
        if connection is None:
            return None
        connection.GetProducer().Update()
        data = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
        scalars = data.GetPointData().GetScalars()
        width, height, _ = data.GetDimensions()
        if scalars is None or not width or not height:
            return None
        rows = vtk_to_numpy(scalars).reshape(height, width, -1)[::-1]  # VTK counts rows from below
        pixels = np.full((height, width, 4), 255, np.uint8)
        pixels[..., : min(rows.shape[2], 3)] = rows[..., :3]
        return pixels

    def paintEvent(self, event: Any) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), Qt.GlobalColor.black)
        pixels = self.pixels()
        if pixels is None:
            return
        height, width, _ = pixels.shape
        picture = QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGBX8888)
        painter.drawImage(QRectF(self.rect()), picture)
        self._paintLetters(painter)

    def _paintLetters(self, painter: QPainter) -> None:
        toRAS = self._owner.mrmlSliceNode().GetSliceToRAS()
        across = [toRAS.GetElement(row, 0) for row in range(3)]
        up = [toRAS.GetElement(row, 1) for row in range(3)]
        font = QFont(self.font())
        font.setBold(True)
        painter.setFont(font)
        painter.setPen(QColor("white"))
        area = self.rect().adjusted(6, 4, -6, -4)
        for direction, sign, where in (
            (across, 1, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter),
            (across, -1, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter),
            (up, 1, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop),
            (up, -1, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignBottom),
        ):
            axis = max(range(3), key=lambda index: abs(direction[index]))
            painter.drawText(area, where, DIRECTIONS[axis][sign * direction[axis] > 0])

    def wheelEvent(self, event: Any) -> None:
        self._owner.scroll(1 if event.angleDelta().y() > 0 else -1)


class qMRMLSliceControllerWidget(QWidget):
    """The bar above the picture: name and offset."""

    def __init__(self, sliceWidget: qMRMLSliceWidget) -> None:
        super().__init__(sliceWidget)
        self._owner = sliceWidget
        name = sliceWidget.sliceViewName
        self.setAutoFillBackground(True)
        label = QLabel(f" {sliceWidget.mrmlSliceNode().GetLayoutLabel()} ", self)
        label.setStyleSheet(f"background: {COLORS.get(name, '#888')}; color: black; font-weight: bold;")
        self._slider = ctkSliderWidget(self)
        self._slider.suffix = "mm"
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(label)
        layout.addWidget(self._slider, 1)
        self._slider.valueChanged.connect(self.setSliceOffsetValue)

    def setSliceOffsetValue(self, offset: float) -> None:
        self._owner.sliceLogic().SetSliceOffset(offset)

    def follow(self) -> None:
        """Show the offset and the limits that the slice logic has now."""
        logic = self._owner.sliceLogic()
        spacing, bounds = self._owner.sliceSpacing(), [0.0] * 6
        logic.GetLowestVolumeSliceBounds(bounds)
        low, high = (bounds[4], bounds[5]) if bounds[4] < bounds[5] else (-10000, 10000)
        quietly(self._slider, singleStep=spacing, minimum=low, maximum=high, value=logic.GetSliceOffset())


class qMRMLSliceWidget(qMRMLWidget):
    """A slice view with its controller."""

    def __init__(self, logic: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._logic = logic
        self.sliceViewName = logic.GetSliceNode().GetLayoutName()
        self._controller, self._view = qMRMLSliceControllerWidget(self), qMRMLSliceView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._controller)
        layout.addWidget(self._view, 1)
        self._observations = VTKObservationMixin()
        for subject in (logic, logic.GetSliceNode()):
            self._observations.addObserver(subject, vtk.vtkCommand.ModifiedEvent, self._onModified)
        self.setMRMLScene(logic.GetMRMLScene())
        self._controller.follow()

    def _onModified(self, *_: Any) -> None:
        self._controller.follow()
        self._view.update()

    def close(self) -> bool:
        self._observations.removeObservers()
        return super().close()

    def sliceSpacing(self) -> float:
        return self._logic.GetLowestVolumeSliceSpacing()[2] or 1.0

    def scroll(self, steps: int) -> None:
        logic, bounds = self._logic, [0.0] * 6
        logic.GetLowestVolumeSliceBounds(bounds)
        offset = logic.GetSliceOffset() + steps * self.sliceSpacing()
        logic.SetSliceOffset(min(max(offset, bounds[4]), bounds[5]) if bounds[4] < bounds[5] else offset)

    def sliceLogic(self) -> Any:
        return self._logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def sliceView(self) -> qMRMLSliceView:
        return self._view

    def sliceController(self) -> qMRMLSliceControllerWidget:
        return self._controller

    def pauseRender(self) -> None:
        self._view.setUpdatesEnabled(False)

    def resumeRender(self) -> None:
        self._view.setUpdatesEnabled(True)

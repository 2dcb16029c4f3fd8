"""The window: module panel at the left, slice views at the right as the layout has them, as in Slicer."""

from __future__ import annotations

from xml.etree import ElementTree

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import (
    QApplication,
    QBoxLayout,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QScrollArea,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

from .application import qSlicerLayoutManager
from .modules import qSlicerModuleManager, qSlicerScriptedLoadableModule


class qSlicerMainWindow(QMainWindow):
    """`slicer.util.mainWindow()`."""

    def __init__(self, layoutManager: qSlicerLayoutManager, manager: qSlicerModuleManager) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._layoutManager, self._views = layoutManager, QWidget()
        QVBoxLayout(self._views).setContentsMargins(0, 0, 0, 0)
        self._arrange()
        layoutManager.layoutChanged.connect(lambda layout: self._arrange())
        self._manager, self._panel = manager, QScrollArea()
        self._panel.setWidgetResizable(True)
        self._panel.setFrameShape(QScrollArea.Shape.NoFrame)
        self._panel.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._panel.setMinimumWidth(450)
        splitter = QSplitter()
        splitter.addWidget(self._panel)
        splitter.addWidget(self._views)
        splitter.setStretchFactor(1, 1)
        self.setCentralWidget(splitter)
        self.statusBar()

    def _arrange(self) -> None:
        """Put the views where the layout wants them; the others are hidden, and kept."""
        for name in self._layoutManager.sliceViewNames():
            self._layoutManager.sliceWidget(name).setParent(None)
        for index in range(self._layoutManager.tableViewCount):
            self._layoutManager.tableWidget(index).setParent(None)
        if (before := self._views.layout().takeAt(0)) is not None:
            before.widget().deleteLater()
        node = self._layoutManager.layoutLogic().GetLayoutNode()
        whole = QWidget()
        whole.setLayout(self._arranged(ElementTree.fromstring(node.GetLayoutDescription(node.GetViewArrangement()))))
        self._views.layout().addWidget(whole)

    def _arranged(self, element: ElementTree.Element) -> QBoxLayout:
        box = QHBoxLayout() if element.get("type") == "horizontal" else QVBoxLayout()
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(3)
        for child in (item[0] for item in element.findall("item")):
            if child.tag == "layout":
                box.addLayout(self._arranged(child), 1)
            elif child.get("class") == "vtkMRMLSliceNode":
                widget = self._layoutManager.sliceWidget(child.get("singletontag"))
                box.addWidget(widget, 1)
                widget.show()
            elif child.get("class") == "vtkMRMLTableViewNode" and (table := self._layoutManager.tableWidget(0)):
                box.addWidget(table, 1)
                table.show()
            else:
                box.addWidget(self._placeholder(), 1)
        return box

    @staticmethod
    def _placeholder() -> QLabel:
        placeholder = QLabel("3-D view")
        placeholder.setAlignment(Qt.AlignmentFlag.AlignCenter)
        sky = "qlineargradient(y1: 0, y2: 1, stop: 0 #c1c3e8, stop: 1 #747be7)"
        placeholder.setStyleSheet(f"background: {sky}; color: #eef;")
        return placeholder

    def selectModule(self, name: str) -> None:
        """Leave the module that is shown and enter another one; one in C++ has no panel here."""
        if (shown := self._panel.takeWidget()) is not None:
            shown.exit()
        module = self._manager.module(name)
        self.setWindowTitle(f"{module.title} - 3D Slicer (SlicerHost)" if module else "")
        if isinstance(module, qSlicerScriptedLoadableModule):
            self._panel.setWidget(widget := module.widgetRepresentation())
            widget.show()
            widget.enter()


def usePalette(app: QApplication, dark: bool) -> None:
    """Slicer's light or dark theme: the Fusion style with a palette."""
    app.setStyle("Fusion")
    palette = QPalette(QColor("#3c3c3c"), QColor("#323232")) if dark else app.style().standardPalette()
    if dark:  # Qt makes the other colours of these two, but for links
        palette.setColor(QPalette.ColorRole.Link, QColor("#6eb4ff"))
    app.setPalette(palette)

"""The window: module panel at the left, three slice views at the right, as in Slicer."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QGridLayout, QLabel, QMainWindow, QScrollArea, QSplitter, QWidget

from .application import qSlicerLayoutManager
from .modules import qSlicerModuleManager, qSlicerScriptedLoadableModule


class qSlicerMainWindow(QMainWindow):
    """`slicer.util.mainWindow()`."""

    def __init__(self, layoutManager: qSlicerLayoutManager, manager: qSlicerModuleManager) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        views = QWidget()
        grid = QGridLayout(views)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        for name, (row, column) in {"Red": (0, 0), "Green": (1, 0), "Yellow": (1, 1)}.items():
            if (widget := layoutManager.sliceWidget(name)) is not None:
                grid.addWidget(widget, row, column)
        placeholder = QLabel("3-D view")
        placeholder.setAlignment(Qt.AlignmentFlag.AlignCenter)
        sky = "qlineargradient(y1: 0, y2: 1, stop: 0 #c1c3e8, stop: 1 #747be7)"
        placeholder.setStyleSheet(f"background: {sky}; color: #eef;")
        grid.addWidget(placeholder, 0, 1)
        for index in (0, 1):
            grid.setRowStretch(index, 1)
            grid.setColumnStretch(index, 1)
        self._manager, self._panel = manager, QScrollArea()
        self._panel.setWidgetResizable(True)
        self._panel.setFrameShape(QScrollArea.Shape.NoFrame)
        self._panel.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._panel.setMinimumWidth(430)
        splitter = QSplitter()
        splitter.addWidget(self._panel)
        splitter.addWidget(views)
        splitter.setStretchFactor(1, 1)
        self.setCentralWidget(splitter)
        self.statusBar()

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

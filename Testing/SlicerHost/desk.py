"""The window: module panel at the left, three slice views at the right, as in Slicer."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QDockWidget, QGridLayout, QLabel, QMainWindow, QToolBar, QWidget

from .application import qSlicerLayoutManager
from .modules import qSlicerModuleManager, qSlicerModulePanel, qSlicerModuleSelectorToolBar


class qSlicerMainWindow(QMainWindow):
    """`slicer.util.mainWindow()`."""

    def __init__(self, layoutManager: qSlicerLayoutManager, manager: qSlicerModuleManager) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (SlicerHost)")
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
        self.setCentralWidget(views)

        self._panel = qSlicerModulePanel()
        self._selector = qSlicerModuleSelectorToolBar(self._panel, manager)
        dock = QDockWidget("Module panel", self)
        dock.setObjectName("PanelDockWidget")
        dock.setFeatures(QDockWidget.DockWidgetFeature.DockWidgetMovable)
        dock.setWidget(self._panel)
        dock.setMinimumWidth(420)
        self.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)

        bar = QToolBar("Modules", self)
        bar.setObjectName("ModuleSelectorToolBar")
        bar.setMovable(False)
        self._title = QLabel("")
        bar.addWidget(QLabel(" Modules:  "))
        bar.addWidget(self._title)
        self._manager = manager
        self._selector.moduleSelected.connect(self._showTitle)
        self.addToolBar(bar)
        self.statusBar()

    def _showTitle(self, name: str) -> None:
        self._title.setText(getattr(self._manager.module(name), "title", name))

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector


def usePalette(app: QApplication, dark: bool) -> None:
    """Slicer's light or dark theme: the Fusion style with a palette."""
    app.setStyle("Fusion")
    palette = QPalette(QColor("#3c3c3c"), QColor("#323232")) if dark else app.style().standardPalette()
    if dark:  # Qt makes the other colours of these two, but for links
        palette.setColor(QPalette.ColorRole.Link, QColor("#6eb4ff"))
    app.setPalette(palette)

"""The window: module panel at the left, three slice views at the right, as in Slicer."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QDockWidget, QGridLayout, QLabel, QMainWindow, QToolBar, QWidget

from .application import qSlicerLayoutManager
from .modules import qSlicerModuleManager, qSlicerModulePanel, qSlicerModuleSelectorToolBar

DARK = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#1e1e1e",
    "AlternateBase": "#2a2a2a",
    "Text": "#ffffff",
    "Button": "#3c3c3c",
    "ButtonText": "#ffffff",
    "ToolTipBase": "#3c3c3c",
    "ToolTipText": "#ffffff",
    "BrightText": "#ff5555",
    "Link": "#6eb4ff",
    "LinkVisited": "#b48cff",
    "Highlight": "#2a82da",
    "HighlightedText": "#ffffff",
    "PlaceholderText": "#9a9a9a",
    "Mid": "#505050",
    "Dark": "#202020",
    "Light": "#505050",
}
LIGHT = {
    "Window": "#f0f0f0",
    "WindowText": "#000000",
    "Base": "#ffffff",
    "AlternateBase": "#f7f7f7",
    "Text": "#000000",
    "Button": "#f0f0f0",
    "ButtonText": "#000000",
    "ToolTipBase": "#ffffdc",
    "ToolTipText": "#000000",
    "BrightText": "#ffffff",
    "Link": "#0057ae",
    "LinkVisited": "#551a8b",
    "Highlight": "#308cc6",
    "HighlightedText": "#ffffff",
    "PlaceholderText": "#7a7a7a",
    "Mid": "#b8b8b8",
    "Dark": "#9f9f9f",
    "Light": "#ffffff",
}


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
    colors = DARK if dark else LIGHT
    palette = QPalette()
    for role, color in colors.items():
        palette.setColor(QPalette.ColorRole[role], QColor(color))
    faded = QColor("#7f7f7f") if dark else QColor("#a0a0a0")
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(QPalette.ColorGroup.Disabled, QPalette.ColorRole[role], faded)
    app.setPalette(palette)

"""The buttons of the section Result that take it away: the report, and the words that compute it again."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...contract.errors import CAMOverlayError
from ...contract.whole_files import save_text
from ...report.page import write_page
from ...report.repeat import as_command, as_python
from ...scene.figure.report import reportPath, shownOf
from ...scene.overlay import node as overlay
from ..background import Background

FOLDER_KEY = "CAMOverlay/ReportFolder"
"""Of the user's settings: where the last report was written."""


class TakeAwaySection:
    """Writes the report of an overlay beside the event loop, and copies how to compute it again.

    Args:
        ui: the panel's widgets by name.
        overlayNode: the overlay that the panel shows.
        say: shows a sentence below the Apply button.
    """

    def __init__(self, ui: Any, overlayNode: Callable[[], Any], say: Callable[[str], None]) -> None:
        self.ui, self._overlayNode, self._say = ui, overlayNode, say
        self._job: Background | None = None
        ui.reportButton.clicked.connect(self._onReport)
        ui.copyPythonButton.clicked.connect(self._onCopyPython)
        ui.copyCommandButton.clicked.connect(self._onCopyCommand)

    @property
    def busy(self) -> bool:
        """Whether a report is being written."""
        return self._job is not None

    def _onReport(self, checked: bool = False) -> None:
        node = self._overlayNode()
        if self.busy or not overlay.isOverlay(node):
            return
        folder = str(slicer.app.userSettings().value(FOLDER_KEY) or Path.home())
        name = re.sub(r"[^\w.-]+", "-", node.GetName()).strip("-.")[:100] or "report"
        chosen = qt.QFileDialog.getSaveFileName(
            slicer.util.mainWindow(), _("Save the report"), str(Path(folder) / f"{name}.html"), "HTML (*.html)"
        )
        if not chosen:
            return
        try:
            path = reportPath(f"{chosen}" if Path(str(chosen)).suffix else f"{chosen}.html")
            result, shown = overlay.resultOf(node), shownOf(overlay.inputVolumeOf(node), node)
        except CAMOverlayError as error:
            self._say(str(error))
            return
        slicer.app.userSettings().setValue(FOLDER_KEY, str(path.parent))
        self._say(_("Writing the report …"))
        self.ui.reportButton.enabled = False
        self._job = Background(lambda: save_text(path, write_page(result, shown)), self._onWritten)

    def _onWritten(self, path: Path | None, error: BaseException | None) -> None:
        self._job = None
        self.ui.reportButton.enabled = True
        self._say(_("The report is written: {path}").format(path=path) if error is None else str(error))

    def _onCopyPython(self, checked: bool = False) -> None:
        node = self._overlayNode()
        result = overlay.resultOf(node) if overlay.isOverlay(node) else None
        if result is None:
            return
        volume = overlay.inputVolumeOf(node)
        names = (volume.GetName(), *result.inputs[1:]) if volume is not None else ()
        self._copy(as_python(result, names), _("Copied: code for the Python console."))

    def _onCopyCommand(self, checked: bool = False) -> None:
        node = self._overlayNode()
        result = overlay.resultOf(node) if overlay.isOverlay(node) else None
        if result is not None:
            self._copy(as_command(result), _("Copied: a command for a terminal."))

    def _copy(self, text: str, words: str) -> None:
        slicer.app.clipboard().setText(text)
        self._say(words)

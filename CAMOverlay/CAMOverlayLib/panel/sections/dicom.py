"""The row of the section Result that writes DICOM; there only where the volume was loaded from DICOM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...contract.errors import CAMOverlayError
from ...contract.findings import Threshold
from ...contract.records import absolute
from ...scene import dicom_objects
from ...scene.overlay import node as overlay
from ..background import Background

FOLDER_KEY = "CAMOverlay/DicomFolder"

LOOK = 200
"""Milliseconds after which it is said anew what is being written."""


class _Stopped(Exception):
    """The user does not want it any more."""


class DicomRow:
    """A button that asks for a folder and writes into it beside the event loop, and while it writes cancels.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
        threshold: from where on heat is a hot spot, as the section Findings has it.
    """

    def __init__(self, ui: Any, say: Callable[[str], None], threshold: Callable[[], Threshold]) -> None:
        self.ui, self._say, self._threshold = ui, say, threshold
        self._overlay: Any = None
        self._job: Background | None = None
        self._words, self._stopped = "", False
        self._timer = qt.QTimer()
        self._timer.setInterval(LOOK)
        self._timer.timeout.connect(lambda: self._say(self._words))
        ui.dicomButton.clicked.connect(self._onButton)

    def setOverlay(self, node: Any) -> None:
        """Offer to write an overlay; None or a volume that comes from no DICOM series takes the row away."""
        self._overlay = node if overlay.isOverlay(node) and dicom_objects.hasSeries(node) else None
        for widget in (self.ui.dicomButton, self.ui.dicomPictureBox):
            widget.visible = self._overlay is not None

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._job is not None

    def stop(self) -> None:
        """End what is being written; nothing of it stays."""
        self._stopped = True

    def _onButton(self, checked: bool = False) -> None:
        if self.busy:
            self.stop()
            return
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(),
            _("Folder for the DICOM objects, which name the patient"),
            str(slicer.app.userSettings().value(FOLDER_KEY) or Path.home()),
        )
        if not folder or self._overlay is None:
            return
        folder = absolute(str(folder))
        slicer.app.userSettings().setValue(FOLDER_KEY, folder)
        try:
            taken = dicom_objects.takeOut(
                self._overlay, threshold=self._threshold(), withPicture=self.ui.dicomPictureBox.checked
            )
        except CAMOverlayError as error:
            self._say(str(error))
            return
        self._start(taken, folder)

    def _start(self, taken: dicom_objects.TakenOut, folder: str) -> None:
        self._words, self._stopped = _("Writing DICOM …"), False

        def report(share: float, words: str) -> None:
            if self._stopped:
                raise _Stopped
            self._words = f"{words} … ({share:.0%})"

        self.ui.dicomButton.text = _("Cancel writing")
        self._say(self._words)
        self._timer.start()
        self._job = Background(
            lambda: taken.write(folder, report), lambda placed, error: self._onDone(placed, error, folder)
        )

    def _onDone(self, placed: dict | None, error: BaseException | None, folder: str) -> None:
        self._job = None
        self._timer.stop()
        self.ui.dicomButton.text = _("Save as DICOM …")
        if isinstance(error, _Stopped):
            self._say(_("Cancelled; nothing was written."))
        elif isinstance(error, CAMOverlayError):
            self._say(str(error))
        elif placed is None:  # its words may quote the series
            self._say(_("DICOM cannot be written: {kind}.").format(kind=type(error).__name__))
        else:
            self._say(_("Written to {folder} and read back: {files}.").format(folder=folder, files=", ".join(placed)))

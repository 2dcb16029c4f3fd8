"""Answers for modal dialogs, so that a test is never stuck in one.

    host.dialogs.answer("Yes")             # the button to press in the next dialog
    host.dialogs.answer("/path/to/bundle")  # or the path to give in the next file dialog
    ...
    host.dialogs.shown[-1].text            # what the dialog said

A dialog without an answer waiting is closed as if with Escape and kept in `host.dialogs.unexpected`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QDialog,
    QInputDialog,
    QLabel,
    QMessageBox,
    QProgressDialog,
    QWidget,
)

from . import pythonqt


@dataclass
class Shown:
    """What a dialog showed, and what it was answered with."""

    title: str
    text: str
    details: str
    buttons: list[str]
    answer: Any = None


def _label(button: QAbstractButton) -> str:
    return button.text().replace("&", "")


class Dialogs:
    """Watches for modal dialogs while the host runs unattended."""

    def __init__(self, attended: bool) -> None:
        self.shown: list[Shown] = []
        self.unexpected: list[Shown] = []
        self._answers: deque[Any] = deque()
        self._attended = attended
        self._watch = QTimer()
        self._watch.setInterval(5)
        self._watch.timeout.connect(self._answerModal)
        if not attended:
            self._watch.start()
            pythonqt.SPECIAL_METHODS["getExistingDirectory"] = self._folderDialog
            pythonqt.SPECIAL_METHODS["getSaveFileName"] = self._folderDialog

    def answer(self, *answers: Any) -> None:
        """Queue a button's label, a text, a path or a function that gets the dialog."""
        self._answers.extend(answers)

    def stop(self) -> None:
        self._watch.stop()
        pythonqt.SPECIAL_METHODS.pop("getExistingDirectory", None)
        pythonqt.SPECIAL_METHODS["getSaveFileName"] = pythonqt.SPECIAL_METHODS["getOpenFileName"]

    def _record(self, shown: Shown) -> Any:
        self.shown.append(shown)
        if not self._answers:
            self.unexpected.append(shown)
            return None
        shown.answer = self._answers.popleft()
        return shown.answer

    def _folderDialog(self, member: Any, instance: Any, arguments: tuple) -> Any:
        title = str(arguments[1]) if len(arguments) > 1 else ""
        return str(self._record(Shown(title, "", "", [])) or "")

    def _answerModal(self) -> None:
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QDialog) or not dialog.isVisible() or isinstance(dialog, QProgressDialog):
            return  # a progress dialog asks nothing
        buttons = [b for b in dialog.findChildren(QAbstractButton) if _label(b) and b.isVisible()]
        shown = Shown(dialog.windowTitle(), self._textOf(dialog), "", [_label(b) for b in buttons])
        if isinstance(dialog, QMessageBox):
            shown.details = "\n".join(filter(None, (dialog.informativeText(), dialog.detailedText())))
        answer = self._record(shown)
        if callable(answer):
            answer(pythonqt.wrap(dialog))
            return
        chosen = next((b for b in buttons if _label(b).lower() == str(answer).lower()), None)
        if isinstance(dialog, QInputDialog) and chosen is None and answer is not None:
            dialog.setTextValue(str(answer))
            dialog.accept()
        elif chosen is not None:
            chosen.click()
        else:
            if answer is not None:
                self.unexpected.append(shown)  # there is no such button
            dialog.reject() if not isinstance(dialog, QMessageBox) else dialog.done(0)

    @staticmethod
    def _textOf(dialog: QWidget) -> str:
        if isinstance(dialog, QMessageBox):
            return dialog.text()
        if isinstance(dialog, QInputDialog):
            return dialog.labelText()
        return "\n".join(label.text() for label in dialog.findChildren(QLabel) if label.text())

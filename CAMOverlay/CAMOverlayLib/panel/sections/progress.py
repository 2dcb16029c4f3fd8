"""How far a run is: a bar, the stage in words, the time left, and the log folded away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ...contract.request import STAGES, Progress

SURE_AFTER = 1.0
"""Seconds before a guess of the time left is worth showing."""


class ProgressSection:
    """Shows a run.

    Args:
        ui: the panel's widgets by name.
        log: gives the end of what the computation printed.
    """

    def __init__(self, ui: Any, log: Callable[[], str]) -> None:
        self.ui = ui
        self._log = log
        self._shownLog = ""
        self._started = 0.0
        self._clock = qt.QTimer()
        self._clock.interval = 500
        self._clock.timeout.connect(self._tick)
        self._progress = Progress("import", 0.0)

    def start(self, words: str) -> None:
        self._started = time.monotonic()
        self._progress = Progress("", 0.0, words)
        self.ui.progressBar.visible = self.ui.progressLabel.visible = True
        self.say("")
        self._show()
        self._clock.start()

    def report(self, progress: Progress) -> None:
        self._progress = progress
        self._show()

    def stop(self) -> None:
        self._clock.stop()
        self.ui.progressBar.visible = self.ui.progressLabel.visible = False
        self._showLog()

    def say(self, message: str, unfoldLog: bool = False) -> None:
        """A sentence below the Apply button; empty removes it."""
        self.ui.messageLabel.text = message
        self.ui.messageLabel.visible = bool(message)
        if unfoldLog:
            self._showLog()
            self.ui.logBox.collapsed = False

    def _show(self) -> None:
        fraction = min(max(self._progress.fraction, 0.0), 1.0)
        self.ui.progressBar.value = round(1000 * fraction)
        words = _(STAGES[self._progress.stage]) if self._progress.stage in STAGES else self._progress.message
        left = timeLeft(time.monotonic() - self._started, fraction)
        self.ui.progressLabel.text = f"{words} · {left}" if left else words

    def _tick(self) -> None:
        self._show()
        self._showLog()

    def _showLog(self) -> None:
        log = self._log()
        if log != self._shownLog:
            self._shownLog = log
            self.ui.logText.setPlainText(log)
            bar = self.ui.logText.verticalScrollBar()
            bar.value = bar.maximum


def timeLeft(elapsed: float, fraction: float) -> str:
    """In words, if it goes on at this pace; empty while that would be a guess."""
    if elapsed < SURE_AFTER or fraction < 0.05 or fraction >= 1:
        return ""
    seconds = elapsed * (1 - fraction) / fraction
    if seconds < 60:
        return _("about {count} s left").format(count=max(1, round(seconds)))
    return _("about {count} min left").format(count=round(seconds / 60))

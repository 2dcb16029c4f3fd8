"""Work on arrays beside the event loop, where it cannot be cut into pieces.

NumPy and SciPy let go of Python while they compute, so that a thread of theirs takes nothing from the window. What
they do in between needs Python, and Slicer idles in an event loop that never lets go of it: a timer gives the thread
a few milliseconds at every look at it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import qt

LOOK = 20
"""Milliseconds between two looks."""

GRANTED = 0.008
"""Seconds for which a look lets the thread have Python."""


class Background:
    """Calls a function in a thread, and tells what came of it in the event loop.

    Args:
        work: touches neither the scene nor a widget.
        onDone: called with its value and None, or with None and what it raised; not after :meth:`cancel`.
    """

    def __init__(self, work: Callable[[], Any], onDone: Callable[[Any, BaseException | None], None]) -> None:
        self._work, self._onDone = work, onDone
        self._value: Any = None
        self._error: BaseException | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="CAMOverlay findings", daemon=True)
        self._timer = qt.QTimer()
        self._timer.setInterval(LOOK)
        self._timer.timeout.connect(self._look)
        self._thread.start()
        self._timer.start()

    def cancel(self) -> None:
        """Tell nothing of it. The thread ends by itself: nothing can stop what computes."""
        self._cancelled = True

    def _run(self) -> None:
        try:
            self._value = self._work()
        except Exception as error:  # it is told in the event loop  # noqa: BLE001
            self._error = error

    def _look(self) -> None:
        self._thread.join(GRANTED)
        if self._thread.is_alive():
            return
        self._timer.stop()
        if not self._cancelled:
            self._onDone(self._value, self._error)

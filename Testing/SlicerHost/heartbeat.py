"""Measures how long the event loop stands still.

A timer wants to fire every few milliseconds. What it comes late by, something else has kept the loop from
doing: that is the time in which the window did not react.

    with host.heartbeat() as beat:
        host.click(panel.ui.applyButton)
        host.wait(lambda: not running(), 60)
    assert beat.longestGapMs < 50
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer


class Heartbeat:
    """The gaps between two turns of the event loop."""

    def __init__(self, intervalMs: int = 2) -> None:
        self.gapsMs: list[float] = []
        self._last = 0.0
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(intervalMs)
        self._timer.timeout.connect(self._beat)

    @property
    def longestGapMs(self) -> float:
        return max(self.gapsMs, default=0.0)

    def report(self) -> str:
        longest = ", ".join(f"{gap:.0f}" for gap in sorted(self.gapsMs, reverse=True)[:5])
        return f"event loop: {len(self.gapsMs)} turns, longest gaps {longest} ms"

    def _beat(self) -> None:
        now = time.perf_counter() - _outOfTurn()
        self.gapsMs.append((now - self._last) * 1000)
        self._last = now

    def __enter__(self) -> Heartbeat:
        self._last = time.perf_counter() - _outOfTurn()
        self._timer.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._beat()  # a gap that ends with the measurement counts too
        self._timer.stop()


def _outOfTurn() -> float:
    """Seconds for which this thread was ready to run and other programs had the processors; 0 where no system tells.

    What another program's load does to the event loop is not what the module does to it.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0

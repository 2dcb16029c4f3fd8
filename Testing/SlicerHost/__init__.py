"""Slicer without Slicer's Qt, for tests and for trying out.

The real Slicer core (scene, logics, slice pipelines, `slicer.util`) with PySide6 behind the names that
Slicer's Python gives: enough to load a scripted module unchanged, show it beside slice views, press its
buttons and take pictures. It offers only what the real Slicer offers; see `offered.py` and `pythonqt.py`.

    host = SlicerHost.start()
    host.loadModule("CAMOverlay/CAMOverlay.py")
    panel = host.open("CAMOverlay")
    host.click(panel.ui.applyButton)
    host.wait(lambda: panel.ui.applyButton.text == "Apply", 60)
    host.grab("panel.png")
    host.checkNoErrors()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .host import Host

__all__ = ["start"]


def start(**options: Any) -> Host:
    """The running host; see `host.start`. Qt is imported no earlier than here: its libraries may be missing."""
    from .host import start

    return start(**options)

"""Overlays of one volume beside each other: as a sequence, side by side, their difference, and where they agree.

``CAMOverlayLib.scene.comparison`` offers what is useful in Slicer's Python console; the modules hold the rest.
"""

from __future__ import annotations

from ...contract.lazily import lazily

_CONSOLE = {
    "comparisonOf": "sequence",
    "endSideBySide": "side_by_side",
    "setOneScale": "scale",
    "showAgreement": "agreement",
    "showDifference": "difference",
    "showSideBySide": "side_by_side",
}

__all__ = sorted(_CONSOLE)
__getattr__ = lazily(__name__, _CONSOLE)

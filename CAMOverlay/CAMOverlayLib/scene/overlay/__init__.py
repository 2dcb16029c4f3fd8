"""The overlay node: colours, legend, rendering, what it says of itself.

``CAMOverlayLib.scene.overlay`` offers what is useful in Slicer's Python console; the modules hold the rest.
"""

from __future__ import annotations

from ...contract.lazily import lazily

_CONSOLE = {
    **dict.fromkeys(
        (
            "inputVolumeOf",
            "isOverlay",
            "jumpToPeak",
            "peakWorld",
            "resultOf",
            "setColorMap",
            "setOpacity",
            "setThreshold",
            "showLegend",
            "showOverlay",
            "thresholdOf",
        ),
        "node",
    ),
    **dict.fromkeys(("canFade", "fadeUnstable", "faded"), "faded"),
    "showFieldOfView": "field_of_view_segmentation",
    "showMap": "shown",
    "showPrediction": "shown",
}
"""Where each lies; loaded when it is asked for, so that this package costs nothing."""

__all__ = sorted(_CONSOLE)
__getattr__ = lazily(__name__, _CONSOLE)

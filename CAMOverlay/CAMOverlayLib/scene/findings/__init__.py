"""What can be read off an overlay, in the scene: a table, points, segments, curves.

``CAMOverlayLib.scene.findings`` offers what is useful in Slicer's Python console; the modules hold the rest::

    from CAMOverlayLib.scene import findings
    table = findings.show(overlayNode, threshold=0.5)  # a table, and a point per hot spot
    findings.jumpTo(overlayNode, 2)                    # every slice view to the second one
    segmentation = findings.segments(overlayNode)      # the same regions as segments

Everything hangs on the overlay by node references, which are saved with the scene, and is brought up to date in place
when it is asked for again. An overlay that leaves the scene leaves it there: a table, points and segments are
complete in themselves, and may be what the user wanted.
"""

from __future__ import annotations

from ...contract.lazily import lazily

_CONSOLE = {
    "find": "search",
    "jumpTo": "shown",
    "jumpToHotSpot": "jump",
    "segments": "shown",
    "show": "shown",
    "openChart": "plots",
    "showChannels": "plots",
    "showCurves": "plots",
    "showIn3D": "view3d",
    "showStructureFalls": "plots",
    "showStructures": "structures",
    "structureMasks": "structures",
}
"""Where each lies; loaded when it is asked for, so that this package costs nothing."""

__all__ = sorted(_CONSOLE)
__getattr__ = lazily(__name__, _CONSOLE)

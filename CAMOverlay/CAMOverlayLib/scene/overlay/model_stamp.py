"""Which files computed an overlay: known again by a stamp, which reads none of them, and hashed when somebody asks."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import slicer

from ...contract.bundle_content import content_hash, stamp
from ...contract.errors import CAMOverlayError
from ...contract.records import absolute

ATTRIBUTE = "CAMOverlay.ModelStamp"


def modelStamp(path: str | os.PathLike[str]) -> str:
    """What changes whenever a file of a model does; empty where there is none."""
    try:
        return hashlib.sha256(repr(stamp(Path(absolute(path)))).encode()).hexdigest() if path else ""
    except (OSError, CAMOverlayError):
        return ""


def modelHash(overlayNode: slicer.vtkMRMLVolumeNode, path: str | os.PathLike[str]) -> str:
    """SHA-256 over the files of an overlay's model; empty where they are not those any more of which it was made."""
    stamped = overlayNode.GetAttribute(ATTRIBUTE)
    if not stamped or modelStamp(path) != stamped:
        return ""
    try:
        return content_hash(Path(absolute(path)))
    except (OSError, CAMOverlayError):
        return ""

"""The bundle that ships with the module: its content is known, so there is nothing to ask about it.

Known are content and place: a file that somebody changed in the module's own folder is asked about as any other, and so
is a copy elsewhere, which others may be able to write to.
"""

from __future__ import annotations

from pathlib import Path

from ..bundle_files import content_hash
from ..demo import DEMO_BUNDLE

SHIPPED = frozenset({"0fa8457e2652a328b1989b44ffe658560c901307d8da4db668cc9fa83ea3fe9c"})
"""``content_hash`` of every bundle that ships; a test compares them with the folders."""


def isShippedBundle(folder: str | Path, contentHash: str) -> bool:
    """Whether a folder with this content hash is a bundle that ships with the module, unchanged and in its own place."""
    return contentHash in SHIPPED and Path(folder).resolve() == DEMO_BUNDLE.resolve()


def isShippedFolder(folder: str | Path) -> bool:
    """The same for a folder, in one go: for the Python console, where waiting is expected."""
    return Path(folder).resolve() == DEMO_BUNDLE.resolve() and isShippedBundle(folder, content_hash(Path(folder)))

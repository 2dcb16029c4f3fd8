"""The bundle that ships with the module: its content is known, so there is nothing to ask about it.

Known are content and place: a file that somebody changed in the module's own folder is asked about as any other, and so
is a copy elsewhere, which others may be able to write to.
"""

from __future__ import annotations

from pathlib import Path

from ..demo import DEMO_BUNDLE

SHIPPED = frozenset({"2b576d3e2df92b5325fbf7f366e5d923f25f4ccb8d998f5869a54b2d39f64b7a"})
"""``content_hash`` of every bundle that ships; a test compares them with the folders."""


def isShippedBundle(folder: str | Path, contentHash: str) -> bool:
    """Whether a folder with this content hash is a bundle that ships with the module, unchanged and in its own
    place."""
    return contentHash in SHIPPED and Path(folder).resolve() == DEMO_BUNDLE.resolve()

"""The real Slicer core, with a scene that every test finds empty."""

from __future__ import annotations

import pytest

from CAMOverlayLib.scene import core


@pytest.fixture(autouse=True)
def scene():
    """The scene, empty but for what Slicer keeps when a scene is closed."""
    scene = core.ensureScene()
    yield scene
    scene.Clear(0)

"""The scene that the command line leaves behind is emptied."""

from __future__ import annotations

import pytest

from CAMOverlayLib.scene import core


@pytest.fixture(autouse=True)
def scene():
    yield
    core.ensureScene().Clear(0)

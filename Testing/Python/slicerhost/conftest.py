"""One host with the module for all tests of this folder; each test begins with an empty scene and leaves no errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import hosted

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

MODULE = Path(__file__).resolve().parents[3] / "CAMOverlay" / "CAMOverlay.py"


@pytest.fixture(scope="package")
def running_host():
    with hosted("slicerhost") as host:
        host.loadModule(MODULE)
        yield host


@pytest.fixture
def host(running_host):
    running_host.clear()
    yield running_host
    running_host.checkNoErrors()


@pytest.fixture
def widget(host):
    """The module's Python widget, opened and set up anew."""
    import slicer

    host.open("CAMOverlay")
    slicer.util.reloadScriptedModule("CAMOverlay")
    host.open("CAMOverlay")
    yield slicer.modules.CAMOverlayWidget
    host.window.selectModule("Volumes")


@pytest.fixture
def blob(host):
    """A volume with a bright ellipsoid, shown in the slice views."""
    import numpy as np
    import slicer

    z, y, x = np.mgrid[:30, :40, :35]
    voxels = 1000 * np.exp(-(((x - 15) / 8) ** 2 + ((y - 20) / 12) ** 2 + ((z - 12) / 8) ** 2))
    volume = slicer.util.addVolumeFromArray(voxels.astype("int16"), name="Blob")
    volume.SetSpacing(2, 2, 3)
    slicer.util.setSliceViewerLayers(background=volume, fit=True)
    return volume

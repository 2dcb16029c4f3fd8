"""One host with the module for all tests of this folder; each test starts with an empty scene, a panel set up anew
and nothing trusted, and must leave no errors."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from SlicerHost.widgets.qmrml import qMRMLNodeComboBox
from support import hosted

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

MODULE = Path(__file__).resolve().parents[3] / "CAMOverlay" / "CAMOverlay.py"


@pytest.fixture(scope="package")
def running_host():
    with hosted("panel") as host:
        host.loadModule(MODULE)
        host.startupCompleted()
        yield host


@pytest.fixture
def host(running_host):
    running_host.clear()
    yield running_host
    running_host.checkNoErrors()


@pytest.fixture
def cold():
    """For a test that wants to see the process start as a user's does. The others go on with the one that is warm, and
    where another bundle takes another process, that one is there at once."""


@pytest.fixture
def fresh():
    """For a test that wants to see a process start, quickly: none runs yet."""


@pytest.fixture
def panel(host, request, zygote, monkeypatch):
    """The panel as a user finds it on a new computer."""
    import slicer

    slicer.app.userSettings().remove("CAMOverlay")
    if not hasattr(slicer.modules, "CAMOverlayWidget"):
        host.open("CAMOverlay")
    before = slicer.modules.CAMOverlayWidget.logic
    warm = before.worker if before.worker.ready and not {"cold", "fresh"} & set(request.fixturenames) else None
    if warm is not None:
        before.worker = None
    old = host.real(slicer.modules.CAMOverlayWidget.parent).findChildren(qMRMLNodeComboBox)
    slicer.util.reloadScriptedModule("CAMOverlay")
    for selector in old:  # Slicer hides the panel of before and keeps it: a hundred would follow the scene at the end
        selector.blockSignals(True)
        selector.setMRMLScene(None)
    host.open("CAMOverlay")
    if warm is not None:
        slicer.modules.CAMOverlayWidget.logic.worker = warm
        warm.python = None
    if "cold" not in request.fixturenames:
        monkeypatch.setattr(sys.modules["CAMOverlayLib.worker.interpreter"], "own_python", lambda: str(zygote.python))
    yield Pressed(host, slicer.modules.CAMOverlayWidget)
    slicer.modules.CAMOverlayWidget.panel.cancel()
    host.wait(lambda: not slicer.modules.CAMOverlayWidget.panel.busy)
    host.window.selectModule("Volumes")


@pytest.fixture
def demoVolume(host):
    import slicer

    from CAMOverlayLib.demo import DEMO_VOLUME

    return slicer.util.loadVolume(str(DEMO_VOLUME), {"name": "Brain"})


@pytest.fixture
def demoCopy(tmp_path):
    """The demo bundle as a bundle of somebody else: its place is not the module's own."""
    import shutil

    from CAMOverlayLib.demo import DEMO_BUNDLE

    return Path(shutil.copytree(DEMO_BUNDLE, tmp_path / "demo"))


class Pressed:
    """The panel, with the presses that many tests make."""

    def __init__(self, host, widget) -> None:
        self.host, self.widget = host, widget

    @property
    def ui(self):
        return self.widget.ui

    @property
    def panel(self):
        return self.widget.panel

    @property
    def overlay(self):
        return self.panel.parameters.overlayVolume

    def chooseBundle(self, folder) -> None:
        self.host.type(self.ui.bundleSelector, str(folder))
        self.host.wait(lambda: self.ui.bundleInfoLabel.text and self.panel.parameters.bundleFolder == str(folder))
        self.host.process()

    def apply(self, *answers: str) -> None:
        """Press Apply and wait until all is done, the list of layers included."""
        self.host.dialogs.answer(*answers)
        self.host.click(self.ui.applyButton)
        self.finish()

    def finish(self) -> None:
        self.host.wait(lambda: not self.panel.busy and not self.panel.runs.isListing, 120)
        self.host.process()

    def explainDemo(self, folder=None) -> None:
        """Explain with the demo bundle, which asks nothing, or with a copy of it, which asks for trust."""
        from CAMOverlayLib.demo import DEMO_BUNDLE

        self.chooseBundle(folder or DEMO_BUNDLE)
        self.apply(*(["Trust and run"] if folder else []))
        assert self.overlay is not None, self.ui.messageLabel.text

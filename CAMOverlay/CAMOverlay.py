"""CAMOverlay: where a MONAI network looked, shown on the volume. The four classes that Slicer looks for.

What they do is in ``CAMOverlayLib``; this file only ties it to Slicer.
"""

from __future__ import annotations

import os
from pathlib import Path

import qt
import slicer
import slicer.util
from CAMOverlayLib.logic import OverlayLogic
from CAMOverlayLib.worker.client import Worker
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class CAMOverlay(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CAM Overlay")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Machine Learning")]
        self.parent.dependencies = []
        self.parent.contributors = ["The CAMOverlay founders"]
        self.parent.helpText = _(
            "Shows where a MONAI network looked: runs the volume through a bundle's own preprocessing and network, "
            "computes Grad-CAM, and lays the heatmap on the volume, in the right place. "
            'See <a href="https://github.com/CAMOverlay/SlicerCAMOverlay#in-3d-slicer">how to use it</a>. '
            "A heatmap shows what a network responded to, not what is there. Not a medical device."
        )
        self.parent.acknowledgementText = _("Built on MONAI, PyTorch, nibabel and 3D Slicer.")
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData() -> None:
    """Offer the demo volume in the module Sample Data."""
    from CAMOverlayLib.demo import DEMO_VOLUME

    try:
        import SampleData
    except ImportError:  # a Slicer may be built without it
        return
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="CAM Overlay",
        sampleName="CAMOverlayDemo",
        thumbnailFileName=str(DEMO_VOLUME.parent.parent / "Icons" / "CAMOverlayDemo.png"),
        uris=DEMO_VOLUME.as_uri(),
        fileNames=DEMO_VOLUME.name,
        nodeNames="BrainWithLesion",
        loadFileType="VolumeFile",
    )


class CAMOverlayWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel; what is in it is :class:`CAMOverlayLib.panel.widget.Panel`."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: CAMOverlayLogic | None = None
        self.panel = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from CAMOverlayLib.panel.widget import Panel

        uiWidget = slicer.util.loadUI(self.resourcePath("UI/CAMOverlay.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = CAMOverlayLogic()
        self.panel = Panel(self.ui, self.logic)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()

    def enter(self) -> None:
        self.initializeParameterNode()

    def exit(self) -> None:
        """A run goes on while another module is shown, so the panel stays tied to its parameters."""

    def onSceneStartClose(self, caller, event) -> None:
        self.panel.sceneCloses()

    def onSceneChanged(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onNodeAdded(self, caller, event) -> None:
        """A volume that is loaded while the panel is open and empty is the one that is meant."""
        if self.parent.isEntered and not slicer.mrmlScene.IsBatchProcessing():
            qt.QTimer.singleShot(0, self.panel.preselect)

    def initializeParameterNode(self) -> None:
        from CAMOverlayLib.panel.parameters import PanelParameters

        node = self.logic.getParameterNode()
        if self.panel.parameters is None or self.panel.parameters.parameterNode is not node:
            self.panel.setParameters(PanelParameters(node))
        self.panel.preselect()


class CAMOverlayLogic(ScriptedLoadableModuleLogic, OverlayLogic):
    """``process(inputVolume, bundlePath, ...)`` waits and returns the overlay node, ``start(...)`` returns at once.

    Both compute in a process of its own; see :class:`OverlayLogic` for their arguments. A bundle that was trusted in
    the panel needs no ``trust=True`` here.
    """

    def __init__(self) -> None:
        from CAMOverlayLib.panel.explain import pythonSetting

        ScriptedLoadableModuleLogic.__init__(self)
        OverlayLogic.__init__(self, worker=Worker(pythonSetting() or None))

    def process(self, inputVolume, bundlePath, *, trust=None, **settings):
        return OverlayLogic.process(self, inputVolume, bundlePath, trust=isTrusted(bundlePath, trust), **settings)

    def start(self, inputVolume, bundlePath, *, trust=None, **settings):
        return OverlayLogic.start(self, inputVolume, bundlePath, trust=isTrusted(bundlePath, trust), **settings)


def isTrusted(bundlePath: str | Path, said: bool | None) -> bool:
    """What the caller said, or else what was answered in the panel for this content."""
    if said is not None:
        return said
    from CAMOverlayLib.panel.trust import isTrustedFolder

    folder = Path(os.path.expanduser(bundlePath)).resolve()
    return folder.is_dir() and isTrustedFolder(folder)


class CAMOverlayTest(ScriptedLoadableModuleTest):
    """Explains the demo volume with the demo bundle and looks whether the heatmap lies on the lesion."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        self.setUp()
        self.test_demo()

    def test_demo(self) -> None:
        from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME, demo_lesion
        from CAMOverlayLib.scene import core, overlay

        volume = core.loadVolume(DEMO_VOLUME)
        overlayNode = CAMOverlayLogic().process(volume, DEMO_BUNDLE, trust=True)
        distance = demo_lesion().distance(overlay.peakWorld(overlayNode))
        self.delayDisplay(f"The heatmap peaks {distance:.1f} mm from the lesion's centre")
        self.assertLess(distance, 20)

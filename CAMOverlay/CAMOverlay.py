"""CAMOverlay: where a MONAI network looked, shown on the volume. The four classes that Slicer looks for.

What they do is in ``CAMOverlayLib``; this file only ties it to Slicer.
"""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from CAMOverlayLib.logic import OverlayLogic, pathOf
from CAMOverlayLib.worker.client import Worker


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
    """The panel; what is in it is :class:`CAMOverlayLib.panel.panel.Panel`."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: CAMOverlayLogic | None = None
        self.panel = None

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        from CAMOverlayLib.panel.panel import Panel

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
        qt.QTimer.singleShot(0, self.panel.warmUp)  # the panel is drawn first

    def exit(self) -> None:
        """A run goes on while another module is shown, so the panel stays tied to its parameters."""

    def onSceneStartClose(self, caller, event) -> None:
        self.panel.sceneCloses()

    def onSceneChanged(self, caller, event) -> None:
        if self.parent.isEntered:
            self.initializeParameterNode()
            qt.QTimer.singleShot(0, self.panel.refresh)

    def onNodeAdded(self, caller, event) -> None:
        """A volume that is loaded while the panel is open and empty is the one that is meant."""
        if self.parent.isEntered and not slicer.mrmlScene.IsBatchProcessing():
            qt.QTimer.singleShot(0, self.panel.preselect)

    def initializeParameterNode(self) -> None:
        from CAMOverlayLib.panel.parameters import PanelParameters

        self.panel.setParameters(PanelParameters(self.logic.getParameterNode()))
        self.panel.preselect()


class CAMOverlayLogic(ScriptedLoadableModuleLogic, OverlayLogic):
    """``process(inputVolume, modelPath, ...)`` waits and returns the overlay node, ``start(...)`` returns at once.

    Both compute in a process of its own; see :class:`OverlayLogic` for their arguments. A bundle that was trusted in
    the panel needs no ``trust=True`` here.
    """

    def __init__(self) -> None:
        from CAMOverlayLib.panel.sections.explain import pythonSetting

        ScriptedLoadableModuleLogic.__init__(self)
        OverlayLogic.__init__(self, worker=Worker(pythonSetting() or None))

    def start(self, inputVolume, modelPath=None, *, trust=None, trustedHash=None, **settings):
        path = pathOf(modelPath, settings)
        return OverlayLogic.start(self, inputVolume, path, **trustOf(path, trust, trustedHash), **settings)

    def trustIn(self, modelPath, trust, trustedHash):
        return trustOf(modelPath, trust, trustedHash)


def trustOf(modelPath: str | Path | None, said: bool | None, saidHash: str | None) -> dict:
    """What the caller said; or else the content that was trusted in the panel or ships with the module, which is then
    all that may run."""
    if saidHash is not None:
        return {"trustedHash": saidHash}
    if said is not None:
        return {"trust": said}
    from CAMOverlayLib.panel import shipped
    from CAMOverlayLib.panel.bundle_state import BundleState
    from CAMOverlayLib.panel.dialogs import trust

    folder = Path(os.path.expanduser(modelPath or "")).resolve()
    if not modelPath or not folder.exists():
        return {"trust": False}
    if not BundleState.read(str(folder)).needsTrust:
        return {"trust": False}  # nothing in it can run
    contentHash = trust.hashOf(folder)
    trusted = shipped.isShippedBundle(folder, contentHash) or trust.isTrusted(contentHash)
    return {"trustedHash": contentHash} if trusted else {"trust": False}


class CAMOverlayTest(ScriptedLoadableModuleTest):
    """Explains the demo volume with the demo bundle: from "Reload and Test", the Self Tests module, and ctest."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        self.logic = getattr(self, "logic", None) or CAMOverlayLogic()  # one warm process for all tests of a run

    def tearDown(self) -> None:
        self.logic.worker.stop()

    def runTest(self) -> None:
        """Every test; those that compute are left out where torch and MONAI are not installed."""
        tests = (
            self.test_export,
            self.test_explanation,
            self.test_placement,
            self.test_overlay,
            self.test_cancel,
            self.test_error,
            self.test_scene_reload,
        )
        try:
            for test in tests:
                self.setUp()
                try:
                    test()
                except unittest.SkipTest as reason:
                    self.delayDisplay(f"{test.__name__}: left out, {reason}")
        finally:
            self.tearDown()
        self.delayDisplay("All tests passed")

    def demoVolume(self):
        from CAMOverlayLib.demo import DEMO_VOLUME
        from CAMOverlayLib.scene import core

        return core.loadVolume(DEMO_VOLUME)

    def explained(self, volume, **settings):
        """An overlay of the demo bundle, computed in the process that the panel would use."""
        from CAMOverlayLib.demo import DEMO_BUNDLE
        from CAMOverlayLib.panel.dialogs import install

        if install.usesOwnPython(str(self.logic.worker.python or "")) and install.missing():
            raise unittest.SkipTest(f"Slicer's Python lacks {', '.join(install.missing())}")
        return self.logic.process(volume, DEMO_BUNDLE, trust=True, **settings)

    def test_export(self) -> None:
        """What leaves the scene is the volume, and comes back as it was."""
        import numpy as np

        from CAMOverlayLib.scene.io.volumes import affineFromNode, exportVolume

        volume = self.demoVolume()
        with tempfile.TemporaryDirectory() as folder:
            file = exportVolume(volume, folder, "volume")
            self.assertTrue((slicer.util.arrayFromVolume(volume) == np.load(file.path).T).all())
            self.assertTrue(np.allclose(affineFromNode(volume), file.affine))

    def test_explanation(self) -> None:
        """The network finds the lesion, and the heatmap points at it."""
        from CAMOverlayLib.demo import demo_lesion
        from CAMOverlayLib.scene.overlay import node as overlay

        node = self.explained(self.demoVolume())
        self.assertEqual(overlay.resultOf(node).prediction.name, demo_lesion().kind)
        distance = demo_lesion().distance(overlay.peakWorld(node))
        self.delayDisplay(f"The heatmap peaks {distance:.1f} mm from the lesion's centre")
        self.assertLess(distance, 20)

    def test_placement(self) -> None:
        """The overlay has the volume's grid, and its place is borne out by the voxels."""
        import numpy as np

        from CAMOverlayLib.scene.io.volumes import affineFromNode
        from CAMOverlayLib.scene.overlay import node as overlay

        volume = self.demoVolume()
        node = self.explained(volume)
        self.assertEqual(node.GetImageData().GetDimensions(), volume.GetImageData().GetDimensions())
        self.assertTrue(np.allclose(affineFromNode(node), affineFromNode(volume)))
        self.assertEqual(overlay.resultOf(node).placement.verdict, "verified")

    def test_overlay(self) -> None:
        """It is shown over the volume in every slice view, and its opacity follows."""
        from CAMOverlayLib.scene.overlay import node as overlay

        volume = self.demoVolume()
        node = self.explained(volume)
        overlay.setOpacity(node, 0.3)
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        for composite in composites:
            self.assertEqual(composite.GetBackgroundVolumeID(), volume.GetID())
            self.assertEqual(composite.GetForegroundVolumeID(), node.GetID())
            self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.3)

    def test_cancel(self) -> None:
        """A cancelled run ends at once and leaves the scene as it was."""
        from CAMOverlayLib.contract.errors import Cancelled
        from CAMOverlayLib.demo import DEMO_BUNDLE

        volume = self.demoVolume()
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        run = self.logic.start(volume, DEMO_BUNDLE, trust=True)
        run.cancel()
        with self.assertRaises(Cancelled):
            run.wait(5)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)

    def test_error(self) -> None:
        """What is no bundle is refused in a sentence, and the scene is as it was."""
        from CAMOverlayLib.contract.errors import CAMOverlayError

        volume = self.demoVolume()
        nodes = slicer.mrmlScene.GetNumberOfNodes()
        with tempfile.TemporaryDirectory() as folder, self.assertRaises(CAMOverlayError) as caught:
            self.logic.process(volume, folder, trust=True)
        self.assertTrue(str(caught.exception))
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), nodes)

    def test_scene_reload(self) -> None:
        """A saved scene brings overlay and result back."""
        from CAMOverlayLib.scene.overlay import node as overlay

        node = self.explained(self.demoVolume())
        name, result = node.GetName(), overlay.resultOf(node)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            slicer.util.loadScene(path)
        again = slicer.util.getNode(name)
        self.assertEqual(overlay.resultOf(again), result)
        self.assertEqual(overlay.inputVolumeOf(again).GetName(), result.inputs[0])

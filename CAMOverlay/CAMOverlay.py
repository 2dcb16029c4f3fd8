"""CAMOverlay: where a MONAI network looked, shown on the volume. The four classes that Slicer looks for.

What they do is in ``CAMOverlayLib``; this file only ties it to Slicer.
"""

from __future__ import annotations

import ctk
import qt
import slicer
from CAMOverlayLib.errors import CAMOverlayError
from CAMOverlayLib.logic import OverlayLogic
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)


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
            "computes Grad-CAM, and lays the heatmap on the volume."
        )
        self.parent.acknowledgementText = _("Built on MONAI, PyTorch, nibabel and 3D Slicer.")


class CAMOverlayWidget(ScriptedLoadableModuleWidget):
    """Volume, bundle, Apply."""

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        form = qt.QFormLayout()
        self.layout.addLayout(form)

        self.inputSelector = slicer.qMRMLNodeComboBox()
        self.inputSelector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.inputSelector.addEnabled = False
        self.inputSelector.removeEnabled = False
        self.inputSelector.setMRMLScene(slicer.mrmlScene)
        self.inputSelector.toolTip = _("The volume that the network is asked about.")
        form.addRow(_("Volume:"), self.inputSelector)

        self.bundleSelector = ctk.ctkPathLineEdit()
        self.bundleSelector.filters = ctk.ctkPathLineEdit.Dirs
        self.bundleSelector.toolTip = _("Root folder of a MONAI bundle. Its configuration can run code.")
        form.addRow(_("Bundle:"), self.bundleSelector)

        self.trustBox = qt.QCheckBox(_("I know where this bundle comes from"))
        self.trustBox.toolTip = _("A bundle runs code of its own. Nothing of it runs before this is ticked.")
        form.addRow("", self.trustBox)

        self.applyButton = qt.QPushButton(_("Apply"))
        self.applyButton.toolTip = _("Explain the predicted class and show the heatmap over the volume.")
        self.applyButton.connect("clicked(bool)", self.onApply)
        form.addRow("", self.applyButton)
        self.layout.addStretch(1)
        self.logic = CAMOverlayLogic()

    def onApply(self, _checked: bool = False) -> None:
        volume = self.inputSelector.currentNode()
        if volume is None:
            slicer.util.errorDisplay(_("Choose a volume first."))
            return
        try:
            with slicer.util.WaitCursor():
                self.logic.process(volume, self.bundleSelector.currentPath, trust=self.trustBox.checked)
        except CAMOverlayError as error:
            slicer.util.errorDisplay(str(error))


class CAMOverlayLogic(ScriptedLoadableModuleLogic, OverlayLogic):
    """``process(inputVolume, bundlePath, ...)`` returns the overlay node; see :class:`OverlayLogic`."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        OverlayLogic.__init__(self)


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

"""A small scripted module in Slicer's usual form, on which the host is tried: it thresholds a volume."""

import enum
import logging
import pathlib
from typing import Annotated, Optional

import ctk
import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import (
    Decimals,
    Default,
    FloatRange,
    RangeBounds,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin


class SlicerHostExample(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("SlicerHost Example")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Examples")]
        self.parent.dependencies = []
        self.parent.contributors = ["SlicerHost"]
        self.parent.helpText = _("Thresholds a volume.")
        self.parent.acknowledgementText = _("Made for tests.")
        slicer.app.connect("startupCompleted()", registerSampleData)


registered = []


def registerSampleData():
    registered.append(True)


class Side(enum.Enum):
    ABOVE = "above"
    BELOW = "below"

    def label(self):
        return {Side.ABOVE: _("Above"), Side.BELOW: _("Below")}[self]


@parameterPack
class Display:
    opacity: Annotated[float, WithinRange(0, 1), Default(0.5)]
    window: Annotated[FloatRange, RangeBounds(0, 1)]


@parameterNodeWrapper
class ExampleParameters:
    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: Optional[vtkMRMLScalarVolumeNode]
    threshold: Annotated[float, WithinRange(-100, 500), Decimals(1)] = 100
    invert: bool = False
    side: Side
    folder: pathlib.Path
    label: Annotated[str, Default("none")]
    names: list[str]
    count: Optional[int]
    display: Display


class SlicerHostExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self.lines = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SlicerHostExample.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SlicerHostExampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.applyButton.connect("clicked(bool)", self.onApplyButton)
        self.initializeParameterNode()

    def cleanup(self):
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()

    def exit(self):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self._guiTag = None
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._guiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._checkCanApply)
            self._checkCanApply()

    def _checkCanApply(self, caller=None, event=None):
        ready = bool(self._parameterNode and self._parameterNode.inputVolume)
        self.ui.applyButton.enabled = ready
        self.ui.applyButton.toolTip = _("Compute the output") if ready else _("Select an input volume")

    def onApplyButton(self):
        """The computation runs in another process; its lines arrive by signal."""
        self.process = qt.QProcess()
        self.process.connect("readyReadStandardOutput()", self.onOutput)
        self.process.connect("finished(int,QProcess::ExitStatus)", self.onFinished)
        environment = qt.QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONUNBUFFERED", "1")
        self.process.setProcessEnvironment(environment)
        self.ui.applyButton.text = _("Running")
        self.process.start("PythonSlicer", ["-c", "import sys; print('got', sys.stdin.readline().strip())"])
        self.process.write("threshold\n")

    def onOutput(self):
        while self.process.canReadLine():
            self.lines.append(self.process.readLine().data().decode().strip())

    def onFinished(self, exitCode, exitStatus):
        self.ui.applyButton.text = _("Apply")
        if exitStatus == qt.QProcess.NormalExit and exitCode == 0:
            parameters = self._parameterNode
            parameters.outputVolume = self.logic.process(
                parameters.inputVolume, parameters.outputVolume, parameters.threshold, parameters.invert
            )


class SlicerHostExampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return ExampleParameters(super().getParameterNode())

    def process(self, inputVolume, outputVolume, threshold, invert=False):
        voxels = slicer.util.arrayFromVolume(inputVolume)
        mask = ((voxels < threshold) if invert else (voxels >= threshold)).astype("uint8")
        if outputVolume is None:
            outputVolume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Thresholded")
        slicer.util.updateVolumeFromArray(outputVolume, mask)
        matrix = vtk.vtkMatrix4x4()
        inputVolume.GetIJKToRASMatrix(matrix)
        outputVolume.SetIJKToRASMatrix(matrix)
        outputVolume.CreateDefaultDisplayNodes()
        logging.info("Thresholded")
        return outputVolume


class SlicerHostExampleTest(ScriptedLoadableModuleTest):
    ran = []

    def setUp(self):
        slicer.mrmlScene.Clear(0)

    def runTest(self):
        self.setUp()
        self.test_threshold()

    def test_threshold(self):
        import numpy as np

        volume = slicer.util.addVolumeFromArray(np.arange(27.0).reshape(3, 3, 3))
        result = SlicerHostExampleLogic().process(volume, None, 13)
        self.assertEqual(slicer.util.arrayFromVolume(result).sum(), 14)
        self.delayDisplay("Test passed")
        self.ran.append(True)

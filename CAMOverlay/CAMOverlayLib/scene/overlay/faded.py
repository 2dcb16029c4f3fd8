"""The heat faded where it is not stable: what is left of it after one standard deviation of its own.

heat × (1 − deviation ÷ heat), and 0 where the deviation is larger: stable heat stays as it is, unstable heat goes down
the colours and leaves the picture at the overlay's threshold. It is a volume of its own that hangs on the overlay as
the deviation does (:mod:`.further`), takes the overlay's colours and threshold, lies in the place of the heat in the
slice views, and is saved with the scene. The overlay itself is not changed::

    overlay.fadeUnstable(overlayNode)
    overlay.fadeUnstable(overlayNode, False)
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ...contract.errors import VolumeError
from . import further

NAME = "faded"
DEVIATION = "deviation"

WORDS = "the heatmap less one standard deviation of it over small changes of the image"


def canFade(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether there is a map of the deviation, which the full check of a map leaves, on the overlay's grid."""
    deviation = further.nodes(overlayNode).get(DEVIATION)
    images = [node.GetImageData() if node is not None else None for node in (overlayNode, deviation)]
    return all(one is not None for one in images) and images[0].GetDimensions() == images[1].GetDimensions()


def faded(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether the slice views show the faded heat in the place of the heat."""
    return further.foregroundOf(overlayNode) == NAME


def fadeUnstable(overlayNode: slicer.vtkMRMLScalarVolumeNode, fade: bool = True) -> None:
    """Show the heat faded where it is not stable, or as it is again, in the slice views that show the overlay.

    Raises:
        VolumeError: there is no map of the deviation.
    """
    if not fade:
        if faded(overlayNode):
            further.toForeground(overlayNode, "")
        return
    if not canFade(overlayNode):
        raise VolumeError(
            f"There is no map of the deviation of '{overlayNode.GetName()}', so nothing says where its heat is stable. "
            "Compute it with the full check of the map (checks='full'); of windows or several pictures there is none."
        )
    renew(overlayNode, make=True)
    further.toForeground(overlayNode, NAME)


def renew(overlayNode: slicer.vtkMRMLScalarVolumeNode, make: bool = False) -> None:
    """Compute the faded heat anew where it is there, or is to be made, and there is a deviation."""
    node = further.nodes(overlayNode).get(NAME)
    if not canFade(overlayNode) or (node is None and not make):
        return
    if node is None:
        scene = overlayNode.GetScene()
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(scene.GenerateUniqueName(f"{overlayNode.GetName()} - {NAME}"))
        node.SetAttribute("CAMOverlay.Name", node.GetName())
        node.SetAttribute(further.KIND, NAME)
        node.SetDescription(WORDS)
        scene.AddNode(node)
        overlayNode.SetNodeReferenceID(further.ROLE + NAME, node.GetID())
    unfinished = node.StartModify()
    node.CopyOrientation(overlayNode)
    node.SetAndObserveTransformNodeID(overlayNode.GetTransformNodeID())
    node.SetAndObserveImageData(_less(overlayNode, further.nodes(overlayNode)[DEVIATION]))
    node.EndModify(unfinished)
    follow(overlayNode)


def _less(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, deviationNode: slicer.vtkMRMLScalarVolumeNode
) -> vtk.vtkImageData:
    heat, deviation = (
        vtk_to_numpy(one.GetImageData().GetPointData().GetScalars()) for one in (overlayNode, deviationNode)
    )
    image = vtk.vtkImageData()
    image.SetDimensions(overlayNode.GetImageData().GetDimensions())
    values = np.maximum(heat - deviation, 0).astype(np.float32)
    image.GetPointData().SetScalars(numpy_to_vtk(values, deep=True))
    return image


def follow(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Give the faded heat, where it is there, the colours and the threshold of the overlay."""
    node, shown = further.nodes(overlayNode).get(NAME), overlayNode.GetDisplayNode()
    if node is None or shown is None:
        return
    display = node.GetDisplayNode()
    isNew = display is None
    display = slicer.vtkMRMLScalarVolumeDisplayNode() if isNew else display
    unfinished = display.StartModify()
    display.SetAutoWindowLevel(False)  # first, or each step would compute a histogram of the volume
    display.SetAutoThreshold(False)
    lookLike(display, shown)
    display.SetAttribute("CAMOverlay.Display", NAME)
    display.EndModify(unfinished)
    if isNew:
        overlayNode.GetScene().AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())


def lookLike(display: slicer.vtkMRMLScalarVolumeDisplayNode, shown: slicer.vtkMRMLScalarVolumeDisplayNode) -> None:
    """Give a display node the scale, the colours and the threshold of another one."""
    display.SetWindowLevelMinMax(shown.GetWindowLevelMin(), shown.GetWindowLevelMax())
    display.SetInterpolate(shown.GetInterpolate())
    display.SetAndObserveColorNodeID(shown.GetColorNodeID())
    display.SetThreshold(shown.GetLowerThreshold(), shown.GetUpperThreshold())
    display.SetApplyThreshold(shown.GetApplyThreshold())

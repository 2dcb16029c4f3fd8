"""What a difference and an agreement have in common: a volume on the grid of the overlays that it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ..io.volumes import affineFromNode, setNodeAffine
from ..overlay import node as overlay
from .maps import sourceOf


def imageOf(voxels: np.ndarray) -> vtk.vtkImageData:
    """Voxels (I×J×K) as VTK has them; the image keeps a copy."""
    image = vtk.vtkImageData()
    image.SetDimensions(voxels.shape)
    scalars = numpy_support.numpy_to_vtk(np.ascontiguousarray(voxels.T).reshape(-1), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    return image


def addDerived(image: vtk.vtkImageData, like: Any, name: str, node: Any = None) -> slicer.vtkMRMLScalarVolumeNode:
    """A volume of the scene on an overlay's grid, under the transform of the volume that it explains.

    Args:
        name: of the volume; where another node has it, with a number behind it.
        node: volume to overwrite; None makes a new one.
    """
    scene, source = slicer.mrmlScene, sourceOf(like)
    scene.SaveStateForUndo()
    isNew = node is None
    node = slicer.vtkMRMLScalarVolumeNode() if isNew else node
    unfinished = node.StartModify()
    if node.GetName() != name:
        node.SetName(scene.GenerateUniqueName(name))
    setNodeAffine(node, affineFromNode(like))
    node.SetAndObserveImageData(image)
    if isNew:
        scene.AddNode(node)
    if source is not None:
        node.SetNodeReferenceID(overlay.INPUT_ROLE, source.GetID())
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    node.EndModify(unfinished)
    return node


def displayOf(node: Any, kind: str) -> slicer.vtkMRMLScalarVolumeDisplayNode:
    """The volume's display, with a window of its own and no threshold; the caller gives it both, and colours.

    Args:
        kind: what it shows; told by an attribute, as that of a heatmap is.
    """
    display = node.GetDisplayNode()
    if display is None:
        display = slicer.vtkMRMLScalarVolumeDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetAutoThreshold(False)
        node.GetScene().AddNode(display)
        node.SetAndObserveDisplayNodeID(display.GetID())
    display.SetAttribute("CAMOverlay.Display", kind)
    return display


def derivedOf(source: Any, attribute: str) -> Any:
    """The volume of the scene that was made of a volume's overlays and has this attribute, or None."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", source.GetScene()):
        if node.GetAttribute(attribute) and overlay.inputVolumeOf(node) is source:
            return node
    return None


def showDerived(node: Any, source: Any, opacity: float) -> None:
    """Show it over the volume in every slice view."""
    if source is not None:
        overlay.showOverlay(node, source, opacity)


def styleLegend(node: Any, title: str, labels: str, count: int) -> Any:
    """Show a legend with this title and so many labels of this form; None where this Slicer has no legends."""
    legend = overlay.showLegend(node, True, title)
    if legend is not None:
        legend.SetLabelFormat(labels)
        legend.SetNumberOfLabels(count)
    return legend

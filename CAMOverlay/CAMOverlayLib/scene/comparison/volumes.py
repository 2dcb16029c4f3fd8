"""What a difference and an agreement have in common: a volume on the grid of the overlays that it was made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
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


def addDerived(image: vtk.vtkImageData, like: Any, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A new volume of the scene on an overlay's grid, under the transform of the volume that it explains."""
    scene = slicer.mrmlScene
    scene.SaveStateForUndo()
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(name)
    setNodeAffine(node, affineFromNode(like))
    node.SetAndObserveImageData(image)
    scene.AddNode(node)
    source = sourceOf(like)
    if source is not None:
        node.SetNodeReferenceID(overlay.INPUT_ROLE, source.GetID())
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    return node


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

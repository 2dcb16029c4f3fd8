"""What the network saw of the volume, as a segmentation node whose outline shows in the slice views."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util

from ...contract.errors import PlacementError
from ...contract.field_of_view import Region
from ..figure.picture import SEEN
from ..io.labelmaps import orientedLabelmap
from ..io.volumes import affineFromNode
from .node import inputVolumeOf, resultOf

ROLE = "CAMOverlay.FieldOfView"
"""Node reference from the overlay to its field of view."""


def showFieldOfView(overlayNode: slicer.vtkMRMLScalarVolumeNode, visible: bool = True):
    """Show or hide the region of the original volume that the network saw, as an outline.

    Returns:
        the ``vtkMRMLSegmentationNode``, made at the first call and found again after the scene was saved and loaded;
        None where it was never shown and shall not be.

    Raises:
        PlacementError: the overlay carries no report, its input volume has left the scene, or no planes bound the
            region.
    """
    node = overlayNode.GetNodeReference(ROLE)
    if node is None and visible:
        node = _makeSegmentation(overlayNode)
    if node is not None:
        node.GetDisplayNode().SetVisibility(visible)
    return node


def _makeSegmentation(overlayNode: slicer.vtkMRMLScalarVolumeNode):
    result, inputVolume = resultOf(overlayNode), inputVolumeOf(overlayNode)
    if result is None or inputVolume is None:
        raise PlacementError(
            f"The field of view of {overlayNode.GetName()!r} is not known: it is not a heatmap of this module, or its "
            "input "
            "volume has left the scene. Explain the volume again."
        )
    if result.field_of_view.planes is None:
        raise PlacementError(
            f"What the network saw of {overlayNode.GetName()!r} has no outline that could be drawn: it is "
            f"{result.field_of_view.share:.0%} of the volume's voxels, in each slice others. Where the heatmap is "
            "above 0 "
            "was seen."
        )
    shape = inputVolume.GetImageData().GetDimensions()
    region = Region.from_planes(shape, result.field_of_view.planes)
    scene = overlayNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{inputVolume.GetName()} - seen by the network")
    node.CreateDefaultDisplayNodes()
    # First: the geometry is kept relative to it, and a file is resampled to the geometry.
    node.SetAndObserveTransformNodeID(inputVolume.GetTransformNodeID())
    node.SetReferenceImageGeometryParameterFromVolumeNode(inputVolume)
    segment = slicer.vtkSegment()
    segment.SetName("seen by the network")
    segment.SetColor(*SEEN)
    segment.AddRepresentation("Binary labelmap", _labelmap(region, affineFromNode(inputVolume)))
    node.GetSegmentation().AddSegment(segment, "seen")
    display = node.GetDisplayNode()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    display.SetVisibility3D(False)
    overlayNode.SetNodeReferenceID(ROLE, node.GetID())
    return node


def _labelmap(region: Region, affine: np.ndarray) -> slicer.vtkOrientedImageData:
    """The region's bounding box: 1 where the network saw."""
    box = region.box
    seen = region.mask()[box].astype(np.uint8)
    return orientedLabelmap(seen, [axis.start for axis in box], affine)

"""The hot regions as a segmentation: a segment per hot spot, to measure, edit and export in Slicer."""

from __future__ import annotations

import slicer
import slicer.util

from ...contract.findings import HotSpot
from ..io.labelmaps import orientedLabelmap
from ..io.volumes import affineFromNode
from ..overlay import colormaps
from ..overlay.node import ensureDisplay, inputVolumeOf
from .nodes import hanging, hangingOrNew
from .search import HotRegions

ROLE = "CAMOverlay.HotSegments"
"""Node reference from the overlay to its segmentation."""


def showSegments(overlayNode: slicer.vtkMRMLScalarVolumeNode, regions: HotRegions) -> slicer.vtkMRMLSegmentationNode:
    """Make the overlay's segmentation, or put these regions in the place of its segments.

    All segments share one label map, which is how Slicer keeps regions that do not overlap: one volume in the file,
    however many there are.
    """
    node = segmentationOf(overlayNode)
    if node is None:
        node = hangingOrNew(overlayNode, ROLE, "vtkMRMLSegmentationNode", "hot regions")
        node.CreateDefaultDisplayNodes()
    with slicer.util.NodeModify(node):
        node.GetSegmentation().RemoveAllSegments()
        # First: the geometry is kept relative to it, and a file is resampled to the geometry.
        node.SetAndObserveTransformNodeID(overlayNode.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(inputVolumeOf(overlayNode) or overlayNode)
        labelmap = _labelmap(regions, overlayNode)
        for spot in regions.spots if labelmap is not None else ():
            node.GetSegmentation().AddSegment(_segment(spot, labelmap, overlayNode), f"hot_{spot.region}")
    return node


def segmentationOf(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode | None:
    """The overlay's segmentation of hot regions, where it was made."""
    return hanging(overlayNode, ROLE)


def _segment(spot: HotSpot, labelmap: slicer.vtkOrientedImageData, overlayNode: slicer.vtkMRMLScalarVolumeNode):
    colors = colormaps.tableColors(ensureDisplay(overlayNode).GetColorNode())
    segment = slicer.vtkSegment()
    segment.SetName(f"hot {spot.region} {spot.structure}".strip())
    segment.SetColor(*colors[round(min(max(spot.maximum, 0.0), 1.0) * (len(colors) - 1))][:3])
    segment.AddRepresentation("Binary labelmap", labelmap)
    segment.SetLabelValue(spot.region)
    return segment


def _labelmap(regions: HotRegions, overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkOrientedImageData | None:
    """The box of the regions, at its place in the overlay's grid; None where there are none."""
    if regions.labels is None:
        return None
    return orientedLabelmap(regions.labels, regions.origin, affineFromNode(overlayNode))

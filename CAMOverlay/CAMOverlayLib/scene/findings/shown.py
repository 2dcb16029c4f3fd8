"""Hot spots of an overlay as nodes of the scene, made at once: what the Python console calls.

The panel takes the same steps, but finds the hot spots beside the event loop.
"""

from __future__ import annotations

import slicer

from ...contract.errors import VolumeError
from ...contract.findings import Threshold
from . import markups, table
from .jump import jumpToVoxel
from .search import asThreshold, heatOf, hotRegions
from .segmentation import showSegments


def show(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, threshold: Threshold | float | None = None
) -> slicer.vtkMRMLTableNode:
    """Find the hot spots of an overlay, and show them as a table and as points in the views.

    Args:
        threshold: from where on heat counts as hot: a number of the heatmap, 0 to 1, or a :class:`Threshold`; None
            takes the one of the last time, 0.5 at first.
    """
    chosen = _chosen(overlayNode, threshold)
    spots = hotRegions(heatOf(overlayNode), chosen).spots
    markups.showPoints(overlayNode, spots)
    return table.showTable(overlayNode, spots, chosen)


def segments(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, threshold: Threshold | float | None = None
) -> slicer.vtkMRMLSegmentationNode:
    """The hot regions of an overlay as segments, by the threshold of :func:`show` unless another one is given."""
    return showSegments(overlayNode, hotRegions(heatOf(overlayNode), _chosen(overlayNode, threshold), withLabels=True))


def jumpTo(overlayNode: slicer.vtkMRMLScalarVolumeNode, region: int, centre: bool = True) -> tuple[float, float, float]:
    """Bring every slice view to the peak of a region of the overlay's table, and return that place in world RAS mm.

    Raises:
        VolumeError: the overlay has no table, or the table no such region.
    """
    node = table.tableOf(overlayNode)
    columns = node.GetTable() if node is not None else None
    for row in range(columns.GetNumberOfRows() if columns is not None else 0):
        if columns.GetValueByName(row, "region").ToInt() == region:
            i, j, k = (columns.GetValueByName(row, name).ToInt() for name in ("peak_i", "peak_j", "peak_k"))
            return jumpToVoxel(overlayNode, (i, j, k), centre)
    raise VolumeError(
        f"{overlayNode.GetName()!r} has no hot spot {region} in a table; call findings.show(overlayNode) first."
    )


def _chosen(overlayNode: slicer.vtkMRMLScalarVolumeNode, threshold: Threshold | float | None) -> Threshold:
    if threshold is not None:
        return asThreshold(threshold)
    return table.thresholdOf(overlayNode) or Threshold()

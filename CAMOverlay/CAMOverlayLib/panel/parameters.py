"""What the user chose, kept in a parameter node so that it is saved with the scene and survives reload and undo."""

# No "from __future__ import annotations" here: parameterNodeWrapper needs types, not their names.
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Decimals, SingleStep, WithinRange, parameterNodeWrapper

CHANNEL_ROLE = "channel"
"""Node reference from the parameter node to the volumes of the second and further channels."""

REGION_ROLE = "region"
"""Node reference from the parameter node to the segmentation or label map in which the answer is explained."""

POINT_ROLE = "point"
"""Node reference from the parameter node to the point list with the place that is explained."""

STRUCTURES_ROLE = "structures"
"""Node reference from the parameter node to the segmentation or label map whose structures are measured."""


@parameterNodeWrapper
class PanelParameters:
    """Parameters with a widget of the same ``SlicerParameterName`` are tied to it; the sections keep the others.

    Which Python computes is not among them: a scene that somebody sent must not choose what is executed here.

    Attributes:
        target: index of the class as text, empty for the predicted one.
        minus: index of the class to compare with as text, empty for none.
        place: ``region`` or ``point``, empty for the whole answer; the nodes are references of the parameter node.
        regionPart: ID of the segment, or value of the label as text, empty for all labels.
        pointPart: ID of the control point, empty for the first one.
        layer: name of the layer, empty for the automatic choice.
        slices: orientation in which a 2-D network gets the volume, empty for the automatic choice.
        follow: explain again when something of this is chosen anew.
        shownMap: name of the map that is shown in the place of the heat, empty for the heat.
        outline: outline the prediction of a segmentation network.
        hotKind, hotValue: from where on heat counts as hot; see ``contract.findings.Threshold``.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    overlayVolume: vtkMRMLScalarVolumeNode
    bundleFolder: str
    target: str
    minus: str
    place: str
    regionPart: str
    pointPart: str
    layer: str
    slices: str
    shownMap: str
    outline: bool = True
    method: str = "gradcam"
    device: str = "auto"
    follow: bool = True
    hotKind: str = "absolute"
    hotValue: float = 0.5
    opacity: Annotated[float, WithinRange(0, 1), Decimals(2), SingleStep(0.05)] = 0.5

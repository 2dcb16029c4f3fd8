"""What the user chose, kept in a parameter node so that it is saved with the scene and survives reload and undo."""

# No "from __future__ import annotations" here: parameterNodeWrapper needs types, not their names.
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Decimals, SingleStep, WithinRange, parameterNodeWrapper

CHANNEL_ROLE = "channel"
"""Node reference from the parameter node to the volumes of the second and further channels."""


@parameterNodeWrapper
class PanelParameters:
    """Parameters with a widget of the same ``SlicerParameterName`` are tied to it; the sections keep the others.

    Which Python computes is not among them: a scene that somebody sent must not choose what is executed here.

    Attributes:
        target: index of the class as text, empty for the predicted one.
        layer: name of the layer, empty for the automatic choice.
        follow: explain again when class, layer or method change.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    overlayVolume: vtkMRMLScalarVolumeNode
    bundleFolder: str
    target: str
    layer: str
    method: str = "gradcam"
    device: str = "auto"
    follow: bool = True
    opacity: Annotated[float, WithinRange(0, 1), Decimals(2), SingleStep(0.05)] = 0.5

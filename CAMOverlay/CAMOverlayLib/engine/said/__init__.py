"""What the network said of every voxel, from the run that made the heatmap: a map each, on the volume's own grid.

Nothing here runs the network again where its answer is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..bundle.model import Model
from ..further import FurtherArray
from ..inference import Explained
from ..methods import Method
from ..preprocessing.inputs import NetworkInputs
from ..progress import Step
from ..restore.plan import InversionPlan
from .probability import probability_volume
from .subject import Subject


@dataclass
class Said:
    """What was asked for, and why something of it is not there."""

    volumes: list[FurtherArray] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def what_was_said(
    wanted: Sequence[str],
    model: Model,
    inputs: NetworkInputs,
    plans: Sequence[InversionPlan],
    explained: Explained,
    method: Method,
    step: Step,
) -> Said:
    """The maps that are wanted; of what this network cannot give, a sentence.

    Args:
        wanted: of :data:`CAMOverlayLib.contract.options.ALSO`.

    Raises:
        CAMOverlayError: a map cannot be computed or placed.
    """
    said = Said()
    if not wanted:
        return said
    subject = Subject(model, inputs, plans, explained, method)
    if "probability" in wanted and subject.is_voxelwise:
        said.volumes.append(probability_volume(subject, step))
    return said

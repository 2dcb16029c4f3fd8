"""What the network said of every voxel, from the run that made the heatmap: a map each, on the volume's own grid.

The network is run again only where it is asked for another opinion, for the disagreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..bundle.model import Model
from ..further import FurtherArray
from ..inference import Explained
from ..methods import Method
from ..preprocessing.inputs import NetworkInputs
from ..progress import Step, share_of
from ..restore.plan import InversionPlan
from .disagreement import disagreement_volumes
from .prediction import voxelwise_volumes
from .probability import explained_volumes
from .subject import Subject


@dataclass
class Said:
    """What was asked for, and in sentences why something of it is not there."""

    volumes: list[FurtherArray] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def what_was_said(
    wanted: Sequence[str],
    model: Model,
    inputs: NetworkInputs,
    plans: Sequence[InversionPlan],
    explained: Explained,
    method: Method,
    amp: bool,
    step: Step,
) -> Said:
    """The maps that are wanted; of what this network cannot give, a sentence.

    Args:
        wanted: of :data:`CAMOverlayLib.contract.options.ALSO`; of one with a question mark there is no sentence.
        amp: run the network in mixed precision, where it is run again.

    Raises:
        CAMOverlayError: a map cannot be computed or placed.
    """
    said = Said()
    subject = Subject(model, inputs, plans, explained, method, amp)
    names = [name.removesuffix("?") for name in wanted]
    of_voxels = [name for name in names if name != "disagreement"]
    for find_problem in (subject.no_voxels, subject.too_many):
        refused, problem = find_problem(of_voxels)
        of_voxels = [name for name in of_voxels if name not in refused]
        said.warnings += [problem] if set(refused) & set(wanted) else []
    makers = [maker for maker in (voxelwise_volumes, explained_volumes) if of_voxels]
    makers += [disagreement_volumes] if "disagreement" in names else []
    for number, maker in enumerate(makers):
        volumes, warnings = maker(subject, of_voxels, share_of(step, number, len(makers)))
        said.volumes += volumes
        said.warnings += warnings
    return said

"""What is asked of a map once it is there: whether it can be believed, and which structure mattered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..contract.request import Request
from ..reading.structures import Structure
from .checks import check_map
from .checks.deviation import deviation_volumes
from .further import save_further
from .network.running import running
from .occluded import occlude
from .progress import Step
from .result import Told


def ask_of_map(
    told: Told, request: Request, structures: Sequence[Structure], outputs: Sequence[Tensor], step: Step
) -> Told:
    """The same with its checks, the answers without each structure, and the volumes that came of it, saved.

    Args:
        structures: to be taken out of the image, on the volume's grid.
        outputs: what the network said of every input as it is.

    Raises:
        PlacementError: a volume cannot be placed.
        OutputError: its file cannot be written.
    """
    kept: dict = {}
    with running(told.model.network, request.amp, "The check of the map"):
        checks = check_map(request.checks, told.method, told.explained, told.maps, told.inputs.traces, step, kept)
        occluded = occlude(structures, told.explained, outputs, told.inputs, told.plans, step)
    strides = next((one.steps for one in told.maps if one), None)
    on_map = (told.heatmap.scale, request.nearest, step, strides)
    further = save_further(
        deviation_volumes(kept, told.inputs, told.plans, *on_map), told.inputs.volume, request.output_folder
    )
    return replace(told, checks=checks, occluded=occluded, further=(*told.further, *further))

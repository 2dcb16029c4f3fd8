"""One map of the network's output at the volume's voxels, as all classes together are placed for the prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ...contract.geometry import as_3d
from ..geometry.blocks import blocks
from ..geometry.resample import activation_grid
from ..preprocessing.trace import PreprocessingTrace
from ..progress import Step, sub_progress
from ..restore.affine import field_of_view
from ..restore.plan import InversionPlan
from ..restore.transforms import place_by_operations
from .subject import Subject


def interpolated(subject: Subject, maps: Sequence[Tensor], step: Step) -> np.ndarray:
    """Maps of all pieces (spatial) by linear interpolation: float32, I×J×K, Fortran order; 0 where nothing was seen."""
    array = np.zeros(subject.inputs.grid.shape, np.float32, order="F")
    for number, view in enumerate(subject.views(array)):
        trace, plan = subject.inputs.traces[number], subject.plans[number]
        _place(maps[number], trace, plan, view, sub_progress(step, number, len(maps)))
    return array


def _place(values: Tensor, trace: PreprocessingTrace, plan: InversionPlan, view: np.ndarray, step: Step) -> None:
    thick = values if values.ndim == 3 else values[..., None]
    if plan.inverse == "operations":
        view[:] = place_by_operations(thick, trace, False, plan.affine_holds).array
        return
    source = activation_grid(as_3d(tuple(thick.shape)), trace.input_grid)
    region = field_of_view(trace)
    for block in blocks(thick[None], source, trace.volume_grid, region, lambda part: (part.float(), [0])):
        step(block.number, block.count, f"block {block.number + 1} of {block.count}")
        view[block.place] = block.values[0]

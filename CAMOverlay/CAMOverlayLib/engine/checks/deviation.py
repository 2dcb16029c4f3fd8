"""The map of the deviation on the volume: how much the heatmap changes when the image changes a little."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..further import FurtherArray
from ..preprocessing.inputs import NetworkInputs
from ..progress import Step
from ..restore.assemble import on_volume
from ..restore.plan import InversionPlan
from .of_stability import DEVIATION
from .similarity import Array

HIGHEST = 0.5
"""Standard deviation of values between 0 and 1 at most."""


def deviation_volumes(
    kept: Mapping[str, Array],
    inputs: NetworkInputs,
    plans: Sequence[InversionPlan],
    scale: float,
    nearest: bool,
    step: Step,
    strides: tuple[float, ...] | None,
) -> list[FurtherArray]:
    """One volume, or none where there is no such map: nobody asked, or only a part of the whole was made again.

    Args:
        kept: by the checks, on the map's own grid.
        scale: what the heatmap was divided by on its way, and its deviation is then too.
        strides: of the map, as for the heatmap.

    Raises:
        PlacementError: it cannot be placed.
    """
    if DEVIATION not in kept or not scale > 0:
        return []
    spread = torch.as_tensor(kept[DEVIATION]).float()
    spread = spread[..., None] if spread.ndim == 2 else spread
    array = on_volume(inputs, plans, [spread], step, nearest, strides)
    words = "standard deviation of the heatmap over small changes of the image (noise, shifts by a voxel, mirroring)"
    return [FurtherArray(DEVIATION, array / scale, words, HIGHEST / scale)]

"""The map before it is finished, for whoever waits: at once, on so few voxels that drawing it costs nothing.

It is the same map at the same place, by the same affine and resampling as the finished one, on voxels that are larger:
a view of usual size shows no more of the finished one either. It is not read off, compared or kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..contract.geometry import Grid
from ..contract.request import Request
from ..contract.target import VolumeFile
from .geometry.volume import save_array
from .preprocessing.inputs import NetworkInputs
from .progress import Sketch
from .restore.affine import place_by_affine
from .restore.plan import InversionPlan

LARGEST = 128
"""Voxels along an axis at most."""


def sketch_of(request: Request, inputs: NetworkInputs, plans: Sequence[InversionPlan]) -> Sketch | None:
    """How a map of these inputs is drawn before it is finished; None where nobody asked, or where it cannot be: of a
    volume in several pictures, and where the map goes back by the saved operations."""
    if not request.sketch or len(plans) != 1 or plans[0].inverse != "affine" or inputs.stack is not None:
        return None
    trace, grid, numbers = inputs.traces[0], coarsened(inputs.grid), itertools.count(1)

    def draw(heat: Tensor, steps: tuple[float, ...] | None) -> VolumeFile | None:
        largest = float(heat.max())
        if not largest > 0:
            return None
        array = place_by_affine((heat / largest).float(), trace, request.nearest, steps, grid).array
        file = Path(request.output_folder) / f"sketch-{next(numbers)}.npy"
        return save_array(array, grid.affine, inputs.volume.name, file)

    return draw


def coarsened(grid: Grid, most: int = LARGEST) -> Grid:
    """A grid of whole voxels of another one put together, so that no axis has more than ``most``."""
    return grid.blocks([-(-n // most) for n in grid.shape])

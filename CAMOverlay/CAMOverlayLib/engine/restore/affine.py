"""From the activation grid to the original volume by one affine and one resampling.

Nothing is blurred twice, and only voxels that the network saw are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from ...contract.field_of_view import Region, Unbounded, slabs_of
from ...contract.geometry import Grid
from ...contract.peaks import peak_of
from ..geometry.resample import activation_grid, resample
from ..geometry.unnamed_file import Zeros, in_memory
from ..preprocessing.trace import PreprocessingTrace


@dataclass(frozen=True)
class MappedHeatmap:
    """A heatmap on the original volume's grid: float32, I×J×K, Fortran order; and what the network saw of it."""

    array: np.ndarray
    region: Region | Unbounded

    @cached_property
    def peak(self) -> tuple[int, int, int] | None:
        """Voxel (I, J, K) of the largest value; None of a map that is 0 everywhere."""
        return peak_of(self.array)


def field_of_view(trace: PreprocessingTrace, grid: Grid | None = None) -> Region:
    """What the network saw of the volume: the intersection of all grids that its voxels were on.

    A lazy chain plans crops and pads and resamples once; what such a plan leaves out on its way was never cut off.

    Args:
        grid: in voxels of which grid; None of the volume's own.
    """
    volume = grid or trace.volume_grid
    slabs = [s for _, grid in trace.executed for s in slabs_of(volume.shape, grid.index_from(volume), grid.shape)]
    return Region(volume.shape, {(*s.normal.round(9), round(s.low, 6), round(s.high, 6)): s for s in slabs}.values())


def place_by_affine(
    heat: Tensor,
    trace: PreprocessingTrace,
    nearest: bool = False,
    steps: tuple[float, ...] | None = None,
    grid: Grid | None = None,
    zeros: Zeros = in_memory,
) -> MappedHeatmap:
    """Sample a map on the activation grid at every voxel that the network saw, in one step.

    Args:
        heat: spatial shape of the activation grid, ≥ 0.
        trail: the chain that made the network's input.
        nearest: the value of the nearest activation instead of linear interpolation between activations.
        steps: see :func:`activation_grid`.
        grid: onto which grid; None onto the volume's own.
        zeros: what makes the array.
    """
    target = grid or trace.volume_grid
    region = field_of_view(trace, target)
    source = activation_grid(tuple(heat.shape), trace.input_grid, steps)
    return MappedHeatmap(resample(heat, source, target, region, nearest, zeros), region)

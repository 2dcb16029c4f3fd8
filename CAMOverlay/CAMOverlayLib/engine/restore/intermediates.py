"""Every step's intermediate volume as a file with its own affine, so that in Slicer all of them overlay the
original."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...contract.errors import OutputError
from ...contract.field_of_view import Region, slabs_of
from ...contract.geometry import Grid
from ..geometry.resample import activation_grid, resample, to_input_grid
from ..geometry.volume import Volume, write_nifti
from ..preprocessing.trace import PreprocessingTrace
from .plan import InversionPlan
from .transforms import as_network_input, undo_steps

OURS = re.compile(r"(forward|backward)-\d{2,}-\w+\.nii\.gz")
"""Names of the files that are written here."""


def save_intermediates(
    heat: Tensor | None,
    trace: PreprocessingTrace,
    plan: InversionPlan,
    folder: Path | str | None,
    steps: tuple[float, ...] | None = None,
) -> None:
    """Write ``forward-NN-Name.nii.gz``, the image after step NN, and ``backward-NN-Name.nii.gz``, the heatmap on that
    step's grid on its way back.

    Args:
        heat: spatial shape of the activation grid; where there is none, nothing is written.
        trace: run with ``keep_images``.
        folder: existing; None writes nothing.
        steps: see :func:`.inverse.activation_grid`.

    Raises:
        OutputError: a file cannot be written.
    """
    if heat is None or folder is None:
        return
    folder = Path(folder)
    _clear(folder)
    for number, (image, grid) in enumerate(zip(trace.images, trace.grids, strict=True)):
        values = trace.as_3d(image) if trace.is_2d else image.as_tensor()
        if tuple(values.shape[-3:]) == grid.shape:  # not while a lazy chain only plans
            channel = values[0] if values.ndim > 3 else values
            _write(channel, grid, folder / _name("forward", number, trace))
    backward = _undone(heat, trace, plan, steps) if plan.inverse == "operations" else _resampled(heat, trace, steps)
    for number, array in backward:
        _write(array, trace.grids[number], folder / _name("backward", number, trace))


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run: a longer chain's last steps would be taken for this one's."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if OURS.fullmatch(file.name):
            try:
                file.unlink()
            except OSError as error:
                raise OutputError(f"Cannot replace '{file}': {error.strerror}. Choose another folder.") from error


def _resampled(heat: Tensor, trace: PreprocessingTrace, steps: tuple[float, ...] | None):
    """The heatmap on every step's grid, by one resampling each, 0 where later steps cropped away."""
    source = activation_grid(tuple(heat.shape), trace.input_grid, steps)
    for number, grid in enumerate(trace.grids):
        later = [g for step, g in trace.executed if step > number]
        slabs = [s for g in later for s in slabs_of(grid.shape, g.index_from(grid), g.shape)]
        yield number, torch.from_numpy(resample(heat, source, grid, Region(grid.shape, slabs)))


def _undone(heat: Tensor, trace: PreprocessingTrace, plan: InversionPlan, steps: tuple[float, ...] | None):
    """The heatmap as replaying the saved operations leaves it on every step's grid."""
    on_input = as_network_input(to_input_grid(heat, trace.input_grid.shape, False, steps), trace)
    last = len(trace.grids) - 1
    yield last, trace.as_3d(on_input)[0].clone()
    for number, undone in undo_steps(on_input, trace, plan.affine_holds):
        if number > 0:  # the map is on the grid from before this step
            yield number - 1, trace.as_3d(undone)[0].clone()


def _write(array: Tensor, grid: Grid, path: Path) -> None:
    values = array.detach().cpu().numpy()
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    write_nifti(Volume(values, grid.affine, path.name), path)


def _name(direction: str, number: int, trace: PreprocessingTrace) -> str:
    return f"{direction}-{number + 1:02d}-{trace.steps[number].name}.nii.gz"

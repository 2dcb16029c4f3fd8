"""Every step's intermediate volume as a file with its own affine, so that in Slicer all of them overlay the original."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import OutputError
from ..field_of_view import Region, slabs_of
from .grid import Grid
from .inverse import activation_grid, as_network_input, resample, to_input_grid, undo_steps
from .placing import Way
from .trail import Trail
from .volume import Volume, write_nifti


OURS = re.compile(r"(forward|backward)-\d{2,}-\w+\.nii\.gz")
"""Names of the files that are written here."""


def write_trail(
    heat: Tensor, trail: Trail, way: Way, folder: Path, steps: tuple[float, ...] | None = None
) -> None:
    """Write ``forward-NN-Name.nii.gz``, the image after step NN, and ``backward-NN-Name.nii.gz``, the heatmap on that
    step's grid on its way back.

    Args:
        heat: spatial shape of the activation grid.
        trail: run with ``keep_images``.
        steps: see :func:`.inverse.activation_grid`.

    Raises:
        OutputError: a file cannot be written.
    """
    _clear(folder)
    for number, (image, grid) in enumerate(zip(trail.images, trail.grids, strict=True)):
        values = trail.solid(image) if trail.flat else image.as_tensor()
        if tuple(values.shape[-3:]) == grid.shape:  # not while a lazy chain only plans
            channel = values[0] if values.ndim > 3 else values
            _write(channel, grid, folder / _name("forward", number, trail))
    backward = _undone(heat, trail, way, steps) if way.inverse == "operations" else _resampled(heat, trail, steps)
    for number, array in backward:
        _write(array, trail.grids[number], folder / _name("backward", number, trail))


def _clear(folder: Path) -> None:
    """Remove the files of an earlier run: a longer chain's last steps would be taken for this one's."""
    for file in folder.iterdir() if folder.is_dir() else ():
        if OURS.fullmatch(file.name):
            try:
                file.unlink()
            except OSError as error:
                raise OutputError(f"Cannot replace '{file}': {error.strerror}. Choose another folder.") from error


def _resampled(heat: Tensor, trail: Trail, steps: tuple[float, ...] | None):
    """The heatmap on every step's grid, by one resampling each, 0 where later steps cropped away."""
    source = activation_grid(tuple(heat.shape), trail.input_grid, steps)
    for number, grid in enumerate(trail.grids):
        later = [g for step, g in trail.executed if step > number]
        slabs = [s for g in later for s in slabs_of(grid.shape, g.index_from(grid), g.shape)]
        yield number, torch.from_numpy(resample(heat, source, grid, Region(grid.shape, slabs)))


def _undone(heat: Tensor, trail: Trail, way: Way, steps: tuple[float, ...] | None):
    """The heatmap as replaying the saved operations leaves it on every step's grid."""
    on_input = as_network_input(to_input_grid(heat, trail.input_grid.shape, False, steps), trail)
    last = len(trail.grids) - 1
    yield last, trail.solid(on_input)[0].clone()
    for number, undone in undo_steps(on_input, trail, way.affine_holds):
        if number > 0:  # the map is on the grid from before this step
            yield number - 1, trail.solid(undone)[0].clone()


def _write(array: Tensor, grid: Grid, path: Path) -> None:
    values = array.detach().cpu().numpy()
    values = values.astype(np.float32) if values.dtype == np.float64 else values
    write_nifti(Volume(values, grid.affine, path.name), path)


def _name(direction: str, number: int, trail: Trail) -> str:
    return f"{direction}-{number + 1:02d}-{trail.steps[number].name}.nii.gz"

"""Several volumes as the channels of one input: brought to the grid of the first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from ...contract.errors import VolumeError
from ...contract.field_of_view import Region, slabs_of
from .resample import resample
from .volume import Volume


def on_one_grid(volumes: Sequence[Volume]) -> tuple[list[Volume], tuple[str, ...]]:
    """The volumes on the voxel grid of the first, and what was done for that, in words.

    A volume on another grid is interpolated linearly, as Slicer's own modules do, and 0 outside its extent. Nothing is
    registered: the volumes must share patient space.

    Raises:
        VolumeError: a volume does not reach the first one anywhere, or has several numbers per voxel.
    """
    first, *others = volumes
    found, notes = [first], []
    for other in others:
        if other.grid.is_near(first.grid, share=0.01):
            # Rounding between series is no other grid; MONAI's loaders want the very same affine all the same.
            found.append(dataclasses.replace(other, affine=first.affine))
        else:
            found.append(_resampled(other, first))
            notes.append(f"Channel '{other.name}' was resampled to the grid of '{first.name}', {first.shape} voxels.")
    return found, tuple(notes)


def _resampled(volume: Volume, like: Volume) -> Volume:
    if volume.components > 1:
        raise VolumeError(
            f"Volume '{volume.name}' has {volume.components} components and another grid than "
            f"'{like.name}'. Resample it first."
        )
    source, target = volume.grid, like.grid
    region = Region(like.shape, slabs_of(like.shape, source.index_from(target), source.shape))
    if not region.count():
        raise VolumeError(
            f"Volume '{volume.name}' lies nowhere within '{like.name}', so it cannot be a channel of the same input. "
            "Check that both are of one patient and registered."
        )
    voxels = torch.from_numpy(np.ascontiguousarray(volume.array, dtype=np.float32))
    return dataclasses.replace(like, array=resample(voxels, source, target, region), name=volume.name)

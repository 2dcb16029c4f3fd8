"""nnU-Net's resampling of images: splines of third order, slice by slice where voxels are far from cubic.

It is scikit-image's ``resize`` with ``mode="edge"`` and no anti-aliasing, which is SciPy's ``zoom`` over the same
extent of voxels, clipped to the values that were there (https://github.com/MIC-DKFZ/nnUNet, version 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy  # its parts load when they are used
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...contract.nnunet_plans import Resampling
from ..geometry.resample import LINEAR

ANISOTROPIC = 3.0
"""Ratio of the largest to the smallest voxel side above which slices are resampled by themselves."""


def separate_axis(before: Sequence[float], after: Sequence[float], forced: bool | None) -> int | None:
    """The axis across whose slices nothing is blended; None where all axes are resampled alike.

    Args:
        before, after: spacing in mm.
        forced: True takes the coarsest axis of ``before`` whatever the ratio, False takes none.

    >>> separate_axis((5.0, 0.7, 0.7), (1.0, 1.0, 1.0), None)
    0
    >>> separate_axis((1.5, 0.7, 0.7), (1.0, 1.0, 1.0), None) is None
    True
    """
    if forced is False:
        return None
    for spacing in (before, after):
        if forced or max(spacing) / min(spacing) > ANISOTROPIC:
            coarsest = [axis for axis, mm in enumerate(spacing) if mm == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def resample_image(image: np.ndarray, shape: tuple[int, ...], axis: int | None, how: Resampling) -> np.ndarray:
    """An image (C×spatial) at another shape over the same extent, float32.

    Args:
        axis: the one whose slices are resampled by themselves.
    """
    if tuple(image.shape[1:]) == shape:
        return image.astype(np.float32, copy=False)
    one = _alike if axis is None else _by_slices
    return np.stack([one(channel, shape, axis, how).astype(np.float32) for channel in image])


def _alike(values: np.ndarray, shape: tuple[int, ...], _axis: int | None, how: Resampling) -> np.ndarray:
    return _zoomed(values, shape, how.order)


def _by_slices(values: np.ndarray, shape: tuple[int, ...], axis: int | None, how: Resampling) -> np.ndarray:
    assert axis is not None
    plane = tuple(n for number, n in enumerate(shape) if number != axis)
    slices = [_zoomed(values.take(number, axis), plane, how.order) for number in range(values.shape[axis])]
    stacked = np.stack(slices, axis)
    old, new = values.shape[axis], shape[axis]
    if old == new:
        return stacked
    if how.order_across == 0:
        return stacked.take(_nearest(old, new), axis)
    factors = [new / old if number == axis else 1.0 for number in range(values.ndim)]
    return scipy.ndimage.zoom(stacked, factors, order=how.order_across, mode="nearest", grid_mode=True)


def _nearest(old: int, new: int) -> np.ndarray:
    """For every slice the nearest of the old ones."""
    return np.clip(np.floor(old / new * (np.arange(new) + 0.5)).astype(int), 0, old - 1)


def resample_back(maps: Tensor, shape: tuple[int, ...], axis: int | None) -> Tensor:
    """Maps (C×spatial) at another shape over the same extent, linearly; slices across ``axis`` are not blended."""
    if tuple(maps.shape[1:]) == shape:
        return maps
    if axis is None:
        return interpolate(maps[None], size=shape, mode=LINEAR[len(shape)], align_corners=False)[0]
    slices = maps.movedim(1 + axis, 0)
    plane = [n for number, n in enumerate(shape) if number != axis]
    slices = interpolate(slices, size=plane, mode=LINEAR[len(plane)], align_corners=False)
    return slices[torch.from_numpy(_nearest(maps.shape[1 + axis], shape[axis]))].movedim(0, 1 + axis)


def _zoomed(values: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    wide = values.astype(np.float64)
    if values.shape == shape:
        return wide
    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    found = scipy.ndimage.zoom(wide, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(found, wide.min(), wide.max(), out=found)

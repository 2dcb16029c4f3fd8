"""Places of an image filled from what lies around them.

Every place becomes the mean of its neighbours, over and over, while what lies around stays as it is: the linear
imputation of ROAD (Rong et al. 2022, https://arxiv.org/abs/2202.00449), solved by relaxation, so that it needs no
sparse solver and works in one, two and three dimensions. Large images begin from the same on half the grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .resample import LINEAR

COARSE = 16
"""Places along an axis up to which relaxation alone gets everywhere."""

ROUNDS, FEW = 100, 12
"""Of relaxation: on such a grid, and on a finer one, which begins from a coarser. In a hole of 24³ voxels among noise
that leaves it within 3 % of the image's standard deviation of where 500 rounds end."""

REACH = 2
"""Voxels on either side that a local mean of the surroundings goes over: one voxel alone is noise, and the one beside a
structure is often mixed with it."""

POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def filled(values: Tensor, hole: Tensor) -> Tensor:
    """An image whose hole is filled from around; where nothing lies around, with the mean of all.

    Args:
        values: 1×C×spatial.
        hole: 1×1×spatial, bool.
    """
    kept = (~hole).to(values)
    if max(values.shape[2:]) > COARSE:
        start, rounds = _from_half(values, kept), FEW
    else:
        axes = tuple(range(2, values.ndim))
        weight = kept.sum()
        start = (values * kept).sum(axes, keepdim=True) / weight if weight > 0 else values.mean(axes, True)
        rounds = ROUNDS
    found = torch.where(hole, start, values)
    for _ in range(rounds):
        found = torch.where(hole, _mean_around(found, 1), values)
    return found


def local_means(values: Tensor, hole: Tensor) -> Tensor:
    """Everywhere the mean of what is not in the hole, within :data:`REACH`; 0 where nothing is."""
    kept = (~hole).to(values)
    return _mean_around(values * kept, REACH) / _mean_around(kept, REACH).clamp(min=1e-6)


def _mean_around(values: Tensor, reach: int) -> Tensor:
    """The mean over a cube of each place, which ends at the image's border."""
    pool, size = POOL[values.ndim - 2], 2 * reach + 1
    if min(values.shape[2:]) >= size:
        return pool(values, size, stride=1, padding=reach, count_include_pad=False)
    wide = [reach] * 2 * (values.ndim - 2)  # thinner than the cube, which pooling refuses
    inside = functional.pad(torch.ones_like(values[:1, :1]), wide)
    return pool(functional.pad(values, wide), size, stride=1) / pool(inside, size, stride=1)


def _from_half(values: Tensor, kept: Tensor) -> Tensor:
    """The image filled on half the grid, where a place is the mean of what is kept of it."""
    size = [(n + 1) // 2 for n in values.shape[2:]]
    share = functional.interpolate(kept, size=size, mode="area")
    means = functional.interpolate(values * kept, size=size, mode="area") / share.clamp(min=1e-6)
    shape = tuple(values.shape[2:])
    return functional.interpolate(filled(means, share == 0), size=shape, mode=LINEAR[len(shape)], align_corners=False)

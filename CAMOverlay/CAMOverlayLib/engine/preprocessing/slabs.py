"""MONAI's resampling slab by slab, with the same result to the bit in a fraction of the memory.

MONAI resamples in float64, and has the coordinates of all voxels of the result in memory at once: 56 bytes a voxel
where the voxel itself has 4. Each voxel is computed by itself, so the coordinates of a few planes are enough.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from monai.networks.layers import AffineTransform
from monai.networks.utils import to_norm_affine
from monai.transforms.spatial import functional
from monai.utils import ensure_tuple
from torch import Tensor
from torch.nn.functional import grid_sample

SLAB = 1 << 18
"""Voxels of the result whose coordinates are in memory at once, if a plane does not have more."""


@contextmanager
def resampled_in_slabs() -> Iterator[None]:
    """Meanwhile MONAI's transforms resample slab by slab."""
    before = functional.AffineTransform
    functional.AffineTransform = SlabwiseAffine
    try:
        yield
    finally:
        functional.AffineTransform = before


class SlabwiseAffine(AffineTransform):
    """MONAI's, for one volume of any number of channels on the CPU; all else is left to it."""

    def forward(self, src: Tensor, theta: Tensor, spatial_size: Any = None) -> Tensor:
        size = tuple(int(n) for n in ensure_tuple(spatial_size)) if spatial_size is not None else ()
        plain = src.dim() == 5 and src.shape[0] == 1 and theta.shape[-2:] == (4, 4) and theta.is_floating_point()
        if not plain or len(size) != 3 or min(size) < 2 or src.device.type != "cpu" or self.spatial_size is not None:
            return super().forward(src, theta, spatial_size)
        matrix = self._matrix(src, theta.reshape(-1, 4, 4)[:1].clone(), size)
        source = src.contiguous()
        # MONAI makes float32 of what it resampled in float64, whoever asked for it.
        made = torch.empty((1, src.shape[1], *size), dtype=torch.float32 if src.dtype == torch.float64 else src.dtype)
        planes = max(1, SLAB // (size[1] * size[2]))
        ends = [_ends(n, matrix.dtype, bool(self.align_corners)) for n in size]
        for first in range(0, size[0], planes):
            grid = _grid(matrix, [ends[0][first : first + planes], *ends[1:]])
            made[:, :, first : first + planes] = grid_sample(
                source, grid, mode=self.mode, padding_mode=self.padding_mode, align_corners=self.align_corners
            )
        return made

    def _matrix(self, src: Tensor, theta: Tensor, size: tuple[int, ...]) -> Tensor:
        """From the result's coordinates to the source's, both from -1 to 1, last axis first."""
        if not self.normalized:
            theta = to_norm_affine(
                affine=theta,
                src_size=tuple(src.shape[2:]),
                dst_size=size,
                align_corners=self.align_corners,
                zero_centered=self.zero_centered,
            )
        if self.reverse_indexing:
            theta[:, :3] = theta[:, [2, 1, 0]]
            theta[:, :, :3] = theta[:, :, [2, 1, 0]]
        return theta[:, :3]


def _ends(count: int, kind: torch.dtype, align_corners: bool) -> Tensor:
    """Where ``torch.nn.functional.affine_grid`` has the voxels of an axis."""
    found = torch.linspace(-1, 1, count, dtype=kind)
    return found if align_corners else found * (count - 1) / count


def _grid(matrix: Tensor, axes: list[Tensor]) -> Tensor:
    """``torch.nn.functional.affine_grid`` for some planes of its result."""
    shape = tuple(len(axis) for axis in axes)
    base = torch.ones((*shape, 4), dtype=matrix.dtype)
    base[..., 0], base[..., 1], base[..., 2] = axes[2], axes[1][:, None], axes[0][:, None, None]
    return base.view(1, -1, 4).bmm(matrix.transpose(1, 2)).view(1, *shape, 3)

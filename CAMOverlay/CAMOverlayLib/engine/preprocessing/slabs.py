"""MONAI's resampling slab by slab, with the same result to the bit in a fraction of the memory.

MONAI resamples in float64: it makes a copy of the whole image in it, and has the coordinates of all voxels of the
result in memory at once, 56 bytes a voxel where the voxel itself has 4. Each voxel is computed by itself, so of both a
few planes are enough.
"""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, to_affine_nd
from monai.networks.layers import AffineTransform
from monai.networks.utils import to_norm_affine
from monai.transforms.spatial import array, functional
from monai.utils import ensure_tuple
from torch import Tensor
from torch.nn.functional import grid_sample

from ...contract.on_cores import on_cores, runs

SLAB = 1 << 18
"""Voxels of the result whose coordinates are in memory at once, if a plane does not have more."""

MARGIN = 2
"""Planes of the image on either side of where a slab lies, for the neighbours that interpolation asks for."""

RELEASES = sys.platform.startswith("linux")
"""Where the system can be told that the content of a page is no longer needed."""


@contextmanager
def resampled_in_slabs() -> Iterator[None]:
    """Meanwhile MONAI's transforms resample slab by slab."""
    before = functional.AffineTransform, array.spatial_resample
    functional.AffineTransform = SlabwiseAffine
    array.spatial_resample = partial(_spatial_resample, before[1])
    try:
        yield
    finally:
        functional.AffineTransform, array.spatial_resample = before


def _spatial_resample(monai: Any, img: Any, dst_affine: Any, *rest: Any, **named: Any) -> Any:
    """MONAI's ``spatial_resample``, without its float64 copy where that is what it would make."""
    _, mode, _, _, dtype = rest[:5] if len(rest) == 5 else (None,) * 5
    wide = (
        RELEASES
        and dtype is torch.float64
        and not named.get("lazy")
        and not isinstance(mode, int)
        and isinstance(img, MetaTensor)
        and img.dtype == torch.float32
        and img.device.type == "cpu"
        and img.ndim == 4
        and not img.pending_operations
        and not functional.USE_COMPILED
    )
    if not wide or dst_affine is None:
        return monai(img, dst_affine, *rest, **named)
    before, here = functional.AffineTransform, len(img.applied_operations)
    functional.AffineTransform = partial(SlabwiseAffine, exactly=_between(img, dst_affine))
    try:
        made = monai(img, dst_affine, *rest[:4], torch.float32, **named)
    finally:
        functional.AffineTransform = before
    if isinstance(made, MetaTensor):
        for record in made.applied_operations[here:]:  # what was computed is what float64 would have been
            if "dtype" in record.get("extra_info", {}):
                record["extra_info"]["dtype"] = "float64"
    return made


def _between(img: MetaTensor, dst_affine: Any) -> Tensor:
    """Index of the result to index of the image, 4×4, as MONAI computes it."""
    source = to_affine_nd(3, img.affine.cpu().numpy().astype(np.float64))
    target = to_affine_nd(3, np.asarray(torch.as_tensor(dst_affine).cpu(), np.float64))
    return torch.from_numpy(np.linalg.solve(source, target))


class SlabwiseAffine(AffineTransform):
    """MONAI's, for one volume of any number of channels on the CPU; all else is left to it.

    Args:
        exactly: compute in float64, from this matrix in place of the one given; the image stays as it is.
    """

    def __init__(self, *arguments: Any, exactly: Tensor | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._exactly = exactly

    def forward(self, src: Tensor, theta: Tensor, spatial_size: Any = None) -> Tensor:
        if self._exactly is not None:
            theta = self._exactly
        size = tuple(int(n) for n in ensure_tuple(spatial_size)) if spatial_size is not None else ()
        plain = src.dim() == 5 and src.shape[0] == 1 and theta.shape[-2:] == (4, 4) and theta.is_floating_point()
        if not plain or len(size) != 3 or min(size) < 2 or src.device.type != "cpu" or self.spatial_size is not None:
            return super().forward(src if self._exactly is None else src.to(theta), theta, spatial_size)
        matrix = self._matrix(src, theta.reshape(-1, 4, 4)[:1].clone(), size)
        # MONAI makes float32 of what it resampled in float64, whoever asked for it.
        made = torch.empty((1, src.shape[1], *size), dtype=torch.float32 if src.dtype == torch.float64 else src.dtype)
        planes = max(1, SLAB // (size[1] * size[2]))
        starts = range(0, size[0], planes)
        source = src.contiguous() if self._exactly is None else src
        # PyTorch resamples one image on one core.
        on_cores(partial(self._resample, source, matrix, made, planes), runs(starts))
        return made

    def _resample(self, source: Tensor, matrix: Tensor, made: Tensor, planes: int, starts: range) -> None:
        """Fill the slabs of the result that begin at these planes."""
        wide = None if self._exactly is None else _InFloat64(source, self.padding_mode, bool(self.align_corners))
        image = source if wide is None else wide.whole
        ends = [_ends(n, matrix.dtype, bool(self.align_corners)) for n in made.shape[2:]]
        for first in starts:
            axes = [ends[0][first : first + planes], *ends[1:]]
            if wide is not None:  # the extremes of what is linear are at corners
                reach = _grid(matrix, [axis[[0, -1]] for axis in axes])[..., 2]
                wide.hold(float(reach.min()), float(reach.max()))
            made[:, :, first : first + planes] = grid_sample(
                image,
                _grid(matrix, axes),
                mode=self.mode,
                padding_mode=self.padding_mode,
                align_corners=self.align_corners,
            )

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


class _InFloat64:
    """An image in float64 of which only those planes of the first axis take memory that a slab asks for.

    All of it has its address, so that what is computed of it is to the bit what it would be of all.

    Args:
        image: 1×C×I×J×K, float32.

    Attributes:
        whole: the image, true where it is held.
    """

    def __init__(self, image: Tensor, padding_mode: Any, align_corners: bool) -> None:
        self._source, self._planes, self._align_corners = image[0], image.shape[2], align_corners
        self._reflects = "reflect" in str(getattr(padding_mode, "value", padding_mode))
        self._plane_bytes = 8 * math.prod(image.shape[3:])
        self._pages = mmap.mmap(-1, 8 * image.numel(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.whole = torch.frombuffer(self._pages, dtype=torch.float64).view(image.shape)
        self._first = self._end = 0

    def hold(self, low: float, high: float) -> None:
        """Hold what lies between two places of the first axis, which are from -1 to 1 within the image."""
        first, end = self._around(low, high)
        if first >= self._end or end <= self._first:
            self._release(self._first, self._end)
            self._fill(first, end)
        else:
            self._release(self._first, first)
            self._release(end, self._end)
            self._fill(first, self._first)
            self._fill(self._end, end)
        self._first, self._end = first, end

    def _around(self, low: float, high: float) -> tuple[int, int]:
        count = self._planes
        scale, shift = (count - 1 if self._align_corners else count) / 2, (count - 1) / 2
        low, high = low * scale + shift, high * scale + shift
        if not (math.isfinite(low) and math.isfinite(high)):
            return 0, count
        if self._reflects and (low < 0 or high > count - 1):
            # What lies beyond an end is found as far within it.
            low, high = min(low, 2 * (count - 1) - high), max(high, -low)
        first = min(max(math.floor(low) - MARGIN, 0), count - 1)
        return first, max(min(math.ceil(high) + MARGIN + 1, count), first + 1)

    def _fill(self, first: int, end: int) -> None:
        if end > first:
            self.whole[0, :, first:end] = self._source[:, first:end]

    def _release(self, first: int, end: int) -> None:
        """Give the pages back that hold nothing but these planes."""
        for channel in range(len(self._source)):
            start, stop = ((channel * self._planes + plane) * self._plane_bytes for plane in (first, max(first, end)))
            start, stop = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
            if stop > start:
                self._pages.madvise(mmap.MADV_DONTNEED, start, stop - start)


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

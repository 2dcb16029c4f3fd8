"""Many maps of one grid at the voxels of another, block by block.

What is held at a time is one block of all maps, however many there are and however large the grids. A voxel has the
value at its centre, however large it is, as MONAI's ``Invertd`` has it; :func:`.resample.resample` averages over voxels
that are larger than the values' own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ...contract.field_of_view import Region
from ...contract.geometry import Grid
from .resample import aligned_axes, interpolation_matrix

BLOCK_VALUES = 2**24
"""Values of all maps in a block at most, on either grid: 64 MiB."""

LARGEST, SMALLEST = 96, 8
"""Voxels along the side of a block."""

Place = tuple[slice, slice, slice]
Prepare = Callable[[Tensor], tuple[Tensor, Sequence[int]]]


@dataclass(frozen=True)
class Block:
    """Part of the target grid.

    Attributes:
        place: where it is.
        numbers: which maps have values there.
        values: of these maps, N×i×j×k, float32, on the CPU; 0 outside the region.
        number, count: of this block, and of all.
    """

    place: Place
    numbers: Sequence[int]
    values: Tensor
    number: int
    count: int


def blocks(maps: Tensor, source: Grid, target: Grid, region: Region, prepare: Prepare) -> Iterator[Block]:
    """The maps at the voxels of ``target`` within ``region``, by linear interpolation.

    Args:
        maps: K×I×J×K on grid ``source``.
        prepare: what is done with each part of the maps before it is interpolated (K×i×j×k); returns the maps that
            count there and their numbers.
    """
    mapping = source.index_from(target)
    places = list(_places(region.box, _side(maps.shape[0], mapping)))
    for number, place in enumerate(places):
        inside = _inside(region, place)
        if not inside.any():
            continue
        box = _box_under(place, mapping, source.shape)
        kept, numbers = prepare(maps[(slice(None), *box)])
        here = mapping.copy()  # from the block's own first voxel to the box's
        here[:3, 3] += mapping[:3, :3] @ [one.start for one in place] - [one.start for one in box]
        values = _sampled(kept, here, tuple(one.stop - one.start for one in place))
        yield Block(place, numbers, values if inside.all() else values * torch.from_numpy(inside), number, len(places))


def _inside(region: Region, place: Place) -> np.ndarray:
    """bool, i×j×k: which voxels of a block belong to the region."""
    i, j, k = (along[one] for along, one in zip(region.axes, place, strict=True))
    inside = i[:, None, None] & j[:, None] & k
    for slab in region.oblique:
        i, j, k = (n * np.arange(one.start, one.stop) for n, one in zip(slab.normal, place, strict=True))
        position = i[:, None, None] + (j[:, None] + k)
        inside &= (position >= slab.low) & (position <= slab.high)
    return inside


def _side(count: int, mapping: np.ndarray) -> int:
    """Of a block, so that neither it nor what lies under it holds too much."""
    under = float(np.prod(np.maximum(1, np.abs(mapping[:3, :3]).sum(1))))
    return int(np.clip((BLOCK_VALUES / (count * under)) ** (1 / 3), SMALLEST, LARGEST))


def _places(box: Place, side: int) -> Iterator[Place]:
    along = [[slice(n, min(n + side, one.stop)) for n in range(one.start, one.stop, side)] for one in box]
    for k, j, i in itertools.product(*reversed(along)):  # as they lie in memory
        yield i, j, k


def _box_under(place: Place, mapping: np.ndarray, shape: Sequence[int]) -> Place:
    """The part of the source grid that the values of a block are made of."""
    ends = [(one.start, one.stop - 1) for one in place]
    corners = np.array([[*corner, 1] for corner in itertools.product(*ends)]) @ mapping[:3].T
    low = np.clip(np.floor(corners.min(0)) - 1, 0, np.array(shape) - 1).astype(int)  # one more, for rounding
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, np.array(shape) - 1).astype(int) + 1
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k


def _sampled(maps: Tensor, mapping: np.ndarray, shape: Sequence[int]) -> Tensor:
    """N×i×j×k at the voxels of a block."""
    if not len(maps):
        return torch.zeros(0, *shape)
    axes = aligned_axes(mapping)
    if axes is None:
        return _obliquely(maps, mapping, shape)
    for axis, along in enumerate(axes):
        position = mapping[along, axis] * np.arange(shape[axis]) + mapping[along, 3]
        maps = _along(interpolation_matrix(position, maps.shape[1 + along], False), maps, along)
    return maps.permute(0, *(1 + along for along in axes)).cpu()


def _along(weights: np.ndarray, maps: Tensor, axis: int) -> Tensor:
    product = torch.tensordot(maps, torch.from_numpy(weights).to(maps), ([1 + axis], [1]))
    return torch.movedim(product, -1, 1 + axis)


def _obliquely(maps: Tensor, mapping: np.ndarray, shape: Sequence[int]) -> Tensor:
    # grid_sample counts from edge to edge, −1 to 1, and names the last axis first.
    scale = 2 / np.array(maps.shape[1:])
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    position = (index @ mapping[:3, :3].T + mapping[:3, 3] + 0.5) * scale - 1
    grid = torch.from_numpy(position[None, ..., ::-1].astype(np.float32)).to(maps)
    found = grid_sample(maps[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[0].cpu()

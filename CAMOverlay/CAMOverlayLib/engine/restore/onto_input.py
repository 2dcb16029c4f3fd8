"""The other direction: where structures of the volume lie in the network's input.

Through the composed affine where the voxels bear it out, else through the saved operations: what their inverse makes
of the input's own voxel indices says of every voxel of the volume where it went.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ...contract.field_of_view import Region, slabs_of
from ...contract.geometry import Grid
from ...reading.structures import Structure, box_of
from ..geometry.resample import resample
from ..preprocessing.inputs import NetworkInputs
from ..preprocessing.trace import PreprocessingTrace
from .plan import InversionPlan
from .transforms import as_network_input, invert_chain

PART = 0.1
"""A voxel of the input belongs to a structure that it holds this much of, of the most that any voxel holds: what a
resampling mixed with the structure would otherwise stay as a rim of it."""

FINEST = 6
"""Voxels of the input along one voxel of the volume, at most, that a warp is followed to."""

Floats = NDArray[np.floating]


class OntoInput:
    """Brings structures from the volume's grid to that of the network's input.

    Args:
        inputs: one, or one a picture.
        plans: which way the map of each goes back, and so which way a structure goes there.
        structures: all that will be asked for.
    """

    def __init__(self, inputs: NetworkInputs, plans: Sequence[InversionPlan], structures: Sequence[Structure]) -> None:
        self._inputs, self._plans = inputs, plans
        self._across = None if inputs.stack is None else int(np.abs(inputs.stack.to_stack[2, :3]).argmax())
        self._whole = _around([one.box for one in structures], inputs.volume.shape)
        self._warps: dict[int, _Warp] = {}

    def pieces(self, structure: Structure) -> dict[int, Structure]:
        """The structure on the grid of every input that it reaches, by the input's number."""
        found = {}
        for number, part in self._cut(structure):
            trace, plan = self._inputs.traces[number], self._plans[number]
            if plan.affine_holds:
                there = by_affine(part, self._inputs.grid, trace, self._across)
            else:
                there = self._warped(number, part)
            if there is not None:
                found[number] = there
        return found

    def _cut(self, structure: Structure) -> list[tuple[int, Structure]]:
        """What lies in each picture; the structure itself where the volume was not cut."""
        stack, axis = self._inputs.stack, self._across
        if stack is None or axis is None:
            return [(0, structure)]
        cut = []
        for here in np.flatnonzero(np.moveaxis(structure.inside, axis, 0).any((1, 2))):
            index = structure.box[axis].start + int(here)
            box = (*structure.box[:axis], slice(index, index + 1), *structure.box[axis + 1 :])
            number = round(stack.to_stack[2, axis] * index + stack.to_stack[2, 3])
            cut.append((number, Structure(structure.name, box, structure.inside.take([here], axis))))
        return cut

    def _warped(self, number: int, structure: Structure) -> Structure | None:
        if number not in self._warps:
            self._warps[number] = _Warp(self._inputs.traces[number], self._inputs.grid, self._whole)
        return self._warps[number].there(structure)


def by_affine(
    structure: Structure, volume: Grid, trace: PreprocessingTrace, across: int | None = None
) -> Structure | None:
    """A structure on the grid of the network's input; None where nothing of it was seen.

    Args:
        across: the axis of the volume along which the input is one picture, and has all of its slice.
    """
    target = trace.input_grid
    wide = np.linalg.norm(volume.index_from(target)[:3, :3], axis=1)  # voxels of the volume in one of the input
    margin = np.where(np.arange(3) == across, 0, np.ceil(wide) + 1).astype(int)
    values = np.pad(structure.inside.astype(np.float32), [(int(m), int(m)) for m in margin])
    source = _part_of(volume, [one.start - int(m) for one, m in zip(structure.box, margin)], values.shape)
    box = _reached(source, target)
    if any(one.stop <= one.start for one in box):
        return None
    part = _part_of(target, [one.start for one in box], [one.stop - one.start for one in box])
    held = resample(torch.from_numpy(values), source, part, Region(part.shape, ()))
    _clear_unseen(held, part, trace)
    most = float(held.max())
    return _of_mask(structure.name, held >= PART * most, box) if most > 0 else None


def _clear_unseen(held: np.ndarray, part: Grid, trace: PreprocessingTrace) -> None:
    """0 where the input holds nothing of the volume: what was padded, also after a crop had cut off what lay there."""
    grids = [trace.volume_grid, *(grid for _, grid in trace.executed)]
    slabs = [slab for grid in grids for slab in slabs_of(part.shape, grid.index_from(part), grid.shape)]
    Region(part.shape, slabs).clear_outside(held)


class _Warp:
    """Where voxels of the volume went in an input whose affine does not say it.

    Args:
        volume: its grid.
        box: of the volume, what is kept of that.
    """

    def __init__(self, trace: PreprocessingTrace, volume: Grid, box: tuple[slice, ...]) -> None:
        self._shape = trace.input_grid.shape
        # A picture's grid is the volume's, turned, and one slice thick.
        self._to_own = np.rint(trace.volume_grid.index_from(volume)).astype(int)
        corners = np.array(list(itertools.product(*((one.start, one.stop - 1) for one in box))))
        ends = corners @ self._to_own[:3, :3].T + self._to_own[:3, 3]
        low = np.clip(ends.min(0), 0, np.array(trace.volume_grid.shape) - 1)
        high = np.clip(ends.max(0), 0, np.array(trace.volume_grid.shape) - 1)
        self._start = low
        own = tuple(slice(a, b + 1) for a, b in zip(low, high))
        ones = _brought_back(np.ones(self._shape, np.float32), trace, own)
        self._seen = ones > 0.5
        safe = np.where(self._seen, ones, 1)
        self._index = np.stack([_brought_back(_counting(self._shape, n), trace, own) / safe for n in range(3)], -1)

    def there(self, structure: Structure) -> Structure | None:
        voxels = np.argwhere(structure.inside) + [one.start for one in structure.box]
        own = voxels @ self._to_own[:3, :3].T + self._to_own[:3, 3] - self._start
        own = own[((own >= 0) & (own < self._seen.shape)).all(1)]
        own = own[self._seen[tuple(own.T)]]
        mask = np.zeros(self._shape, bool)
        index = self._index[tuple(own.T)]
        slopes = [self._slope(own, axis) for axis in range(3)]
        fine = int(np.clip(np.ceil(np.sum(np.abs(slopes), axis=0).max(initial=1)), 1, FINEST))
        offsets = (np.arange(fine) + 0.5) / fine - 0.5
        for along in itertools.product(offsets, repeat=3):  # the voxel in parts, so that no hole is left
            places = np.rint(index + sum(slope * a for slope, a in zip(slopes, along))).astype(int)
            places = places[((places >= 0) & (places < self._shape)).all(1)]
            mask[tuple(places.T)] = True
        box = box_of(mask)
        return None if box is None else Structure(structure.name, box, mask[box])

    def _slope(self, voxels: NDArray[np.int64], axis: int) -> Floats:
        """How far the place in the input moves from one voxel to the next along an axis; 0 at what was not seen."""
        before, after = voxels.copy(), voxels.copy()
        before[:, axis] = np.maximum(before[:, axis] - 1, 0)
        after[:, axis] = np.minimum(after[:, axis] + 1, self._seen.shape[axis] - 1)
        b, a = tuple(before.T), tuple(after.T)
        steps = np.maximum(after[:, axis] - before[:, axis], 1)[:, None]
        return np.where((self._seen[b] & self._seen[a])[:, None], (self._index[a] - self._index[b]) / steps, 0)


def _brought_back(values: np.ndarray, trace: PreprocessingTrace, box: tuple[slice, ...]) -> np.ndarray:
    image = as_network_input(torch.from_numpy(values)[None], trace)
    return trace.as_3d(invert_chain(image, trace, lazily=False))[0].float().cpu().numpy()[box].copy()


def _counting(shape: Sequence[int], axis: int) -> np.ndarray:
    """I×J×K with each voxel's own index along an axis."""
    along = np.arange(shape[axis], dtype=np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
    return np.ascontiguousarray(np.broadcast_to(along, shape))


def _around(boxes: Sequence[tuple[slice, ...]], shape: Sequence[int]) -> tuple[slice, ...]:
    """The box of a volume that holds several boxes, and a voxel more."""
    axes = list(zip(*boxes, strict=True))
    return tuple(
        slice(max(0, min(one.start for one in axis) - 1), min(n, max(one.stop for one in axis) + 1))
        for axis, n in zip(axes, shape, strict=True)
    )


def _part_of(grid: Grid, start: Sequence[int], shape: Sequence[int]) -> Grid:
    """The grid of a box of another one."""
    shift = np.eye(4)
    shift[:3, 3] = start
    return Grid(tuple(int(n) for n in shape), grid.affine @ shift)


def _reached(source: Grid, target: Grid) -> tuple[slice, ...]:
    """The box of a grid that another one reaches, edge to edge."""
    ends = [(-0.5, n - 0.5) for n in source.shape]
    mapping = target.index_from(source)
    corners = np.array(list(itertools.product(*ends))) @ mapping[:3, :3].T + mapping[:3, 3]
    low = np.clip(np.floor(corners.min(0)), 0, target.shape).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, target.shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high))


def _of_mask(name: str, mask: np.ndarray, box: tuple[slice, ...]) -> Structure:
    held = box_of(mask)
    assert held is not None  # the most of it is in the mask
    outer = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(box, held))
    return Structure(name, outer, np.ascontiguousarray(mask[held]))

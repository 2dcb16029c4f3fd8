"""The grid of a layer's output, and values on one grid at the voxels of another."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from ...contract.field_of_view import Region
from ...contract.geometry import Grid
from ...contract.on_cores import on_cores, runs
from .unnamed_file import Zeros, in_memory

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def activation_grid(shape: tuple[int, ...], network_input: Grid, steps: tuple[float, ...] | None = None) -> Grid:
    """The grid of a layer's output in the patient.

    With ``n`` activations over ``m`` voxels, ``s`` voxels from one to the next, activation ``a`` is centred on voxel
    ``(a + 0.5) · s − 0.5``. Where a size divides, s is m / n, and the grid covers the network's input edge to edge;
    where
    it does not, a rest is left over at the end. Where layers without padding took away more than one activation, they
    took it from both ends alike.

    That is the centre of the voxels that one activation stands for. The centre of an odd kernel's receptive field lies
    (s − 1) / 2 voxels before it; to put maps there was tried on trained networks, and put them farther from the truth.

    Args:
        shape: of the layer's output; a picture's has a third axis of one.
        steps: s along each axis, where that is not the ratio of the sizes.
    """
    size, count = np.array(network_input.shape), np.array(shape)
    step = size / count if steps is None else np.array([*steps, *size[len(steps) :] / count[len(steps) :]])
    to_input = np.diag([*step, 1.0])
    trimmed = size - count * step >= np.maximum(step, 1)
    to_input[:3, 3] = np.where(trimmed, (size - 1) / 2 - (count - 1) / 2 * step, (step - 1) / 2)
    return Grid(tuple(shape), network_input.affine @ to_input)


def resample(
    heat: Tensor, source: Grid, target: Grid, region: Region, nearest: bool = False, zeros: Zeros = in_memory
) -> np.ndarray:
    """``heat`` on grid ``source`` at the voxels of ``target`` within ``region``; float32, Fortran order, 0 elsewhere.

    A voxel that is larger than an activation shows the average over its extent: the one point at its centre would miss
    what lies beside it. Beyond the outermost activation centres the map keeps their value up to the edge of the field
    of view.
    """
    out = zeros(target.shape)
    mapping = source.index_from(target)
    heat = _averaged(heat, np.linalg.norm(mapping[:3, :3], axis=1))
    axes = aligned_axes(mapping)
    if axes is not None and not region.oblique:
        _resample_separably(heat, mapping, axes, region, out, nearest)
    else:
        _resample_obliquely(heat, mapping, region, out, nearest)
    return out


def _averaged(heat: Tensor, widths: np.ndarray) -> Tensor:
    """The map as moving averages over so many activations along each axis, edge values going on beyond the edge; as it
    is along an axis where that is one or less."""
    for axis, width in enumerate(widths):
        count = heat.shape[axis]
        if width <= 1 + 1e-6 or count == 1:
            continue
        reach = int(np.ceil(width / 2))
        offset = np.arange(-reach, reach + 1)
        share = np.clip(np.minimum(offset + 0.5, width / 2) - np.maximum(offset - 0.5, -width / 2), 0, None) / width
        weights = np.zeros((count, count), np.float32)
        rows = np.arange(count)
        for n, s in zip(offset, share, strict=True):
            np.add.at(weights, (rows, np.clip(rows + n, 0, count - 1)), s)
        heat = torch.movedim(
            torch.tensordot(torch.from_numpy(weights), heat.detach().float().cpu(), ([1], [axis])), 0, axis
        )
    return heat


def aligned_axes(mapping: np.ndarray) -> tuple[int, ...] | None:
    """For each axis of the target the source axis that runs along it, or None where the grids are oblique."""
    linear = np.abs(mapping[:3, :3])
    aligned = linear > 1e-5 * linear.max(axis=1, keepdims=True)
    if (aligned.sum(0) == 1).all() and (aligned.sum(1) == 1).all():
        return tuple(int(a) for a in aligned.argmax(axis=0))
    return None


def _resample_separably(
    heat: Tensor, mapping: np.ndarray, axes: tuple[int, ...], region: Region, out: np.ndarray, nearest: bool
) -> None:
    """Axis after axis, slice by slice along K: a slice of the target lies between two planes of activations, each of
    which is two small matrix products that its neighbours share."""
    heat = heat.detach().float().cpu().permute(axes).numpy()
    box = region.box
    positions = [
        mapping[source, axis] * np.arange(box[axis].start, box[axis].stop) + mapping[source, 3]
        for axis, source in enumerate(axes)
    ]
    over_i, over_j = (interpolation_matrix(positions[axis], heat.shape[axis], nearest) for axis in (0, 1))
    low, fraction = _neighbours(positions[2], heat.shape[2], nearest)

    def activations(c: int) -> np.ndarray:  # J×I
        return over_j @ heat[:, :, c].T @ over_i.T

    target = out.T[box[2], box[1], box[0]]  # K×J×I, as it lies in memory

    def fill(slices: range) -> None:
        plane = lru_cache(maxsize=2)(activations)
        between = np.empty(target.shape[1:], dtype=np.float32)
        for k in slices:
            c, f = int(low[k]), float(fraction[k])
            if f == 0:
                target[k] = plane(c)
            else:
                np.multiply(plane(c), np.float32(1 - f), out=target[k])
                np.multiply(plane(c + 1), np.float32(f), out=between)
                target[k] += between

    # Stretches of slices: one is too little work to share, and waiting for each other costs more than it saves.
    on_cores(fill, runs(range(len(target))))
    for axis, inside in enumerate(region.axes):
        if not inside[box[axis]].all():
            np.moveaxis(out, axis, 0)[~inside] = 0


def _neighbours(position: np.ndarray, count: int, nearest: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each of N positions the value 0 … count−1 before it, and how far it is on the way to the next, in [0, 1)."""
    if nearest:
        return np.clip(np.floor(position + 0.5), 0, count - 1).astype(int), np.zeros(len(position))
    clipped = np.clip(position, 0, count - 1)
    low = np.floor(clipped).astype(int)
    return low, clipped - low


def interpolation_matrix(position: np.ndarray, count: int, nearest: bool) -> np.ndarray:
    """N×count: the weights by which values at 0 … count−1 make the value at each of N positions."""
    low, fraction = _neighbours(position, count, nearest)
    matrix = np.zeros((len(position), count), dtype=np.float32)
    rows = np.arange(len(position))
    matrix[rows, low] = 1 - fraction
    matrix[rows, np.minimum(low + 1, count - 1)] += fraction
    return matrix


def _resample_obliquely(heat: Tensor, mapping: np.ndarray, region: Region, out: np.ndarray, nearest: bool) -> None:
    """Slice after slice, each voxel's position computed as it is needed."""
    source = heat.detach().float().cpu()[None, None]
    # grid_sample counts from edge to edge, −1 to 1, and names the last axis first.
    scale = 2 / np.array(heat.shape)
    rows = [(mapping[a, :3] * scale[a], (mapping[a, 3] + 0.5) * scale[a] - 1) for a in (2, 1, 0)]
    target = torch.from_numpy(out.T)
    i, j = (torch.arange(n, dtype=torch.float32) for n in region.shape[:2])

    def fill(k: int) -> None:
        inside = torch.from_numpy(region.slice(k).T.copy())  # J×I
        if not inside.any():
            return
        grid = torch.stack([float(n[0]) * i + float(n[1]) * j[:, None] + float(n[2] * k + o) for n, o in rows], dim=-1)
        values = grid_sample(
            source,
            grid[None, None],
            mode="nearest" if nearest else "bilinear",
            padding_mode="border",
            align_corners=False,
        )
        target[k] = values[0, 0, 0] * inside

    on_cores(fill, range(region.shape[2]))


def to_input_grid(
    heat: Tensor, shape: tuple[int, ...], nearest: bool = False, steps: tuple[float, ...] | None = None
) -> Tensor:
    """1×I×J×K: from the activation grid to the network input's, as :func:`activation_grid` says (1×I×J of pictures)."""
    if steps is not None:
        filled = [(*s, *(1,) * (3 - len(s))) for s in (tuple(heat.shape), tuple(shape))]
        target = Grid(filled[1], np.eye(4))
        values = resample(
            heat.reshape(filled[0]), activation_grid(filled[0], target, steps), target, Region(filled[1], ()), nearest
        )
        return torch.from_numpy(values).reshape(1, *shape).to(heat.device)
    if nearest:
        return interpolate(heat[None, None].float(), size=shape, mode="nearest-exact")[0]
    return interpolate(heat[None, None].float(), size=shape, mode=LINEAR[len(shape)], align_corners=False)[0]

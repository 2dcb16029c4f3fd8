"""From the activation grid back to the voxels of the original volume, in one of two ways.

*Affine*: activation grid → network input → original volume as one affine, and one resampling. Nothing is blurred
twice, and only voxels that the network saw are computed.

*Operations*: the way back is the way the image came. The map is brought to the network input's grid and gets the *saved
operations and the affine* of the network input; then the chain is inverted. Without the affine the inverse of
``Spacing`` samples outside the image and returns zeros without a word, so map and result are checked. This is the way
where a step is not affine, or not tracked by the affine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.transforms.transform import apply_transform
from monai.transforms.utils import allow_missing_keys_mode
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from ..errors import PlacementError, root_cause
from ..field_of_view import Region, Unbounded, slabs_of
from ..peaks import peak_of
from .grid import Grid
from .trail import Trail

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Placed:
    """A heatmap on the original volume's grid: float32, I×J×K, Fortran order; and what the network saw of it."""

    array: np.ndarray
    region: Region | Unbounded

    @property
    def peak(self) -> tuple[int, int, int] | None:
        """Voxel (I, J, K) of the largest value; None of a map that is 0 everywhere."""
        return peak_of(self.array)


def field_of_view(trail: Trail) -> Region:
    """What the network saw of the volume: the intersection of all grids that its voxels were on.

    A lazy chain plans crops and pads and resamples once; what such a plan leaves out on its way was never cut off.
    """
    volume = trail.volume_grid
    slabs = [s for _, grid in trail.executed for s in slabs_of(volume.shape, grid.index_from(volume), grid.shape)]
    return Region(volume.shape, {(*s.normal.round(9), round(s.low, 6), round(s.high, 6)): s for s in slabs}.values())


def activation_grid(shape: tuple[int, ...], network_input: Grid, steps: tuple[float, ...] | None = None) -> Grid:
    """The grid of a layer's output in the patient.

    With ``n`` activations over ``m`` voxels, ``s`` voxels from one to the next, activation ``a`` is centred on voxel
    ``(a + 0.5) · s − 0.5``. Where a size divides, s is m / n, and the grid covers the network's input edge to edge; where
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


# One resampling ------------------------------------------------------------------------------------------------------


def place_by_affine(
    heat: Tensor, trail: Trail, blocks: bool = False, steps: tuple[float, ...] | None = None
) -> Placed:
    """Sample a map on the activation grid at every voxel that the network saw, in one step.

    Args:
        heat: spatial shape of the activation grid, ≥ 0.
        trail: the chain that made the network's input.
        blocks: the nearest activation's value instead of linear interpolation between activations.
        steps: see :func:`activation_grid`.
    """
    region = field_of_view(trail)
    source = activation_grid(tuple(heat.shape), trail.input_grid, steps)
    return Placed(resample(heat, source, trail.volume_grid, region, blocks), region)


def resample(heat: Tensor, source: Grid, target: Grid, region: Region, blocks: bool = False) -> np.ndarray:
    """``heat`` on grid ``source`` at the voxels of ``target`` within ``region``; float32, Fortran order, 0 elsewhere.

    A voxel that is larger than an activation shows the average over its extent: the one point at its centre would miss
    what lies beside it. Beyond the outermost activation centres the map keeps their value up to the edge of the field of view.
    """
    out = np.zeros(target.shape, dtype=np.float32, order="F")
    mapping = source.index_from(target)
    heat = _averaged(heat, np.linalg.norm(mapping[:3, :3], axis=1))
    axes = _aligned_axes(mapping)
    if axes is not None and not region.oblique:
        _resample_separably(heat, mapping, axes, region, out, blocks)
    else:
        _resample_obliquely(heat, mapping, region, out, blocks)
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
        heat = torch.movedim(torch.tensordot(torch.from_numpy(weights), heat.detach().float().cpu(), ([1], [axis])), 0, axis)
    return heat


def _aligned_axes(mapping: np.ndarray) -> tuple[int, ...] | None:
    """For each axis of the target the source axis that runs along it, or None where the grids are oblique."""
    linear = np.abs(mapping[:3, :3])
    aligned = linear > 1e-5 * linear.max(axis=1, keepdims=True)
    if (aligned.sum(0) == 1).all() and (aligned.sum(1) == 1).all():
        return tuple(int(a) for a in aligned.argmax(axis=0))
    return None


def _resample_separably(
    heat: Tensor, mapping: np.ndarray, axes: tuple[int, ...], region: Region, out: np.ndarray, blocks: bool
) -> None:
    """Axis after axis, slice by slice along K: a slice of the target lies between two planes of activations, each of
    which is two small matrix products that its neighbours share."""
    heat = heat.detach().float().cpu().permute(axes).numpy()
    box = region.box
    positions = [
        mapping[source, axis] * np.arange(box[axis].start, box[axis].stop) + mapping[source, 3]
        for axis, source in enumerate(axes)
    ]
    over_i, over_j = (_interpolation_matrix(positions[axis], heat.shape[axis], blocks) for axis in (0, 1))
    low, fraction = _neighbours(positions[2], heat.shape[2], blocks)

    @lru_cache(maxsize=2)
    def plane(c: int) -> np.ndarray:  # J×I
        return over_j @ heat[:, :, c].T @ over_i.T

    target = out.T[box[2], box[1], box[0]]  # K×J×I, as it lies in memory
    between = np.empty(target.shape[1:], dtype=np.float32)
    # By NumPy, one thread: a slice is too little work to share, and waiting for each other costs more than it saves.
    for k, (c, f) in enumerate(zip(low.tolist(), fraction.tolist(), strict=True)):
        if f == 0:
            target[k] = plane(c)
        else:
            np.multiply(plane(c), np.float32(1 - f), out=target[k])
            np.multiply(plane(c + 1), np.float32(f), out=between)
            target[k] += between
    for axis, inside in enumerate(region.axes):
        if not inside[box[axis]].all():
            np.moveaxis(out, axis, 0)[~inside] = 0


def _neighbours(position: np.ndarray, count: int, blocks: bool) -> tuple[np.ndarray, np.ndarray]:
    """For each of N positions the value 0 … count−1 before it, and how far it is on the way to the next, in [0, 1)."""
    if blocks:
        return np.clip(np.floor(position + 0.5), 0, count - 1).astype(int), np.zeros(len(position))
    clipped = np.clip(position, 0, count - 1)
    low = np.floor(clipped).astype(int)
    return low, clipped - low


def _interpolation_matrix(position: np.ndarray, count: int, blocks: bool) -> np.ndarray:
    """N×count: the weights by which values at 0 … count−1 make the value at each of N positions."""
    low, fraction = _neighbours(position, count, blocks)
    matrix = np.zeros((len(position), count), dtype=np.float32)
    rows = np.arange(len(position))
    matrix[rows, low] = 1 - fraction
    matrix[rows, np.minimum(low + 1, count - 1)] += fraction
    return matrix


def _resample_obliquely(heat: Tensor, mapping: np.ndarray, region: Region, out: np.ndarray, blocks: bool) -> None:
    """Slice after slice, each voxel's position computed as it is needed."""
    source = heat.detach().float().cpu()[None, None]
    # grid_sample counts from edge to edge, −1 to 1, and names the last axis first.
    scale = 2 / np.array(heat.shape)
    rows = [(mapping[a, :3] * scale[a], (mapping[a, 3] + 0.5) * scale[a] - 1) for a in (2, 1, 0)]
    target = torch.from_numpy(out.T)
    i, j = (torch.arange(n, dtype=torch.float32) for n in region.shape[:2])
    for k in range(region.shape[2]):
        inside = torch.from_numpy(region.slice(k).T.copy())  # J×I
        if not inside.any():
            continue
        grid = torch.stack([float(n[0]) * i + float(n[1]) * j[:, None] + float(n[2] * k + o) for n, o in rows], dim=-1)
        values = grid_sample(
            source,
            grid[None, None],
            mode="nearest" if blocks else "bilinear",
            padding_mode="border",
            align_corners=False,
        )
        target[k] = values[0, 0, 0] * inside


# The saved operations ------------------------------------------------------------------------------------------------


def place_by_operations(
    heat: Tensor, trail: Trail, blocks: bool = False, affine_holds: bool = True, steps: tuple[float, ...] | None = None
) -> Placed:
    """Put a map on the activation grid back by replaying the chain's inverse.

    Args:
        heat: spatial shape of the activation grid, ≥ 0.
        trail: the chain that made the network's input.
        blocks: one block an activation on the network input's grid; the chain's inverse interpolates those.
        affine_holds: the affines of the steps say what the network saw. Where they do not, it is found by replaying a
            map of ones.
        steps: see :func:`activation_grid`.

    Raises:
        PlacementError: the chain cannot be inverted, or its inverse does not end on the volume's grid.
    """
    on_input = as_network_input(to_input_grid(heat, trail.input_grid.shape, blocks, steps), trail)
    evidence = float(on_input.max()) > 0
    restored = invert_chain(on_input, trail, affine_holds)
    array = np.asfortranarray(trail.solid(restored)[0].float().cpu().numpy())
    if affine_holds:
        region = field_of_view(trail)
        region.clear_outside(array)
    else:
        ones = as_network_input(torch.ones(1, *trail.input_grid.shape), trail)
        seen = trail.solid(invert_chain(ones, trail, lazily=False))[0].numpy() > 0.5
        array *= seen
        region = Unbounded(trail.volume_grid.shape, int(np.count_nonzero(seen)))
    if evidence and not array.any():
        raise PlacementError(
            "The inverse of the preprocessing returned nothing but zeros although the heatmap has evidence. "
            "Usually the affine of the network input was lost on the way; one of the transforms must keep it."
        )
    return Placed(array, region)


def to_input_grid(
    heat: Tensor, shape: tuple[int, ...], blocks: bool = False, steps: tuple[float, ...] | None = None
) -> Tensor:
    """1×I×J×K: from the activation grid to the network input's, as :func:`activation_grid` says (1×I×J of pictures)."""
    if steps is not None:
        filled = [(*s, *(1,) * (3 - len(s))) for s in (tuple(heat.shape), tuple(shape))]
        target = Grid(filled[1], np.eye(4))
        values = resample(heat.reshape(filled[0]), activation_grid(filled[0], target, steps), target, Region(filled[1], ()), blocks)
        return torch.from_numpy(values).reshape(1, *shape).to(heat.device)
    if blocks:
        return interpolate(heat[None, None].float(), size=shape, mode="nearest-exact")[0]
    return interpolate(heat[None, None].float(), size=shape, mode=LINEAR[len(shape)], align_corners=False)[0]


def as_network_input(heat: Tensor, trail: Trail) -> MetaTensor:
    """The map (1×I×J×K) as if the chain had made it: with the image's affine and a copy of its operations.

    Inverting consumes the operations, so the image's own must stay out of it.
    """
    return MetaTensor(
        (heat[..., 0] if trail.flat else heat).detach().cpu(),
        affine=torch.as_tensor(trail.image.affine).clone(),
        applied_operations=deepcopy(trail.image.applied_operations),
    )


def invert_chain(heat: MetaTensor, trail: Trail, lazily: bool = True) -> MetaTensor:
    """The chain's own inverse, which must begin on the network input's grid and end on the volume's.

    Args:
        heat: 1×I×J×K (1×I×J of a flat chain) on the network input's grid, with its affine and its operations, which are consumed.
        lazily: see :func:`undo_steps`.

    Raises:
        PlacementError: the affine or the operations are not those of the network input, inverting fails, or it ends
            on another grid.
    """
    # Checked before and not after: the inverse of Spacing writes the right affine on whatever it returns.
    _require_near(
        trail.grid_of(heat),
        trail.input_grid,
        "The heatmap does not lie on the network input's grid",
        "It must carry both the operations and the affine of the network input; without the affine the inverse "
        "returns zeros, or the map in a wrong place.",
    )
    if len(heat.applied_operations) != len(trail.image.applied_operations):
        raise PlacementError(
            f"The heatmap carries {len(heat.applied_operations)} saved operations, the network input "
            f"{len(trail.image.applied_operations)}. Give it a deep copy of all of them."
        )
    restored = heat
    for _, restored in undo_steps(heat, trail, lazily):
        pass
    loaded = trail.grids[0]
    if not _near(loaded, trail.volume_grid) and _near(trail.grid_of(restored), loaded):
        # A loader that crops or turns cannot be inverted, but says in the affine what it did.
        restored = _resampled(restored, trail, loaded, trail.volume_grid, len(restored.applied_operations))
    _require_near(
        trail.grid_of(restored),
        trail.volume_grid,
        "The inverse of the preprocessing does not end on the volume's grid",
        "A transform moved voxels without recording it; it must be an InvertibleTransform and keep the affine up to "
        "date.",
    )
    return restored


def undo_steps(heat: MetaTensor, trail: Trail, lazily: bool = True) -> Iterator[tuple[int, MetaTensor]]:
    """Undo the chain's invertible transforms one by one, last first, as ``Compose.inverse`` does.

    Args:
        lazily: what was executed as one lazy resampling is undone as one, by its affine. One after the other, its
            crops would cut off what the one resampling never did.

    Yields:
        the number of the step that was undone, and the map on the grid from before it.

    Raises:
        PlacementError: a transform cannot undo what it did.
    """
    chain, image, number = trail.chain, heat, len(trail.transforms) - 1
    groups = {last: first for first, last in trail.lazily} if lazily else {}
    for number in range(number, -1, -1):
        transform, key = trail.transforms[number], trail.keys[number]
        if any(first <= number < last for last, first in groups.items()):
            continue
        if (first := groups.get(number, 0)) > 0:
            yield first, (image := _resampled(image, trail, trail.grids[number], trail.grids[first - 1], trail.records[first - 1]))
            continue
        if not isinstance(transform, InvertibleTransform):
            continue
        # Before images were merged, the image had the name of the first of them.
        data = image if key is None else {key: image}
        try:
            with allow_missing_keys_mode(transform) if key is not None else nullcontext():
                data = apply_transform(transform.inverse, data, chain.map_items, chain.unpack_items, lazy=False)
        except Exception as error:
            cause = root_cause(error)
            raise PlacementError(
                f"Transform {number + 1} of the preprocessing, {type(transform).__name__}, cannot be inverted: "
                f"{type(cause).__name__}: {cause}. Each transform that moves voxels must be an InvertibleTransform that "
                "records itself."
            ) from error
        image = data if key is None else data[key]
        yield number, image


def _resampled(heat: MetaTensor, trail: Trail, source: Grid, target: Grid, records: int) -> MetaTensor:
    """A map (1×I×J×K of the chain) on another grid by the affine alone, with the first so many of its operations."""
    region = Region(target.shape, slabs_of(target.shape, source.index_from(target), source.shape))
    values = torch.from_numpy(resample(trail.solid(heat)[0], source, target, region))[None]
    return MetaTensor(
        values[..., 0] if trail.flat else values,
        affine=trail.affine_of(target),
        applied_operations=deepcopy(heat.applied_operations[:records]),
    )


def _drift(found: Grid, wanted: Grid) -> float:
    """How far the corners of two grids of one shape are apart, in mm."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * [*wanted.shape, 1]
    return float(np.linalg.norm((found.affine - wanted.affine)[:3] @ corners.T, axis=0).max())


def _near(found: Grid, wanted: Grid) -> bool:
    # A quarter of a voxel: rounding in long chains stays far below, a lost affine or an unrecorded flip far above.
    return tuple(found.shape) == wanted.shape and _drift(found, wanted) <= 0.25 * wanted.spacing.min()


def _require_near(found: Grid, wanted: Grid, problem: str, remedy: str) -> None:
    shape = tuple(int(n) for n in found.shape)
    if shape != wanted.shape:
        raise PlacementError(f"{problem}: it has {shape} voxels instead of {wanted.shape}. {remedy}")
    if not _near(found, wanted):
        drift = _drift(found, wanted)
        raise PlacementError(
            f"{problem}: it is up to {drift:.1f} mm off, with the affine {np.round(found.affine, 3).tolist()} instead "
            f"of {np.round(wanted.affine, 3).tolist()}. {remedy}"
        )

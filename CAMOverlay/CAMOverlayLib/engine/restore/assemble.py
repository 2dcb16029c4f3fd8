"""The maps of all pieces together: the heatmap of the volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...contract.errors import PlacementError
from ...contract.field_of_view import Slab, Unbounded
from ...contract.on_cores import on_cores
from ...contract.peaks import highest_of, peak_of
from ...contract.request import FieldOfView, Placement
from ..geometry.slice_stack import Stack
from ..geometry.unnamed_file import Zeros, in_memory, zeros_for
from ..geometry.volume import Volume
from ..preprocessing.inputs import NetworkInputs
from ..progress import Step
from .affine import MappedHeatmap
from .plan import InversionPlan, place


def normalise(maps: Sequence[Tensor | None]) -> tuple[list[Tensor | None], float]:
    """Non-negative maps (spatial) divided by their common largest value, and that value; maps without evidence stay 0.

    Higher stays more important, unlike MONAI's default normaliser, which maps the largest value to 0. Pictures get a
    third axis of one voxel.
    """
    filled = [None if m is None else m.float()[..., None] if m.ndim == 2 else m.float() for m in maps]
    magnitude = max(float(m.max()) for m in filled if m is not None)
    return [m if m is None or not magnitude > 0 else m / magnitude for m in filled], magnitude


@dataclass(frozen=True)
class VolumeHeatmap:
    """A heatmap on the volume's grid (float32, I×J×K, Fortran order), and how sure and how complete it is.

    Its largest value is 1, or it is 0 everywhere. ``scale`` is what that value was of the maps' largest one: less than
    1 where that one lies between voxels, or is averaged with the rest of its voxel, or outside of the volume.
    ``highest`` is the largest value of every slice along K.
    """

    array: np.ndarray
    placement: Placement
    field_of_view: FieldOfView
    scale: float
    highest: np.ndarray

    @cached_property
    def peak(self) -> tuple[int, int, int] | None:
        """Voxel (I, J, K) of the largest value; None of a map that is 0 everywhere."""
        return peak_of(self.array, self.highest)


def assemble(
    prepared: NetworkInputs,
    plans: Sequence[InversionPlan],
    heats: Sequence[Tensor | None],
    verify: bool,
    nearest: bool,
    step: Step,
    steps: tuple[float, ...] | None = None,
    folder: Path | str | None = None,
) -> VolumeHeatmap:
    """The maps of all pieces (spatial, with a third axis; None where there is nothing to show) on the volume.

    Args:
        steps: of the maps, see :func:`.inverse.activation_grid`.
        folder: where the array is to be saved.

    Raises:
        PlacementError: the operations cannot be inverted.
    """
    hottest = max(range(len(heats)), key=lambda n: _largest(heats[n]))
    zeros = in_memory if folder is None else partial(zeros_for, folder)
    array, mapped = _on_volume(prepared, plans, heats, hottest if verify else None, nearest, step, steps, zeros)
    found, placement = mapped[hottest]
    stack = prepared.stack
    if stack is None:
        field_of_view = FieldOfView(found.region.share, found.region.planes)
        return _normalised(array, placement, field_of_view, prepared.volume)
    if len(heats) > 1:
        verified = sum(p.verdict == "verified" for _, p in mapped)
        words = f"{placement.words} That is picture {hottest + 1}; {verified} of {len(heats)} pictures are verified."
        seconds = sum(p.seconds for _, p in mapped)
        placement = dataclasses.replace(placement, words=words, seconds=seconds)
    fields = [one for one, _ in mapped]
    share = float(np.mean([one.region.share for one in fields]))
    return _normalised(array, placement, FieldOfView(share, _common_planes(fields, stack)), prepared.volume)


def on_volume(
    prepared: NetworkInputs,
    plans: Sequence[InversionPlan],
    maps: Sequence[Tensor | None],
    step: Step,
    nearest: bool = False,
    steps: tuple[float, ...] | None = None,
) -> np.ndarray:
    """Any other maps of all pieces, placed as the heatmap is, with the values that they have: float32, I×J×K, Fortran
    order; 0 where the network never saw.

    Args:
        maps: spatial, with a third axis, ≥ 0; None where there is nothing.

    Raises:
        PlacementError: the operations cannot be inverted, or changed the volume's shape.
    """
    array, _ = _on_volume(prepared, plans, maps, None, nearest, step, steps)
    return _of_shape(array, prepared.volume)


def _on_volume(
    prepared: NetworkInputs,
    plans: Sequence[InversionPlan],
    maps: Sequence[Tensor | None],
    verified: int | None,
    nearest: bool,
    step: Step,
    steps: tuple[float, ...] | None,
    zeros: Zeros = in_memory,
) -> tuple[np.ndarray, list[tuple[MappedHeatmap, Placement]]]:
    """The maps of all pieces in one array, and each with its placement.

    Args:
        verified: number of the piece that goes back both ways.
    """
    stack = prepared.stack
    if stack is None:
        mapped, placement = place(maps[0], prepared.traces[0], plans[0], verified is not None, nearest, steps, zeros)
        return mapped.array, [(mapped, placement)]
    array = zeros(prepared.volume.shape)
    target, found = stack.view(array), []
    for number, (trace, plan, one) in enumerate(zip(prepared.traces, plans, maps, strict=True)):
        step(number, len(maps), f"picture {number + 1} of {len(maps)}")
        values = torch.zeros(1, 1, 1) if one is None else one
        mapped, placement = place(values, trace, plan, verified == number, nearest, None if one is None else steps)
        target[:, :, number] = mapped.array[:, :, 0]
        found.append((mapped, placement))
    return array, found


def _normalised(array: np.ndarray, placement: Placement, field_of_view: FieldOfView, volume: Volume) -> VolumeHeatmap:
    """The overlay with 1 as its largest value.

    Raises:
        PlacementError: the map has not the volume's shape.
    """
    array = _of_shape(array, volume)
    highest = highest_of(array)
    scale = float(highest.max())
    if scale > 0 and scale != 1:

        def divide(values: np.ndarray) -> None:
            values /= np.float32(scale)
            # Rounding must not leave the largest value beside 1.
            np.minimum(values, 1, out=values)

        # Division keeps the order, so that the largest value of a slice stays its largest.
        on_cores(divide, [*array.T, highest])
        if placement.difference is not None:
            placement = dataclasses.replace(placement, difference=placement.difference / scale)
    return VolumeHeatmap(array, placement, field_of_view, scale, highest)


def _of_shape(array: np.ndarray, volume: Volume) -> np.ndarray:
    """Raises PlacementError where the map has not the volume's shape."""
    if array.shape != volume.shape:
        raise PlacementError(
            f"The heatmap came back with {array.shape} voxels, and the volume has {volume.shape}: a transform of the "
            "preprocessing changed the image's size and says otherwise. Check its affine and its inverse."
        )
    return array


def _largest(heat: Tensor | None) -> float:
    return -1.0 if heat is None else float(heat.max())


def _common_planes(placed: Sequence[MappedHeatmap], stack: Stack) -> tuple[tuple[float, ...], ...] | None:
    """The planes of all pictures in voxel indices of the volume; None where they are not the same for all."""
    found_of = [p.region.planes for p in placed if p.region.planes is not None]
    region = placed[0].region
    if len(found_of) < len(placed) or isinstance(region, Unbounded):
        return None
    first = found_of[0]
    if any(len(planes) != len(first) or not np.allclose(planes, first) for planes in found_of[1:]):
        return None
    found = []
    for slab in region.slabs:
        normal, offset = slab.normal @ stack.to_stack[:3, :3], float(slab.normal @ stack.to_stack[:3, 3])
        moved = Slab(normal, slab.low - offset, slab.high - offset)
        if abs(slab.normal[2]) < 1e-6 * np.abs(slab.normal).max():  # across the stack every slice was seen
            found.append((*(float(n) for n in moved.normal), moved.low, moved.high))
    return tuple(found)

"""From the activation grid to the original volume the way the image came, by the chain's own inverse.

The map is brought to the network input's grid and gets the *saved operations and the affine* of the network input; then
the chain is inverted. Without the affine the inverse of ``Spacing`` samples outside the image and returns zeros without
a word, so map and result are checked. This is the way where a step is not affine, or not tracked by the affine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.transforms.transform import apply_transform
from monai.transforms.utils import allow_missing_keys_mode
from torch import Tensor

from ...contract.errors import PlacementError, root_cause
from ...contract.field_of_view import Region, Unbounded, slabs_of
from ...contract.geometry import Grid
from ..geometry.resample import resample, to_input_grid
from ..preprocessing.trace import PreprocessingTrace
from .affine import MappedHeatmap, field_of_view


def place_by_operations(
    heat: Tensor,
    trace: PreprocessingTrace,
    nearest: bool = False,
    affine_holds: bool = True,
    steps: tuple[float, ...] | None = None,
) -> MappedHeatmap:
    """Put a map on the activation grid back by replaying the chain's inverse.

    Args:
        heat: spatial shape of the activation grid, ≥ 0.
        trail: the chain that made the network's input.
        nearest: one block per activation on the network input's grid; the chain's inverse interpolates those.
        affine_holds: the affines of the steps say what the network saw. Where they do not, it is found by replaying a
            map of ones.
        steps: see :func:`activation_grid`.

    Raises:
        PlacementError: the chain cannot be inverted, or its inverse does not end on the volume's grid.
    """
    on_input = as_network_input(to_input_grid(heat, trace.input_grid.shape, nearest, steps), trace)
    evidence = float(on_input.max()) > 0
    restored = invert_chain(on_input, trace, affine_holds)
    array = np.asfortranarray(trace.as_3d(restored)[0].float().cpu().numpy())
    region: Region | Unbounded
    if affine_holds:
        seen_region = field_of_view(trace)
        seen_region.clear_outside(array)
        region = seen_region
    else:
        ones = as_network_input(torch.ones(1, *trace.input_grid.shape), trace)
        seen = trace.as_3d(invert_chain(ones, trace, lazily=False))[0].numpy() > 0.5
        array *= seen
        region = Unbounded(trace.volume_grid.shape, int(np.count_nonzero(seen)))
    if evidence and not array.any():
        raise PlacementError(
            "The inverse of the preprocessing returned nothing but zeros although the heatmap has evidence. "
            "Usually the affine of the network input was lost on the way; one of the transforms must keep it."
        )
    return MappedHeatmap(array, region)


def as_network_input(heat: Tensor, trace: PreprocessingTrace) -> MetaTensor:
    """The map (1×I×J×K) as if the chain had made it: with the image's affine and a copy of its operations.

    Inverting consumes the operations, so the image's own must stay out of it.
    """
    return MetaTensor(
        (heat[..., 0] if trace.is_2d else heat).detach().cpu(),
        affine=torch.as_tensor(trace.image.affine).clone(),
        applied_operations=deepcopy(trace.image.applied_operations),
    )


def invert_chain(heat: MetaTensor, trace: PreprocessingTrace, lazily: bool = True) -> MetaTensor:
    """The chain's own inverse, which must begin on the network input's grid and end on the volume's.

    Args:
        heat: 1×I×J×K (1×I×J of a flat chain) on the network input's grid, with its affine and its operations, which
        are consumed.
        lazily: see :func:`undo_steps`.

    Raises:
        PlacementError: the affine or the operations are not those of the network input, inverting fails, or it ends
            on another grid.
    """
    # Checked before and not after: the inverse of Spacing writes the right affine on whatever it returns.
    _require_near(
        trace.grid_of(heat),
        trace.input_grid,
        "The heatmap does not lie on the network input's grid",
        "It must carry both the operations and the affine of the network input; without the affine the inverse "
        "returns zeros, or the map in a wrong place.",
    )
    if len(heat.applied_operations) != len(trace.image.applied_operations):
        raise PlacementError(
            f"The heatmap carries {len(heat.applied_operations)} saved operations, the network input "
            f"{len(trace.image.applied_operations)}. Give it a deep copy of all of them."
        )
    restored = heat
    for _, restored in undo_steps(heat, trace, lazily):  # noqa: B007
        pass
    loaded = trace.grids[0]
    if not _near(loaded, trace.volume_grid) and _near(trace.grid_of(restored), loaded):
        # A loader that crops or turns cannot be inverted, but says in the affine what it did.
        restored = _resampled(restored, trace, loaded, trace.volume_grid, len(restored.applied_operations))
    _require_near(
        trace.grid_of(restored),
        trace.volume_grid,
        "The inverse of the preprocessing does not end on the volume's grid",
        "A transform moved voxels without recording it; it must be an InvertibleTransform and keep the affine up to "
        "date.",
    )
    return restored


def undo_steps(heat: MetaTensor, trace: PreprocessingTrace, lazily: bool = True) -> Iterator[tuple[int, MetaTensor]]:
    """Undo the chain's invertible transforms one by one, last first, as ``Compose.inverse`` does.

    Args:
        lazily: what was executed as one lazy resampling is undone as one, by its affine. One after the other, its
            crops would cut off what the one resampling never did.

    Yields:
        the number of the step that was undone, and the map on the grid from before it.

    Raises:
        PlacementError: a transform cannot undo what it did.
    """
    chain, image, number = trace.chain, heat, len(trace.transforms) - 1
    groups = {last: first for first, last in trace.lazily} if lazily else {}
    for number in range(number, -1, -1):  # noqa: B020
        transform, key = trace.transforms[number], trace.keys[number]
        if any(first <= number < last for last, first in groups.items()):
            continue
        if (first := groups.get(number, 0)) > 0:
            yield (
                first,
                (
                    image := _resampled(
                        image, trace, trace.grids[number], trace.grids[first - 1], trace.records[first - 1]
                    )
                ),
            )
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
                f"{type(cause).__name__}: {cause}. Each transform that moves voxels must be an InvertibleTransform "
                "that "
                "records itself."
            ) from error
        image = data if key is None else data[key]
        yield number, image


def _resampled(heat: MetaTensor, trace: PreprocessingTrace, source: Grid, target: Grid, records: int) -> MetaTensor:
    """A map (1×I×J×K of the chain) on another grid by the affine alone, with the first so many of its operations."""
    region = Region(target.shape, slabs_of(target.shape, source.index_from(target), source.shape))
    values = torch.from_numpy(resample(trace.as_3d(heat)[0], source, target, region))[None]
    return MetaTensor(
        values[..., 0] if trace.is_2d else values,
        affine=trace.affine_of(target),
        applied_operations=deepcopy(heat.applied_operations[:records]),
    )


def _near(found: Grid, wanted: Grid) -> bool:
    # A quarter of a voxel: rounding in long chains stays far below, a lost affine or an unrecorded flip far above.
    return found.is_near(wanted, share=0.25)


def _require_near(found: Grid, wanted: Grid, problem: str, remedy: str) -> None:
    shape = tuple(int(n) for n in found.shape)
    if shape != wanted.shape:
        raise PlacementError(f"{problem}: it has {shape} voxels instead of {wanted.shape}. {remedy}")
    if not _near(found, wanted):
        drift = found.apart(wanted)
        raise PlacementError(
            f"{problem}: it is up to {drift:.1f} mm off, with the affine {np.round(found.affine, 3).tolist()} instead "
            f"of {np.round(wanted.affine, 3).tolist()}. {remedy}"
        )

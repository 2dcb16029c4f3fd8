"""From the activation grid back to the voxels of the original volume.

The way back is the way the image came: the map is brought to the network input's grid and gets the *saved operations
and the affine* of the network input; then the chain is inverted. Without the affine the inverse of ``Spacing`` samples
outside the image and returns zeros without a word, so the result is checked before anyone sees it.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms.utils import allow_missing_keys_mode
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import PlacementError
from .field_of_view import FieldOfView
from .trail import Grid, Trail

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Placed:
    """A heatmap on the original volume's grid: float32, I×J×K, Fortran order; and the share of voxels seen."""

    array: np.ndarray
    field_of_view: float


def place(heat: Tensor, trail: Trail) -> Placed:
    """Put a map on the activation grid back on the volume that the chain started from.

    Args:
        heat: spatial shape of the activation grid, ≥ 0.
        trail: the chain that made the network's input.

    Raises:
        PlacementError: the chain cannot be inverted, or its inverse does not end on the volume's grid.
    """
    on_input = as_network_input(to_input_grid(heat, trail.input_grid.shape), trail.image)
    restored = invert_chain(on_input, trail)
    array = np.asfortranarray(restored.as_tensor()[0].float().cpu().numpy())
    share = FieldOfView(trail.volume_grid, trail.grids[1:]).clear_outside(array)
    if float(on_input.max()) > 0 and not array.any():
        raise PlacementError(
            "The inverse of the preprocessing returned nothing but zeros although the heatmap has evidence. "
            "Usually the affine of the network input was lost on the way; one of the transforms must keep it."
        )
    return Placed(array, share)


def to_input_grid(heat: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Linear interpolation from the activation grid to the network input's grid, edge to edge.

    The two grids cover the same extent (``align_corners=False``): with ``n`` activations over ``m`` voxels, activation
    ``a`` is centred on voxel ``(a + 0.5) · m / n − 0.5``.
    """
    return interpolate(heat[None, None].float(), size=shape, mode=LINEAR[len(shape)], align_corners=False)[0]


def as_network_input(heat: Tensor, image: MetaTensor) -> MetaTensor:
    """The map (1×I×J×K) as if the chain had made it: with the image's affine and a copy of its operations.

    Inverting consumes the operations, so the image's own must stay out of it.
    """
    return MetaTensor(
        heat.detach().cpu(),
        affine=torch.as_tensor(image.affine).clone(),
        applied_operations=deepcopy(image.applied_operations),
    )


def invert_chain(heat: MetaTensor, trail: Trail) -> MetaTensor:
    """The chain's own inverse, which must begin on the network input's grid and end on the volume's.

    Args:
        heat: 1×I×J×K on the network input's grid, with its affine and its operations, which are consumed.

    Raises:
        PlacementError: the affine or the operations are not those of the network input, inverting fails, or it ends
            on another grid.
    """
    # Checked before and not after: the inverse of Spacing writes the right affine on whatever it returns.
    _require_near(
        Grid(tuple(heat.shape[1:]), np.asarray(heat.affine, dtype=np.float64)),
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
    try:
        if trail.key is None:
            restored = trail.chain.inverse(heat)
        else:
            with allow_missing_keys_mode(trail.chain):
                restored = trail.chain.inverse({trail.key: heat})[trail.key]
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise PlacementError(
            f"The preprocessing cannot be inverted: {type(cause).__name__}: {cause}. Each of its transforms that moves "
            "voxels must be an InvertibleTransform that records itself."
        ) from error
    _require_near(
        Grid(tuple(restored.shape[1:]), np.asarray(restored.affine, dtype=np.float64)),
        trail.volume_grid,
        "The inverse of the preprocessing does not end on the volume's grid",
        "A transform moved voxels without recording it; it must be an InvertibleTransform and keep the affine up to "
        "date.",
    )
    return restored


def _require_near(found: Grid, wanted: Grid, problem: str, remedy: str) -> None:
    shape = tuple(int(n) for n in found.shape)
    if shape != wanted.shape:
        raise PlacementError(f"{problem}: it has {shape} voxels instead of {wanted.shape}. {remedy}")
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])]).T
    drift = np.linalg.norm((found.affine - wanted.affine)[:3] @ corners, axis=0).max()
    # A quarter of a voxel: rounding in long chains stays far below, a lost affine or an unrecorded flip far above.
    if drift > 0.25 * np.linalg.norm(wanted.affine[:3, :3], axis=0).min():
        raise PlacementError(
            f"{problem}: it is up to {drift:.1f} mm off, with the affine {np.round(found.affine, 3).tolist()} instead "
            f"of {np.round(wanted.affine, 3).tolist()}. {remedy}"
        )

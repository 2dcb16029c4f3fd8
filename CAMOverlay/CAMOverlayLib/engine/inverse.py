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
from monai.transforms import Compose
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
    restored = invert_chain(trail.chain, trail.key, on_input, trail.volume_grid)
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


def invert_chain(chain: Compose, key: str | None, heat: MetaTensor, volume: Grid) -> MetaTensor:
    """The chain's own inverse, which must end on the grid that the chain started from.

    Args:
        heat: 1×I×J×K on the network input's grid, with affine and operations; consumed.

    Raises:
        PlacementError: inverting fails, or ends on another grid.
    """
    try:
        if key is None:
            restored = chain.inverse(heat)
        else:
            with allow_missing_keys_mode(chain):
                restored = chain.inverse({key: heat})[key]
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise PlacementError(
            f"The preprocessing cannot be inverted: {type(cause).__name__}: {cause}. Each of its transforms that moves "
            "voxels must be an InvertibleTransform that records itself."
        ) from error
    shape = tuple(int(n) for n in restored.shape[1:])
    if shape != volume.shape:
        raise PlacementError(
            f"The inverse of the preprocessing ended on {shape} voxels, the volume has {volume.shape}. "
            "A transform changed the image's shape without recording it; it must be an InvertibleTransform."
        )
    affine = np.asarray(restored.affine, dtype=np.float64)
    # A quarter of a voxel: rounding in long chains stays far below, a lost affine or an unrecorded flip far above.
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])]).T
    drift = np.linalg.norm((affine - volume.affine)[:3] @ corners, axis=0).max()
    if drift > 0.25 * np.linalg.norm(volume.affine[:3, :3], axis=0).min():
        raise PlacementError(
            f"The inverse of the preprocessing ended {drift:.1f} mm away from the volume, on the affine "
            f"{np.round(affine, 3).tolist()} instead of {np.round(volume.affine, 3).tolist()}. The heatmap must carry "
            "both the operations and the affine of the network input, and every transform must keep them up to date."
        )
    return restored

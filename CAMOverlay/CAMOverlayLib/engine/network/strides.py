"""How many voxels of the network's input lie from one activation to the next, where the sizes alone do not tell.

Where a size divides, it is the ratio of the sizes. Where it does not, a strided layer leaves a rest over at the end
(319 voxels halved five times make 9 activations of 32 voxels, and 31 voxels that no activation is centred on), and the
ratio would stretch the map over it: by up to a whole activation at the end of the axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .forward import first_tensor, frozen, hooked
from .receptive_field import ReceptiveFields

SMALL = 96
"""Voxels along an axis that are enough to follow the strides; networks of one fixed size get their whole input."""


def true_steps(
    network: nn.Module, image: Tensor, layer: str | None, shape: tuple[int, ...]
) -> tuple[float, ...] | None:
    """Voxels from one activation of a layer to the next along each axis; None where the ratio of the sizes says it, or
    where the strides cannot be followed.

    Args:
        image: 1×C×spatial.
        shape: of the layer's activations, spatial.
    """
    size = tuple(int(n) for n in image.shape[2:])
    if layer is None or len(shape) != len(size) or all(m % n == 0 for m, n in zip(size, shape, strict=True)):
        return None
    small = image[(..., *(slice(0, SMALL) for _ in size))]
    for sample in (small, image):
        try:
            found = _followed(network, sample, layer)
        except Exception:  # whatever a network raises on another size than its own  # noqa: BLE001, S112
            continue
        if found is None:
            return None
        steps, reach = found
        # Padding adds, and a valid convolution takes away, no more than the field that one activation sees.
        fits = all(m - r - s <= n * s <= m + r + s for m, n, s, r in zip(size, shape, steps, reach, strict=True))
        return steps if fits else None
    return None


def _followed(network: nn.Module, image: Tensor, layer: str) -> tuple[tuple[float, ...], tuple[int, ...]] | None:
    """Step and receptive field of a layer's last output."""
    found = None

    def look(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal found
        tensor = first_tensor(output)
        reach, steps = fields.of(tensor), fields.step_of(tensor)
        found = (steps, reach) if reach is not None and steps is not None and all(map(math.isfinite, steps)) else None

    with (
        frozen(network),
        torch.no_grad(),
        hooked([(network.get_submodule(layer), look)]),
        ReceptiveFields(image) as fields,
    ):
        network(image)
    return found

"""Occlusion sensitivity: how far the target falls when a place is covered. MONAI's implementation."""

from __future__ import annotations

import math

import torch
from monai.visualize import OcclusionSensitivity
from torch import Tensor

from ...contract.methods import CATALOGUE
from ..bundle.compiled import is_compiled
from .method import Case, Method, no_layer
from .scored import scored

PARTS = 8
"""The covered box is this part of the image along each axis."""
OVERLAP = 0.25


def _compute(case: Case) -> Tensor:
    """Zeiler and Fergus 2014: the target of the whole image minus that with a box faded to the image's mean.

    In the unit of the target; places whose covering raises it are left out. No gradient is taken, so that it says what
    the network does and not what it would do for an infinitely small change.
    """
    image = case.image
    box = [max(2, math.ceil(n / PARTS)) for n in image.shape[2:]]
    box = [min(b, n) for b, n in zip(box, image.shape[2:])]
    places = math.prod(math.ceil((n - b) / max(1, int(b * (1 - OVERLAP)))) + 1 for n, b in zip(image.shape[2:], box))
    mean = image.mean()
    # Small images are faster several at a time; a compiled network may insist on one.
    batch = 1 if is_compiled(case.network) else max(1, min(8, 2**18 // image[0].numel()))
    with scored(case, 1 + places, "Occlusion") as network, torch.no_grad():
        whole = float(network(image))
        # MONAI fades towards 0, which is bright in an image of negative values; the mean is neither.
        shifted = _Shifted(network, mean)
        method = OcclusionSensitivity(
            shifted, mask_size=box, n_batch=batch, overlap=OVERLAP, activate=False, verbose=False
        )
        covered, _ = method(image - mean)
    fall = whole - covered.as_tensor()[0, 0].reshape(image.shape[2:])
    # Blending overlapping boxes rounds; where nothing happens, that must not become the whole map.
    return torch.where(fall > 1e-5 * abs(whole), fall, 0)


class _Shifted(torch.nn.Module):
    """The network for images from which the mean was taken."""

    def __init__(self, network: torch.nn.Module, mean: Tensor) -> None:
        super().__init__()
        self.network, self._mean = network, mean

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images + self._mean)


METHOD = Method(
    CATALOGUE["occlusion"],
    _compute,
    layers=no_layer,
)

"""SmoothGrad: saliency averaged over noisy copies of the input; equal to MONAI's, several copies at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contract.methods import CATALOGUE
from .batches import TRIAL, Batches
from .method import Case, Method, no_layer
from .scored import scored

SAMPLES = 25
SPREAD = 0.15
"""Standard deviation of the noise as a share of the input's range; the paper finds 0.1 to 0.2 best."""


def noisy(image: Tensor, count: int, spread: float) -> list[Tensor]:
    """Copies of an image (1×C×spatial) with noise of the current seed, in the order in which MONAI draws it.

    Args:
        spread: standard deviation, as a share of the image's range.
    """
    deviation = (spread * (image.max() - image.min())).item()
    return [
        image + torch.normal(0, deviation, size=image.shape, dtype=image.dtype, device=image.device)
        for _ in range(count)
    ]


def _compute(case: Case) -> Tensor:
    """Smilkov et al. 2017, with squared gradients as MONAI has it; the largest of the channels."""
    image = case.image.detach()
    with scored(case, TRIAL + SAMPLES, "SmoothGrad", seed=0) as network:
        batches, total = Batches(case, network), torch.zeros_like(image)
        copies = noisy(image, SAMPLES, SPREAD)

        def add(gradient: Tensor) -> None:
            total.add_(gradient * gradient)

        batches.gradients(SAMPLES, lambda numbers: torch.cat([copies[n] for n in numbers]), add)
    return (total.sqrt() / SAMPLES)[0].amax(0)  # the order is MONAI's


METHOD = Method(
    CATALOGUE["smoothgrad"],
    _compute,
    layers=no_layer,
)

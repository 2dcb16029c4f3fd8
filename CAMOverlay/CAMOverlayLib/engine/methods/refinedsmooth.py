"""The refined map with its input's part smoothed over noisy copies of the image.

Of the refined map's factors the input's is the noisiest: gradients at single voxels jump. Here it is averaged over a
few copies of the image with noise, as SmoothGrad (Smilkov et al. 2017, https://arxiv.org/abs/1706.03825) averages
saliency. The layers' maps are those of the image itself, and the product is that of ``refined``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...contract.methods import CATALOGUE
from ..network.forward import require_finite
from .batches import TRIAL, Batches
from .method import Case, Method
from .refined import fuse, input_map, layer_maps, stages_to
from .scored import scored

SAMPLES = 6
SPREAD = 0.1
"""Standard deviation of the noise as a share of the input's range, as in SmoothGrad."""


def smoothed_input_map(case: Case, shape: tuple[int, ...]) -> Tensor:
    """Mean of :func:`.refined.input_map` over noisy copies of the image: each with the gradient there, and all with
    what stands out of the image itself. The noise is the same every time.

    Args:
        shape: of the map, spatial.
    """
    image = case.image.detach()
    spread = SPREAD * float(image.max() - image.min())
    total = image.new_zeros(shape)
    with scored(case, TRIAL + SAMPLES, "noisy copies", seed=0) as network:
        noise = torch.randn((SAMPLES, *image.shape[1:]), device=image.device, dtype=image.dtype) * spread

        def add(gradient: Tensor) -> None:
            require_finite(gradient, "The gradient at a noisy copy of the network's input")
            total.add_(input_map(image, gradient, shape))

        Batches(case, network).gradients(SAMPLES, lambda numbers: image + noise[list(numbers)], add)
    return total / SAMPLES


def _compute(case: Case) -> Tensor:
    maps = layer_maps(case, case.gradients())
    finest = max((tuple(one.shape) for one in maps), key=math.prod)
    return fuse([smoothed_input_map(case, finest), *maps])


METHOD = Method(
    CATALOGUE["refinedsmooth"],
    _compute,
    layers=stages_to,
)

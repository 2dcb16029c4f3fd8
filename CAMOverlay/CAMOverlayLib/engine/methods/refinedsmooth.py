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
from ..bundle.compiled import is_compiled
from ..network.forward import INPUT, require_finite
from .method import Case, Method
from .refined import fuse, input_map, layer_map, stages_to
from .scored import scored

SAMPLES = 6
SPREAD = 0.1
"""Standard deviation of the noise as a share of the input's range, as in SmoothGrad."""

BATCH_VALUES = 2**20
"""Values of as many copies as go through the network together; small images are faster several at a time."""


def smoothed_input_map(case: Case, shape: tuple[int, ...]) -> Tensor:
    """Mean of :func:`.refined.input_map` over noisy copies of the image: each with the gradient there, and all with
    what stands out of the image itself. The noise is the same every time.

    Args:
        shape: of the map, spatial.
    """
    image = case.image.detach()
    spread = SPREAD * float(image.max() - image.min())
    batch = 1 if is_compiled(case.network) else max(1, min(SAMPLES, BATCH_VALUES // image.numel()))
    total = image.new_zeros(shape)
    with scored(case, SAMPLES, "noisy copies", seed=0) as network:
        noise = torch.randn((SAMPLES, *image.shape[1:]), device=image.device, dtype=image.dtype) * spread
        for some in noise.split(batch):
            copies = (image + some).requires_grad_()
            (gradients,) = torch.autograd.grad(network(copies).sum(), copies)
            require_finite(gradients, "The gradient at a noisy copy of the network's input")
            total += sum(input_map(image, one[None], shape) for one in gradients)
    return total / SAMPLES


def _compute(case: Case) -> Tensor:
    gradients, activations = case.gradients(), case.forward.activations
    maps = [layer_map(activations[name].detach(), gradients[name]) for name in case.layers if name != INPUT]
    finest = max((tuple(one.shape) for one in maps), key=math.prod)
    return fuse([smoothed_input_map(case, finest), *maps])


METHOD = Method(
    CATALOGUE["refinedsmooth"],
    _compute,
    layers=stages_to,
)

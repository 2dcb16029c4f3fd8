"""Saliency: how strongly the target reacts to each voxel of the network's input. MONAI's implementation."""

from __future__ import annotations

from monai.visualize import VanillaGrad
from torch import Tensor

from .method import Case, Method, no_layer
from .scored import scored


def _compute(case: Case) -> Tensor:
    """Simonyan et al. 2014: the gradient's absolute value, the largest of the channels; target a unit of input."""
    with scored(case, 1, "Saliency") as network:
        return VanillaGrad(network)(case.image.clone(), index=0)[0].abs().amax(0)


METHOD = Method(
    "saliency",
    "Saliency",
    "Simonyan et al. 2014, https://arxiv.org/abs/1312.6034",
    "How strongly the target reacts to each voxel of the input, up or down; sharp and noisy.",
    _compute,
    layers=no_layer,
)

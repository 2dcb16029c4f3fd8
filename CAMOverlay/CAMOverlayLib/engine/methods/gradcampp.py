"""Grad-CAM++: as Grad-CAM, with places where the target rises counting alike, however large the object there."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contract.methods import CATALOGUE
from .gradcam import weighted_sum
from .method import ChannelWeights, at_layer


def grad_cam_pp(activation: Tensor, gradient: Tensor) -> Tensor:
    """Chattopadhyay et al. 2018, equations 11 and 19, for the class score ``exp(S)`` of a logit S.

    With it the derivatives are powers of the gradient, and α = g² / (2 g² + ΣA g³) = 1 / (2 + g ΣA), where ΣA is the
    channel's sum over all places. The factor exp(S), which is common to all weights and overflows for confident
    networks, is left out; it would cancel in [0, 1] anyway.

    Args:
        activation, gradient: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the target summed over places.
    """
    return weighted_sum(_sums(activation, gradient), activation)


def _sums(activation: Tensor, gradient: Tensor) -> Tensor:
    """The weights: C. They are sums over places, so those of several windows add up."""
    total = activation.flatten(2).sum(2).view(*activation.shape[:2], *[1] * (activation.ndim - 2))
    below = 2 + gradient * total
    alpha = torch.where(below == 0, 0, 1 / below)
    return (alpha * gradient.relu()).flatten(2).sum(2)[0]


METHOD = at_layer(
    CATALOGUE["gradcampp"],
    grad_cam_pp,
    ChannelWeights(_sums, lambda sums, places: sums),
)

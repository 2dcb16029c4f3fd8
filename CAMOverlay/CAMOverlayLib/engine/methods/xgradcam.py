"""XGrad-CAM: channels weighted so that the weighted activations add up to the target as closely as they can."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contract.methods import CATALOGUE
from .gradcam import weighted_sum
from .method import ChannelWeights, at_layer


def xgrad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Fu et al. 2020, equation 8: a channel's gradient averaged with its own activation as weights.

    Args:
        activation, gradient: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the target. A channel that is silent everywhere counts nothing.
    """
    return weighted_sum(_weights(_sums(activation, gradient)), activation)


def _sums(activation: Tensor, gradient: Tensor) -> Tensor:
    """2×C: the channels' sums over places, with the gradient as a factor and without."""
    return torch.cat([(activation * gradient).flatten(2).sum(2), activation.flatten(2).sum(2)])


def _weights(sums: Tensor, places: int = 1) -> Tensor:
    explained, total = sums
    return torch.where(total == 0, 0, explained / total)


METHOD = at_layer(
    CATALOGUE["xgradcam"],
    xgrad_cam,
    ChannelWeights(_sums, _weights),
)

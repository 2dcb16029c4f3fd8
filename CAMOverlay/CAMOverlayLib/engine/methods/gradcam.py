"""Grad-CAM: every channel weighs as much as the target rises when the whole channel rises."""

from __future__ import annotations

from torch import Tensor

from ...contract.methods import CATALOGUE
from .method import ChannelWeights, at_layer


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Selvaraju et al. 2017, equations 1 and 2.

    Args:
        activation, gradient: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the target: evidence against it is left out.
    """
    return weighted_sum(gradient.flatten(2).mean(2)[0], activation)


def weighted_sum(weights: Tensor, activation: Tensor) -> Tensor:
    """Positive part of the channels' weighted sum: C and 1×C×spatial to spatial."""
    return (weights.view(-1, *[1] * (activation.ndim - 2)) * activation[0]).sum(0).relu()


def _summed_gradient(activation: Tensor, gradient: Tensor | None) -> Tensor:
    assert gradient is not None  # the method is one of a target
    return gradient.flatten(2).sum(2)[0]


METHOD = at_layer(
    CATALOGUE["gradcam"],
    grad_cam,
    ChannelWeights(_summed_gradient, lambda sums, places: sums / places),
)

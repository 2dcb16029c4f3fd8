"""Grad-CAM: every channel weighs as much as the target rises when the whole channel rises."""

from __future__ import annotations

from torch import Tensor


def grad_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Selvaraju et al. 2017, equations 1 and 2.

    Args:
        activation, gradient: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the target: evidence against it is left out.
    """
    weights = gradient.flatten(2).mean(2)[0]
    return (weights.view(-1, *[1] * (activation.ndim - 2)) * activation[0]).sum(0).relu()

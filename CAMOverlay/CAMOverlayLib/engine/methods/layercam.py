"""LayerCAM: every place weighs as much as the target rises with it, and only where it rises."""

from __future__ import annotations

from torch import Tensor

from ...contract.methods import CATALOGUE
from .method import at_layer


def layer_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Jiang et al. 2021, equations 5 to 7.

    Args:
        activation, gradient: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the target.
    """
    return (activation * gradient.relu())[0].sum(0).relu()


METHOD = at_layer(
    CATALOGUE["layercam"],
    layer_cam,
)

"""LayerCAM: every place weighs as much as the target rises with it, and only where it rises."""

from __future__ import annotations

from torch import Tensor

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
    "layercam",
    "LayerCAM",
    "Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943",
    "Activation times positive gradient at every place; fine detail at early layers, object parts at late ones.",
    layer_cam,
)

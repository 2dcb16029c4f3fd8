"""HiResCAM: activation times gradient, place by place; exactly what a linear classifier on the layer would add up."""

from __future__ import annotations

from torch import Tensor

from ...contract.methods import CATALOGUE
from .method import at_layer


def hires_cam(activation: Tensor, gradient: Tensor) -> Tensor:
    """Draelos and Carin 2020.

    Args:
        activation, gradient: 1×C×spatial.

    Returns:
        spatial, ≥ 0, in the unit of the target: what each place adds to it, to first order.
    """
    return (activation * gradient)[0].sum(0).relu()


METHOD = at_layer(
    CATALOGUE["hirescam"],
    hires_cam,
)

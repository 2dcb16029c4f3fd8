"""Saliency: how strongly the target reacts to each voxel of the network's input. MONAI's implementation."""

from __future__ import annotations

from monai.visualize import VanillaGrad
from torch import Tensor

from ...contract.methods import CATALOGUE
from .method import Case, Method, no_layer
from .scored import scored


def _compute(case: Case) -> Tensor:
    """Simonyan et al. 2014: the gradient's absolute value, the largest of the channels; target a unit of input."""
    with scored(case, 1, "Saliency") as network:
        return VanillaGrad(network)(case.image.clone(), index=0)[0].abs().amax(0)


METHOD = Method(
    CATALOGUE["saliency"],
    _compute,
    layers=no_layer,
)

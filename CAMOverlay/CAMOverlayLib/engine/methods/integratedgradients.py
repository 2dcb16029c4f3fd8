"""Integrated gradients: what each voxel adds on the way from an empty image to this one. Captum's implementation."""

from __future__ import annotations

from torch import Tensor

from ...contract.methods import CATALOGUE
from .batches import TRIAL, Batches
from .method import Case, Method, library, no_layer
from .scored import scored

TITLE = CATALOGUE["integratedgradients"].title
STEPS = 32


def _compute(case: Case) -> Tensor:
    """Sundararajan et al. 2017: positive part, summed over channels. All voxels together, with the negative ones, add
    up to the difference of the target between the image and the empty image, every channel at its smallest value."""
    captum = library("captum", "captum.attr", TITLE)
    image = case.image
    empty = image.flatten(2).amin(2).view(*image.shape[:2], *[1] * (image.ndim - 2)).expand_as(image)
    with scored(case, TRIAL + STEPS, TITLE) as network:
        size = Batches(case, network).size
        method = captum.IntegratedGradients(network)
        found = method.attribute(image.clone(), empty, target=0, n_steps=STEPS, internal_batch_size=size)
    return found[0].detach().sum(0).relu().to(image.dtype)


METHOD = Method(
    CATALOGUE["integratedgradients"],
    _compute,
    layers=no_layer,
)

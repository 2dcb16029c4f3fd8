"""Guided backpropagation: saliency that only follows what excites. Captum's implementation."""

from __future__ import annotations

import warnings

from torch import Tensor, nn

from ...contract.errors import MethodError
from ...contract.methods import CATALOGUE
from .method import Case, Method, library, no_layer
from .scored import scored

TITLE = CATALOGUE["guidedbackprop"].title


def _compute(case: Case) -> Tensor:
    """Springenberg et al. 2015: positive part, summed over channels.

    Raises:
        MethodError: the network has no ReLU module, so that the result would be plain saliency under another name.
    """
    captum = library("captum", "captum.attr", TITLE)
    if not any(isinstance(module, nn.ReLU) for module in case.network.modules()):
        raise MethodError(
            f"{TITLE} is defined for ReLU, and this {type(case.network).__name__} has no module of that kind. "
            "Use saliency or smoothgrad."
        )
    with scored(case, 1, TITLE) as network, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum announces its own hooks, which are gone in a moment
        found = captum.GuidedBackprop(network).attribute(case.image.clone().requires_grad_(), target=0)
    return found[0].detach().sum(0).relu()


METHOD = Method(
    CATALOGUE["guidedbackprop"],
    _compute,
    layers=no_layer,
)

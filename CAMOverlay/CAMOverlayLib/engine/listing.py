"""The layers of a bundle's network, for *List the layers* in the panel and ``inspect`` on the command line."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import LayerError, NetworkError
from .bundle import Bundle
from .compiled import is_compiled
from .layers import LayerTable, list_layers


def layers_of(bundle: Bundle) -> tuple[nn.Module, tuple[int, ...], LayerTable | None]:
    """The network, the C×spatial input that it was looked at with, and its layers (None of a compiled network).

    Raises:
        UntrustedBundleError, BundleError, WeightsError: the bundle does not evaluate, asks for more than an image, or its
            network does not take the input that the bundle describes.
        LayerError: no layer has an output with spatial extent.
    """
    bundle.require_explainable()
    network = bundle.network(torch.device("cpu"))
    shape = bundle.input_shape()
    if is_compiled(network):
        return network, shape, None
    try:
        return network, shape, list_layers(network, torch.zeros(1, *shape))
    except (LayerError, NetworkError):
        bundle.inferer()  # one that asks for prompts says better why there is nothing to see
        raise

"""Maps that explain nothing, beside those that should: what a benchmark without them would take for a success."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from Benchmarks.localisation_networks import make

RANDOM = ", random weights"
"""Behind the name of a method: of the same network before it learned."""


def untrained(name: str, seed: int, images: Tensor) -> nn.Module:
    """The network of that name with random weights, in eval mode. Its normalisation has seen the images (N×1×I×J×K):
    without that, activations fade or grow from layer to layer, and the maps would be bad for that reason alone."""
    network = make(name, 1000 + seed)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = None  # the average of all batches
    network.train()
    with torch.no_grad():
        for batch in images.split(6):
            network(batch)
    return network.eval()


def edges(image: Tensor) -> Tensor:
    """|x − mean| of the network's input, 1×C×spatial to spatial: what an edge detector would call an explanation."""
    return (image - image.mean()).abs()[0].mean(0)


def centre(image: Tensor) -> Tensor:
    """A ball at the head's centre, 1×C×spatial to spatial: a normal distribution, an eighth of the image wide, about
    the mean place of all voxels that are not air (the corner's value)."""
    inside = image[0, 0] != image[0, 0].flatten()[0]
    middle = np.argwhere(inside.numpy()).mean(0)
    squares = [
        ((torch.arange(n) - float(m)) / (n / 8)).square().reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, (n, m) in enumerate(zip(inside.shape, middle))
    ]
    return torch.exp(-sum(squares) / 2)


CONTROLS = {"|x − mean| alone": edges, "the head's centre": centre}
"""Maps that look at no network, of its input."""

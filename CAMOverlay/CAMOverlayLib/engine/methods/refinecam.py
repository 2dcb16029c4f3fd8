"""RefineCAM: the maps of several layers, each scaled to [0, 1] and brought to the image's size, multiplied."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...contract.methods import CATALOGUE
from ..geometry.resample import to_input_grid
from ..network.layers import Layer, LayerTable
from .gradcampp import grad_cam_pp
from .method import Case, Method


def stages_to(table: LayerTable, chosen: Layer) -> tuple[str, ...]:
    """The last layer of every resolution down to the chosen one, as the authors' example takes the four stages of a
    ResNet."""
    return tuple(layer.name for layer in table.stages_to(chosen))


def refine_cam(maps: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    """Domeniconi et al. 2026, https://arxiv.org/abs/2605.14641: the product over all layers.

    Every map is scaled so that its smallest value becomes 0 and its largest 1, and interpolated linearly to the image's
    size. Then the maps are multiplied. So it is in the authors' own code (https://github.com/liuktc/RefineCAM, and what
    they gave to pytorch-grad-cam): of the base methods that they compare, its default is Grad-CAM++, and of their ways
    of mixing layers its own is the plain product of all.

    One thing is added, which cancels where a map is shown in [0, 1]: the product is multiplied with the geometric mean
    of the largest values, so that one window of a volume can be compared with another.

    Args:
        maps: each of shape spatial, ≥ 0, of any grid over the same extent.
        shape: of the image, spatial.

    Returns:
        of that shape, ≥ 0. A layer without any evidence leaves nothing of the others, as in the original.
    """
    product = torch.ones(shape, dtype=torch.float32, device=maps[0].device)
    for one in maps:
        low, high = float(one.min()), float(one.max())
        if not high > low:
            return torch.zeros_like(product)
        product *= to_input_grid((one.float() - low) / (high - low), shape)[0]
    return product * math.exp(sum(math.log(float(one.max())) for one in maps) / len(maps))


def _compute(case: Case) -> Tensor:
    gradients, activations = case.gradients(), case.forward.activations
    maps = [grad_cam_pp(activations[name].detach(), gradients[name]) for name in case.layers]
    return refine_cam(maps, tuple(case.image.shape[2:]))


METHOD = Method(
    CATALOGUE["refinecam"],
    _compute,
    layers=stages_to,
)

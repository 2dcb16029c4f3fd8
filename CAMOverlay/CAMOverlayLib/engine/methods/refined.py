"""The refined map: where every resolution of the network finds evidence at the same place.

The last layer knows what but not where: one activation covers a centimetre and more. Early layers know where but not
what: their maps light up on every edge. Multiplying keeps the places where all agree. The idea is that of LayerCAM's
fusion of layers (Jiang et al. 2021) and of Refine-CAM (https://arxiv.org/abs/2605.14641), with HiResCAM as the map of
each layer, because it needs no averaging over places and so means the same at every depth: what that place adds to the
target, to first order.

Recipe: the layers are the last of every resolution from the first that is coarser than the input down to the chosen
one; one forward and one backward pass give all of them. Each HiResCAM map is divided by its maximum, interpolated
linearly to the finest of the grids, and all are multiplied.

Limits:

- It shows agreement. A place that one resolution is blind to stays dark, so a large smooth finding loses its middle.
- The finest grid is sharper than the evidence: inside one activation of the chosen layer the early layers decide.
- A stage without any positive evidence is left out; the others then decide alone.
- With one resolution only (the network keeps it all the way) it is HiResCAM at the chosen layer.
- The forward pass keeps the graph from the finest of the layers on: more memory than a method at one layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..layers import Layer, LayerTable
from .hirescam import hires_cam
from .method import Case, Method

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def stages_to(table: LayerTable, chosen: Layer) -> tuple[str, ...]:
    """The last layer of every resolution up to the chosen one. Those at the input's own are left out: their maps are
    the noise of the gradient, at the highest price in memory."""
    stages = table.stages_to(chosen)
    coarser = tuple(layer.name for layer in stages if max(layer.stride) > 1.5)
    return coarser or (chosen.name,)


def fuse(maps: list[Tensor]) -> Tensor:
    """Multiply maps of any grids on the finest of them.

    Args:
        maps: each of shape spatial, ≥ 0.

    Returns:
        spatial, ≥ 0; 1.0 would be a place where all maps have their maximum. It is scaled by the geometric mean of the
        maxima, so that it keeps the unit of a map and a weak target stays distinguishable from a strong one.
    """
    finest = max((m.shape for m in maps), key=math.prod)
    lit = [m for m in maps if float(m.max()) > 0]
    if not lit:
        return maps[0].new_zeros(finest)
    product = torch.ones(finest, dtype=torch.float32, device=maps[0].device)
    for one in lit:
        one = (one / one.max()).float()
        product *= interpolate(one[None, None], finest, mode=LINEAR[one.ndim], align_corners=False)[0, 0]
    return product * math.exp(sum(math.log(float(m.max())) for m in lit) / len(lit))


def _compute(case: Case) -> Tensor:
    gradients, activations = case.gradients(), case.forward.activations
    return fuse([hires_cam(activations[name].detach(), gradients[name]) for name in case.layers])


METHOD = Method(
    "refined",
    "Refined (all resolutions)",
    "after Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943, and Refine-CAM, https://arxiv.org/abs/2605.14641",
    "Product of the HiResCAM maps of all resolutions of one pass: sharp, and dark where one of them finds nothing.",
    _compute,
    layers=stages_to,
)

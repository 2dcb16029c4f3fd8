"""The refined map: where every resolution of the network finds evidence at the same place.

The last layer knows what but not where: one activation covers a centimetre and more, and after global pooling it may
hold the finding anywhere. The input knows where but not what: it lights up on every edge. Multiplying keeps the places
where all agree. The idea is that of LayerCAM's fusion of layers (Jiang et al. 2021) and of Refine-CAM
(https://arxiv.org/abs/2605.14641).

Recipe, as chosen by ``make bench-localisation`` on networks other than those it reports:

- The layers are the last of every resolution that is coarser than the input, down to the chosen one, and the network's
  input. One forward and one backward pass give all of them.
- A layer's map is of what stands out: at each place, activation minus the channel's mean, times the gradient, summed
  over channels, positive part. Without the mean, ordinary tissue counts as well. At the last two resolutions the
  gradient counts with its sign (as in HiResCAM): channels there mean something of a class, and one that speaks against
  this class is what tells it from another. Before them only positive gradients count (as in LayerCAM): an edge is no
  class's, and the sign of what the network makes of it jumps from place to place.
- The last layer's evidence is averaged over seven activations along each axis before what is negative is cut, where its
  grid has so many and an earlier layer says where. What speaks for a class and what speaks against it are places
  apart there, above all before a maximum: every channel speaks of one place.
- The input's map is the size of the gradient times what stands out, averaged over each activation of the finest layer:
  the gradient at single voxels jumps from one to the next, and its sign with it.
- Each map is divided by its maximum, interpolated linearly to the grid of the finest layer, and all are multiplied.

Limits:

- It shows agreement. A place that one resolution is blind to stays dark, so a large smooth finding loses its middle.
- The finest grid is sharper than the evidence: inside one activation of the chosen layer the earlier maps decide.
- Multiplying concentrates: much heat in one place means that the maps agree there, not that the network is sure.
- What the input's map weighs is how unusual a voxel is, brighter or darker. A finding that differs from its
  surroundings in texture alone is found by the layers only.
- A map without any positive evidence is left out; the others then decide alone.
- A network with a single resolution, such as a ViT, gets no finer map than its own.
- The forward pass keeps the graph from the input on: more memory than a method at one layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.functional import interpolate

from ...contract.methods import CATALOGUE
from ..network.forward import INPUT
from ..network.layers import Layer, LayerTable
from .hirescam import hires_cam
from .layercam import layer_cam
from .method import Case, Method

LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
DECIDING = 2
"""Resolutions, counted from the last, at which gradients count with their sign."""

TOGETHER = 7
"""Activations of the last layer along each axis whose evidence is weighed together."""

AVERAGE = {1: functional.adaptive_avg_pool1d, 2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
MOVING_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


def stages_to(table: LayerTable, chosen: Layer) -> tuple[str, ...]:
    """The input, and the last layer of every resolution up to the chosen one. Layers at the input's own resolution are
    left out, the chosen one apart: they repeat the input's map, at the highest price in memory."""
    stages = table.stages_to(chosen)
    return (INPUT, *(layer.name for layer in stages if max(layer.stride) > 1.5 or layer == chosen))


def layer_maps(case: Case, gradients: dict[str, Tensor]) -> list[Tensor]:
    """The maps of the case's layers but the input, spatial, ≥ 0, in the order in which the layers ran."""
    names = [name for name in case.layers if name != INPUT]
    early, deciding = names[:-DECIDING], names[-DECIDING:]
    standing = {name: standing_out(case.forward.activations[name].detach()) for name in names}
    maps = [layer_cam(standing[name], gradients[name]) for name in early]
    maps += [hires_cam(standing[name], gradients[name]) for name in deciding[:-1]]
    last = (standing[names[-1]] * gradients[names[-1]])[0].sum(0)
    return [*maps, (weighed_together(last) if maps else last).relu()]


def weighed_together(evidence: Tensor, width: int = TOGETHER) -> Tensor:
    """Averages over so many places along each axis, at the edge over those that there are; as it is on a grid of fewer,
    where nearly all places would say the same then."""
    if min(evidence.shape) < width:
        return evidence
    average = MOVING_AVERAGE[evidence.ndim]
    exact = evidence.to(torch.promote_types(evidence.dtype, torch.float32))  # of a half there is no average in 3-D
    return average(exact[None, None], width, 1, width // 2, count_include_pad=False)[0, 0]


def input_map(image: Tensor, gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Size of the gradient times what stands out, 1×C×spatial, averaged to ``shape``."""
    product = (standing_out(image) * gradient).abs().sum(1, keepdim=True)
    return AVERAGE[len(shape)](product, shape)[0, 0]


def standing_out(activation: Tensor) -> Tensor:
    """1×C×spatial minus each channel's mean over places."""
    return activation - activation.flatten(2).mean(2).view(*activation.shape[:2], *[1] * (activation.ndim - 2))


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
    gradients = case.gradients()
    maps = layer_maps(case, gradients)
    finest = max((tuple(m.shape) for m in maps), key=math.prod)
    return fuse([input_map(case.forward.activations[INPUT].detach(), gradients[INPUT], finest), *maps])


METHOD = Method(
    CATALOGUE["refined"],
    _compute,
    layers=stages_to,
)

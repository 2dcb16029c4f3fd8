"""How orderly a map is beside those that the same method makes of a network that has learnt nothing.

The measure is that of Hedström et al. 2023 (https://arxiv.org/abs/2401.06465, eMPRT): the entropy of the map's
histogram, which rises when all weights are random. One random map may by chance be as orderly as anything, so there are
many of them, at the price of one pass: the method is given the shuffled network's activations, and the gradients of
its channels in random order and with random signs. That is fair where a map weighs whole channels. One that weighs
every place by itself is orderly for another reason: behind a maximum few places have a gradient at all, of random
weights too. Of such a method the evidence is judged that it is made of, each channel weighed as Grad-CAM does.

Entropy alone takes a map for orderly that is hardly lit at all, and a finding that lights a third of the volume for
disorder. So it is asked twice: of the maps as they are, and of as many of the hottest places of both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ..methods import METHODS, Case, Method
from .similarity import SEED, Array, entropy, places

MOST_DRAWS, FEWEST_DRAWS = 100, 20
WORTH = 2e7
"""Activations that all draws together may weigh: beyond it there are fewer draws, as the method's own work counts."""


@dataclass(frozen=True)
class Dealt(Case):
    """A case whose gradients are dealt to other channels.

    Attributes:
        dealt: by layer, 1×C×spatial.
    """

    dealt: dict[str, Tensor] = field(default_factory=dict)

    def gradients(self) -> dict[str, Tensor]:
        return self.dealt


@dataclass(frozen=True)
class Orderly:
    """Shares of the random maps that are as orderly as the one that is judged.

    Attributes:
        as_it_is, equally_lit: of whole maps; of as many of the hottest places of both.
        own, random: entropy in nats, of the map and of the median random one.
        count: how many random maps there were; with none, the shares say nothing.
    """

    as_it_is: float
    equally_lit: float
    own: float
    random: float
    count: int

    def figures(self) -> dict[str, float]:
        return {
            "entropy": self.own,
            "entropy shuffled": self.random,
            "as orderly": self.as_it_is,
            "as orderly equally lit": self.equally_lit,
            "shuffled maps": float(self.count),
        }


def orderly(heat: Array, maps: list[Array]) -> Orderly:
    """
    Args:
        heat: the map, spatial, ≥ 0.
        maps: random ones of its shape.
    """
    where = places(heat.shape)
    values = heat.ravel()[where]
    lit = [one for one in (other.ravel()[where] for other in maps) if np.ptp(one) > 0]  # an empty map has no order
    own, others = entropy(values), [entropy(one) for one in lit]
    as_it_is = [other <= own for other in others]
    if not lit:
        return Orderly(0.0, 0.0, own, 0.0, 0)
    equally_lit = [_as_orderly(other, values) for other in lit]
    return Orderly(float(np.mean(as_it_is)), float(np.mean(equally_lit)), own, float(np.median(others)), len(lit))


def _as_orderly(other: Array, values: Array) -> bool:
    """Of as many of the hottest places as are lit in both."""
    count = int(min((other > 0).sum(), (values > 0).sum()))
    return entropy(hottest(other, count)) <= entropy(hottest(values, count))


def hottest(values: Array, count: int) -> Array:
    """What the ``count`` hottest places have beyond the next one; 0 elsewhere."""
    if count >= values.size:
        return values - values.min()
    below = np.partition(values, values.size - count - 1)[values.size - count - 1]
    return np.maximum(values - below, 0)


def evidence(method: Method, case: Case) -> tuple[Method, Case] | None:
    """The method that weighs whole channels, and what it is given: the same one if it does, else Grad-CAM at its layer;
    None where it looks at no layer or for no class."""
    if not case.layers or not method.of_target:
        return None
    if method.channels:
        return method, case
    return METHODS["gradcam"], dataclasses.replace(case, layers=case.layers[-1:])


def random_maps_of(method: Method, case: Case) -> Iterator[Array]:
    """What the method makes of a case whose gradients are dealt to other channels."""
    gradients = dataclasses.replace(case, objective=method.objective(case)).gradients()
    random, work = np.random.default_rng(SEED + 2), sum(one.numel() for one in gradients.values())
    for _ in range(int(np.clip(WORTH / work, FEWEST_DRAWS, MOST_DRAWS))):
        dealt = Dealt(**vars(case), dealt={name: _dealt(one, random) for name, one in gradients.items()})
        yield method.compute(dealt).detach().float().cpu().numpy().astype(np.float64)


def _dealt(gradient: Tensor, random: np.random.Generator) -> Tensor:
    channels = gradient.shape[1]
    order, signs = random.permutation(channels), random.choice([-1.0, 1.0], channels)
    factors = gradient.new_tensor(signs).view(1, -1, *[1] * (gradient.ndim - 2))
    return gradient[:, order.tolist()] * factors

"""How alike two maps are, how alike maps are that know nothing but the image, and how orderly a map is.

What counts as alike is no number of ours: it is judged against random pairs (Arun et al. 2021,
https://doi.org/10.1148/ryai.2021200267, who compared with 50 pairs of maps). A random pair is two maps of which each
weighs the channels of the layer at random: they follow the image's anatomy as any map of this layer does, and nothing
else. A method that looks at no layer has no such maps; its map is then paired with itself, mirrored and shifted at
random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...reading.comparison import mean_ranks

Array = NDArray[np.float64]

SEED = 20210
"""Of every random number in the checks: they are the same each time, and nobody else's change."""

DRAWS = 50
MOST_PLACES = 4096
"""Larger maps are compared at as many places, drawn once, so that ranks and random maps stay cheap."""

BOUND = 0.95
"""Quantile of the random pairs up to which two maps are no more alike than chance."""

BLIND = 0.8
"""Where the random pairs reach up to here, hardly any two maps of this image could be told to be alike."""


def spearman(one: Array, other: Array) -> float:
    """Rank correlation of two maps of one shape; 0 where one of them is the same everywhere."""
    a, b = mean_ranks(one.ravel()), mean_ranks(other.ravel())
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 0 else 0.0


def entropy(values: Array) -> float:
    """Of a map's histogram in nats, as in Hedström et al. 2023 (https://arxiv.org/abs/2401.06465, eMPRT).

    With as many bins as Rice's rule gives, between smallest and largest value: a map that is hot in one place has
    little, noise has much.
    """
    counts, _ = np.histogram(values, int(np.ceil(2 * values.size ** (1 / 3))))
    shares = counts[counts > 0] / values.size
    return float(-(shares * np.log(shares)).sum())


def places(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Flat indices at which maps of this shape are compared."""
    count = int(np.prod(shape))
    if count <= MOST_PLACES:
        return np.arange(count)
    return np.sort(np.random.default_rng(SEED).choice(count, MOST_PLACES, replace=False))


def correlation(one: Array, other: Array) -> float:
    """:func:`spearman` at the :func:`places` of two maps of one shape."""
    where = places(one.shape)
    return spearman(one.ravel()[where], other.ravel()[where])


def random_maps(activation: Tensor, seed: int, count: int = DRAWS) -> Array:
    """Maps that weigh a layer's channels at random: count × places, ≥ 0.

    Args:
        activation: 1×C×spatial.
    """
    where = places(tuple(activation.shape[2:]))
    channels = activation.detach()[0].flatten(1).cpu().double().numpy()[:, where]
    weights = np.random.default_rng(seed).normal(size=(count, len(channels)))
    return np.maximum(weights @ channels, 0)


def random_pairs(one: Array, other: Array) -> Array:
    """Correlations of the maps of two rows, pair by pair."""
    return np.array([spearman(a, b) for a, b in zip(one, other, strict=True)])


def moved_pairs(heat: Array, count: int = DRAWS) -> Array:
    """Correlations of a map with itself, mirrored and shifted (around its edges) at random."""
    random = np.random.default_rng(SEED)
    axes = tuple(range(heat.ndim))

    def moved() -> Array:
        flipped = np.flip(heat, tuple(axis for axis in axes if random.random() < 0.5))
        return np.roll(flipped, [int(random.integers(n)) for n in heat.shape], axes)

    return np.array([correlation(heat, moved()) for _ in range(count)])


@dataclass(frozen=True)
class Likeness:
    """How alike two maps are, beside random pairs.

    Attributes:
        similarity: rank correlation of the two.
        bound: what 95 % of the random pairs stay below.
    """

    similarity: float
    bound: float

    @classmethod
    def beside(cls, similarity: float, pairs: Array) -> Likeness:
        return cls(similarity, float(np.quantile(pairs, BOUND)))

    @property
    def blind(self) -> bool:
        """The random pairs are so alike that they cannot tell."""
        return self.bound >= BLIND

    @property
    def apart(self) -> bool:
        """No more alike than chance."""
        return self.similarity <= self.bound

    @property
    def alike(self) -> bool:
        """Nearer to two equal maps (1) than to chance."""
        return self.similarity >= (1 + self.bound) / 2

    def figures(self) -> dict[str, float]:
        return {"similarity": self.similarity, "random pairs": self.bound}

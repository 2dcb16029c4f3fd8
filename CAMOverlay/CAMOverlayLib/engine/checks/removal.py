"""Parts of the image taken away, place by place on the map's grid, and what is put there instead.

What is put there comes from around (:mod:`..geometry.infill`, on the coarse grid), with a little noise so that the
shape of the hole tells nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..geometry.infill import filled
from ..geometry.resample import LINEAR
from .similarity import SEED, Array

FINEST = 16
"""Places along an axis at most; finer maps are averaged."""

NOISE = 0.1
"""Of the image's standard deviation."""

Order = NDArray[np.int64]


class Removal:
    """An image of which places can be taken away.

    Args:
        image: 1×C×spatial.
        heat: spatial; its grid, made coarser where it is finer than 16 places, is that of the places.

    Attributes:
        heat: on the grid of the places.
        busy: where the image is not as good as empty: where it varies more than in the median place.
    """

    def __init__(self, image: Tensor, heat: Array) -> None:
        self.image = image
        self.shape = tuple(min(n, FINEST) for n in heat.shape)
        self.heat = self._coarse(torch.as_tensor(heat)[None, None])[0, 0].numpy()
        self._means = self._coarse(image)
        spread = (self._coarse(image**2) - self._means**2).sum(1)[0].cpu().numpy()
        self.busy = spread > np.median(spread)
        generator = torch.Generator().manual_seed(SEED)
        noise = torch.randn(image.shape, generator=generator).to(image)
        self._noise = noise * NOISE * image.std()

    @property
    def count(self) -> int:
        """How many places there are."""
        return int(np.prod(self.shape))

    def _coarse(self, values: Tensor) -> Tensor:
        return functional.interpolate(values, size=self.shape, mode="area")

    def without(self, removed: Order) -> Tensor:
        """The image with places filled from around, by their flat indices."""
        hole = torch.zeros(self.count, dtype=torch.bool)
        hole[torch.as_tensor(removed)] = True
        hole = hole.view(1, 1, *self.shape).to(self.image.device)
        linear = LINEAR[len(self.shape)]
        size = tuple(self.image.shape[2:])
        fill = (
            functional.interpolate(filled(self._means, hole), size=size, mode=linear, align_corners=False) + self._noise
        )
        fine = functional.interpolate(hole.to(self.image), size=size, mode="nearest-exact") > 0.5
        return torch.where(fine, fill, self.image)

    def by_heat(self) -> Order:
        """The hottest place first."""
        return np.argsort(-self.heat.ravel(), kind="stable")

    def at_random(self, seed: int) -> Order:
        """In random order, places that are busy first: to take away what is empty would be no control."""
        order = np.random.default_rng(seed).permutation(self.count)
        return order[np.argsort(~self.busy.ravel()[order], kind="stable")]

    def blob(self, spacing: tuple[float, ...], seed: int) -> Order:
        """From a random busy place outwards.

        Args:
            spacing: mm from place to place, an axis each.
        """
        centre = np.unravel_index(self.at_random(seed)[0], self.shape)
        places = np.argwhere(np.ones(self.shape)) - np.array(centre)
        return np.argsort(np.linalg.norm(places * np.array(spacing), axis=1), kind="stable")

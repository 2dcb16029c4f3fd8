"""Parts of the image taken away, place by place on the map's grid, and what is put there instead.

What is put there comes from around, by :mod:`.imputation`, with a little noise so that the shape of the hole tells
nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ..geometry.resample import LINEAR
from .imputation import Mask, impute
from .similarity import SEED, Array

FINEST = 16
"""Places along an axis at most; finer maps are averaged."""

NOISE = 0.1
"""Of the image's standard deviation."""

Order = NDArray[np.int64]

NONE: Order = np.array([], int)


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
        means = self._coarse(image)
        self._means = means[0].cpu().double().numpy()
        spread = (self._coarse(image**2) - means**2).sum(1)[0].cpu().numpy()
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
        filled = torch.as_tensor(impute(self._means, self._hole(removed))).to(self.image)
        size, linear = tuple(self.image.shape[2:]), LINEAR[len(self.shape)]
        fill = functional.interpolate(filled[None], size=size, mode=linear, align_corners=False) + self._noise
        return torch.where(self.fine(removed), fill, self.image)

    def fine(self, removed: Order) -> Tensor:
        """Which voxels of the image these places are: bool, 1×1×spatial."""
        taken = torch.as_tensor(self._hole(removed))[None, None].to(self.image)
        return functional.interpolate(taken, size=tuple(self.image.shape[2:]), mode="nearest-exact") > 0.5

    def _hole(self, removed: Order) -> Mask:
        hole = np.zeros(self.shape, bool)
        hole.ravel()[removed] = True
        return hole

    def by_heat(self) -> Order:
        """The hottest place first."""
        return np.argsort(-self.heat.ravel(), kind="stable")

    def at_random(self, seed: int, spared: Order = NONE) -> Order:
        """In random order, places that are busy first: to take away what is empty would be no control.

        Args:
            spared: places that come last, whatever they are.
        """
        order = np.random.default_rng(seed).permutation(self.count)
        last = self._hole(spared).ravel()
        return order[np.lexsort((~self.busy.ravel()[order], last[order]))]

    def blob(self, spacing: tuple[float, ...], seed: int, spared: Order = NONE) -> Order:
        """From a random busy place outwards.

        Args:
            spacing: mm from place to place, an axis each.
            spared: as of :meth:`at_random`.
        """
        centre = np.unravel_index(self.at_random(seed, spared)[0], self.shape)
        places = np.argwhere(np.ones(self.shape)) - np.array(centre)
        away = np.linalg.norm(places * np.array(spacing), axis=1)
        last = self._hole(spared).ravel()
        return np.lexsort((away, last))

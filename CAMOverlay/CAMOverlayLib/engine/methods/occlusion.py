"""Occlusion sensitivity: how far the target falls when a place is covered.

What covers, and how falls become a map, are MONAI's (``OcclusionSensitivity`` with its mode ``gaussian``): a box is
faded towards the image's mean, wholly at its centre and less towards its edges, and a voxel shows the average fall of
the boxes over it, weighted by a Gaussian about their centres.

Not every box is tried. Neighbouring boxes are first covered together, three along each axis; only where that changes
the target by a twentieth of the most that any such group does, each box of the group is tried alone. The fall of any
other group is shared out evenly among its boxes. So a map of a thousand boxes takes some hundred passes, and where both
compute it is MONAI's. What it can miss: evidence for and against the target within one group, which cancel each other;
evidence that a network takes from elsewhere once much is covered; and faint heat, of which groups show the average: on
the demo volume the hottest place is that of all boxes, and about half of the faint heat is left out (docs/speed.md).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from monai.visualize import OcclusionSensitivity
from torch import Tensor

from ...contract.methods import CATALOGUE
from ..progress import sketched
from .batches import TRIAL, Batches
from .method import Case, Method, no_layer
from .scored import scored

PARTS = 8
"""The covered box is this part of the image along each axis."""
OVERLAP = 0.25

GROUP = 3
"""Boxes along each axis that are covered together first."""

MATTERS = 0.05
"""Share of the largest change from which on the boxes of a group are tried one by one."""

FEW = 64
"""Boxes up to which all are tried at once."""


def _compute(case: Case) -> Tensor:
    """Zeiler and Fergus 2014: the target of the whole image minus that with a box faded to the image's mean.

    In the unit of the target; places whose covering raises it are left out. No gradient is taken, so that it says what
    the network does and not what it would do for an infinitely small change.
    """
    boxes = Boxes.over(tuple(case.image.shape[2:]))
    covers = _Covers(case.image, boxes)
    groups = boxes.groups() if len(boxes) > FEW else [[number] for number in range(len(boxes))]
    at_most = sum(len(group) for group in groups if len(group) > 1)
    with scored(case, TRIAL + len(groups) + at_most, "Occlusion") as network:
        batches = Batches(case, network)
        together = batches.whole - batches.scores(len(groups), lambda n: covers.of([groups[one] for one in n]))
        falls = np.zeros(len(boxes))
        for group, fall in zip(groups, together.tolist(), strict=True):
            falls[group] = fall / len(group)
        sketched(case.step, lambda: boxes.spread(falls).relu())
        matter = together.abs() >= MATTERS * float(together.abs().max())
        alone = [
            box for group, one in zip(groups, matter.tolist(), strict=True) if one and len(group) > 1 for box in group
        ]
        network.passes += len(alone) - at_most
        falls[alone] = batches.whole - batches.scores(len(alone), lambda n: covers.of([[alone[one]] for one in n]))
    fall = boxes.spread(falls).to(case.image.device)
    # Blending overlapping boxes rounds; where nothing happens, that must not become the whole map.
    return torch.where(fall > 1e-5 * abs(batches.whole), fall, 0)


@dataclass(frozen=True)
class Boxes:
    """Where boxes of one size lie in an image, as MONAI's sliding windows do.

    Attributes:
        shape: of the image, spatial.
        size: of a box.
        starts: first voxels along each axis; a box for each combination of them.
    """

    shape: tuple[int, ...]
    size: tuple[int, ...]
    starts: tuple[tuple[int, ...], ...]

    @classmethod
    def over(cls, shape: tuple[int, ...]) -> Boxes:
        size = tuple(min(n, max(2, math.ceil(n / PARTS))) for n in shape)
        starts = []
        for n, box in zip(shape, size, strict=True):
            step = box if box == n else max(1, int(box * (1 - OVERLAP)))
            starts.append(tuple(min(i * step, n - box) for i in range(math.ceil((n - box) / step) + 1)))
        return cls(shape, size, tuple(starts))

    def __len__(self) -> int:
        return math.prod(map(len, self.starts))

    @cached_property
    def corners(self) -> list[tuple[int, ...]]:
        """First voxel of every box."""
        return list(itertools.product(*self.starts))

    def groups(self) -> list[list[int]]:
        """Numbers of neighbouring boxes."""
        counts = [len(one) for one in self.starts]
        numbers = np.arange(len(self)).reshape(counts)
        firsts = itertools.product(*(range(0, count, GROUP) for count in counts))
        return [numbers[tuple(slice(a, a + GROUP) for a in first)].reshape(-1).tolist() for first in firsts]

    def place(self, number: int) -> tuple[slice, ...]:
        """The voxels of a box."""
        return tuple(slice(a, a + n) for a, n in zip(self.corners[number], self.size, strict=True))

    def spread(self, values: np.ndarray) -> Tensor:
        """One value per box to a map of the image's shape."""
        importance = compute_importance_map(self.size, mode="gaussian", sigma_scale=0.125).double()
        weight = importance.clamp(min=max(float(importance.min()), 1e-3))
        total, weights = torch.zeros(self.shape, dtype=torch.float64), torch.zeros(self.shape, dtype=torch.float64)
        for number, value in enumerate(values.tolist()):
            place = self.place(number)
            total[place] += value * weight
            weights[place] += weight
        return (total / weights).float()


class _Covers:
    """The image with boxes faded out: several of one group are covered as much as the nearest of them covers."""

    def __init__(self, image: Tensor, boxes: Boxes) -> None:
        self._image, self._boxes, self._mean = image.detach(), boxes, image.mean()
        self._left = OcclusionSensitivity.gaussian_occlusion(image, boxes.size)[0][0]  # what is left of each voxel

    def of(self, groups: Sequence[Sequence[int]]) -> Tensor:
        """One image per group of boxes: B×C×spatial."""
        images = []
        for group in groups:
            left = torch.ones_like(self._image[0])
            for number in group:
                place = (slice(None), *self._boxes.place(number))
                left[place] = torch.minimum(left[place], self._left)
            images.append((self._image[0] - self._mean) * left + self._mean)
        return torch.stack(images)


METHOD = Method(
    CATALOGUE["occlusion"],
    _compute,
    layers=no_layer,
)

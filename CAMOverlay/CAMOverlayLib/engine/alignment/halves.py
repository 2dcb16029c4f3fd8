"""Was a part of the image mirrored? Most of a head looks like its mirror image, and blocks, which are only shifted,
fit.

Each half of the image, along each axis, is compared with its origin as claimed and mirrored along each axis.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .mutual_information import AXES, SamplePoints, best_of_filters, margin, turn_matrix

FLIPS = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
"""Along each axis alone."""

FEWEST = 150
"""Samples in a half that can say something."""


@dataclass(frozen=True)
class MirroredHalf:
    """The half that fits best mirrored, compared with how it fits as claimed.

    Attributes:
        verdict: ``mismatch`` where it fits better mirrored, with every usual filter granted to the claim too;
            ``inconclusive`` where it fits as well.
        words: which half, and mirrored along what.
        score: mutual information in nats as claimed, and ``mirrored_score`` mirrored.
    """

    verdict: str
    words: str
    score: float
    mirrored_score: float


def mirrored_half(samples: SamplePoints, origin: Tensor, tracked: np.ndarray, step: np.ndarray) -> MirroredHalf | None:
    """The half of the image that may have been mirrored, if any.

    Args:
        samples: of the image whose placement is claimed.
        origin: the image it was made from, one channel, I×J×K.
        tracked: the claim, 4×4 from voxel index of the image to voxel index of ``origin``.
        step: along each axis, the voxels that make up one of the coarser grid.
    """
    doubt = None
    for axis, upper in itertools.product(range(3), (False, True)):
        centre = (samples.shape[axis] - 1) / 2
        along = samples.index[:, axis]
        part = samples.within(along > centre if upper else along < centre)
        if samples.shape[axis] == 1 or part.count < FEWEST or part.empty:
            continue
        across = [other for other in range(3) if other != axis and samples.shape[other] > 1]
        if not across:
            continue
        mirrors = [tracked @ turn_matrix(samples.shape, (0, 1, 2), FLIPS[other]) for other in across]
        score, *others = part.scores(origin, [tracked, *mirrors])
        best = int(np.argmax(others))
        if others[best] < score - margin(part.count, score, others[best]):
            continue
        words = f"the half with {'higher' if upper else 'lower'} {AXES[axis]} mirrored along {AXES[across[best]]}"
        own = best_of_filters(part, origin, tracked, step)
        mirrored = best_of_filters(part, origin, mirrors[best], step)
        if mirrored > own + margin(part.count, own, mirrored):
            return MirroredHalf("mismatch", words, own, mirrored)
        if mirrored > own - margin(part.count, own, mirrored):
            doubt = MirroredHalf("inconclusive", words, own, mirrored)
    return doubt

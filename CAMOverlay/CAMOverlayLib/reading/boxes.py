"""The box of the largest hot region at several levels, for how well it matches the box of a structure."""

from __future__ import annotations

import numpy as np

from ..contract.peaks import Runs

LEVELS = tuple(n / 20 for n in range(1, 21))
"""Of the map's largest value."""


def largest_boxes(heat: np.ndarray) -> np.ndarray:
    """The box of the largest region at each of :data:`LEVELS`: N×2×3, first voxel and the one behind the last, I, J, K.

    Args:
        heat: I×J×K, not 0 everywhere.
    """
    planes = np.ascontiguousarray(heat.T)
    highest = planes.max((1, 2))
    found = []
    for level in LEVELS:
        least = planes.dtype.type(level * float(highest.max()))
        hot = np.flatnonzero(highest >= least)
        below = int(hot[0])
        found.append(_largest_box(planes[below : hot[-1] + 1] >= least) + np.array([0, 0, below]))
    return np.array(found)


def _largest_box(mask: np.ndarray) -> np.ndarray:
    """2×3, I, J, K, of a mask K×J×I that is not empty."""
    runs = Runs.of(mask)
    chosen = runs.of_largest_part()
    k, j, i = np.unravel_index(runs.first[chosen], runs.shape)
    last = i + runs.lengths[chosen]
    return np.array([[i.min(), j.min(), k.min()], [last.max(), j.max() + 1, k.max() + 1]])


def best_iou(boxes: np.ndarray, box: np.ndarray) -> float:
    """The largest intersection over union, in voxels, of several boxes (N×2×3) with one (2×3)."""
    common = np.clip(np.minimum(boxes[:, 1], box[1]) - np.maximum(boxes[:, 0], box[0]), 0, None).prod(1)
    sizes, size = (boxes[:, 1] - boxes[:, 0]).prod(1), (box[1] - box[0]).prod()
    return float((common / (sizes + size - common)).max())

"""Hot spots of a heatmap: where it is hot, in which regions that hangs together, and where each of them peaks."""

from __future__ import annotations

import math

import numpy as np

from ..contract.findings import HotSpot, Threshold
from ..contract.geometry import Grid
from ..contract.peaks import peak_of


def level_of(heat: np.ndarray, threshold: Threshold, seen: np.ndarray | None = None) -> float:
    """The value from which on heat counts as hot.

    Args:
        heat: I×J×K, nothing below 0.
        threshold: in the user's words.
        seen: what the network saw, of which a percentile is taken; None takes every voxel.
    """
    if threshold.kind == "absolute":
        return float(threshold.value)
    if threshold.kind == "percentile":
        return float(np.percentile(heat if seen is None else heat[seen], threshold.value))
    ordered = np.sort(heat[heat > 0])[::-1].astype(float)
    if not ordered.size:
        return 0.0
    reached = np.cumsum(ordered)
    return float(ordered[min(np.searchsorted(reached, threshold.value * reached[-1]), ordered.size - 1)])


def label_hot_spots(heat: np.ndarray, level: float) -> tuple[np.ndarray, int]:
    """Labels (int32, I×J×K) from 1 of the regions that hang together by faces, and how many there are."""
    from scipy import ndimage

    labels, count = ndimage.label((heat >= level) & (heat > 0))
    return labels.astype(np.int32, copy=False), int(count)


def find_hot_spots(heat: np.ndarray, grid: Grid, threshold: Threshold, most: int = 50) -> tuple[HotSpot, ...]:
    """The regions with the hottest peaks, the hottest first."""
    from scipy import ndimage

    labels, _count = label_hot_spots(heat, level_of(heat, threshold))
    voxel, whole = abs(float(np.linalg.det(grid.affine[:3, :3]))), float(heat.sum(dtype=float))
    found = []
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        inside = labels[box] == label
        values = heat[box][inside].astype(float)
        place = peak_of(np.where(inside, heat[box], 0))
        assert place is not None  # a hot voxel is above 0
        peak = tuple(int(axis.start + index) for axis, index in zip(box, place))
        found.append(
            (float(values.max()), peak, values.size * voxel, float(values.mean()), float(values.sum()) / whole)
        )
    found.sort(key=lambda spot: -spot[0])
    places = [grid.to_ras(spot[1]) for spot in found]
    return tuple(
        HotSpot(
            region=number,
            peak=peak,
            peak_ras=ras,
            volume_mm3=volume,
            mean=mean,
            maximum=maximum,
            share=share,
            next_mm=min((math.dist(ras, other) for other in places if other is not ras), default=None),
        )
        for number, ((maximum, peak, volume, mean, share), ras) in enumerate(zip(found[:most], places), 1)
    )

"""How well a heatmap finds a lesion of known place, on the original volume's own grid."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from Benchmarks.lesions import apply
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.reading.anatomy import structure_figures

ABOUT_MM = 2.5
"""Voxel by voxel means, of a volume of smaller voxels, every second one along that axis, and so on."""

BOX_IOU = 0.5
"""A box counts as found from this intersection over union on."""


@dataclass(frozen=True)
class Truth:
    """Where the lesion is: a ball in the patient.

    Attributes:
        shape, affine: the volume's grid (I, J, K), and voxel index → RAS mm.
        centre_ras, radius_mm: of the ball.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    centre_ras: np.ndarray
    radius_mm: float

    @cached_property
    def mask(self) -> np.ndarray:
        """I×J×K, bool: voxels whose centre is in the lesion."""
        index = np.stack(np.indices(self.shape, dtype=np.float32), axis=-1)
        return np.linalg.norm(apply(self.affine, index) - self.centre_ras, axis=-1) <= self.radius_mm

    @cached_property
    def thinned(self) -> tuple[slice, ...]:
        """Every n-th voxel of each axis, so that they are about :data:`ABOUT_MM` apart."""
        spacing = np.linalg.norm(self.affine[:3, :3], axis=0)
        return tuple(slice(None, None, max(1, round(ABOUT_MM / mm))) for mm in spacing)

    @cached_property
    def thinned_grid(self) -> Grid:
        affine = self.affine @ np.diag([*(one.step for one in self.thinned), 1])
        return Grid(self.mask[self.thinned].shape, affine)

    def distance(self, index: np.ndarray) -> float:
        """From a voxel index (not necessarily whole) to the lesion's centre in mm."""
        return float(np.linalg.norm(apply(self.affine, index) - self.centre_ras))


@dataclass(frozen=True)
class Score:
    """Of one map.

    Attributes:
        distance_mm: from the map's peak to the lesion's centre; infinite for a map without a peak.
        hit: the peak is inside the lesion (pointing game without any tolerance).
        near: it is inside, or outside by half an activation of the explained layer at most: what a map on that
            layer's grid can do.
        share: heat inside the lesion as a share of all heat.
        precision: average precision voxel by voxel (VxAP).
        f1: the best over all thresholds (MaxF1).
        box: whether at some threshold the largest hot region's box and the lesion's overlap by :data:`BOX_IOU` or more
            (Max3DBoxAcc, with the best threshold for each volume).
    """

    distance_mm: float
    hit: bool
    near: bool
    share: float
    precision: float = 0.0
    f1: float = 0.0
    box: bool = False


def score(heat: np.ndarray, truth: Truth, half_activation_mm: float = 0.0) -> Score:
    """Score a map of shape I×J×K, ≥ 0, higher meaning more evidence.

    A map that is 0 everywhere has no peak: a miss, with no heat inside.
    """
    if heat.shape != truth.shape:
        raise ValueError(f"the map is on a grid of {heat.shape}, the volume on one of {truth.shape}")
    total = float(heat.sum(dtype=np.float64))
    if not total > 0:
        return Score(float("inf"), False, False, 0.0)
    distance = truth.distance(peak(heat))
    inside = float(heat[truth.mask].sum(dtype=np.float64))
    hit, near = distance <= truth.radius_mm, distance <= truth.radius_mm + half_activation_mm
    thin = truth.thinned
    found = structure_figures(heat[thin], None, truth.mask[thin], "lesion", truth.thinned_grid)
    box = found.best_box_iou >= BOX_IOU
    return Score(distance, hit, near, inside / total, found.average_precision, found.best_f1, box)


def peak(heat: np.ndarray) -> np.ndarray:
    """Voxel index of the maximum. Where many voxels share it, as beyond a coarse grid's outermost activations, their
    mean: the first of them would be a corner of that plateau."""
    return np.argwhere(heat >= heat.max() * (1 - 1e-6)).mean(axis=0)


def summary(scores: Sequence[Score]) -> dict[str, float | int | None]:
    """Median distance (None where it is infinite), and hits, near hits and the means of the rest as fractions."""
    median = statistics.median(s.distance_mm for s in scores)
    return {
        "volumes": len(scores),
        "median_mm": median if np.isfinite(median) else None,
        "hits": statistics.fmean(s.hit for s in scores),
        "near": statistics.fmean(s.near for s in scores),
        "share": statistics.fmean(s.share for s in scores),
        "VxAP": statistics.fmean(s.precision for s in scores),
        "MaxF1": statistics.fmean(s.f1 for s in scores),
        "Max3DBoxAcc": statistics.fmean(s.box for s in scores),
    }

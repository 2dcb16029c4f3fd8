"""Hot spots: the connected regions of a heatmap that are hotter than a threshold, as a label map, a table and a file.

All three are numbered alike: region 1 has the hottest peak. Of equally hot ones the larger plateau comes first, so that
region 1 always holds the peak that the result names (:func:`CAMOverlayLib.contract.peaks.peak_of`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from ..contract.errors import MethodError
from ..contract.findings import THRESHOLDS, HotSpot, Threshold
from ..contract.geometry import Grid
from ..contract.on_cores import on_cores
from ..contract.peaks import Runs, Voxel

MOST = 50
"""Regions that a table lists; a noisy map has thousands, and nobody reads those."""

BINS = 4096
"""Into which heat is divided to find a level."""

COLUMNS = (
    "region", "peak_i", "peak_j", "peak_k", "peak_r", "peak_a", "peak_s",
    "volume_mm3", "mean", "maximum", "share", "structure",
)  # fmt: skip
"""Of the file; the places are voxels and RAS mm."""


def level_of(heat: np.ndarray, threshold: Threshold, seen: np.ndarray | None = None) -> float:
    """The heat from which on a voxel is hot.

    Args:
        heat: I×J×K, 0 to 1.
        seen: bool I×J×K, which voxels the network saw, of which a percentile is taken; None is all.

    Raises:
        MethodError: there is no such kind of threshold.
    """
    if threshold.kind == "absolute":
        return float(threshold.value)
    if threshold.kind == "percentile":
        values = heat.T if seen is None else heat.T[seen.T]
        return float(np.percentile(values, threshold.value)) if values.size else 0.0
    if threshold.kind == "share":
        return _level_of_share(heat, threshold.value)
    raise MethodError(f"There is no threshold of kind '{threshold.kind}'; choose one of {', '.join(THRESHOLDS)}.")


def _level_of_share(heat: np.ndarray, share: float) -> float:
    """The least heat of the hottest voxels that together hold this share of all heat; 0 where there is none."""
    values = heat.T[heat.T > 0]
    if not values.size:
        return 0.0
    # Sorting takes seconds where there are many: bins say in which narrow range the level lies; only that is sorted.
    bins = (values * (BINS / values.max())).astype(np.int32)
    above = np.cumsum(np.bincount(bins, values)[::-1])
    needed = share * above[-1] * (1 - 1e-12)  # rounding must not ask for one voxel more
    crossed = min(int(np.searchsorted(above, needed)), len(above) - 1)
    near = np.sort(values[bins == len(above) - 1 - crossed])[::-1]
    held = np.cumsum(near, dtype=np.float64) + (above[crossed - 1] if crossed else 0.0)
    return float(near[min(int(np.searchsorted(held, needed)), len(near) - 1)])


def label_hot_spots(heat: np.ndarray, level: float) -> tuple[np.ndarray, int]:
    """Every hot spot as a label map, int32 I×J×K in Fortran order: 0 is cold, 1 the region with the hottest peak; and
    how many there are.

    Voxels hang together by faces. Heat of 0 is never hot, however low the level.
    """
    labels = np.zeros(heat.shape, np.int32, order="F")
    regions = _Regions.of(heat, level)
    if regions is None:
        return labels, 0
    numbers = np.empty(regions.count, np.int32)
    numbers[regions.order] = np.arange(1, regions.count + 1, dtype=np.int32)
    runs = regions.runs
    labels.T.reshape(-1)[runs.voxels()] = np.repeat(numbers[regions.of_run], runs.lengths)
    return labels, regions.count


def find_hot_spots(
    heat: np.ndarray,
    grid: Grid,
    threshold: Threshold = Threshold(),  # noqa: B008 (frozen)
    most: int = MOST,
    seen: np.ndarray | None = None,
) -> tuple[HotSpot, ...]:
    """The hottest regions with their peaks and figures, the hottest peak first; none of a map without heat.

    Args:
        heat: I×J×K, 0 to 1.
        grid: of the heatmap, from voxel to RAS mm.
        most: how many to list; ``next_mm`` is the distance to the nearest other one of the list.
        seen: as of :func:`level_of`.

    Raises:
        MethodError: there is no such kind of threshold.
    """
    regions = _Regions.of(heat, level_of(heat, threshold, seen))
    if regions is None:
        return ()
    voxel_mm3 = float(abs(np.linalg.det(grid.affine[:3, :3])))
    spots = []
    for number, region in enumerate(regions.order[:most], start=1):
        peak, size, heat_inside = regions.peak(region), int(regions.sizes[region]), float(regions.sums[region])
        spots.append(
            HotSpot(
                region=number,
                peak=peak,
                peak_ras=grid.to_ras(peak),
                volume_mm3=size * voxel_mm3,
                mean=heat_inside / size,
                maximum=float(heat[peak]),
                share=heat_inside / regions.total,
            )
        )
    return _with_distances(spots)


def _with_distances(spots: list[HotSpot]) -> tuple[HotSpot, ...]:
    if len(spots) < 2:
        return tuple(spots)
    places = np.array([spot.peak_ras for spot in spots])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(apart, np.inf)
    return tuple(replace(spot, next_mm=float(row.min())) for spot, row in zip(spots, apart, strict=True))


def findings_csv(spots: Iterable[HotSpot]) -> str:
    """The table of hot spots as text, one line a region below a line of :data:`COLUMNS`; decimal points and commas."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(map(row_of, spots))
    return text.getvalue()


def row_of(spot: HotSpot) -> tuple[int | float | str, ...]:
    """A hot spot in the order of :data:`COLUMNS`."""
    figures = (spot.volume_mm3, spot.mean, spot.maximum, spot.share)
    return (spot.region, *spot.peak, *spot.peak_ras, *figures, spot.structure)


@dataclass(frozen=True)
class _Regions:
    """The hot regions of a map, as runs of voxels along I: figures are sums over runs, which are few.

    Attributes:
        total: all heat of the map.
        runs: of hot voxels, K×J×I; ``of_run`` says which region (from 0) each belongs to.
        sizes, sums: voxels and heat by region.
        order: regions, the hottest peak first.
        tops: runs of the voxels that have their region's maximum; ``plateau_of_top`` says which plateau each is of, and
            ``plateaus`` the largest plateau of each region.
    """

    total: float
    runs: Runs
    of_run: np.ndarray
    sizes: np.ndarray
    sums: np.ndarray
    order: np.ndarray
    tops: Runs
    plateau_of_top: np.ndarray
    plateaus: np.ndarray

    @classmethod
    def of(cls, heat: np.ndarray, level: float) -> _Regions | None:
        """None where nothing is hot."""
        planes = np.ascontiguousarray(heat.T)  # no copy of what is in Fortran order
        total, runs, held, most = _scan(planes, level)
        if not len(runs.first):
            return None
        of_run = runs.parts()
        count = int(of_run.max()) + 1
        sizes = np.bincount(of_run, runs.lengths, count).astype(np.int64)
        highest = np.zeros(count, planes.dtype)
        np.maximum.at(highest, of_run, most)
        tops, of_top = _tops(planes.reshape(-1), runs, of_run, most, highest)
        plateau_of_top = tops.parts()
        plateaus, order = _ranked(tops, of_top, plateau_of_top, highest)
        sums = np.bincount(of_run, held, count)
        return cls(total, runs, of_run, sizes, sums, order, tops, plateau_of_top, plateaus)

    @property
    def count(self) -> int:
        return len(self.order)

    def peak(self, region: int) -> Voxel:
        """Voxel (I, J, K) of the map: the middle of the region's largest plateau, as ``peak_of`` has it."""
        return self.tops.middle(self.plateau_of_top == self.plateaus[region])


def _scan(planes: np.ndarray, level: float) -> tuple[float, Runs, np.ndarray, np.ndarray]:
    """All heat of a map (K×J×I), the runs of hot voxels, and the heat and the maximum of each run.

    Plane by plane, so that memory is read once: there is no more time than that for a large volume.
    """
    level = planes.dtype.type(level)
    nothing = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, planes.dtype))

    def scan(number: int) -> tuple[float, tuple[np.ndarray, ...]]:
        plane = planes[number]
        total, highest = float(plane.sum(dtype=np.float64)), plane.max(initial=0)
        if not (highest > 0 and highest >= level):
            return total, nothing
        hot = plane >= level if level > 0 else plane > 0
        runs, values, here = Runs.of(hot[None]), plane.reshape(-1), number * plane.size
        held, most = _over_runs(np.add, values, runs, np.float64), _over_runs(np.maximum, values, runs)
        return total, (runs.first + here, runs.last + here, held, most)

    totals, found = zip(*on_cores(scan, range(len(planes))), strict=True)
    first, last, held, most = (np.concatenate(column) for column in zip(*found, strict=True))
    return sum(totals), Runs(first, last, planes.shape), held, most


def _over_runs(function: np.ufunc, values: np.ndarray, runs: Runs, dtype: type | None = None) -> np.ndarray:
    """A sum, a maximum or the like over each run, of flat values."""
    bounds = np.stack([runs.first, runs.last + 1], 1).reshape(-1)
    ends_at_the_end = bounds[-1] == len(values)
    return function.reduceat(values, bounds[:-1] if ends_at_the_end else bounds, dtype=dtype)[::2]


def _tops(
    values: np.ndarray, runs: Runs, of_run: np.ndarray, most: np.ndarray, highest: np.ndarray
) -> tuple[Runs, np.ndarray]:
    """The runs of voxels that have their region's maximum, and the region of each."""
    hottest = np.flatnonzero(most == highest[of_run])
    few = Runs(runs.first[hottest], runs.last[hottest], runs.shape)
    voxels, region = few.voxels(), np.repeat(of_run[hottest], few.lengths)
    chosen = values[voxels] == highest[region]
    voxels, region = voxels[chosen], region[chosen]
    tops = Runs.at(voxels, runs.shape)
    return tops, region[np.searchsorted(voxels, tops.first)]


def _ranked(
    tops: Runs, of_top: np.ndarray, plateau_of_top: np.ndarray, highest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The largest plateau of each region, and the regions by maximum, then size of that plateau, then place in
    memory."""
    _, first = np.unique(plateau_of_top, return_index=True)  # the run that comes first in memory stands for a plateau
    size = np.bincount(plateau_of_top, tops.lengths)
    region = of_top[first]
    ranked = np.lexsort((first, -size, -highest[region]))
    _, at = np.unique(region[ranked], return_index=True)  # each region's first place in that order is its best plateau
    return ranked[at], region[ranked[np.sort(at)]]

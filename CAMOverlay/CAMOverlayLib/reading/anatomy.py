"""How much of the heat lies in which structure, by the measures that the literature has for it.

What is the same for all structures (the sorted heat, the random placements, the boxes of hot regions) is computed once,
when the first structure asks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..contract.errors import NotSeenError, TargetError
from ..contract.findings import HotSpot, StructureFigures
from ..contract.geometry import Grid
from ..contract.peaks import Voxel, peak_of
from .boxes import best_iou, largest_boxes
from .random_placements import RandomPlacements
from .structures import Structure


@dataclass(frozen=True)
class MapOnGrid:
    """A heatmap, and what was seen of the volume.

    Attributes:
        heat: float32 I×J×K, ≥ 0.
        grid: of the volume.
        seen: bool I×J×K; None is all.
        body: bool I×J×K, where a map could lie; None is what was seen.
        seed: of the random placements.
    """

    heat: np.ndarray
    grid: Grid
    seen: np.ndarray | None = None
    body: np.ndarray | None = None
    seed: int = 0

    @cached_property
    def count(self) -> int:
        """Voxels that were seen."""
        return self.heat.size if self.seen is None else int(np.count_nonzero(self.seen))

    @cached_property
    def ranked(self) -> np.ndarray:
        """All heat above 0 that was seen, ascending."""
        hot = self.heat.T > 0
        if self.seen is not None:
            hot &= self.seen.T
        return np.sort(self.heat.T[hot])

    @cached_property
    def total(self) -> float:
        return float(self.ranked.sum(dtype=np.float64))

    @cached_property
    def peak(self) -> Voxel | None:
        return peak_of(self.heat)

    @cached_property
    def placements(self) -> RandomPlacements:
        return RandomPlacements(self.heat, self.grid, self.seen, self.body, self.seed)

    @cached_property
    def boxes(self) -> np.ndarray:
        return largest_boxes(self.heat)

    def as_hot_as(self, values: np.ndarray) -> np.ndarray:
        """How many seen voxels have at least each of some values."""
        return np.where(values > 0, len(self.ranked) - np.searchsorted(self.ranked, values), self.count)


def structure_figures(
    heat: np.ndarray,
    seen: np.ndarray | None,
    mask: np.ndarray,
    name: str,
    grid: Grid,
    body: np.ndarray | None = None,
    seed: int = 0,
) -> StructureFigures:
    """How much of the heat lies in one structure; of several structures, :func:`figures_in` of one ``MapOnGrid``.

    Args:
        heat, seen, grid, body, seed: as of :class:`MapOnGrid`.
        mask: I×J×K, all but 0 counts.

    Raises:
        TargetError: the mask is empty, or on another grid.
        NotSeenError: nothing of it was seen.
    """
    if mask.shape != heat.shape:
        raise TargetError(
            f"Structure '{name}' has {mask.shape} voxels, and the heatmap {heat.shape}. Bring it to the volume's grid."
        )
    return figures_in(MapOnGrid(heat, grid, seen, body, seed), Structure.of(name, mask))


def figures_in(found: MapOnGrid, structure: Structure) -> StructureFigures:
    """How much of a map's heat lies in a structure.

    Raises:
        NotSeenError: nothing of it was seen.
    """
    inside = structure.inside if found.seen is None else structure.inside & found.seen[structure.box]
    size = int(np.count_nonzero(inside))
    if not size:
        raise NotSeenError(not_seen(structure.name))
    values = np.sort(found.heat[structure.box][inside])
    held = float(values.sum(dtype=np.float64))
    share = held / found.total if found.total else 0.0
    outside = found.count - size
    precision, f1 = _curve(found, values)
    return StructureFigures(
        name=structure.name,
        volume_mm3=size * float(abs(np.linalg.det(found.grid.affine[:3, :3]))),
        share=share,
        enrichment=share * found.count / size,
        p_value=found.placements.p_value(structure) if found.total else 1.0,
        mean_inside=held / size,
        mean_outside=max(0.0, found.total - held) / outside if outside else 0.0,
        holds_peak=found.peak is not None and structure[found.peak],
        rank_accuracy=_rank_accuracy(found, values),
        average_precision=precision,
        best_f1=f1,
        best_box_iou=best_iou(found.boxes, _box(structure, inside)) if found.total else 0.0,
    )


def not_seen(name: str) -> str:
    """That nothing can be said of a structure, and why."""
    return (
        f"Nothing of structure '{name}' was seen by the network, so no heat can lie there. Check that it belongs to "
        "this volume, and that the preprocessing does not crop it away."
    )


def _curve(found: MapOnGrid, values: np.ndarray) -> tuple[float, float]:
    """Average precision and best F1 over all thresholds, of a structure whose voxels have these values, ascending.

    Only thresholds at a value of the structure matter: between two of them recall does not change, and precision falls.
    Voxels of one value come together, as in scikit-learn's ``average_precision_score``.
    """
    levels, first = np.unique(values, return_index=True)
    hits = len(values) - first  # structure's voxels that are at least as hot
    positives = found.as_hot_as(levels)
    gained = np.diff(hits[::-1], prepend=0) / len(values)
    return float((gained * (hits / positives)[::-1]).sum()), float((2 * hits / (positives + len(values))).max())


def _rank_accuracy(found: MapOnGrid, values: np.ndarray) -> float:
    """Of as many hottest voxels as the structure has, the share that lies in it; where several voxels share the last
    value, each counts in part."""
    size, cold = len(values), found.count - len(found.ranked)
    place = found.count - size - cold
    last = found.ranked[place] if place >= 0 else np.float32(0)
    hotter = (
        len(found.ranked) - int(np.searchsorted(found.ranked, last, side="right")) if last > 0 else len(found.ranked)
    )
    equal = int(found.as_hot_as(np.array([last]))[0]) - hotter
    inside_hotter = size - int(np.searchsorted(values, last, side="right"))
    inside_equal = size - int(np.searchsorted(values, last)) - inside_hotter
    return (inside_hotter + inside_equal * (size - hotter) / equal) / size


def _box(structure: Structure, inside: np.ndarray) -> np.ndarray:
    """2×3: first voxel and the one behind the last, of what was seen of a structure."""
    held = np.argwhere(inside)
    start = np.array([one.start for one in structure.box])
    return np.array([held.min(0) + start, held.max(0) + 1 + start])


def name_hot_spots(
    spots: Iterable[HotSpot], masks: Mapping[str, np.ndarray] | Sequence[Structure]
) -> tuple[HotSpot, ...]:
    """Hot spots with the name of the first structure that holds their peak.

    Args:
        masks: by name, I×J×K, all but 0 counts; or structures.
    """
    named = [(one.name, one) for one in masks] if not isinstance(masks, Mapping) else list(masks.items())
    return tuple(
        dataclasses.replace(spot, structure=next((name for name, mask in named if mask[spot.peak]), ""))
        for spot in spots
    )

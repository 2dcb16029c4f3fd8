"""What can be read off the finished heatmap: its hot spots, and how much of it lies in which structure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..contract.errors import MethodError, NotSeenError
from ..contract.field_of_view import seen_mask
from ..contract.findings import HotSpot, StructureFigures, Threshold
from ..contract.geometry import Grid
from ..contract.options import Options
from ..contract.target import StructureFile
from ..reading.anatomy import MapOnGrid, figures_in, name_hot_spots
from ..reading.body import body_of
from ..reading.hot_spots import find_hot_spots
from ..reading.structures import Structure, mask_on, structures_in
from .geometry.volume import Volume
from .progress import Step
from .restore.assemble import VolumeHeatmap
from .target.regions import read_mask


@dataclass(frozen=True)
class Asked:
    """What is to be read off, known and checked before the network runs.

    Attributes:
        occluded: the structures that are to be taken out of the image as well.
    """

    threshold: Threshold
    structures: tuple[Structure, ...]
    occluded: tuple[Structure, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What was read off; the fields are those of the result."""

    threshold: Threshold
    findings: tuple[HotSpot, ...]
    structures: tuple[StructureFigures, ...]
    warnings: tuple[str, ...] = ()


def check_asked(options: Options, grid: Grid) -> Asked:
    """The threshold understood, and every structure's mask read and brought to the volume's grid.

    Raises:
        MethodError: the threshold is none, or structures are to be occluded and none are given.
        TargetError: a file cannot be read, or holds no labels.
        NotSeenError: nothing of a file lies in the volume.
    """
    threshold = options.threshold
    files = [StructureFile.of(one) for one in options.structures]
    if options.occlude_structures and not files:
        raise MethodError(
            "Structures are to be occluded, and none were given. Name a mask or a label map of them.",
            setting="structures",
        )
    found = tuple(structure for file in files for structure in _structures(file, grid))
    return Asked(threshold, found, found if options.occlude_structures else ())


def _structures(file: StructureFile, grid: Grid) -> tuple[Structure, ...]:
    array, affine, name = read_mask(file.file, "Structure")
    if isinstance(file.file, str):
        name = Path(name.removesuffix(".gz")).stem
    return structures_in(mask_on(grid, np.asarray(array), affine, name), name, file.names)


def read_off(heatmap: VolumeHeatmap, volume: Volume, asked: Asked, step: Step) -> Findings:
    """Hot spots and structures' figures. A structure that the network did not see is a warning, not an error."""
    heat, grid = heatmap.array, volume.grid
    seen = (
        seen_mask(grid.shape, heatmap.field_of_view.planes)
        if asked.structures or asked.threshold.kind == "percentile"
        else None
    )
    spots = find_hot_spots(heat, grid, asked.threshold, seen=seen)
    if not asked.structures:
        return Findings(asked.threshold, spots, ())
    found = MapOnGrid(heat, grid, seen, body_of(volume.array, seen))
    figures, warnings = [], []
    for number, structure in enumerate(asked.structures):
        step(number, len(asked.structures), structure.name)
        try:
            figures.append(figures_in(found, structure))
        except NotSeenError as error:
            warnings.append(str(error))
    return Findings(asked.threshold, name_hot_spots(spots, asked.structures), tuple(figures), tuple(warnings))

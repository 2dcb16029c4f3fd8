"""How much of a case's heat lies in which structure of a label map."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...contract.errors import TargetError, VolumeError
from ...contract.field_of_view import seen_mask
from ...contract.geometry import Grid
from ...reading.anatomy import MapOnGrid
from ...reading.structures import MOST, mask_on
from .cases import Case
from .maps import read_volume

ENDINGS = (".nii.gz", ".nii")

NAMES = ("labels.csv", "labels.ctbl", "labels.txt")
"""Files beside segmentations that name their labels."""


def shares_in(
    heat: np.ndarray, grid: Grid, planes: Sequence[Sequence[float]], labels: np.ndarray
) -> dict[int, tuple[float, float]]:
    """Share of all heat, and enrichment, in each label that the network saw anything of; the measures of
    :class:`CAMOverlayLib.contract.findings.StructureFigures`, for all labels at once.

    Args:
        heat: I×J×K, ≥ 0.
        planes: of the field of view; none is the whole volume.
        labels: whole numbers on the grid, 0 is none.

    Raises:
        TargetError: it is no label map.
    """
    seen = seen_mask(heat.shape, planes)
    found = MapOnGrid(heat, grid, seen)
    values = labels if labels.dtype.kind in "iub" else np.rint(labels)
    if not np.array_equal(values, labels) or (labels.size and labels.min() < 0):
        raise TargetError("It is no label map: whole numbers, 0 where nothing is.")
    names, numbers = np.unique(values, return_inverse=True)
    if len(names) > MOST + 1:
        raise TargetError(f"It holds {len(names)} different values, and a label map has at most {MOST}.")
    numbers = numbers.reshape(labels.shape)
    inside, weights = (numbers, heat) if seen is None else (numbers[seen], heat[seen])
    sizes = np.bincount(inside.reshape(-1), minlength=len(names))
    held = np.bincount(inside.reshape(-1), weights=weights.reshape(-1), minlength=len(names))
    shares = held / found.total if found.total else np.zeros(len(names))
    return {
        int(name): (float(share), float(share * found.count / size))
        for name, share, size in zip(names, shares, sizes, strict=True)
        if name and size
    }


def labels_on(grid: Grid, path: Path) -> np.ndarray:
    """A label map on the heatmap's grid.

    Raises:
        VolumeError, TargetError, NotSeenError: it cannot be read, or lies elsewhere.
    """
    array, own = read_volume(path, "segmentation")
    return mask_on(grid, array, own.affine, path.name)


class Segmentations:
    """Where the segmentation of a case lies: in a folder, or as a column of the cohort's table says.

    Args:
        where: a folder, with a file per case that is named by its id or its volume; else a column's name.
        base: paths of the column are relative to it.
    """

    def __init__(self, where: str | Path, base: Path) -> None:
        self._folder = Path(where).expanduser() if Path(where).expanduser().is_dir() else None
        self._column, self._base = str(where), base

    def check(self, cases: Sequence[Case]) -> None:
        """
        Raises:
            TargetError: there is neither such a folder nor such a column.
        """
        if self._folder is None and not any(self._column in case.carried for case in cases):
            carried = ", ".join(sorted({name for case in cases for name in case.carried})) or "none"
            raise TargetError(
                f"'{self._column}' is neither a folder nor a column of the cohort (carried along: {carried}). Give a "
                "folder of label maps, or the name of a column of the list."
            )

    def of(self, case: Case) -> Path | None:
        """The file of a case; None where it has none."""
        if self._folder is None:
            said = case.carried.get(self._column, "").strip()
            return self._base / Path(said).expanduser() if said else None
        volume = Path(case.volume).name
        stem = next((volume[: -len(end)] for end in ENDINGS if volume.casefold().endswith(end)), Path(volume).stem)
        names = [name + end for name in (case.id, stem) if name and "/" not in name for end in ENDINGS]
        return next((path for name in names if (path := self._folder / name).is_file()), None)

    def names(self) -> dict[int, str]:
        """Names of the labels by value, of ``labels.csv`` (value, name) or a colour table in the folder."""
        found = [self._folder / name for name in NAMES if (self._folder / name).is_file()] if self._folder else []
        return read_names(found[0]) if found else {}


def read_names(path: Path) -> dict[int, str]:
    """Names by value: lines of a number and a name, between commas, tabs or spaces; other lines are left out.

    Raises:
        VolumeError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")[: 1 << 20]
    except OSError as error:
        raise VolumeError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    found = {}
    for line in text.splitlines():
        row = next(csv.reader([line]), []) if "," in line else line.split("\t" if "\t" in line else None)
        if len(row) >= 2 and row[0].strip().isdigit() and row[1].strip():
            found[int(row[0])] = row[1].strip()[:200]
    return found

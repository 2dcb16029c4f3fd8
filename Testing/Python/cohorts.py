"""Cohorts made on the spot: the files that a run leaves, of heat at known places."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = (
    "id", "state", "volume", "label", "target", "prediction", "probability", "peak_r", "peak_a", "peak_s", "placement",
    "share", "enrichment", "hit", "seconds", "error",
)  # fmt: skip

AFFINE = np.array([[-4.0, 0, 0, 46], [0, 4, 0, -54], [0, 0, 4, -38], [0, 0, 0, 1]])
"""Left-handed, as many files are."""

SHAPE = (24, 28, 20)


def blob(at: Sequence[float], shape: Sequence[int] = SHAPE, width: float = 0.13) -> np.ndarray:
    """Heat around a place, given as shares of the axes; 1 at its middle."""
    axes = [(np.arange(n) + 0.5) / n for n in shape]
    apart = sum((axis - a) ** 2 for axis, a in zip(np.meshgrid(*axes, indexing="ij"), at))
    return np.exp(-apart / (2 * width**2)).astype(np.float32)


def write_case(folder: Path, id_: str, heat: np.ndarray, affine: np.ndarray = AFFINE, **told: Any) -> None:
    """The folder of a case that is done, with a picture."""
    import nibabel
    from PIL import Image

    case = folder / "cases" / id_
    case.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(heat, affine), case / "heatmap.nii.gz")
    (case / "report.json").write_text(json.dumps(told))
    picture = (heat.max(2).T * 255).astype(np.uint8)
    Image.fromarray(picture).resize((240, 280)).save(case / "picture.png")


def write_table(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    with (folder / "cohort.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, restval="")
        table.writeheader()
        table.writerows(rows)

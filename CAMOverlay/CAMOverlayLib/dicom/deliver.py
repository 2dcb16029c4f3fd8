"""Everything of one explanation as DICOM, written to a folder, read back, and only then called done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .account import Account
from .objects import require_referable, write_parametric_map, write_picture, write_segmentation
from .read_back import Placed, check_parametric_map, check_picture, check_segmentation, require_same_voxels
from .series import series_of_files

HEATMAP, REGIONS, PREDICTION, PICTURE = "heatmap.dcm", "hot-spots.dcm", "prediction.dcm", "picture.dcm"
FILES = (HEATMAP, REGIONS, PREDICTION, PICTURE)
"""What may lie in the folder afterwards."""


@dataclass(frozen=True)
class Regions:
    """A label map, I×J×K on the volume's grid, with names and colours of its values."""

    labels: np.ndarray
    names: dict[int, str]
    colors: dict[int, tuple[float, float, float]] | None = None


@dataclass(frozen=True)
class Findings:
    """What is to be written of a volume.

    Attributes:
        volume: its voxels, I×J×K, as they were explained.
        heat: the heatmap on them.
        account: how it came about.
        hot_spots: None where there are none.
        prediction: what the network said, None where it is not known; ``predicted_by`` says by what.
        picture: rows × columns × 3 bytes; None where none is wanted.
    """

    volume: np.ndarray
    heat: np.ndarray
    account: Account
    hot_spots: Regions | None = None
    prediction: Regions | None = None
    picture: np.ndarray | None = None


def deliver(
    files: Sequence[Path],
    findings: Findings,
    folder: Path,
    report: Callable[[float, str], None] = lambda share, words: None,
) -> dict[str, Placed]:
    """Write findings of a series into a folder, and read them back.

    Args:
        files: of the series.
        folder: that is there and may be thrown away: whoever calls moves its files into place afterwards.
        report: called with the share that is done and with words; raising from it ends the writing.

    Returns:
        what was found in each file when it was read back.

    Raises:
        PlacementError: the volume is not the series, or what was written is not what it should be.
        OutputError: highdicom is missing, or the series lacks what objects must refer to.
        VolumeError: the series cannot be read.
    """
    report(0.0, "Reading the DICOM series again")
    series = series_of_files(files)
    require_referable(series)
    turned = require_same_voxels(series, findings.volume, lambda: report(0.05, "Reading the DICOM series again"))
    if turned:
        findings = _turned(findings)
    anew = series_of_files(files)  # what was written is held against nothing that the writing had in its hands
    placed = {}
    report(0.2, "Writing the Parametric Map")
    file = write_parametric_map(series, findings.heat, findings.account, folder / HEATMAP)
    report(0.5, "Reading the Parametric Map back")
    placed[HEATMAP] = check_parametric_map(file, anew, findings.heat)
    for number, name, what, regions in (
        (2, REGIONS, "Hot spots", findings.hot_spots),
        (4, PREDICTION, "Prediction", findings.prediction),
    ):
        if regions is None or not regions.names:
            continue
        report(0.7, f"Writing and reading back the Segmentation ({what.lower()})")
        labels, names, colors = regions.labels, regions.names, regions.colors
        file = folder / name
        write_segmentation(series, labels, names, findings.account, file, what=what, colors=colors, number=number)
        placed[name] = check_segmentation(file, anew, labels, names)
    if findings.picture is not None:
        report(0.9, "Writing and reading back the picture")
        file = write_picture(series, findings.picture, findings.account, folder / PICTURE)
        placed[PICTURE] = check_picture(file, anew, findings.picture)
    report(1.0, "Done")
    return placed


def _turned(findings: Findings) -> Findings:
    """With the slices counted from the other end, as the series does."""

    def regions(found: Regions | None) -> Regions | None:
        return replace(found, labels=found.labels[:, :, ::-1]) if found is not None else None

    return replace(
        findings,
        heat=findings.heat[:, :, ::-1],
        hot_spots=regions(findings.hot_spots),
        prediction=regions(findings.prediction),
    )

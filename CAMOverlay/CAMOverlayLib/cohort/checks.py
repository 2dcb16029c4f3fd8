"""What can be said before anything is computed: whether the files are there and are volumes, and how much disk it
takes."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract.errors import CAMOverlayError, VolumeError, reason
from .cases import Case
from .folder import CASES
from .plan import Plan

SAMPLED = 32
"""Volumes whose headers are read to tell how much disk a long list takes."""

HEAT_BYTES, VOLUME_BYTES = 4, 8
"""Of a voxel, uncompressed."""

PICTURE_BYTES, REPORT_BYTES, FIGURES_BYTES, SCENE_BYTES = 500_000, 1_000_000, 100_000, 500_000
"""Of the other files of a case, and of a scene without its volumes: more than was seen."""


def check_case(case: dict[str, Any], keep: Sequence[str] = ()) -> dict[str, Any]:
    """Look at a case's files where it would be computed; only headers are read.

    Args:
        case: a :class:`Case` as a dictionary.
        keep: what is to be written, which may need what is not installed there.

    Returns:
        ``id``, ``problem`` (a sentence, empty where there is none), ``voxels`` of the first volume.
    """
    asked = Case.from_dict(case)
    if words := cannot_keep(keep):
        return {"id": asked.id, "problem": words, "voxels": 0}
    try:
        shapes = [_shape(path) for path in asked.volumes]
        if asked.mask:
            _shape(asked.mask)
    except CAMOverlayError as error:
        return {"id": asked.id, "problem": " ".join(str(error).split()), "voxels": 0}
    return {"id": asked.id, "problem": "", "voxels": math.prod(shapes[0][:3])}


def cannot_keep(keep: Sequence[str]) -> str:
    """Why this process cannot write what is to be kept, in a sentence; empty where it can."""
    if "scene" not in keep:
        return ""
    from ..case_scene import problem

    return problem()


def _shape(path: str) -> tuple[int, ...]:
    """Of an image file or a DICOM series.

    Raises:
        VolumeError: it is not there, or none.
    """
    from ..dicom.files import given, is_given

    if not os.path.lexists(given(path)[0]):
        raise VolumeError(f"'{path}' does not exist. Correct the list, or bring the file there.")
    if is_given(path):
        from ..dicom.series import read_series

        return tuple(read_series(path).grid.shape)
    import nibabel

    from ..engine.geometry.volume import header_problem

    try:
        image = nibabel.load(path)
        shape = tuple(map(int, image.shape))
        damage = header_problem(image, path, f"'{path}'")
    except Exception as error:  # nibabel raises many kinds
        raise VolumeError(f"'{path}' cannot be read ({reason(error)}). Give an image file, such as .nii.gz.") from error
    if damage:
        raise VolumeError(damage)
    if len([n for n in shape[3:] if n > 1]) or len(shape) < 3 or 0 in shape:
        raise VolumeError(f"'{path}' is no 3-D volume, its shape is {shape}. Extract one, and name that.")
    return shape


@dataclass(frozen=True)
class Disk:
    """How much disk a run takes.

    Attributes:
        bytes: at most, or where ``measured`` as much as the cases did that are there; None where that is not known.
        free: where the output lies.
    """

    bytes: int | None
    measured: bool
    free: int

    @property
    def is_enough(self) -> bool:
        return self.bytes is None or self.bytes < self.free

    @property
    def words(self) -> str:
        """A sentence for the terminal."""
        free = f"{_size(self.free)} free"
        if self.bytes is None:
            return f"not known from here, where the volumes cannot be read; {free}"
        if self.measured:
            return f"about {_size(self.bytes)} more, as the cases there take; {free}"
        return f"at most {_size(self.bytes)} more (heatmaps uncompressed); {free}"


def disk_for(plan: Plan, to_do: Sequence[Case], done: Sequence[Case]) -> Disk:
    """How much disk the cases to do will take."""
    folder = plan.folder
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if measured := [_taken(plan.folder / CASES / case.id) for case in _sample(done)]:
        return Disk(round(sum(measured) / len(measured) * len(to_do)), True, free)
    voxels = [found["voxels"] for case in _sample(to_do) if (found := check_case(case.to_dict()))["voxels"]]
    if not voxels:
        return Disk(None if to_do else 0, False, free)
    maps = ("heatmap" in plan.keep) + len(plan.options.wanted)
    each = FIGURES_BYTES + maps * HEAT_BYTES * sum(voxels) / len(voxels)
    if "scene" in plan.keep:
        inside = HEAT_BYTES * (1 + len(plan.options.wanted)) + VOLUME_BYTES * len(to_do[0].volumes)
        each += SCENE_BYTES + inside * sum(voxels) / len(voxels)
    each += PICTURE_BYTES * ("picture" in plan.keep) + REPORT_BYTES * ("report" in plan.keep)
    return Disk(round(each * len(to_do)), False, free)


def _sample(cases: Sequence[Case]) -> list[Case]:
    """Some of the cases, evenly."""
    step = max(1, len(cases) // SAMPLED)
    return list(cases[::step][:SAMPLED])


def _taken(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    return f"{count:.3g} TB"

"""DICOM on the command line: the objects that a run writes into a folder of their own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contract.errors import OutputError, VolumeError
from ..contract.records import absolute
from ..dicom.files import given
from .output import Output

FILES = ("heatmap.dcm", "hot-spots.dcm", "prediction.dcm", "picture.dcm")
"""What may come to lie in the folder."""


def add_dicom_options(parser: argparse.ArgumentParser) -> None:
    """The options that ask for DICOM."""
    parser.add_argument(
        "--dicom",
        metavar="DIR",
        help="of a DICOM series: also write the heat as a Parametric Map and the hot spots as a Segmentation into this "
        "folder; they are read back and held against the series",
    )
    parser.add_argument("--dicom-picture", action="store_true", help="with --dicom: the picture too")


def place_of(volume: str) -> str:
    """The file or folder of a VOLUME, without the series that it chooses."""
    return str(given(volume)[0])


class DicomOutput:
    """What ``--dicom`` asks for.

    Args:
        options: of the command; ``dicom`` and ``dicom_picture`` are read.

    Raises:
        OutputError: a picture is asked for, and no folder.

    Attributes:
        words: what was written, for the summary; empty before.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self._place, self._with_picture = options.get("dicom"), bool(options.get("dicom_picture"))
        self.words = self._hash = ""
        if self._with_picture and not self._place:
            raise OutputError("--dicom-picture goes into the folder of --dicom. Give that too.")

    @property
    def outputs(self) -> list[Output]:
        """The folder to fill, if any."""
        return [Output(Path(absolute(self._place)), FILES)] if self._place else []

    def print_written(self) -> None:
        """A line of the summary, where anything was written."""
        if self.words:
            print(f"dicom        {self.words}")

    def require_series(self, node: Any) -> None:
        """Raise before anything is computed where nothing could be written.

        Raises:
            VolumeError: the volume is no DICOM series.
            OutputError: highdicom is missing, or the series lacks what must be referred to.
        """
        if not self._place:
            return
        from ..dicom.objects import require_referable
        from ..scene.io import dicom

        series = dicom.seriesOf(node)
        if series is None:
            raise VolumeError(
                "The first volume is not a DICOM series, so there are no slices that DICOM objects could refer to. "
                "Give the folder of the series, or leave out --dicom."
            )
        require_referable(series)

    def write(self, node: Any, folder: Path, report: Callable[[float, str], None]) -> None:
        """Write an overlay's objects into a folder that is thrown away where they are not right.

        Raises:
            PlacementError, OutputError, VolumeError
        """
        if not self._place:
            return
        from ..dicom.deliver import deliver
        from ..scene import dicom_objects

        taken = dicom_objects.takeOut(node, withPicture=self._with_picture)
        placed = deliver(taken.files, taken.findings, folder, report)
        frames = ", ".join(f"{name} ({one.frames} frame{'s' * (one.frames != 1)})" for name, one in placed.items())
        worst = max(one.millimetres for one in placed.values())
        self.words = f"{os.fspath(self._place)}: {frames}; read back, every frame within {worst:.4f} mm of its slice"

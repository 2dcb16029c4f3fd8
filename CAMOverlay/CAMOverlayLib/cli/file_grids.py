"""An explanation in the voxels of the files that were given, where the scene's nodes count some axes from the other
end.

The scene shows the nodes; the files are what the user names voxels of, and what another reader of the same file, such
as ``CAMOverlayLib.explain``, explains. So the volumes are handed to the computation as they lie in their files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.geometry import affine_rows
from ..contract.packed import Packed
from ..contract.records import Affine
from ..contract.request import Progress, Request, Result
from ..contract.target import VolumeFile
from ..file_grid import FileGrid, fileGrid

Compute = Callable[[Request, Callable[[Progress], None]], Result]


class OnFileGrids:
    """Answers requests about nodes with the result on the nodes' grids, and keeps it on the first file's own.

    Args:
        paths: image files.
        nodes: what was loaded from them, in the same order.
        compute: what answers a request.
        heatmap_file: where the heatmap goes as NIfTI, on the first file's own grid; what else the result says of every
            voxel goes beside it, each as ``NAME.nii.gz``. None writes nothing.
        beside: where these files are written while the scene gets the result, until :meth:`finish`; None writes them
            first.

    Attributes:
        result: the last result in the first file's voxels; None before there is one.
    """

    def __init__(
        self,
        paths: Sequence[str],
        nodes: Sequence[Any],
        compute: Compute,
        heatmap_file: Path | None,
        beside: Executor | None = None,
    ) -> None:
        self._grids = [fileGrid(Path(path), node) for path, node in zip(paths, nodes, strict=True)]
        self._compute = compute
        self._heatmap_file, self._beside = heatmap_file, beside
        self._begun: set[Path] = set()
        self._writing: list[Future[Packed]] = []
        self.result: Result | None = None

    @property
    def grid(self) -> FileGrid:
        """Of the first file, which is the heatmap's."""
        return self._grids[0]

    def __call__(self, request: Request, report: Callable[[Progress], None]) -> Result:
        """
        Raises:
            CAMOverlayError: of the computation, or the heatmap cannot be written.
        """
        volumes = tuple(_as_in(grid, file) for grid, file in zip(self._grids, request.volumes, strict=True))
        placed = partial(self._placed, affine=request.volumes[0].affine)
        return placed(self._compute(replace(request, volumes=volumes), lambda told: report(told.with_result(placed))))

    def _placed(self, result: Result, affine: Affine) -> Result:
        """A result on the file's grid, perhaps not checked yet, as one on the node's, of this affine."""
        if self._heatmap_file is not None:
            self._write_all(result, self._heatmap_file)
        notes = [note for grid in self._grids for note in grid.notes]
        result = replace(result, warnings=(*dict.fromkeys([*notes, *result.warnings]),))
        self.result = result
        return self.grid.shown(result, affine)

    def _write_all(self, result: Result, heatmap_file: Path) -> None:
        """All that is not being written yet."""
        files = {heatmap_file: result.heatmap}
        files |= {heatmap_file.with_name(f"{one.name}.nii.gz"): one.file for one in result.further}
        for path, file in files.items():
            if path in self._begun:
                continue
            self._begun.add(path)
            # Opened now: the file is the run's, and goes with it. A mapped file cannot go on Windows.
            voxels = np.load(file.path, mmap_mode="r" if os.name != "nt" else None, allow_pickle=False)
            if self._beside is None:
                self._write(voxels, file.name, path)
            else:
                self._writing.append(self._beside.submit(self._write, voxels, file.name, path))

    def finish(self) -> list[Packed]:
        """Wait until everything is written, and say where the voxels are in the files.

        Raises:
            OutputError: something cannot be written.
        """
        return [one.result() for one in self._writing]

    def write(self, voxels: np.ndarray, name: str, file: Path) -> None:
        """A volume on the first node's grid (I×J×K) as NIfTI on the first file's own."""
        self._write(self._grids[0].array(voxels), name, file)

    def _write(self, array: np.ndarray, name: str, file: Path) -> Packed:
        """As packed NIfTI, sheared geometries included, which Slicer's own writer would straighten."""
        from ..engine.geometry.volume import Volume, write_packed

        return write_packed(Volume(array, self._grids[0].grid.affine, name), file)


def _as_in(grid: FileGrid, file: VolumeFile) -> VolumeFile:
    return replace(grid.saved(file), affine=affine_rows(grid.grid.affine))

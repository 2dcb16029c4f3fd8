"""A case of a cohort as a Slicer scene, written where the case is computed, as ``cam-overlay explain`` writes one.

The one place where a cohort meets Slicer's core, which is loaded only where scenes are asked for. A process has one
scene. What is in it is saved, so it has to be this module's own: never that of Slicer, or of a notebook.
"""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .contract.errors import OutputError, PlacementError
from .contract.request import Result

NEAR = 0.01
"""Share of a voxel by which the volume may lie elsewhere for Slicer than for the computation."""

NO_CORE = (
    "Scenes are made by Slicer's core, and the Python that computes ('{python}') has not got it. Install it there: pip "
    "install 'cam-overlay[core]'; or leave 'scene' out of what is kept."
)

TAKEN = (
    "This process holds a Slicer scene already, which is not to be saved with every case. Let other processes compute "
    "(workers=1, or --workers 1), or leave 'scene' out of what is kept."
)

_made: weakref.WeakSet[Any] = weakref.WeakSet()
"""The scene, if this module made it."""


def problem() -> str:
    """Why this process cannot write scenes, in a sentence; empty where it can."""
    if importlib.util.find_spec("slicer") is None or importlib.util.find_spec("vtk") is None:
        return NO_CORE.format(python=sys.executable)
    try:
        import slicer
    except ImportError:
        return NO_CORE.format(python=sys.executable)
    there = getattr(slicer, "mrmlScene", None)
    return TAKEN if there is not None and there not in _made else ""


def write_scene(path: Path, volumes: Sequence[str], result: Result) -> None:
    """Write a scene with the volumes, the overlay and what hangs on it.

    Args:
        path: ends in ``.mrb``.
        volumes: their files.
        result: in voxels of the first file, with its array files.

    Raises:
        VolumeError: Slicer cannot read a volume.
        PlacementError: it lies elsewhere for Slicer than for the computation.
        OutputError: the scene cannot be written, or not by this process.
    """
    if words := problem():
        raise OutputError(words)
    import numpy as np

    from .contract.geometry import Grid, affine_rows
    from .file_grid import fileGrid
    from .scene import core
    from .scene.io.volumes import gridOf
    from .scene.overlay import node as overlay

    scene = core.ensureScene()
    _made.add(scene)
    try:
        nodes = [core.loadVolume(one) for one in volumes]
        file = fileGrid(Path(volumes[0]), nodes[0])
        explained = Grid(file.grid.shape, np.array(result.heatmap.affine))
        if not explained.is_near(file.grid, share=NEAR):
            raise PlacementError(f"'{volumes[0]}' lies elsewhere for Slicer than for the computation. Keep no scene.")
        shown = file.shown(result, affine_rows(gridOf(nodes[0]).affine))
        overlay.jumpToPeak(overlay.addOverlay(shown, nodes[0]))
        core.saveScene(path)
    finally:
        scene.Clear(0)

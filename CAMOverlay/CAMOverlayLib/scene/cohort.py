"""A cohort in the scene: its table as a node, and one case of it at a time as volume and overlay.

cases = cohort.read("output/cohort.csv")
cohort.showTable(cases, "output/cohort.csv")
volumeNode, overlayNode = at_once(cohort.loadCase(cases[3]))
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk

from ..cohort.summary.cases import COLUMNS, TABLE, Case, read_cases
from ..contract.errors import CAMOverlayError, OutputError, PlacementError
from ..contract.pieces import TURN, Pieces
from ..contract.request import Result
from ..contract.target import VolumeFile
from . import core
from .findings.table import fill
from .io.volumes import gridOf, readHeatmap, voxelsOf, writeArray
from .overlay import further
from .overlay import node as overlay

SOURCE = "CAMOverlay.Cohort"
"""Attribute of the table node: the file it was read from."""

CASE = "CAMOverlay.CohortCase"
"""Attribute of a volume and an overlay that a case was loaded into: its id. The next case replaces them."""

MOST_ROWS = 100_000

_NUMBERS = ("probability", "peak_r", "peak_a", "peak_s", "share", "enrichment", "seconds")


def read(path: str | Path) -> list[Case]:
    """The cases of a ``cohort.csv``.

    Raises:
        OutputError: it is none.
    """
    file = Path(path).expanduser()
    if file.is_dir():
        file = file / TABLE
    if file.name != TABLE:
        raise OutputError(f"'{file.name}' is no table of a cohort. Choose the file {TABLE} in its folder.")
    cases = read_cases(file.parent)
    if not cases or len(cases) > MOST_ROWS:
        raise OutputError(f"'{file}' holds {len(cases)} cases; from 1 to {MOST_ROWS} can be shown.")
    return cases


def showTable(cases: Sequence[Case], path: str | Path) -> slicer.vtkMRMLTableNode:
    """The table as a node, the one of before where the file is the same; it is what Slicer's table view shows."""
    scene, source = core.ensureScene(), str(Path(path).expanduser())
    found = slicer.util.getNodesByClass("vtkMRMLTableNode", scene)
    node = next((one for one in found if one.GetAttribute(SOURCE)), None)
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName("Cohort"))
    node.SetAttribute(SOURCE, source)
    carried = list(dict.fromkeys(name for case in cases for name in case.carried if name not in COLUMNS))
    names = [*COLUMNS, *carried]
    kinds = {name: vtk.vtkDoubleArray if name in _NUMBERS else vtk.vtkStringArray for name in names}
    fill(node, kinds, [_row(case, carried) for case in cases])
    core.applicationLogic().GetSelectionNode().SetActiveTableID(node.GetID())
    core.applicationLogic().PropagateTableSelection()
    return node


def tableOf(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLTableNode | None:
    """The cohort's table in the scene, where there is one."""
    found = slicer.util.getNodesByClass("vtkMRMLTableNode", scene)
    return next((one for one in found if one.GetAttribute(SOURCE)), None)


def _row(case: Case, carried: Sequence[str]) -> list[Any]:
    """In the order of the columns; a number that is not known is none."""
    none = float("nan")
    peak = case.peak or (none, none, none)
    hit = "" if case.hit is None else str(int(case.hit))
    row = [case.id, case.state, case.volume, case.label, case.target, case.prediction, case.probability, *peak]
    row += [case.placement, case.share, case.enrichment, hit, case.seconds, case.error]
    return [none if one is None else one for one in row] + [case.carried.get(name, "") for name in carried]


# One case -----------------------------------------------------------------------------------------------------------


def loadCase(case: Case, opacity: float = overlay.OPACITY) -> Pieces[tuple[Any, Any]]:
    """Load volume and overlay of a case, with the further maps that it kept, in the place of those of the case before;
    in pieces, between which Slicer's loop may turn. What carries the name of a case but was not loaded here stays.

    Args:
        opacity: of the overlay in the slice views.

    Yields:
        ``TURN`` before each file, which is read in one piece.

    Returns:
        the volume node and the overlay node.

    Raises:
        CAMOverlayError: the case failed, or its volume, its heatmap or its report cannot be used. The scene is then as
            it was.
    """
    result = resultOf(case)
    yield TURN
    volume = core.loadVolume(case.volume)
    volume.SetName(case.id.replace("&", "+"))  # which Slicer writes into a scene and cannot read again
    try:
        with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as folder:
            yield TURN
            result = yield from _inNode(result, case, volume, Path(folder))
            image = yield from readHeatmap(result.heatmap, volume, result.peak)
            also = yield from further.read(result, volume)
        before = _loaded("vtkMRMLScalarVolumeNode")
        mine = next((one for one in before if overlay.isOverlay(one)), None)
        node = overlay.addOverlay(result, volume, mine, opacity=opacity, image=image, also=also)
    except BaseException:
        _remove(volume)
        raise
    for one in (*before, *_loaded("vtkMRMLVectorVolumeNode")):
        if one is not node:
            _remove(one)
    for one in (volume, node):
        one.SetAttribute(CASE, case.id)
    return volume, node


def resultOf(case: Case) -> Result:
    """The result of a case, of its ``report.json``.

    Raises:
        CAMOverlayError: it failed, was not computed yet, or its report is damaged.
    """
    if case.failed:
        raise CAMOverlayError(f"Case '{case.id}' failed: {case.error or 'no reason was written.'}")
    if case.heatmap is None:
        raise CAMOverlayError(f"Case '{case.id}' has no heatmap. Compute the cohort with --keep heatmap, then load it.")
    try:
        told = {name: value for name, value in case.told.items() if name != "repeat"}
        result = Result.from_dict(told)
        maps = tuple(one for one in result.further if _fileOf(case, one.name) is not None)
        return replace(result, further=maps)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CAMOverlayError(f"The report of case '{case.id}' is damaged ({error}). Compute the case again.") from None


def _fileOf(case: Case, name: str) -> Path | None:
    """The file of a map that a report names, in the case's own folder; None where it is not there."""
    return case.file(f"{name}.nii.gz") if re.fullmatch(r"\w+", name) else None


def _inNode(result: Result, case: Case, volume: Any, folder: Path) -> Pieces[Result]:
    """The result in voxels of the volume's node, with array files in the folder: a file's own voxels may be counted
    from the other end of an axis."""
    from ..file_grid import fileGrid  # which needs this room

    heatmap = _arrayFile(case.heatmap, "heatmap", case, volume, folder)
    maps = []
    for one in result.further:
        yield TURN
        file = _arrayFile(_fileOf(case, one.name), one.name, case, volume, folder, labels=bool(one.classes))
        maps.append(replace(one, file=file))
    here = fileGrid(Path(case.volume), volume).result(result)
    return replace(here, heatmap=heatmap, further=tuple(maps))


def _arrayFile(path: Path | None, name: str, case: Case, volume: Any, folder: Path, labels: bool = False) -> VolumeFile:
    """A map's voxels in the order of the volume's node.

    Args:
        labels: they are whole numbers.

    Raises:
        PlacementError: it does not lie on the volume's grid.
    """
    assert path is not None
    loaded = core.loadVolume(path)
    try:
        there, here = gridOf(loaded), gridOf(volume)
        # Slicer's reader turns the last axis of a left-handed file over, of some kinds of files and not of others.
        for flip in ((), (2,)):
            if _flipped(there, bool(flip)).is_near(here, share=0.01):
                voxels = np.flip(voxelsOf(loaded), flip)
                voxels = voxels.astype(np.uint64 if voxels.dtype.itemsize > 2 else np.uint16) if labels else voxels
                return writeArray(voxels, here.affine, folder / f"{name}.npy", name)
    finally:
        _remove(loaded)
    raise PlacementError(
        f"The {name} of case '{case.id}' does not lie on the grid of '{case.volume}'. The volume changed since it was "
        "explained; compute the case again."
    )


def _flipped(grid: Any, along: bool) -> Any:
    if not along:
        return grid
    flip = np.eye(4)
    flip[2, 2], flip[2, 3] = -1, grid.shape[2] - 1
    return replace(grid, affine=grid.affine @ flip)


def _loaded(className: str) -> list[Any]:
    """What the case before was loaded into."""
    return [one for one in slicer.util.getNodesByClass(className, slicer.mrmlScene) if one.GetAttribute(CASE)]


def _remove(node: Any) -> None:
    scene = node.GetScene()
    for one in (node.GetDisplayNode(), node.GetStorageNode(), node):
        if one is not None and scene is not None:
            scene.RemoveNode(one)

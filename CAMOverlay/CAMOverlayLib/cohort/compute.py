"""One case, where it is computed: read, explained, written. The task that every worker runs.

What a process has loaded stays warm for its next case: the libraries, the model, what is known of its layers. One case
at a time runs in a process, whatever threads it has: a model's code shares the process's state.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..contract.errors import CAMOverlayError, OutputError, VolumeError, reason, sentence
from ..contract.model import ModelSource
from ..contract.quick_loading import quick_loading
from ..contract.request import Progress, Request, Result
from ..contract.target import StructureFile, VolumeFile
from .cases import Case
from .checks import cannot_keep
from .folder import ERROR, FULL, REPORT, SCENE, being_made, host, look, publish, stamps_of, told_of_disk
from .plan import Plan

MASK = "mask of the case"
"""The mask's name while it is asked about: no structure of the user's is called so."""

PICTURE_SIDE = 320
"""Pixels of a slice's longer side in the picture: many of them are looked at side by side."""

_one_at_a_time = threading.Lock()
_warm: dict[str, Any] = {}
"""What lives as long as the process: the engine's cache, and the content that was checked."""


def compute_case(plan: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    """Compute a case unless it is there already, and write it; never raises for what is wrong with the case.

    Args:
        plan: a :class:`Plan` as a dictionary.
        case: a :class:`Case` as a dictionary.

    Returns:
        ``id`` and ``state`` (``done``, ``failed``, or ``there``: it was done already); or instead of the state
        ``ends``, the sentence of what no case could be computed after: a full disk, a model that is another one by now.
    """
    asked = Case.from_dict(case)
    with _one_at_a_time:
        try:
            return {"id": asked.id, **_computed(Plan.from_dict(plan), asked)}
        except OutputError as error:
            return {"id": asked.id, "ends": str(error)}
        except OSError as error:
            if error.errno not in FULL:
                raise
            return {"id": asked.id, "ends": f"No space is left on the disk: {reason(error)}. Free some."}


def _computed(plan: Plan, case: Case) -> dict[str, Any]:
    if look(plan, case).is_done:
        return {"state": "there"}
    if ends := _unfit(plan):
        return {"ends": ends}
    _quiet_in_a_worker()
    journal = _Journal(plan)
    journal.write("begun", case)
    started, inputs = time.perf_counter(), stamps_of(case)
    row: dict[str, Any] = {}
    with being_made(plan) as made, _scratch() as scratch:
        failed = None
        try:
            row = _explain_and_write(plan, case, made, scratch)
        except OutputError:
            raise
        except (Exception, SystemExit) as error:  # one bad case is one row
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            failed = _told(error)
        if failed:
            _write_error(plan, made, failed)
            row = {"error": failed["error"]}
        row["seconds"] = round(time.perf_counter() - started, 3)
        state = "failed" if failed else "done"
        published = publish(plan, case, made, state, row, inputs)
    journal.write(state if published else "there", case, row["seconds"])
    return {"state": state if published else "there"}


def _unfit(plan: Plan) -> str:
    """Why nothing of this plan can be computed here, in a sentence; empty where it can."""
    if plan.version != __version__:
        return (
            f"A worker has CAMOverlay {__version__}, and the command {plan.version}: their heatmaps are not mixed. "
            "Install the same version for both."
        )
    if words := cannot_keep(plan.keep):
        return words
    from ..contract.bundle_content import content_hash, stamp
    from ..contract.model_kinds import model_path

    try:
        path = model_path(plan.model.path)
        known = (str(path), stamp(path))
        if _warm.get("checked") != (known, plan.content_hash):
            if (found := content_hash(path)) != plan.content_hash:
                return _another_model(plan, found)
            _warm["checked"] = (known, plan.content_hash)
    except (CAMOverlayError, OSError) as error:
        return f"The model '{plan.model.path}' cannot be read where a worker runs: {reason(error)}."
    return ""


def _another_model(plan: Plan, found: str) -> str:
    return (
        f"The model '{plan.model.path}' is another one where a worker runs, or has changed since the command began "
        f"(content {found[:12]}, not {plan.content_hash[:12]}). Run the same again with the model that you want."
    )


def _told(error: BaseException) -> dict[str, str]:
    """What went wrong, as a row tells it."""
    kind = type(error).__name__
    if isinstance(error, CAMOverlayError):
        return {"error": " ".join(str(error).split()), "kind": kind}
    if isinstance(error, MemoryError):
        words = "Not enough memory. Crop or resample the volume, or start fewer workers."
    elif isinstance(error, SystemExit):
        words = "The code of the model ended the program, so there is no result. Correct its code."
    else:
        words = f"Unexpected failure: {kind}: {reason(error)}."
    return {"error": sentence(words), "kind": kind}


def _write_error(plan: Plan, made: Path, failed: dict[str, str]) -> None:
    """The sentence alone: what was written of the case until it failed goes."""
    for path in made.iterdir():
        path.unlink()
    with told_of_disk(plan):
        (made / ERROR).write_text(json.dumps(failed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _quiet_in_a_worker() -> None:
    """What libraries announce of their next versions says nothing that a user could act on. A process that is not
    Dask's is left as it is."""
    if not _warm.get("quiet") and _local_directory() is not None:
        _warm["quiet"] = True
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
        logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)


def _load_libraries() -> None:
    """Those of the engine, without what only MONAI might want, in a process that is Dask's."""
    if _local_directory() is not None:
        with quick_loading():
            from ..engine import pipeline  # noqa: F401


def _local_directory() -> str | None:
    """The folder of the Dask worker that this process is, or None."""
    if "distributed.worker" in sys.modules:
        with suppress(ValueError):  # this is no worker
            return str(sys.modules["distributed"].get_worker().local_directory)
    return None


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for array files, on this machine; a Dask worker's own is cleared by Dask where the worker is killed."""
    folder = Path(tempfile.mkdtemp(prefix="CAMOverlay-", dir=_local_directory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Journal:
    """What this process began and finished, a line each: who reads it sees what was computed twice, and where."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._who = plan, f"{host()}-{os.getpid()}"

    def write(self, event: str, case: Case, seconds: float | None = None) -> None:
        folder = self._plan.folder / "log"
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "event": event,
            "id": case.id,
        }
        line |= {} if seconds is None else {"seconds": seconds}
        with told_of_disk(self._plan):
            folder.mkdir(exist_ok=True)
            with (folder / f"{self._who}.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


# The explanation ----------------------------------------------------------------------------------------------------


def _explain_and_write(plan: Plan, case: Case, made: Path, scratch: Path) -> dict[str, Any]:
    """Everything of a case that is done but :data:`~.folder.CASE`; returns its row.

    Raises:
        CAMOverlayError: one of its kinds.
    """
    _load_libraries()
    files, notes = _volume_files(case, scratch)
    mask, said = _mask_file(case, scratch)
    result = _explained(plan, case, files, mask, scratch)
    if result.provenance.content_hash != plan.content_hash:
        raise OutputError(_another_model(plan, result.provenance.content_hash))
    heat = np.load(result.heatmap.path, mmap_mode="r", allow_pickle=False)
    row = _row(result)
    told = _in_the_lists_words(plan, case, result, (*notes, *said))
    _write(plan, made, told, files[0], heat, scratch)
    if "scene" in plan.keep:
        from ..case_scene import write_scene  # and with it Slicer's core

        write_scene(made / SCENE, case.volumes, replace(told, heatmap=result.heatmap, further=result.further))
    return row


def _volume_files(case: Case, scratch: Path) -> tuple[list[VolumeFile], tuple[str, ...]]:
    """Array files of the volumes, as Slicer's side would export them, and what the user should know of each.

    Raises:
        VolumeError: one cannot be read, or is none.
    """
    from ..engine.geometry.volume import save_array

    files, notes = [], []
    for number, path in enumerate(case.volumes):
        volume = _read(path)
        notes += volume.notes
        files.append(save_array(volume.array, volume.affine, volume.name, scratch / f"volume_{number}.npy"))
    return files, tuple(notes)


def _read(path: str) -> Any:
    """A volume from an image file or a DICOM series.

    Raises:
        VolumeError
    """
    from ..dicom.files import given, is_given
    from ..engine.api import read_source

    if not os.path.lexists(given(path)[0]):
        raise VolumeError(f"'{path}' does not exist. Correct the list, or bring the file there.")
    if not is_given(path):
        return read_source(path, 0)
    from ..dicom.series import read_series
    from ..dicom.voxels import read_voxels

    series = read_series(path)
    return replace(read_source((read_voxels(series).transpose(2, 1, 0), series.grid.affine), 0), name=series.name)


def _mask_file(case: Case, scratch: Path) -> tuple[VolumeFile | None, tuple[str, ...]]:
    """The mask as one structure, whatever labels it has; an empty one, of a case without a finding, is a note.

    Raises:
        VolumeError: it cannot be read.
    """
    from ..engine.geometry.volume import save_array

    if not case.mask:
        return None, ()
    volume = _read(case.mask)
    if volume.components > 1:
        raise VolumeError(f"The mask '{case.mask}' is a picture in colours. Give a label map.")
    inside = np.asarray(volume.array) != 0
    if not inside.any():
        return None, ("The mask is empty, so no share of the heat lies in it.",)
    return save_array(inside.astype(np.uint8), volume.affine, MASK, scratch / "mask.npy"), ()


def _explained(plan: Plan, case: Case, files: list[VolumeFile], mask: VolumeFile | None, scratch: Path) -> Result:
    """The one story, with what this process has warm."""
    from ..engine.cache import Cache
    from ..engine.pipeline import explain

    cache = _warm.setdefault("cache", Cache())
    options = {name: getattr(plan.options, name) for name in plan.options.__dataclass_fields__}
    if mask is not None:
        options["structures"] = (StructureFile(mask, (MASK,)), *plan.options.structures)
    out = scratch / "out"
    out.mkdir()
    model = replace(plan.model, trusted_hash=None)  # it was compared, and is again with what was loaded
    model = replace(model, trust=plan.model.is_trusted)
    request = Request(tuple(files), model, str(out), target=case.target or plan.target, **options)
    try:
        return explain(request, _unheard, cache)
    finally:
        cache.forget_volumes()


_unheard: Callable[[Progress], None] = lambda progress: None  # noqa: E731


def _row(result: Result) -> dict[str, Any]:
    """The figures of a result by the columns of the table."""
    said = result.prediction
    number = said.probabilities[said.index]
    peak = result.peak_ras or (None, None, None)
    row = {
        "prediction": f"{number:.6g}" if said.activation == "none" else said.name,
        "probability": None if said.activation == "none" else number,
        **dict(zip(("peak_r", "peak_a", "peak_s"), peak)),
        "placement": result.placement.verdict,
    }
    for one in result.structures:
        if one.name == MASK:
            row |= {"share": one.share, "enrichment": one.enrichment, "hit": int(one.holds_peak)}
    return row


def _in_the_lists_words(plan: Plan, case: Case, result: Result, notes: tuple[str, ...]) -> Result:
    """The result as if the command had been given these files: no word of array files that are soon gone."""
    structures = ((StructureFile(case.mask, ()),) if case.mask else ()) + plan.options.structures
    asked = replace(
        result.provenance,
        door="command",
        volumes=case.volumes,
        options=replace(result.provenance.options, structures=structures),
        model=ModelSource("") if plan.told.network else plan.model,
        network_arguments=plan.told.arguments,
    )
    return replace(
        result,
        heatmap=replace(result.heatmap, path="heatmap.nii.gz"),
        further=tuple(replace(one, file=replace(one.file, path=f"{one.name}.nii.gz")) for one in result.further),
        structures=tuple(replace(one, name="mask") if one.name == MASK else one for one in result.structures),
        findings=tuple(replace(one, structure="mask") if one.structure == MASK else one for one in result.findings),
        warnings=(*dict.fromkeys([*plan.told.warnings, *notes, *(w.replace(MASK, "mask") for w in result.warnings)]),),
        bundle=plan.told.network or result.bundle,
        provenance=asked,
    )


def _write(plan: Plan, made: Path, result: Result, file: VolumeFile, heat: np.ndarray, scratch: Path) -> None:
    """What is kept of a case.

    Args:
        file: of the volume on whose grid the heat lies.
        scratch: where the engine left what else was asked of every voxel.
    """
    from ..engine.geometry.volume import Volume, write_nifti
    from ..reading.hot_spots import findings_csv
    from ..report.files import montage_of
    from ..report.page import write_page
    from ..report.repeat import report_json
    from ..report.shown import Shown

    affine = np.array(file.affine)
    if "heatmap" in plan.keep:
        write_nifti(Volume(heat, affine, file.name), made / "heatmap.nii.gz")
    for one in result.further:
        voxels = np.load(scratch / "out" / f"{one.name}.npy", mmap_mode="r", allow_pickle=False)
        write_nifti(Volume(voxels, affine, one.name), made / one.file.path)
    with told_of_disk(plan):
        (made / "findings.csv").write_text(findings_csv(result.findings), encoding="utf-8")
        shown = Shown(file.name, np.load(file.path, mmap_mode="r", allow_pickle=False), heat, affine)
        if "picture" in plan.keep:
            (made / "picture.png").write_bytes(montage_of(result, shown, PICTURE_SIDE))
        if "report" in plan.keep:
            (made / "report.html").write_text(write_page(result, shown, with_viewer=False), encoding="utf-8")
        (made / REPORT).write_text(report_json(result), encoding="utf-8")

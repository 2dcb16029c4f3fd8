"""DICOM series as volumes, and the series of a volume: of one that was loaded here, or by Slicer's DICOM module.

A node is called by modality and number, since folders and descriptions often name the patient; and nothing of the
series is written on it, since a scene is passed on.
"""

from __future__ import annotations

import os
import uuid
from collections import OrderedDict
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ...contract.errors import VolumeError
from ...dicom import files, library
from ...dicom.series import Series, read_series
from ...dicom.voxels import read_voxels

SERIES = b"\x20\x00\x0e\x00"
"""Tag (0020,000E), Series Instance UID, as nearly all files have it: the lower byte first."""

START = 1 << 16
"""Bytes in which the tag is looked for; it comes long before the voxels."""

FILES = 5000
"""Files of a folder that are looked at, at most."""


INSTANCES = "DICOM.instanceUIDs"
"""Attribute of a volume that Slicer's DICOM module loaded: the UIDs of its files."""

KNOWN_BY = "CAMOverlay.Series"
"""Attribute of a volume that was loaded here: a random word by which its series is found in memory."""

MOST_LOADED = 64
"""Series that are remembered, the latest ones."""

_loaded: OrderedDict[str, Series] = OrderedDict()


def isSeries(path: str | os.PathLike[str]) -> bool:
    """Whether a path is loaded by :func:`loadSeries`: a folder, a series of it (``FOLDER#3``), a ``DICOMDIR``, or a
    DICOM file, as far as pydicom is there to read it: a single file is otherwise left to Slicer's own reader."""
    return files.is_given(path) and (library.is_installed() or not os.path.isfile(path))


def loadSeries(path: str | os.PathLike[str], scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLScalarVolumeNode | None:
    """Load a DICOM series as a volume of the grid on which its slices lie, sheared where the gantry was tilted.

    Returns:
        the node; None of a single file that is no grey image with a place in the patient, such as an X-ray.

    Raises:
        VolumeError: there is no series, there are several, or its slices make no volume. The scene is then as it was.
    """
    place, _which = files.given(path)
    if place.is_file() and not files.lies_in_patient(place):
        return None
    series = read_series(path)
    voxels = read_voxels(series)
    image = vtk.vtkImageData()
    image.SetDimensions(*series.grid.shape)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(voxels.reshape(-1), deep=True))
    node = slicer.vtkMRMLScalarVolumeNode()
    node.SetName(series.name)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(series.grid.affine, dtype=float).ravel().tolist())
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(image)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    _remember(node, series)
    return node


def _remember(node: slicer.vtkMRMLVolumeNode, series: Series) -> None:
    """Know a node's series again for as long as this program runs; what is written on the node means nothing
    elsewhere."""
    word = uuid.uuid4().hex
    node.SetAttribute(KNOWN_BY, word)
    _loaded[word] = series
    while len(_loaded) > MOST_LOADED:
        _loaded.popitem(last=False)


def seriesOf(volumeNode: slicer.vtkMRMLVolumeNode) -> Series | None:
    """The series of a volume that was loaded here; None of any other."""
    return _loaded.get(volumeNode.GetAttribute(KNOWN_BY) or "")


def filesOf(volumeNode: slicer.vtkMRMLVolumeNode) -> list[Path]:
    """The files of a volume's series: of one that was loaded here, or by Slicer's DICOM module; none of any other.

    Raises:
        VolumeError: Slicer's DICOM database does not know all of them any more.
    """
    series = seriesOf(volumeNode)
    if series is not None:
        return list(dict.fromkeys(plane.file for plane in series.planes))
    uids = (volumeNode.GetAttribute(INSTANCES) or "").split()
    database = getattr(slicer, "dicomDatabase", None)
    if not uids or database is None:
        return []
    found = [Path(name) for uid in uids if (name := database.fileForInstance(uid)) and os.path.isfile(name)]
    if len(found) < len(uids):
        raise VolumeError(
            f"Of the {len(uids)} files of this volume's DICOM series {len(uids) - len(found)} are not in Slicer's "
            "DICOM database any more; import the series again."
        )
    return found


def seriesNote(path: Path) -> str:
    """That a file is one of several of its series, and what to do; empty for any other file."""
    series = _series(path)
    if not series:
        return ""
    try:
        beside = [other for other, _ in zip(path.resolve().parent.iterdir(), range(FILES))]
    except OSError:
        return ""
    count = sum(1 for other in beside if other.is_file() and _series(other) == series)
    if count < 2:
        return ""
    return (
        f"'{path.name}' is one of {count} files of its DICOM series; only this one was explained. To explain the whole "
        "series, give its folder."
    )


def _series(path: Path) -> bytes:
    """The UID of a file's series; empty where it is no DICOM file, or does not say."""
    try:
        with path.open("rb") as file:
            start = file.read(START)
    except OSError:
        return b""
    if start[128:132] != b"DICM":
        return b""
    at = start.find(SERIES, 132)
    if at < 0:
        return b""
    explicit = start[at + 4 : at + 6] == b"UI"
    length = int.from_bytes(start[at + 6 : at + 8] if explicit else start[at + 4 : at + 8], "little")
    return start[at + 8 : at + 8 + length].rstrip(b"\0 ") if 0 < length <= 64 else b""

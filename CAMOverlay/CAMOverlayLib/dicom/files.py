"""Which files of a folder, a ``DICOMDIR`` or a command line's word are slices, and to which series they belong."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ..contract.errors import VolumeError
from .library import pydicom, quietly, understood

MOST_FILES = 100_000
"""Files of a folder that are looked at."""

NO_VOLUME = {
    "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "label map",
    "1.2.840.10008.5.1.4.1.1.30": "parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "dose",
}
"""Images by their class that are derived from others; they lie beside the series, and are not taken for it."""


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is one: ``DICM`` after 128 bytes, or without them the first group in a length that
    such a group has, as files of before have it."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or (
        start[:2] == b"\x08\x00" and start[2:4] in (b"\x00\x00", b"\x05\x00", b"\x08\x00")
    )


def given(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """The folder or file that a word names, and which series of it: ``FOLDER#3`` is number 3, ``FOLDER#1.2.840…`` the
    one with this UID; empty for the only one."""
    text = os.path.expanduser(os.fspath(path))
    if "#" in text and not os.path.lexists(text):
        place, _, which = text.rpartition("#")
        return Path(place), which.strip()
    return Path(text), ""


def is_given(path: str | os.PathLike[str]) -> bool:
    """Whether a word names DICOM: a folder, a ``DICOMDIR``, or a file that says so."""
    place, which = given(path)
    return place.is_dir() or bool(which and place.exists()) or (place.is_file() and is_dicom(place))


def lies_in_patient(file: Path) -> bool:
    """Whether a file is a ``DICOMDIR``, or holds grey values that have a place in the patient; an X-ray or a picture in
    colours does not, and is read as the picture that it is.

    Raises:
        VolumeError: it is damaged.
    """
    if file.name.upper() == "DICOMDIR":
        return True
    found = headers_of([file])
    if not found:
        return True  # whoever reads it says what it is
    header = found[0][1]
    with understood(VolumeError, f"{file}"):
        placed = "ImagePositionPatient" in header or "PerFrameFunctionalGroupsSequence" in header
        return placed and int(header.get("SamplesPerPixel") or 1) == 1


def files_in(place: Path) -> list[Path]:
    """The DICOM files of a folder and those below it, those that a ``DICOMDIR`` lists, or the file itself.

    Raises:
        VolumeError: there is none, or the folder or list cannot be read.
    """
    if place.is_dir():
        found = [path for path in _walk(place) if path.name.upper() != "DICOMDIR" and is_dicom(path)]
        if not found:
            raise VolumeError(
                f"{place} is a folder without DICOM files; pass one with the slices of a series, or an image file such "
                "as brain.nii.gz."
            )
        return found
    if not is_dicom(place):
        raise VolumeError(f"{place} is no DICOM file; a series is chosen (#) of a folder or a DICOMDIR.")
    return _listed(place) or [place]


def _walk(folder: Path) -> Iterator[Path]:
    count = 0

    def refuse(error: OSError) -> None:
        raise VolumeError(f"{folder} cannot be read: {error.strerror or error}; check its permissions.")

    for parent, below, names in os.walk(folder, onerror=refuse):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            if name.startswith("."):
                continue
            count += 1
            if count > MOST_FILES:
                raise VolumeError(f"{folder} holds more than {MOST_FILES} files; pass the folder of one series.")
            yield Path(parent, name)


def _listed(place: Path) -> list[Path]:
    """The images of a ``DICOMDIR``; empty for any other file."""
    with quietly():
        try:
            listing = pydicom().dcmread(place, force=True, stop_before_pixels=True)
        except VolumeError:
            raise
        except Exception:  # of many kinds, and in its words may be what the file holds  # noqa: BLE001
            raise VolumeError(f"{place} is damaged or cut short; copy it again.") from None
        records = listing.get("DirectoryRecordSequence")
        if records is None:
            return []
        named = [record.get("ReferencedFileID") for record in records if record.get("DirectoryRecordType") == "IMAGE"]
    files = [_in_any_case(place.parent, [one] if isinstance(one, str) else list(one)) for one in named if one]
    missing = sum(not path.is_file() for path in files)
    if missing or not files:
        raise VolumeError(
            f"{place} lists {len(files)} images, of which {missing} are not there; copy the whole medium, or pass the "
            "folder of the slices."
        )
    return files


def _in_any_case(folder: Path, parts: list[str]) -> Path:
    """A file that a ``DICOMDIR`` names in capitals, however the disk spells it."""
    path = folder
    for part in parts:
        there = path / part
        if not there.exists() and path.is_dir():
            there = next((one for one in path.iterdir() if one.name.upper() == part.upper()), there)
        path = there
    return path


def headers_of(files: Iterable[Path], cancelled: Callable[[], None] = lambda: None) -> list[tuple[Path, Any]]:
    """Every file that holds an image, with its attributes but the voxels.

    Raises:
        VolumeError: a file is cut short or damaged.
    """
    library = pydicom()
    found: list[tuple[Path, Any]] = []
    with quietly():
        for path in files:
            cancelled()
            try:
                header = library.dcmread(path, stop_before_pixels=True, force=True)
                is_image = "Rows" in header and "Columns" in header and "SeriesInstanceUID" in header
            except Exception:  # as above  # noqa: BLE001
                raise VolumeError(
                    "A DICOM file of it is damaged or cut short; copy the series again (file "
                    f"{len(found) + 1} in the order of their names)."
                ) from None
            if is_image:
                found.append((path, header))
    return found


def by_series(headers: Iterable[tuple[Path, Any]]) -> dict[str, list[tuple[Path, Any]]]:
    """The images of each series, by its UID; derived ones such as segmentations are left out."""
    series: dict[str, list[tuple[Path, Any]]] = {}
    for path, header in headers:
        if str(header.get("SOPClassUID", "")) not in NO_VOLUME:
            series.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    return series

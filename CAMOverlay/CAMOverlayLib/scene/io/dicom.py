"""A DICOM file that is one slice of a series: a file reader loads it alone, and nothing of it says that it is a
part."""

from __future__ import annotations

from pathlib import Path

SERIES = b"\x20\x00\x0e\x00"
"""Tag (0020,000E), Series Instance UID, as nearly all files have it: the lower byte first."""

START = 1 << 16
"""Bytes in which the tag is looked for; it comes long before the voxels."""

FILES = 5000
"""Files of a folder that are looked at, at most."""


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
        "series, convert it to one NIfTI or NRRD file, for example with dcm2niix or by saving it from Slicer."
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

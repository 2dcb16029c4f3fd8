"""One slice of a DICOM series is explained alone, and that is said."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from CAMOverlayLib.file_grid import fileGrid
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.dicom import seriesNote

IMAGE = b"1.2.840.10008.5.1.4.1.1.4"


def element(group, number, kind, value):
    value += b"" if len(value) % 2 == 0 else (b"\0" if kind in (b"UI", b"OW") else b" ")
    length = struct.pack("<HI", 0, len(value)) if kind == b"OW" else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def slice_of(path, series, number):
    """A DICOM file of 8 × 8 pixels, explicit and little-endian."""
    short = lambda value: struct.pack("<H", value)
    instance = series + b".%d" % number
    meta = (
        element(2, 2, b"UI", IMAGE) + element(2, 3, b"UI", instance) + element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    )
    body = b"".join(
        [
            element(8, 0x16, b"UI", IMAGE),
            element(8, 0x18, b"UI", instance),
            element(8, 0x60, b"CS", b"MR"),
            element(0x18, 0x50, b"DS", b"2"),
            element(0x20, 0x0D, b"UI", b"1.2.3"),
            element(0x20, 0x0E, b"UI", series),
            element(0x20, 0x13, b"IS", b"%d" % number),
            element(0x20, 0x32, b"DS", b"0\\0\\%d" % (2 * number)),
            element(0x20, 0x37, b"DS", b"1\\0\\0\\0\\1\\0"),
            element(0x28, 2, b"US", short(1)),
            element(0x28, 4, b"CS", b"MONOCHROME2"),
            element(0x28, 0x10, b"US", short(8)),
            element(0x28, 0x11, b"US", short(8)),
            element(0x28, 0x30, b"DS", b"1\\1"),
            element(0x28, 0x100, b"US", short(16)),
            element(0x28, 0x101, b"US", short(16)),
            element(0x28, 0x102, b"US", short(15)),
            element(0x28, 0x103, b"US", short(0)),
            element(0x7FE0, 0x10, b"OW", np.arange(64, dtype="<u2").tobytes()),
        ]
    )
    path.write_bytes(bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + body)
    return path


def test_a_slice_of_a_series_says_that_it_is_one(tmp_path):
    files = [slice_of(tmp_path / f"IM{number}.dcm", b"1.2.3.4", number) for number in (1, 2, 3)]
    other = slice_of(tmp_path / "other.dcm", b"1.2.3.5", 1)
    node = core.loadVolume(files[1])
    assert node.GetImageData().GetDimensions() == (8, 8, 1)
    (note,) = fileGrid(files[1], node).notes
    assert (
        "'IM2.dcm' is one of 3 files of its DICOM series; only this one was explained" in note
        and "give its folder" in note
    )
    assert seriesNote(other) == ""


@pytest.mark.parametrize(
    "content", [b"", b"text", bytes(128) + b"DICM", bytes(128) + b"DICM\x20\x00\x0e\x00UI\xff\xff"]
)
def test_what_tells_no_series_has_no_note(tmp_path, content):
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(content)
    assert seriesNote(tmp_path / "a.dcm") == ""

"""A saved scene's volumes, packed on all cores.

Slicer packs them one after the other on one core, which is most of what saving a scene of a large volume takes. So it
saves them raw, and they are packed on the way into the file. The scene says what it would have said.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import slicer
import slicer.util

from ...contract.packed import stream_gz

STORAGE = "vtkMRMLVolumeArchetypeStorageNode"
ELEMENT = re.compile(r'<VolumeArchetypeStorage(?:\s+[\w.:-]+="[^"]*")*')
RAW, PACKED = b"\nencoding: raw\n", b"\nencoding: gzip\n"


@contextmanager
def savedRaw(scene: slicer.vtkMRMLScene) -> Iterator[set[str]]:
    """Meanwhile Slicer saves volumes as they are in memory. What comes are the identifiers of the storage nodes whose
    volumes are to stay raw, as the user has told Slicer not to pack them."""
    kept = {node.GetID() for node in _storages(scene) if not node.GetUseCompression()}
    before = scene.GetDefaultNodeByClass(STORAGE)  # of which those are copies that volumes get when they are saved
    default = slicer.vtkMRMLVolumeArchetypeStorageNode()
    if before is not None:
        default.CopyContent(before)
    default.SetUseCompression(0)
    try:
        scene.AddDefaultNode(default)
        for node in _storages(scene):
            node.SetUseCompression(0)
        yield kept
    finally:
        default.SetUseCompression(before is None or before.GetUseCompression())
        for node in _storages(scene):
            node.SetUseCompression(node.GetID() not in kept)


def _storages(scene: slicer.vtkMRMLScene) -> list[Any]:
    return slicer.util.getNodesByClass(STORAGE, scene)


def packInto(path: Path, raw: Path, kept: set[str]) -> None:
    """Write a scene that was saved raw with its volumes packed.

    Args:
        path: an ``.mrb`` file that is not there.
        raw: the ``.mrb`` file that Slicer wrote.
        kept: as :func:`savedRaw` gives them.

    Raises:
        OSError: the disk is full.
    """
    with ZipFile(raw) as source, ZipFile(path, "w", ZIP_STORED) as target:
        scene = next(entry for entry in source.infolist() if entry.filename.endswith(".mrml"))
        text, volumes = _toldPacked(source.read(scene).decode(), kept)
        for entry in source.infolist():
            made = ZipInfo(entry.filename, entry.date_time)
            made.external_attr = entry.external_attr
            if entry is scene:
                target.writestr(made, text)
            elif entry.is_dir():
                target.writestr(made, b"")
            else:
                with target.open(made, "w", force_zip64=True) as file:
                    pack = entry.filename.partition("/")[2] in volumes
                    _write(file, _bytesOf(raw, source, entry), pack)


def _write(file: IO[bytes], whole: np.ndarray, pack: bool) -> None:
    """The bytes of a file as they are, or packed where it is NRRD with raw voxels behind its header."""
    header = whole[:10_000].tobytes().partition(b"\n\n")[0] + b"\n\n"
    if pack and RAW in header:
        file.write(header.replace(RAW, PACKED))
        stream_gz(file, b"", whole[len(header) :])
    else:
        file.write(whole)


def _toldPacked(text: str, kept: set[str]) -> tuple[str, set[str]]:
    """The scene as it would be with packed volumes, and the files of these."""
    volumes = set()

    def told(element: re.Match[str]) -> str:
        words = dict(re.findall(r'([\w.:-]+)="([^"]*)"', element[0]))
        if words.get("id") in kept or "fileName" not in words:
            return element[0]
        volumes.add(unquote(unescape(words["fileName"])))
        return element[0].replace('useCompression="0"', 'useCompression="1"')

    return ELEMENT.sub(told, text), volumes


def _bytesOf(path: Path, archive: ZipFile, entry: ZipInfo) -> np.ndarray:
    """What is in a member, from the file itself where that is stored as it is."""
    if entry.compress_type != ZIP_STORED or not entry.file_size:
        return np.frombuffer(archive.read(entry), np.uint8)
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name, extra = struct.unpack("<26x2H", file.read(30))
    return np.memmap(path, np.uint8, "r", entry.header_offset + 30 + name + extra, (entry.file_size,))

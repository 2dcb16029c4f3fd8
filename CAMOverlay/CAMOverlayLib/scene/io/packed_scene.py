"""A saved scene's volumes, packed on all cores.

Slicer packs them one after the other on one core, which is most of what saving a scene of a large volume takes. So it
saves them raw, and they are packed on the way into the file. The scene says what it would have said.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import slicer
import slicer.util

from ...contract.packed import Packed, stream_gz

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


def packInto(path: Path, raw: Path, kept: set[str], before: Sequence[Packed] = ()) -> None:
    """Write a scene that was saved raw, as one file with its volumes packed.

    Args:
        path: an ``.mrb`` file that is not there.
        raw: the folder that Slicer filled; its name becomes that of the folder in the file.
        kept: as :func:`savedRaw` gives them.
        before: voxels that were packed before, perhaps some of these.

    Raises:
        OSError: the disk is full.
    """
    (scene,) = raw.glob("*.mrml")
    text, volumes = _toldPacked(scene.read_text("utf-8"), kept)
    with ZipFile(path, "w", ZIP_STORED) as target:
        target.writestr(_named(f"{raw.name}/", stat.S_IFDIR | 0o755), b"")
        target.writestr(_named(f"{raw.name}/{scene.name}"), text)
        for found in sorted(raw.rglob("*")):
            name = found.relative_to(raw).as_posix()
            if found == scene or found.is_dir():
                continue
            with target.open(_named(f"{raw.name}/{name}"), "w", force_zip64=True) as file:
                _write(file, _bytesOf(found), name in volumes, before)


def _named(name: str, mode: int = stat.S_IFREG | 0o644) -> ZipInfo:
    """A member without a time, as Slicer's have none: equal scenes make equal files."""
    made = ZipInfo(name)
    made.external_attr = mode << 16
    return made


def _write(file: IO[bytes], whole: np.ndarray, pack: bool, before: Sequence[Packed]) -> None:
    """The bytes of a file as they are, or packed where it is NRRD with raw voxels behind its header."""
    header = whole[:10_000].tobytes().partition(b"\n\n")[0] + b"\n\n"
    if pack and RAW in header:
        file.write(header.replace(RAW, PACKED))
        voxels = whole[len(header) :]
        stream_gz(file, b"", voxels, next((one for one in before if one.whole.size == voxels.size), None))
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


def _bytesOf(file: Path) -> np.ndarray:
    return np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)

"""A saved scene's volumes, packed on all cores.

Slicer packs them one after the other on one core, which is most of what saving a scene of a large volume takes. So it
saves them raw, and they are packed on the way into the file. The scene says what it would have said. Where no
application looks on, Slicer saves a single voxel of each, with all that is said of it, and the others go from memory
into the file: a third of a gigabyte is not written to be read again.
"""

from __future__ import annotations

import errno
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ...contract.packed import Packed, stream_gz

STORAGE = "vtkMRMLVolumeArchetypeStorageNode"
ELEMENT = re.compile(r'<VolumeArchetypeStorage(?:\s+[\w.:-]+="[^"]*")*')
RAW, PACKED = b"\nencoding: raw\n", b"\nencoding: gzip\n"
SIZE = re.compile(rb"(?<=\nsizes: )1 1 1(?=\n)")


@dataclass(frozen=True)
class Saving:
    """How the volumes of a scene are being saved.

    Attributes:
        kept: storage nodes whose volumes are to stay raw, as the user has told Slicer not to pack them.
        apart: by storage node what Slicer saves a single voxel of.
    """

    kept: set[str]
    apart: dict[str, Apart]


@dataclass(frozen=True)
class Apart:
    """The voxels of a volume, as they are in memory."""

    size: tuple[int, ...]
    voxels: np.ndarray

    def told_in(self, header: bytes) -> bytes:
        """The header of one voxel as that of all."""
        told, count = SIZE.subn(" ".join(map(str, self.size)).encode(), header)
        if count != 1 or RAW not in header:
            raise OSError(errno.EIO, "Slicer left no NRRD header of a volume")
        return told


@contextmanager
def savedRaw(scene: slicer.vtkMRMLScene) -> Iterator[Saving]:
    """Meanwhile Slicer saves volumes as they are in memory, or a single voxel of them."""
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
        with _heldOut(scene) as apart:
            yield Saving(kept, apart)
    finally:
        default.SetUseCompression(before is None or before.GetUseCompression())
        for node in _storages(scene):
            node.SetUseCompression(node.GetID() not in kept)


def _storages(scene: slicer.vtkMRMLScene) -> list[Any]:
    return slicer.util.getNodesByClass(STORAGE, scene)


@contextmanager
def _heldOut(scene: slicer.vtkMRMLScene) -> Iterator[dict[str, Apart]]:
    """Meanwhile volumes consist of one voxel. Nobody hears of it: a display would take its window from that voxel, and
    a sequence take it for the item. Not in Slicer itself, which would take the volumes for changed."""
    apart = {}
    with ExitStack() as stack:
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene):
            if getattr(slicer, "app", None) is None and _isPlain(node):
                image = node.GetImageData()
                apart[node.GetStorageNode().GetID()] = Apart(image.GetDimensions(), _voxelsOf(image))
                stack.enter_context(_reduced(node, image.GetScalarType()))
        yield apart


def _voxelsOf(image: vtk.vtkImageData) -> np.ndarray:
    """The bytes of an image's voxels, as they are in memory."""
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(-1).view(np.uint8)


def _isPlain(node: slicer.vtkMRMLScalarVolumeNode) -> bool:
    """Whether a volume is saved as NRRD of one number a voxel."""
    image = node.GetImageData()
    if node.GetClassName() not in ("vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode") or image is None:
        return False
    if image.GetPointData().GetScalars() is None or image.GetNumberOfScalarComponents() != 1:
        return False
    if any(image.GetExtent()[::2]):  # counted from another voxel than the first, as a crop leaves it
        return False
    if node.GetStorageNode() is None:
        node.AddDefaultStorageNode()  # as Slicer does when it saves
    storage = node.GetStorageNode()
    return storage is not None and storage.IsA(STORAGE) and storage.GetDefaultWriteFileExtension() == "nrrd"


@contextmanager
def _reduced(node: slicer.vtkMRMLScalarVolumeNode, kind: int) -> Iterator[None]:
    """Meanwhile a volume has one voxel, of this VTK type, and no event tells of it."""
    image = vtk.vtkImageData()
    image.SetDimensions(1, 1, 1)
    image.AllocateScalars(kind, 1)
    image.GetPointData().GetScalars().Fill(0)
    producer = vtk.vtkTrivialProducer()
    producer.SetOutput(image)
    connection = node.GetImageDataConnection()
    held = connection.GetProducer()  # by the node alone
    displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    quiet = [(one, one.StartModify()) for one in (node, *displays) if one is not None]
    try:
        node.SetImageDataConnection(producer.GetOutputPort())
        yield
    finally:
        node.SetImageDataConnection(connection)
        del held
        for one, before in quiet:
            one.SetDisableModifiedEvent(before)  # without the events: nothing has changed


def packInto(path: Path, raw: Path, saving: Saving, before: Sequence[Packed] = ()) -> None:
    """Write a scene that was saved raw, as one file with its volumes packed.

    Args:
        path: an ``.mrb`` file that is not there.
        raw: the folder that Slicer filled; its name becomes that of the folder in the file.
        saving: what :func:`savedRaw` gave.
        before: voxels that were packed before, perhaps some of these.

    Raises:
        OSError: the disk is full.
    """
    (scene,) = raw.glob("*.mrml")
    text, volumes = _toldPacked(scene.read_text("utf-8"), saving.kept)
    with ZipFile(path, "w", ZIP_STORED) as target:
        target.writestr(_named(f"{raw.name}/", stat.S_IFDIR | 0o755), b"")
        target.writestr(_named(f"{raw.name}/{scene.name}"), text)
        for found in sorted(raw.rglob("*")):
            name = found.relative_to(raw).as_posix()
            if found == scene or found.is_dir():
                continue
            with target.open(_named(f"{raw.name}/{name}"), "w", force_zip64=True) as file:
                storage = volumes.get(name, "")
                whole = _bytesOf(found)
                _write(file, whole, storage not in {"", *saving.kept}, saving.apart.get(storage), before)


def _named(name: str, mode: int = stat.S_IFREG | 0o644) -> ZipInfo:
    """A member without a time, as Slicer's have none: equal scenes make equal files."""
    made = ZipInfo(name)
    made.external_attr = mode << 16
    return made


def _write(file: IO[bytes], whole: np.ndarray, pack: bool, apart: Apart | None, before: Sequence[Packed]) -> None:
    """The bytes of a file as they are, or packed where it is NRRD with raw voxels behind its header; of a volume that
    was held out its own voxels behind the header of the one."""
    header = whole[:10_000].tobytes().partition(b"\n\n")[0] + b"\n\n"
    voxels = whole[len(header) :]
    if apart is not None:
        header, voxels = apart.told_in(header), apart.voxels
    if pack and RAW in header:
        file.write(header.replace(RAW, PACKED))
        stream_gz(file, b"", voxels, next((one for one in before if one.whole.size == voxels.size), None))
    elif apart is not None:
        file.write(header)
        file.write(voxels)
    else:
        file.write(whole)


def _toldPacked(text: str, kept: set[str]) -> tuple[str, dict[str, str]]:
    """The scene as it would be with packed volumes, and by the file of each volume its storage node."""
    volumes = {}

    def told(element: re.Match[str]) -> str:
        words = dict(re.findall(r'([\w.:-]+)="([^"]*)"', element[0]))
        if "fileName" not in words:
            return element[0]
        volumes[unquote(unescape(words["fileName"]))] = words["id"]
        return element[0] if words["id"] in kept else element[0].replace('useCompression="0"', 'useCompression="1"')

    return ELEMENT.sub(told, text), volumes


def _bytesOf(file: Path) -> np.ndarray:
    return np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)

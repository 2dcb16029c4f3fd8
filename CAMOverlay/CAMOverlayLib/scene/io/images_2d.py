"""PNG, JPEG and BMP pictures as volumes of one slice, read with Pillow: Slicer's core outside Slicer has no reader for
them, and VTK's take the process down with a damaged file.

The picture comes to lie as Slicer puts it: 1 mm a pixel, the first row anterior, the first column right, so that an
axial view shows it upright.
"""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import numpy as np
import slicer
import vtk
from PIL import Image
from vtk.util import numpy_support

from ...contract.errors import VolumeError

KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
"""What a file of each ending must be."""

LARGEST = 1 << 28
"""Pixels of a picture at most; four times what a camera of 64 million makes. A damaged file may promise any number."""


def isPhoto(path: Path) -> bool:
    return path.suffix.lower() in KINDS


def loadPhoto(path: Path, scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """Add a picture to a scene: a vector volume of three components where it is in colours, else a scalar volume.

    Transparency is dropped: it says how to lay a picture over a page, and Slicer's slice views cannot blend it.

    Raises:
        VolumeError: no picture of that kind, cut short, or colours for print (CMYK).
    """
    pixels = _read(path)
    components = pixels.shape[-1]
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(pixels.reshape(-1, components), deep=True))
    node = (slicer.vtkMRMLVectorVolumeNode if components > 1 else slicer.vtkMRMLScalarVolumeNode)()
    node.SetName(name)
    node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
    node.SetAndObserveImageData(image)
    scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    if pixels.dtype == np.uint8:
        display = node.GetDisplayNode()
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(0, 255)  # the colours of the file
    return node


def _read(path: Path) -> np.ndarray:
    """Rows from the top × columns × 1 or 3, in the order of the file: a camera's note of how it was held is not
    followed."""
    damaged = VolumeError(f"{path} is damaged or cut short; copy or download it again.")
    try:
        if path.suffix.lower() == ".png" and not _wholePng(path.read_bytes()):
            raise damaged  # Pillow lets the last sum go, and VTK's reader below ends the process where it is missing
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=(KINDS[path.suffix.lower()],)) as image:
                _requireUsable(path, image)
                image.verify()
            with Image.open(path, formats=(KINDS[path.suffix.lower()],)) as image:
                image.load()
                if image.mode in ("P", "PA"):
                    image = image.convert("RGB")
                elif image.mode == "1":
                    image = image.convert("L")
                pixels = np.asarray(image)
                deep = _deepPng(path, image)
    except VolumeError:
        raise
    except Image.DecompressionBombError as error:
        raise VolumeError(f"{path} is too large for a picture ({error}); crop it, or convert it to NRRD.") from None
    except MemoryError:
        raise VolumeError(f"{path} does not fit into memory; crop it or make it smaller.") from None
    except Exception:  # a damaged file makes Pillow raise errors of many kinds  # noqa: BLE001
        raise damaged from None
    pixels = deep if deep is not None else pixels
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.dtype == np.int32:  # of 16 bits, in which Pillow computes with 32
        pixels = pixels.astype(np.uint16)
    components = pixels.shape[-1]
    return np.ascontiguousarray(pixels[..., : {2: 1, 4: 3}.get(components, components)])


def _requireUsable(path: Path, image: Image.Image) -> None:
    columns, rows = image.size
    if columns * rows > LARGEST:
        raise VolumeError(f"{path} has {columns} × {rows} pixels, more than {LARGEST:,}; crop it or make it smaller.")
    if image.mode in ("CMYK", "YCCK"):
        raise VolumeError(f"{path} has four colours for print (CMYK); convert it to RGB, for example to a PNG file.")


def _deepPng(path: Path, image: Image.Image) -> np.ndarray | None:
    """Pixels of a PNG file with 16 bits and colours, of which Pillow would keep eight; None of any other.

    VTK's reader knows them; what reaches it was checked to the end before.
    """
    if image.format != "PNG" or path.read_bytes()[24] != 16 or path.read_bytes()[25] in (0,):
        return None
    reader = vtk.vtkPNGReader()
    reader.SetFileName(str(path))
    reader.Update()
    scalars = reader.GetOutput().GetPointData().GetScalars()
    columns, rows, _ = reader.GetOutput().GetDimensions()
    if scalars is None or (columns, rows) != image.size:
        raise ValueError("not read")
    return numpy_support.vtk_to_numpy(scalars).reshape(rows, columns, -1)[::-1]


def _wholePng(data: bytes) -> bool:
    """Whether a PNG file's parts are all there, each with the right sum."""
    place = 8
    if data[:place] != b"\x89PNG\r\n\x1a\n":
        return False
    while len(data) >= place + 12:
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 8 + length
        if len(data) < end + 4 or zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return False
        if kind == b"IEND":
            return True
        place = end + 4
    return False

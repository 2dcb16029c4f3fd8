"""PNG, JPEG and BMP pictures as volumes of one slice, with VTK's readers: Slicer's core outside Slicer has none.

The picture comes to lie as Slicer puts it: 1 mm a pixel, the first row anterior, the first column right, so that an
axial view shows it upright.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ..errors import VolumeError

READERS = {".png": vtk.vtkPNGReader, ".jpg": vtk.vtkJPEGReader, ".jpeg": vtk.vtkJPEGReader, ".bmp": vtk.vtkBMPReader}
"""Reader of each file ending."""


def isPhoto(path: Path) -> bool:
    return path.suffix.lower() in READERS


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
    """Rows from the top × columns × 1 or 3."""
    damaged = VolumeError(f"{path} is damaged or cut short; copy or download it again.")
    if path.suffix.lower() == ".png" and not _wholePng(path.read_bytes()):
        raise damaged  # the reader would take the process down with it
    reader, errors = READERS[path.suffix.lower()](), []
    reader.AddObserver(vtk.vtkCommand.ErrorEvent, lambda caller, event: errors.append(event))
    if not reader.CanReadFile(str(path)):
        raise damaged
    reader.SetFileName(str(path))
    reader.Update()
    scalars = reader.GetOutput().GetPointData().GetScalars()
    if errors or reader.GetErrorCode() or scalars is None:
        raise damaged
    columns, rows, _ = reader.GetOutput().GetDimensions()
    pixels = numpy_support.vtk_to_numpy(scalars).reshape(rows, columns, -1)[::-1]  # VTK counts rows from the bottom
    components = pixels.shape[-1]
    if components == 4 and path.suffix.lower() != ".png":
        raise VolumeError(f"{path} has four colours for print (CMYK); convert it to RGB, for example to a PNG file.")
    return np.ascontiguousarray(pixels[..., : {2: 1, 4: 3}.get(components, components)])


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

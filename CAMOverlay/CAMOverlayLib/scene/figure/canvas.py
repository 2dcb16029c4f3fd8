"""A page to draw a picture on without a window or a graphics card: text by VTK's FreeType, the rest by numpy.

Positions are pixels from the top left corner, x to the right and y down. Colours are (red, green, blue) in [0, 1].
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import vtk
from vtk.util import numpy_support

from ...contract.errors import OutputError
from ..core import temporaryFolder, vtkMessages

Color = tuple[float, float, float]


class Canvas:
    """An RGB picture of ``pixels``, height × width × 3 float32 in [0, 1]."""

    def __init__(self, width: int, height: int, color: Color) -> None:
        self.pixels = np.empty((height, width, 3), np.float32)
        self.pixels[...] = color

    def paste(self, x: int, y: int, image: np.ndarray) -> None:
        """Put an RGB image with its top left corner at (x, y)."""
        self.pixels[y : y + image.shape[0], x : x + image.shape[1]] = image

    def rectangle(self, x: float, y: float, width: float, height: float, color: Color, alpha: float = 1.0) -> None:
        """A filled rectangle; edges are rounded to whole pixels and never vanish."""
        left, top = round(x), round(y)
        right, bottom = max(round(x + width), left + 1), max(round(y + height), top + 1)
        part = self.pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        part += (np.array(color, np.float32) - part) * alpha

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: int,
        color: Color,
        *,
        bold: bool = False,
        anchor: str = "left top",
        shadow: bool = False,
    ) -> float:
        """Write one line and return its width. ``anchor`` says which point of the line lies at (x, y): left, center
        or right, and top, middle or baseline. ``shadow`` keeps it readable over an image."""
        mask, baseline = renderText(words, size, bold)
        _height, width = mask.shape
        across, along = anchor.split()
        left = round(x - {"left": 0, "center": width / 2, "right": width}[across])
        # Capitals are some 0.72 of the size high: the middle of a line is the middle of these.
        top = round(y - {"top": 0, "middle": baseline - 0.36 * size, "baseline": baseline}[along])
        if shadow:
            for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (2, 2)):
                self._stamp(left + dx, top + dy, mask * 0.6, (0, 0, 0))
        self._stamp(left, top, mask, color)
        return width

    def _stamp(self, left: int, top: int, mask: np.ndarray, color: Color) -> None:
        height, width = self.pixels.shape[:2]
        clipped = mask[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
        y, x = max(top, 0), max(left, 0)
        part = self.pixels[y : y + clipped.shape[0], x : x + clipped.shape[1]]
        part += (np.array(color, np.float32) - part) * clipped[..., None]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG file, complete or not at all.

        Raises:
            OutputError: wrong ending, no such folder, not writable, disk full.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise OutputError(f"The picture cannot be saved as {path.name}; choose a name that ends in .png.")
        height, width = self.pixels.shape[:2]
        rows = np.ascontiguousarray((self.pixels[::-1] * 255 + 0.5).clip(0, 255).astype(np.uint8))
        image = vtk.vtkImageData()
        image.SetDimensions(width, height, 1)
        image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(rows.reshape(-1, 3), deep=True))
        with temporaryFolder(path.parent) as folder, vtkMessages():
            writer = vtk.vtkPNGWriter()
            writer.SetFileName(str(folder / "picture.png"))
            writer.SetInputData(image)
            writer.Write()
            if writer.GetErrorCode() or not (folder / "picture.png").is_file():
                raise OutputError(f"The picture {path} cannot be written; check the free space of the disk.")
            os.replace(folder / "picture.png", path)
        return path


def renderText(words: str, size: int, bold: bool = False) -> tuple[np.ndarray, int]:
    """One line of text as coverage in [0, 1], height × width, and the row of its baseline."""
    style = vtk.vtkTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(size)
    style.SetBold(bold)
    style.SetColor(1, 1, 1)
    style.SetVerticalJustificationToBottom()
    fonts = vtk.vtkFreeTypeTools.GetInstance()
    image, box = vtk.vtkImageData(), [0, 0, 0, 0]
    # The same height for every line of a size, with room for accents and descenders, so that lines align.
    if (
        not words.strip()
        or not fonts.GetBoundingBox(style, words, 72, box)
        or not fonts.RenderString(style, words, 72, image)
    ):
        return np.zeros((size, 0), np.float32), size
    columns, rows, _ = image.GetDimensions()
    alpha = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[..., -1]
    height, width = min(box[3] - box[2] + 1, rows), min(box[1] - box[0] + 1, columns)
    mask = alpha[:height, :width][::-1].astype(np.float32) / 255
    return mask, _baseline(size, bold, height)


_BASELINES: dict[tuple[int, bool], int] = {}


def _baseline(size: int, bold: bool, height: int) -> int:
    """The row just below a letter without a descender."""
    key = size, bold
    if key not in _BASELINES:
        _BASELINES[key] = height  # for the call below, which asks for this one again
        mask, _ = renderText("H", size, bold)
        _BASELINES[key] = int(np.flatnonzero(mask.max(axis=1) > 0.5).max()) + 1
    return _BASELINES[key]


def textWidth(words: str, size: int, bold: bool = False) -> int:
    return renderText(words, size, bold)[0].shape[1]


def fitText(words: str, size: int, width: float, bold: bool = False) -> str:
    """The line, or as much of its beginning and end as fits into ``width`` pixels."""
    if textWidth(words, size, bold) <= width:
        return words
    low, high = 0, len(words)
    while low < high:
        keep = (low + high + 1) // 2
        if textWidth(_shorten(words, keep), size, bold) <= width:
            low = keep
        else:
            high = keep - 1
    return _shorten(words, low)


def _shorten(words: str, keep: int) -> str:
    end = keep // 3
    return words[: keep - end].rstrip() + "..." + (words[-end:].lstrip() if end else "")

"""A page to draw a picture on without a window or a graphics card: a Pillow image, with text by VTK's FreeType, whose
fonts have the letters and the bold that Pillow's own lacks.

Positions are pixels from the top left corner, x to the right and y down. Colours are (red, green, blue) in [0, 1].
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import vtk
from PIL import Image
from vtk.util import numpy_support

from ...contract.errors import OutputError
from ..core import temporaryFolder

Color = tuple[float, float, float]

LEVEL = 3
"""Of the compression: in half the time of the usual 6 a page becomes a twelfth larger."""


class Canvas:
    """An RGB picture of eight bits."""

    def __init__(self, width: int, height: int, color: Color) -> None:
        self.image = Image.new("RGB", (width, height), _bytes(color))

    def paste(self, x: int, y: int, pixels: np.ndarray) -> None:
        """Put an RGB array in [0, 1], height × width × 3, with its top left corner at (x, y)."""
        self.image.paste(Image.fromarray((pixels * 255 + 0.5).clip(0, 255).astype(np.uint8)), (x, y))

    def rectangle(self, x: float, y: float, width: float, height: float, color: Color, alpha: float = 1.0) -> None:
        """A filled rectangle; edges are rounded to whole pixels and never vanish."""
        left, top = round(x), round(y)
        size = max(round(x + width) - left, 1), max(round(y + height) - top, 1)
        self.image.paste(_bytes(color), (left, top), Image.new("L", size, round(255 * alpha)))

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
        if mask.size:
            self.image.paste(_bytes(color), (left, top), Image.fromarray((mask * 255 + 0.5).astype(np.uint8)))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG file, complete or not at all.

        Raises:
            OutputError: wrong ending, no such folder, not writable, disk full.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise OutputError(f"The picture cannot be saved as {path.name}; choose a name that ends in .png.")
        with temporaryFolder(path.parent) as folder:
            try:
                self.image.save(folder / "picture.png", compress_level=LEVEL)
                os.replace(folder / "picture.png", path)
            except OSError:
                raise OutputError(f"The picture {path} cannot be written; check the free space of the disk.") from None
        return path


def _bytes(color: Color) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in color)


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

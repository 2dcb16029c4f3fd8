"""Small pictures for the page: of a case, of a group's mean, of a mean map on the template."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from ...report.drawing import FIRST_ROW, as_jpeg, draw_slice, scale_of
from ...report.shown import Shown
from ...report.slices import slices_through

Picture = tuple[bytes, str, tuple[int, int]]
"""Bytes, kind (``jpeg`` or ``png``), and size in pixels."""

MOST_PIXELS = 60_000_000

QUALITY = 78


def thumbnail(path: Path, width: int, height: int) -> Picture | None:
    """A picture file made to fit; None where it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of an image that fills the memory
            opened = Image.open(path)
            if opened.width * opened.height > MOST_PIXELS:
                return None
            image = _first_row(opened.convert("RGB"), opened.info.get(FIRST_ROW))
    except (OSError, ValueError, Warning, Image.DecompressionBombError, SyntaxError):
        return None
    image.thumbnail((width, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue(), "jpeg", image.size


def _first_row(image: Image.Image, said: object) -> Image.Image:
    """The slices through the hottest spot, where the picture says where they are: all of it would be too small to see
    anything."""
    numbers = [int(one) for one in said.split(",") if one.isdecimal()] if isinstance(said, str) else []
    if len(numbers) != 4 or not (numbers[0] < numbers[2] <= image.width and numbers[1] < numbers[3] <= image.height):
        return image
    return image.crop((numbers[0], numbers[1], numbers[2], numbers[3]))


def projections(cube: np.ndarray, side: int = 84, gap: int = 4) -> Picture:
    """A map on the cube (R×A×S) as three sums through it, side by side: from below, from the front and from the left,
    as slices are hung; each in the colours of heat up to its own largest value."""
    ray = [cube.sum(2).T[::-1, ::-1], cube.sum(1).T[::-1, ::-1], cube.sum(0).T[::-1, ::-1]]
    page = Image.new("RGB", (3 * side + 2 * gap, side), (0, 0, 0))
    colors = (_colors() * 255).astype(np.uint8)
    for number, one in enumerate(ray):
        small = Image.fromarray((one / max(float(one.max()), 1e-300)).astype(np.float32))
        values = np.asarray(small.resize((side, side), Image.Resampling.BILINEAR))
        painted = colors[np.clip((values * len(colors)).astype(int), 0, len(colors) - 1)]
        page.paste(Image.fromarray(painted), (number * (side + gap), 0))
    file = io.BytesIO()
    page.save(file, "PNG", optimize=True)
    return file.getvalue(), "png", page.size


def _colors() -> np.ndarray:
    """Of heat, dark at 0, so that a map of sums fades into black."""
    empty = np.zeros((1, 1, 1), np.float32)
    colors = Shown("", empty, empty, np.eye(4)).colors
    return colors * np.linspace(0, 1, len(colors))[:, None] ** 0.5


def on_template(image: np.ndarray, heat: np.ndarray, affine: np.ndarray, low: float) -> list[tuple[Picture, str]]:
    """Three slices of a template through the largest value of a map (0 to 1) on it, with their captions.

    Args:
        low: below it nothing is drawn.
    """
    shown = Shown("Template", image, heat, affine, shown=(low, 1.0))
    at = np.unravel_index(int(np.argmax(heat)), heat.shape)
    slices = slices_through(shown, (int(at[0]), int(at[1]), int(at[2])))
    scale = scale_of(slices, 300)
    pictures = [draw_slice(one, shown, scale) for one in slices]
    return [((as_jpeg(one), "jpeg", one.size), slice_.caption) for one, slice_ in zip(pictures, slices, strict=True)]

"""Slices drawn as pictures with Pillow: heat over grey, orientation letters, a scale in mm, the colour bar."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from .shown import Shown
from .slices import Slice

SIDE = 480
"""Longer side of a picture in pixels."""

INK, SOFT, BACK = (245, 245, 245), (186, 190, 197), (0, 0, 0)

FIRST_ROW = "first row"
"""What a montage says of itself in its file: left, top, right and bottom of its first row of slices, in pixels."""

LEAST = 130
"""Pixels of a picture's shorter side at least, so that a thin slab has room for its letters."""


def scale_of(slices: Sequence[Slice], side: int = SIDE) -> float:
    """Pixels per mm with which the largest of some slices has a longer side of ``side`` pixels."""
    return side / max(max(s.heat.shape[0] * s.spacing[0], s.heat.shape[1] * s.spacing[1]) for s in slices)


def draw_slice(one: Slice, shown: Shown, scale: float) -> Image.Image:
    """A slice with square mm, so many pixels per mm, on black where it is thin."""
    rows, columns = one.heat.shape
    size = max(round(columns * one.spacing[1] * scale), 1), max(round(rows * one.spacing[0] * scale), 1)
    grey = Image.fromarray(one.grey).convert("RGB").resize(size, _filter(size, columns))
    picture = np.asarray(grey, np.float32)
    between = Image.Resampling.NEAREST if shown.stepped else _filter(size, columns)
    heat = np.asarray(Image.fromarray(one.heat).resize(size, between))
    low, high_end = shown.shown
    colors = shown.colors[np.clip((heat * len(shown.colors)).astype(int), 0, len(shown.colors) - 1)] * 255
    alpha = np.where((heat >= low) & (heat <= max(high_end, 1.001)) & (heat > 0), shown.opacity, 0.0)[..., None]
    blended = picture * (1 - alpha) + colors * alpha
    image = Image.new("RGB", (max(size[0], LEAST), max(size[1], LEAST)), BACK)
    corner = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    image.paste(Image.fromarray((blended + 0.5).clip(0, 255).astype(np.uint8)), corner)
    _annotate(image, one, scale, corner, shown.photo)
    return image


def _filter(size: tuple[int, int], columns: int) -> Image.Resampling:
    """Downwards every voxel counts; upwards linear between voxels, as Slicer draws it."""
    return Image.Resampling.BOX if size[0] < columns else Image.Resampling.BILINEAR


def _annotate(image: Image.Image, one: Slice, scale: float, corner: tuple[int, int], photo: bool) -> None:
    draw, (width, height) = ImageDraw.Draw(image), image.size
    places = {
        "left": (8, height / 2, "lm"),
        "right": (width - 8, height / 2, "rm"),
        "top": (width / 2, 6, "mt"),
        "bottom": (width / 2, height - 6, "mb"),
    }
    for edge, letter in one.letters.items():
        x, y, anchor = places[edge]
        draw.text((x, y), letter, INK, _font(20), anchor, stroke_width=2, stroke_fill=BACK)
    if one.mark is not None:
        x, y = (one.mark[1] + 0.5) * one.spacing[1] * scale, (one.mark[0] + 0.5) * one.spacing[0] * scale
        _mark(draw, corner[0] + x, corner[1] + y)
    _scale_bar(draw, width, height, scale, "px" if photo else "mm")


def _mark(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    """Four short lines that point at a place and leave it free."""
    near, far = 12, 30
    ends = [(x - far, y, x - near, y), (x + near, y, x + far, y), (x, y - far, x, y - near), (x, y + near, x, y + far)]
    for color, thick in ((BACK, 4), (INK, 2)):
        for line in ends:
            draw.line(line, color, thick)


def _scale_bar(draw: ImageDraw.ImageDraw, width: int, height: int, scale: float, unit: str) -> None:
    """A bar of a round length, at most a third of the picture, in its lower left corner."""
    lengths = [base * 10.0**power for power in range(0 if unit == "px" else -2, 5) for base in (1, 2, 5)]
    length = max([n for n in lengths if n * scale <= width / 3] or lengths[:1])
    left, bottom, right = 12, height - 12, 12 + length * scale
    draw.rectangle((left - 1, bottom - 5, right + 1, bottom + 1), BACK)
    draw.rectangle((left, bottom - 4, right, bottom), INK)
    words = f"{length:g} {unit}"
    draw.text((left, bottom - 9), words, INK, _font(15), "ls", stroke_width=2, stroke_fill=BACK)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def as_jpeg(image: Image.Image) -> bytes:
    """For the page: a fifth of a PNG, and no difference that an eye sees."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, subsampling=0, optimize=True)
    return file.getvalue()


def as_png(image: Image.Image) -> bytes:
    """With what it says of itself. Not at its smallest: that is 6 % less, and takes nine times as long."""
    file, said = io.BytesIO(), PngInfo()
    if FIRST_ROW in image.info:
        said.add_text(FIRST_ROW, image.info[FIRST_ROW])
    image.save(file, "PNG", pnginfo=said)
    return file.getvalue()


# The montage --------------------------------------------------------------------------------------------------------


def montage(rows: Sequence[tuple[str, Sequence[Slice]]], shown: Shown, side: int = SIDE) -> Image.Image:
    """Rows of slices, one of each hot spot below a line of words, and the colour bar.

    Args:
        rows: what stands above a row, and its slices.

    Returns:
        the picture; its ``info`` says where the slices of the first row are, for who shows them alone.
    """
    scale = scale_of([one for _, slices in rows for one in slices], side)
    drawn = [(words, [(draw_slice(one, shown, scale), one.caption) for one in slices]) for words, slices in rows]
    margin, gap, head, foot, bar = 24, 12, 34, 26, 120
    width = max(sum(p.width for p, _ in row) + gap * (len(row) - 1) for _, row in drawn) + 2 * margin + bar
    heights = [head + max(p.height for p, _ in row) + foot for _, row in drawn]
    page = Image.new("RGB", (max(width, 420), sum(heights) + 2 * margin), (19, 21, 24))
    draw, y = ImageDraw.Draw(page), margin
    for (words, row), height in zip(drawn, heights, strict=True):
        draw.text((margin, y), words, INK, _font(19))
        x, room = margin, height - head - foot
        for picture, caption in row:
            page.paste(picture, (x, y + head + (room - picture.height) // 2))
            draw.text((x, y + head + room + 5), caption.replace("×", "x"), SOFT, _font(15))  # the font has ASCII
            x += picture.width + gap
        y += height
    first = (
        margin,
        margin + head,
        margin + sum(p.width + gap for p, _ in drawn[0][1]) - gap,
        margin + heights[0] - foot,
    )
    page.info[FIRST_ROW] = ",".join(map(str, first))
    _color_bar(page, page.width - margin - bar + 40, margin + head, min(heights[0] - head - foot, 380), shown)
    return page


def _color_bar(page: Image.Image, x: int, y: int, height: int, shown: Shown) -> None:
    """The colours from 0 to 1; what the threshold hides is left empty, as it is in the slices."""
    draw, values = ImageDraw.Draw(page), 1 - (np.arange(height) + 0.5) / height
    colors = shown.colors[np.minimum((values * len(shown.colors)).astype(int), len(shown.colors) - 1)]
    colors = np.where((values >= shown.shown[0])[:, None], colors, np.array([19, 21, 24]) / 255)
    strip = np.repeat((colors * 255).astype(np.uint8)[:, None], 18, axis=1)
    page.paste(Image.fromarray(strip), (x, y))
    draw.rectangle((x - 1, y - 1, x + 18, y + height), outline=(107, 112, 122))
    draw.text((x - 1, y - 10), "heat", SOFT, _font(15), "ls")
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        draw.text((x + 26, y + (1 - value) * height), f"{value:.1f}", SOFT, _font(15), "lm")

"""A picture of several overlays of one volume: a row each, all cut at the same place, where they are hot together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ...contract.errors import ComparisonError
from ..core import checkVoxels
from ..io.volumes import voxelsOf, worldFromIJK
from ..overlay import colormaps
from ..overlay.node import OPACITY, resultOf
from .canvas import Canvas, fitText
from .picture import (
    BAR_WIDTH,
    FAINT,
    GAP,
    LABEL,
    MARGIN,
    PAGE,
    PANEL,
    SOFT,
    SUBTITLE,
    TITLE,
    WHITE,
    drawPanel,
    drawScaleBar,
    seesSlices,
)
from .picture import caption as captionOf
from .slices import SliceRenderer, planesOf

ROW_WIDTH, ROW_HEIGHT = 1100, 300
"""Room for the slices of one row, in pixels; the volume decides which of the two it fills."""

BAR_ROOM = 190


@dataclass(frozen=True)
class MontageRow:
    """One row: what is drawn over the volume, what it is called, and what else is said of it."""

    node: Any
    name: str
    words: str = ""


def commonPlace(nodes: Sequence[Any]) -> tuple[int, int, int]:
    """The voxel (I, J, K) where the overlays are hottest together: the largest sum of their heat, each in shares of its
    own hottest spot. The volume's middle where none has any heat."""
    total = None
    for node in nodes:
        heat = voxelsOf(node)
        highest = float(heat.max())
        if highest > 0:
            total = heat / highest if total is None else total + heat / highest
    shape = voxelsOf(nodes[0]).shape
    if total is None:
        return tuple(n // 2 for n in shape)  # type: ignore[return-value]
    i, j, k = (int(n) for n in np.unravel_index(int(total.argmax()), shape))
    return i, j, k


def saveMontage(
    path: str | os.PathLike[str],
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    rows: Sequence[MontageRow],
    place: tuple[int, int, int],
    title: str,
    subtitle: str = "",
    opacity: float = OPACITY,
) -> Path:
    """Save a row of slices for every overlay as a PNG file; the scene is not changed.

    Args:
        path: file that ends in .png; appears complete or not at all.
        rows: at least one, each on the volume's grid.
        place: voxel through which all are cut.

    Raises:
        ComparisonError: there is no row.
        VolumeError: a volume without voxels.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise ComparisonError("A montage needs at least one overlay. Explain first.")
    checkVoxels(inputVolume, f"Volume {inputVolume.GetName()!r}")
    through = worldFromIJK(inputVolume, place)
    planes = planesOf(inputVolume, flat=seesSlices(resultOf(rows[0].node)))
    plain = SliceRenderer(inputVolume, None)
    extents = np.array([plain.extent(plane) for plane in planes])
    scale = float(min((ROW_WIDTH - (len(planes) - 1) * GAP) / extents[:, 0].sum(), ROW_HEIGHT / extents[:, 1].max()))
    sizes = [plain.size(plane, scale) for plane in planes]
    widths, height = [max(width, 190) for width, _ in sizes], max(*(h for _, h in sizes), 200)
    text = max(sum(widths) + (len(planes) - 1) * GAP + BAR_ROOM, 700)
    each, top = height + 62, MARGIN + 120
    page = Canvas(text + 2 * MARGIN, top + each * len(rows) + MARGIN - 20, PAGE)
    page.text(MARGIN, MARGIN, fitText(title, TITLE, text, True), TITLE, WHITE, bold=True)
    page.text(MARGIN, MARGIN + 42, fitText(subtitle, SUBTITLE, text), SUBTITLE, SOFT)

    for number, row in enumerate(rows):
        y = top + number * each
        used = page.text(MARGIN, y, fitText(row.name, SUBTITLE, text * 0.6, True), SUBTITLE, WHITE, bold=True)
        room = text - used - 24
        page.text(MARGIN + used + 24, y + 2, fitText(row.words, LABEL, room), LABEL, SOFT)
        renderer, x = SliceRenderer(inputVolume, row.node, opacity), MARGIN
        for plane, width in zip(planes, widths, strict=True):
            rendered = renderer.render(plane, through, scale)
            # That the planes are the volume's own its letters say; in a narrow panel there is room for one of both.
            words = captionOf(plane, inputVolume, through).removeprefix("Oblique ").partition(" (")[0]
            words = words[:1].upper() + words[1:] if number == 0 else ""
            drawPanel(page, (x, y + 34, width, height), rendered, through, "")
            if words:
                page.text(x, top - 14, fitText(words, LABEL, width), LABEL, SOFT, anchor="left baseline")
            if number == 0 and x == MARGIN:
                unit = float(inputVolume.GetSpacing()[0]) if plane.isPhoto else None
                drawScaleBar(page, x, y + 34 + height, width, scale, unit)
            x += width + GAP
        _colorBar(page, x + 8, y + 34, height, row.node)
    return page.save(os.path.expanduser(path))


def _colorBar(page: Canvas, x: int, top: int, height: int, node: Any) -> None:
    """The colours of a display from the lower to the upper end of its window; what is transparent, or hidden by the
    threshold, is left empty."""
    display = node.GetDisplayNode()
    colors = colormaps.tableColors(display.GetColorNode())
    low, high = display.GetWindowLevelMin(), display.GetWindowLevelMax()
    length, y = height - 40, top + 20
    shares = 1 - (np.arange(length) + 0.5) / length
    values = low + shares * (high - low)
    rows = colors[np.minimum((shares * len(colors)).astype(int), len(colors) - 1)]
    shown = rows[:, 3] > 0
    if display.GetApplyThreshold():
        shown &= (values >= display.GetLowerThreshold()) & (values <= display.GetUpperThreshold())
    strip = np.where(shown[:, None], rows[:, :3], PANEL)
    page.rectangle(x - 1, y - 1, BAR_WIDTH + 2, length + 2, FAINT)
    page.paste(x, y, np.repeat(strip[:, None].astype(np.float32), BAR_WIDTH, axis=1))
    for value, words in _ticks(display, low, high):
        row = y + (1 - (value - low) / (high - low)) * length
        page.rectangle(x + BAR_WIDTH + 1, row - (0 if value == high else 1), 6, 1, SOFT)
        page.text(x + BAR_WIDTH + 13, row, fitText(words, 15, 120), 15, SOFT, anchor="left middle")


def _ticks(display: Any, low: float, high: float) -> list[tuple[float, str]]:
    kind = display.GetAttribute("CAMOverlay.Display")
    if kind == "agreement":  # as many as there are maps, each in the middle of its band
        return [(n, display.GetColorNode().GetColorName(n)) for n in range(round(high + 0.5))]
    if kind == "difference":
        return [(value, f"{value:+.3g}" if value else "0") for value in np.linspace(low, high, 5)]
    return [(value, f"{value:.1f}") for value in np.linspace(low, high, 6)]

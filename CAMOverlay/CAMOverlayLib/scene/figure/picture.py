"""A picture of an overlay for reports: the three slices through the heatmap's peak, with everything to read them by.

Slices are in world RAS and as Slicer shows them: the patient's right on the left of axial and coronal slices, anterior
on the left of sagittal ones. An oblique volume is cut along its own axes, and a picture of no patient (a photo) is
shown as it is, without directions and millimetres. All slices have the same scale, so one scale bar serves them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ...contract.request import Result
from ..core import checkVoxels
from ..io.volumes import indexFromWorld, worldFromIJK
from ..overlay import colormaps
from ..overlay.node import OPACITY, ensureDisplay, peakVoxel, peakWorld, resultOf, thresholdOf
from . import outlines
from .canvas import Canvas, fitText, textWidth
from .slices import AXES, Plane, Slice, SliceRenderer, isPhoto, planesOf

PAGE, PANEL = (0.075, 0.082, 0.094), (0.0, 0.0, 0.0)
WHITE, SOFT, FAINT = (0.96, 0.96, 0.96), (0.72, 0.74, 0.77), (0.42, 0.44, 0.48)

SEEN = (0.35, 0.85, 1.0)

MARGIN, GAP = 40, 16
PANELS_WIDTH, PANELS_HEIGHT = 1500, 640
"""Room for the three slices, in pixels; the volume decides which of the two it fills."""
MINIMUM_WIDTH = 1100
BAR_WIDTH, BAR_ROOM = 22, 110
TITLE, SUBTITLE, LABEL = 30, 19, 17
"""Sizes of letters."""


def savePicture(
    path: str | os.PathLike[str],
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    **words: Any,
) -> Path:
    """Save the three orthogonal slices through the overlay's peak as a PNG file, of a volume of one slice that slice.

    Args:
        path: file that ends in .png; appears complete or not at all.
        words: and the nodes as for :func:`pictureOf`.

    Raises:
        VolumeError: a volume without voxels.
        OutputError: the file cannot be written.
    """
    return pictureOf(inputVolume, overlayNode, **words).save(os.path.expanduser(path))


def pictureOf(
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    *,
    title: str | None = None,
    subtitle: str | None = None,
    footer: Sequence[str] | None = None,
    verdict: str | None = None,
    opacity: float = OPACITY,
) -> Canvas:
    """The picture that :func:`savePicture` writes.

    A volume that lies obliquely in the patient is cut along its own axes, as is one that the network saw slice by
    slice.

    The scene is not changed.

    Args:
        inputVolume: the image behind, grey or in colours, shown with its own window and level.
        overlayNode: the heatmap, shown with its own colours and threshold.
        title, subtitle, footer: lines of text; None writes what the overlay's provenance tells.
        verdict: a further line below the others.
        opacity: of the overlay, in [0, 1].

    Raises:
        VolumeError: a volume without voxels.
    """
    checkVoxels(inputVolume, f"Volume {inputVolume.GetName()!r}")
    checkVoxels(overlayNode, f"Overlay {overlayNode.GetName()!r}", components=(1,))
    words = _words(inputVolume, overlayNode)
    return drawPicture(
        inputVolume,
        overlayNode,
        words[0] if title is None else title,
        words[1] if subtitle is None else subtitle,
        [*(words[2] if footer is None else footer), *([verdict] if verdict else [])],
        opacity,
    )


def _words(
    inputVolume: slicer.vtkMRMLScalarVolumeNode, overlayNode: slicer.vtkMRMLScalarVolumeNode
) -> tuple[str, str, list[str]]:
    """Title, subtitle and footer from the overlay's provenance."""
    result = resultOf(overlayNode)
    place = _peakWords(inputVolume, overlayNode)
    if result is None:
        return overlayNode.GetName(), inputVolume.GetName(), [place]
    share = _answer(result)
    grid, unit = result.activation_spacing, "mm"
    if isPhoto(inputVolume):
        across = np.array(inputVolume.GetSpacing()[:2])
        grid, unit = tuple(np.array(grid[:2]) / across), "pixels"
    return (
        f"Evidence for “{result.target.name}”",
        f"{inputVolume.GetName()}   ·   {share}",
        [
            f"{result.method} at layer {result.layer}   ·   one activation covers {' × '.join(f'{n:.3g}' for n in grid)} {unit}",  # noqa: E501
            f"{place}   ·   {result.bundle_name} {result.bundle_version}".rstrip(),
            result.placement.words,
            *_seenWords(result),
        ],
    )


def _peakWords(inputVolume: slicer.vtkMRMLScalarVolumeNode, overlayNode: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Where the peak is: in the patient and in voxels, of a photo in pixels from its upper left corner."""
    peak = peakVoxel(overlayNode)
    if peak is None:
        return "No positive evidence anywhere: the heatmap is zero, and the slices go through the volume's centre"
    if isPhoto(inputVolume):
        return f"Peak at column {peak[0]}, row {peak[1]}"
    world = worldFromIJK(overlayNode, peak)
    return "Peak at " + "  ".join(_position(axis, mm) for axis, mm in enumerate(world)) + f" mm, voxel {peak}"


def _seenWords(result: Result) -> list[str]:
    """How much of the volume the network saw; that it is outlined only where it is."""
    seen = result.field_of_view
    if seen.share > 0.9995:
        return []
    share = f"{100 * seen.share:.{1 if seen.share > 0.99 else 0}f} %"
    if seen.planes:
        return [f"Outlined: the {share} of the volume's voxels that the network saw"]
    return [f"The network saw {share} of the volume's voxels; they have no simple outline"]


def _answer(result: Result) -> str:
    """What the network says of the class that is shown, and, where it is a choice among classes, what it chose."""
    prediction, target = result.prediction, result.target.index
    share = _share(result, target).lstrip(", ")
    if prediction.voxels and 0 <= target < len(prediction.voxels):
        own, most = prediction.voxels[target], max(range(len(prediction.voxels)), key=prediction.voxels.__getitem__)
        words = f"predicted in {own:,} voxels of the output"
        # By the same count, where a voxel has one class: the class that most voxels have.
        several = (
            prediction.activation == "softmax" and prediction.voxels[most] > own and most < len(prediction.classes)
        )
        return words + (
            f", most often predicted: {prediction.classes[most]}, {prediction.voxels[most]:,}" if several else ""
        )
    if prediction.activation != "softmax":
        return share
    if prediction.index == target:
        return f"predicted class, {share}"
    return f"{share}, predicted class: {prediction.name}".lstrip(", ") + _share(result, prediction.index)


def _share(result: Result, index: int) -> str:
    """``, probability 98.2 %``, or the network's bare output, or nothing if the target is no class."""
    if not 0 <= index < len(result.prediction.outputs):
        return ""
    if result.prediction.activation == "none":
        return f", output {result.prediction.outputs[index]:.3g}"
    return f", probability {100 * result.prediction.probabilities[index]:.1f} %"


def _position(axis: int, mm: float) -> str:
    """``L 12.5``: a RAS coordinate as the anatomical direction and the distance from the origin."""
    mm = round(float(mm), 1)
    return f"{('RAS' if mm >= 0 else 'LPI')[axis]} {abs(mm):.1f}"


def drawPicture(
    inputVolume: slicer.vtkMRMLScalarVolumeNode,
    overlayNode: slicer.vtkMRMLScalarVolumeNode,
    title: str,
    subtitle: str,
    footer: Sequence[str],
    opacity: float = OPACITY,
) -> Canvas:
    """The picture laid out from top to bottom: heading, panels, footer."""
    renderer = SliceRenderer(inputVolume, overlayNode, opacity)
    result = resultOf(overlayNode)
    voxel, peak = peakVoxel(overlayNode), peakWorld(overlayNode)
    planes = planesOf(inputVolume, flat=seesSlices(result))
    scale = _scale(renderer, planes)
    sizes = [renderer.size(plane, scale) for plane in planes]
    panelHeight = max(height for _, height in sizes)
    # A thin slab still gets a panel wide enough for its letters.
    widths = [max(width, 190) for width, _ in sizes]
    content = sum(widths) + (len(planes) - 1) * GAP + BAR_ROOM
    panelHeight = max(panelHeight, 240)
    width = max(content, MINIMUM_WIDTH) + 2 * MARGIN

    top = MARGIN + 84 + 26  # heading, and the captions of the panels
    segments = outlines.predicted(overlayNode)
    height = top + panelHeight + 24 + 28 * (len(footer) + bool(segments)) + MARGIN - 8
    page = Canvas(width, height, PAGE)
    text = width - 2 * MARGIN
    page.text(MARGIN, MARGIN, fitText(title, TITLE, text, True), TITLE, WHITE, bold=True)
    page.text(MARGIN, MARGIN + 42, fitText(subtitle, SUBTITLE, text), SUBTITLE, SOFT)

    x = MARGIN + (width - 2 * MARGIN - content) // 2
    for number, plane in enumerate(planes):
        rendered = renderer.render(plane, peak, scale)
        outlines.draw(rendered, inputVolume, segments)
        _outline(rendered, inputVolume, overlayNode)
        words = caption(plane, inputVolume, peak)
        box = (x, top, widths[number], panelHeight)
        drawPanel(page, box, rendered, None if voxel is None else peak, words)
        if number == 0:
            unit = float(inputVolume.GetSpacing()[0]) if plane.isPhoto else None
            drawScaleBar(page, x, top + panelHeight, widths[number], scale, unit)
        x += widths[number] + GAP
    _colorBar(page, x + 8, top, panelHeight, overlayNode)

    for number, line in enumerate(footer):
        page.text(MARGIN, top + panelHeight + 24 + 28 * number, fitText(line, LABEL, text), LABEL, SOFT)
    if segments:
        _namesOf(page, outlines.names(segments), top + panelHeight + 24 + 28 * len(footer), text)
    return page


def _namesOf(page: Canvas, named: Sequence[outlines.Named], y: float, width: float) -> None:
    """A line that says what is outlined, each name in its colour."""
    x = float(MARGIN)
    for words, color in (("Outlined: the prediction of", SOFT), *named):
        words = fitText(words, LABEL, MARGIN + width - x)
        page.text(x, y, words, LABEL, color)
        x += textWidth(words, LABEL) + 16


def seesSlices(result: Result | None) -> bool:
    """The network takes pictures, so that the volume's own slices are what it saw."""
    return result is not None and (tuple(result.network_input_shape[2:]) in ((), (1,)) or "slice" in result.applied)


def _scale(renderer: SliceRenderer, planes: Sequence[Plane]) -> float:
    """Pixels per mm with which the slices side by side fill the room without exceeding it."""
    extents = np.array([renderer.extent(plane) for plane in planes])
    return float(
        min((PANELS_WIDTH - (len(planes) - 1) * GAP) / extents[:, 0].sum(), PANELS_HEIGHT / extents[:, 1].max())
    )


def caption(plane: Plane, inputVolume: slicer.vtkMRMLScalarVolumeNode, through: np.ndarray) -> str:
    """Which slice it is: by its place in the patient, or, where it is one of the volume's own, by its number."""
    if plane.isPhoto:
        columns, rows, _ = inputVolume.GetImageData().GetDimensions()
        return f"{columns} × {rows} pixels"
    if plane.axis is None:
        axis = AXES[plane.name][2]
        return f"{plane.name}   {_position(axis, through[axis])} mm"
    count = inputVolume.GetImageData().GetDimensions()[plane.axis]
    number = round(float(indexFromWorld(inputVolume, np.asarray([through]))[0][plane.axis])) + 1
    if count == 1:
        return f"Oblique {plane.name.lower()}"
    return f"Oblique {plane.name.lower()}   slice {min(max(number, 1), count)} of {count} ({'IJK'[plane.axis]})"


def drawPanel(
    page: Canvas, box: tuple[int, int, int, int], rendered: Slice, peak: np.ndarray | None, words: str
) -> None:
    """One slice centred on black, with caption, orientation letters and marks around the peak, if there is one.

    Args:
        box: left, top, width and height.
    """
    x, y, width, height = box
    page.text(x, y - 9, fitText(words, LABEL, width), LABEL, SOFT, anchor="left baseline")
    page.rectangle(x, y, width, height, PANEL)
    rows, columns = rendered.pixels.shape[:2]
    left, top = x + (width - columns) // 2, y + (height - rows) // 2
    page.paste(left, top, rendered.pixels)

    if peak is not None:
        column, row = rendered.pixelOf(peak)
        _marks(page, left + column, top + row, (x, y, width, height))
    places = {
        "left": (x + 10, y + height / 2, "left middle"),
        "right": (x + width - 10, y + height / 2, "right middle"),
        "top": (x + width / 2, y + 8, "center top"),
        "bottom": (x + width / 2, y + height - 10, "center baseline"),
    }
    for edge, letter in rendered.letters.items():
        page.text(*places[edge][:2], letter, 20, WHITE, bold=True, anchor=places[edge][2], shadow=True)


def _outline(rendered: Slice, inputVolume: slicer.vtkMRMLScalarVolumeNode, overlayNode) -> None:
    """Draw the edge of what the network saw into a slice, one pixel wide, where that is not the whole volume."""
    result = resultOf(overlayNode)
    if result is None or not result.field_of_view.planes:
        return
    rows, columns = rendered.pixels.shape[:2]
    across, down, origin = (rendered.rasFromPixel[:3, axis] for axis in (0, 1, 3))
    world = np.arange(rows)[:, None, None] * down + (np.arange(columns)[:, None] * across + origin)
    index = indexFromWorld(inputVolume, world.reshape(-1, 3))
    planes = np.array(result.field_of_view.planes)
    size = np.array(inputVolume.GetImageData().GetDimensions())
    within = _between(index, np.full(3, -0.5), size - 0.5)
    inside = within & _between(index @ planes[:, :3].T, planes[:, 3], planes[:, 4])
    seen, within = inside.reshape(rows, columns), within.reshape(rows, columns)
    edge = np.zeros_like(seen)
    for axis in (0, 1):
        for step in (-1, 1):
            beside, there = np.roll(seen, step, axis), np.roll(within, step, axis)
            edge |= seen & ~beside & there  # at the volume's own border there is nothing to tell
    rendered.pixels[edge] += (np.array(SEEN, np.float32) - rendered.pixels[edge]) * 0.8


def _between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which rows of values (N×M) lie between M bounds, these included."""
    found = np.ones(len(values), bool)
    for column, least, most in zip(values.T, low, high, strict=True):
        found &= (column >= least) & (column <= most)
    return found


def _marks(page: Canvas, x: float, y: float, panel: tuple[int, int, int, int]) -> None:
    """Four short lines that point at (x, y) and leave it free, within the panel."""
    near, far, thin = 18, 44, 2
    left, top, width, height = panel

    def line(x0: float, y0: float, x1: float, y1: float) -> None:
        x0, x1 = (min(max(value, left), left + width) for value in (x0, x1))
        y0, y1 = (min(max(value, top), top + height) for value in (y0, y1))
        if x1 > x0 and y1 > y0:
            page.rectangle(x0 - 1, y0 - 1, x1 - x0 + 2, y1 - y0 + 2, PANEL, 0.45)
            page.rectangle(x0, y0, x1 - x0, y1 - y0, WHITE, 0.9)

    # Pixels cover their centre by half: the line of even thickness is centred on the middle of the pixel.
    x, y = x + 0.5, y + 0.5
    line(x - far, y - thin / 2, x - near, y + thin / 2)
    line(x + near, y - thin / 2, x + far, y + thin / 2)
    line(x - thin / 2, y - far, x + thin / 2, y - near)
    line(x - thin / 2, y + near, x + thin / 2, y + far)


def drawScaleBar(page: Canvas, x: int, bottom: int, width: int, scale: float, pixel: float | None) -> None:
    """A bar of a round length, at most a third of the panel, in its lower left corner: in mm, or in pixels of this
    size."""
    lengths = [base * 10.0**power for power in range(0 if pixel else -2, 5) for base in (1, 2, 5)]
    length = max([n for n in lengths if n * scale * (pixel or 1) <= width / 3] or lengths[:1])
    left, pixels = x + 14, round(length * scale * (pixel or 1))
    page.rectangle(left - 1, bottom - 18, pixels + 2, 6, PANEL, 0.6)
    page.rectangle(left, bottom - 17, pixels, 4, WHITE)
    page.text(
        left, bottom - 26, f"{length:g} {'px' if pixel else 'mm'}", 15, WHITE, anchor="left baseline", shadow=True
    )


def _colorBar(page: Canvas, x: int, top: int, panelHeight: int, overlayNode) -> None:
    """The overlay's own colours from 0 to 1; what its threshold hides is left empty, as it is in the slices."""
    colors = colormaps.tableColors(ensureDisplay(overlayNode).GetColorNode())
    lower, upper = thresholdOf(overlayNode)
    height = min(panelHeight - 40, 420)
    y = top + (panelHeight - height) // 2 + 14
    values = 1 - (np.arange(height) + 0.5) / height
    rows = colors[np.minimum((values * len(colors)).astype(int), len(colors) - 1)]
    shown = (values >= lower) & (values <= upper) & (rows[:, 3] > 0)
    strip = np.where(shown[:, None], rows[:, :3], PAGE)
    page.rectangle(x - 1, y - 1, BAR_WIDTH + 2, height + 2, FAINT)
    page.paste(x, y, np.repeat(strip[:, None].astype(np.float32), BAR_WIDTH, axis=1))
    for value in np.linspace(0, 1, 6):
        row = y + (1 - value) * height
        page.rectangle(x + BAR_WIDTH + 1, row - (0 if value == 1 else 1), 6, 1, SOFT)
        page.text(x + BAR_WIDTH + 13, row, f"{value:.1f}", 15, SOFT, anchor="left middle")
    page.text(x - 1, y - 14, "Heatmap", LABEL, SOFT, anchor="left baseline")
    if lower > 0:
        page.rectangle(x - 5, y + (1 - lower) * height, BAR_WIDTH + 10, 1, WHITE)
        page.text(x - 1, y + height + 22, f"< {lower:.2g} hidden", 13, SOFT, anchor="left baseline")

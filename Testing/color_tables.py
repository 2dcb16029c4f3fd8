"""Makes the colour tables of CAMOverlayLib/scene/overlay/colors, files that Slicer reads and writes itself.

    PYTHONPATH=CAMOverlay python Testing/color_tables.py

Each is a path through CIE LCh at D65: lightness rises in even steps, so that more always looks like more, also in
a grey print and to colour-blind eyes. None starts at black, which over an image would darken what it should mark.
"""

from __future__ import annotations

import os

import numpy as np

SIZE = 256
"""Entries of a colour table."""

WINDOW = 41
"""Entries over which the corners of a colour path are rounded."""

COLOR_MAPS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "heat": ((35, 80, 345), (47, 90, 380), (61, 95, 408), (78, 90, 438), (95, 80, 466)),
    "sea": ((30, 50, 290), (45, 46, 255), (60, 46, 195), (78, 68, 140), (95, 80, 108)),
    "ice": ((30, 70, 300), (48, 60, 275), (65, 44, 248), (80, 30, 220), (97, 8, 200)),
    "leaf": ((30, 45, 165), (45, 55, 158), (61, 65, 148), (78, 72, 138), (95, 60, 125)),
    "plum": ((30, 60, 325), (46, 62, 330), (63, 52, 335), (80, 34, 340), (96, 10, 345)),
    "lagoon": ((30, 40, 225), (46, 42, 215), (63, 44, 205), (80, 40, 195), (96, 22, 185)),
}
"""Control points, evenly spaced from 0 to 1: lightness L*, chroma C*, and hue in degrees, which may pass 360."""

DIVERGING: dict[str, tuple[tuple[tuple[float, float, float], ...], ...]] = {
    "difference": (
        ((46, 70, 292), (58, 62, 275), (72, 48, 245), (88, 36, 215)),
        ((46, 80, 38), (58, 84, 52), (72, 84, 70), (88, 82, 92)),
    ),
}
"""The same for both arms of a map of differences, from the middle to the ends: below 0 blue to cyan, above it red to
yellow. At the same distance from the middle both have the same lightness, so that neither sign looks like more; blue
against orange is the pair that the common kinds of colour blindness tell apart."""

NEUTRAL = 0.1
"""Share of the scale around 0 that is transparent: the image shows where two maps say the same."""


def diverging(key: str) -> np.ndarray:
    """RGBA in [0, 1] of a map of differences, 256×4; entry n stands for (n - 127.5) / 127.5 of the scale."""
    below, above = (_path(arm)[1::2] for arm in DIVERGING[key])
    rgb = np.vstack([below[::-1], above])
    place = np.abs(np.arange(SIZE) - (SIZE - 1) / 2) / ((SIZE - 1) / 2)
    return np.hstack([rgb, (place >= NEUTRAL)[:, None].astype(float)])


def colors(key: str) -> np.ndarray:
    """RGBA in [0, 1] of a colour map, 256×4. Only the entry of 0 is transparent."""
    alpha = np.ones((SIZE, 1))
    alpha[0] = 0
    return np.hstack([_path(COLOR_MAPS[key]), alpha])


def _path(given: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    """sRGB in [0, 1] along control points, 256×3."""
    points = np.array(given, dtype=float)
    where = np.linspace(0, len(points) - 1, SIZE)
    lightness, chroma, hue = (_smooth(np.interp(where, range(len(points)), column)) for column in points.T)
    # Colours that a screen cannot show give up chroma, never lightness. The least of the neighbourhood, smoothed,
    # stays below the limit everywhere and has no corner; an edge in a colour map looks like an edge in the data.
    limit = np.pad(np.minimum(chroma, _chromaLimit(lightness, hue)), WINDOW // 2, mode="edge")
    least = np.lib.stride_tricks.sliding_window_view(limit, WINDOW).min(axis=1)
    rgb = _linearRgb(lightness, _smooth(least), hue).clip(0, 1)
    return np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055)


def _smooth(values: np.ndarray) -> np.ndarray:
    kernel = np.hanning(WINDOW + 2)[1:-1]
    padded = np.pad(values, WINDOW // 2, mode="reflect", reflect_type="odd")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _chromaLimit(lightness: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """The largest chroma that sRGB can show at each lightness and hue, by bisection."""
    low, high = np.zeros(len(hue)), np.full(len(hue), 150.0)
    for _ in range(20):
        middle = (low + high) / 2
        rgb = _linearRgb(lightness, middle, hue)
        inside = ((rgb >= 0) & (rgb <= 1)).all(axis=1)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def _linearRgb(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Linear sRGB, N×3, of CIE LCh at D65; outside [0, 1] where a screen cannot show the colour."""
    hue = np.radians(hue)
    fy = (lightness + 16) / 116
    f = np.stack([fy + chroma * np.cos(hue) / 500, fy, fy - chroma * np.sin(hue) / 200], axis=1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    matrix = np.array(
        [[3.2404542, -1.5371385, -0.4985314], [-0.9692660, 1.8760108, 0.0415560], [0.0556434, -0.2040259, 1.0572252]]
    )
    return xyz @ matrix.T


def writeTables() -> None:
    import slicer

    from CAMOverlayLib.scene.overlay.colormaps import TABLES

    TABLES.mkdir(exist_ok=True)
    os.chdir(TABLES)  # the path is written into the file
    for key, table in {**{k: colors(k) for k in COLOR_MAPS}, **{k: diverging(k) for k in DIVERGING}}.items():
        node, storage = slicer.vtkMRMLColorTableNode(), slicer.vtkMRMLColorTableStorageNode()
        node.SetTypeToUser()
        node.SetNumberOfColors(SIZE)
        for entry, (red, green, blue, alpha) in enumerate(table.tolist()):
            value = entry / (SIZE - 1) if key in COLOR_MAPS else 2 * entry / (SIZE - 1) - 1
            node.SetColor(entry, f"{value:.3f}", red, green, blue, alpha)
        storage.SetFileName(f"{key}.ctbl")
        if not storage.WriteData(node):
            raise OSError(f"{TABLES / storage.GetFileName()} cannot be written")


if __name__ == "__main__":
    writeTables()

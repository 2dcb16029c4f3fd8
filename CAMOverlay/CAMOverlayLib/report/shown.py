"""What the pictures are drawn of: a volume and its heatmap on one grid, and how they look."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..contract.geometry import Grid

if TYPE_CHECKING:
    from .further_maps import FurtherMap

THRESHOLD = 0.15
"""Heat below which nothing is drawn, where nobody chose another: low values would veil most of the anatomy."""

OPACITY = 0.5

SAMPLES = 2_000_000
"""Voxels that are asked for the window of grey, at most."""


@cache
def color_table(name: str = "heat") -> np.ndarray:
    """Colours of the overlay's, 256×3 in [0, 1], from the table that Slicer reads."""
    table = Path(__file__).parents[1] / "scene" / "overlay" / "colors" / f"{name}.ctbl"
    rows = [line.split() for line in table.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    return np.array([[int(part) / 255 for part in row[-4:-1]] for row in rows])


@dataclass(frozen=True)
class Shown:
    """A volume with its heatmap.

    Attributes:
        name: of the volume.
        image: I×J×K, or I×J×K×3 of colours in bytes.
        heat: I×J×K, 0 to 1.
        affine: 4×4 of both, voxel index to RAS mm.
        window: the values that are black and white; None chooses them so that 0.5 % of the voxels lie beyond each.
        colors: N×3 in [0, 1], of heat from 0 to 1.
        shown: heat outside of this range is transparent.
        photo: a picture of no patient, as far as its geometry says: drawn as it is, in pixels.
        stepped: heat is one of so many steps, and nothing lies between two of them.
        further: what else is known of every voxel; pictured after the heat.
    """

    name: str
    image: np.ndarray
    heat: np.ndarray
    affine: np.ndarray
    window: tuple[float, float] | None = None
    colors: np.ndarray = field(default_factory=color_table)
    shown: tuple[float, float] = (THRESHOLD, 1.0)
    opacity: float = OPACITY
    photo: bool = False
    stepped: bool = False
    further: tuple[FurtherMap, ...] = ()

    @property
    def grid(self) -> Grid:
        return Grid(self.heat.shape, np.asarray(self.affine, dtype=float))

    @property
    def is_colour(self) -> bool:
        return self.image.ndim == 4 and self.image.shape[3] >= 3

    @property
    def grey_range(self) -> tuple[float, float]:
        """The window, chosen where none was given."""
        return self.window if self.window is not None else _window_of(self.image)


def as_bytes(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Values as 0 to 255 between the two ends of a window; what is no number is black."""
    low, high = window
    scaled = (np.asarray(values, np.float32) - low) * (255.0 / max(high - low, 1e-12)) + 0.5
    return np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).astype(np.uint8)


def _window_of(image: np.ndarray) -> tuple[float, float]:
    """So that 0.5 % of the values lie beyond each end; the background, the smallest value, does not count."""
    step = max(1, round((image.size / SAMPLES) ** (1 / 3)))
    values = np.asarray(image[::step, ::step, ::step], np.float32).reshape(-1)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    inside = values[values > values.min()]
    low, high = np.percentile(inside if inside.size else values, [0.5, 99.5])
    return (float(low), float(high)) if high > low else (float(low), float(low) + 1.0)

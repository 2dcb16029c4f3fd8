"""Slices of a volume with its heat, cut along the volume's own axes: voxels as they are, nothing is resampled.

Each slice lies on the page as the patient's plane that it is nearest to: the patient's right on the left of axial and
coronal ones, the front on the left of sagittal ones. An oblique volume keeps its own planes, whose edges have the
letters of where they really point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from ..contract.findings import HotSpot
from ..contract.geometry import Grid
from .shown import Shown, as_bytes

PLANES = {"Axial": ((0, -1), (1, 1), 2), "Coronal": ((0, -1), (2, 1), 1), "Sagittal": ((1, -1), (2, 1), 0)}
"""Of each plane the RAS axis and direction to the right of the page, those to its top, and the RAS axis through it."""

SECOND_LETTER = 0.34
"""Share of a direction that earns a letter of its own: an edge 20° off the patient's right is ``RA``."""

MOST_SPOTS = 4
"""Hot spots that are pictured."""


@dataclass(frozen=True)
class Slice:
    """One slice as it lies on the page.

    Attributes:
        plane: ``Axial``, ``Coronal``, ``Sagittal``, or ``Picture`` of a photo.
        grey: bytes, height × width, or height × width × 3 of colours.
        heat: float32, height × width.
        spacing: mm of a pixel downwards and across.
        letters: where ``left``, ``right``, ``top`` and ``bottom`` point in the patient; none of a photo.
        mark: row and column of the voxel that it was cut through; None where nothing is there to mark.
        caption: which slice it is.
    """

    plane: str
    grey: np.ndarray
    heat: np.ndarray
    spacing: tuple[float, float]
    letters: dict[str, str]
    mark: tuple[int, int] | None
    caption: str


def pictured(shown: Shown, findings: Sequence[HotSpot], peak: tuple[int, int, int] | None) -> list[HotSpot | None]:
    """The hot spots that are pictured; where there is heat but no hot spot its peak, and None where there is none.

    A result that came with a scene may name voxels that the volume does not have: those are left out.
    """
    inside = [spot for spot in findings if _has(shown, spot.peak)]
    if inside:
        return list(inside[:MOST_SPOTS])
    if peak is None or not _has(shown, peak):
        return [None]
    heat = float(shown.heat[peak])
    return [HotSpot(1, peak, shown.grid.to_ras(peak), 0.0, heat, heat, 0.0)]


def _has(shown: Shown, voxel: Sequence[int]) -> bool:
    return all(0 <= v < n for v, n in zip(voxel, shown.heat.shape, strict=True))


def slices_through(shown: Shown, voxel: tuple[int, int, int] | None) -> list[Slice]:
    """The slices through a voxel (I, J, K), of a volume of one slice that slice; None goes through the middle."""
    grid = shown.grid
    through = voxel if voxel is not None else tuple(n // 2 for n in grid.shape)
    if shown.photo:
        return [_photo(shown, through, voxel is not None)]
    axes = nearest_axes(grid)
    planes = [name for name, (_, _, ras) in PLANES.items()]
    thin = [axis for axis, n in enumerate(grid.shape) if n == 1]
    if len(thin) == 1:
        planes = [name for name in planes if axes[PLANES[name][2]] == thin[0]]
    return [_cut(shown, grid, axes, name, through, voxel is not None) for name in planes]


def nearest_axes(grid: Grid) -> tuple[int, int, int]:
    """For each RAS axis the axis of the volume that stands for it: the best of all ways to pair them."""
    toward = np.abs(grid.directions)
    pairs: list[tuple[int, int, int]] = list(permutations(range(3)))  # type: ignore[arg-type]
    return max(pairs, key=lambda axes: sum(toward[ras, axis] for ras, axis in enumerate(axes)))


def _cut(shown: Shown, grid: Grid, axes: tuple[int, int, int], name: str, through: Sequence[int], mark: bool) -> Slice:
    (right, right_sign), (up, up_sign), ras = PLANES[name]
    across, upward, normal = axes[right], axes[up], axes[ras]
    directions = grid.directions
    # The array's axis counts to the right of the page where it points that way in the patient.
    turn_across = directions[right, across] * right_sign < 0
    turn_down = directions[up, upward] * up_sign > 0
    where = [slice(None)] * 3
    where[normal] = slice(through[normal], through[normal] + 1)

    def flat(array: np.ndarray) -> np.ndarray:
        plane = np.moveaxis(array[tuple(where)], (upward, across, normal), (0, 1, 2))[:, :, 0]
        plane = plane[::-1] if turn_down else plane
        return plane[:, ::-1] if turn_across else plane

    to_right = directions[:, across] * (-1 if turn_across else 1)
    to_bottom = directions[:, upward] * (-1 if turn_down else 1)
    edges = {"left": -to_right, "right": to_right, "top": -to_bottom, "bottom": to_bottom}
    row = grid.shape[upward] - 1 - through[upward] if turn_down else through[upward]
    column = grid.shape[across] - 1 - through[across] if turn_across else through[across]
    return Slice(
        name,
        _grey(shown, flat(shown.image)),
        np.ascontiguousarray(flat(shown.heat), dtype=np.float32),
        (float(grid.spacing[upward]), float(grid.spacing[across])),
        {edge: letters_of(direction) for edge, direction in edges.items()},
        (int(row), int(column)) if mark else None,
        _caption(grid, name, normal, ras, through),
    )


def _photo(shown: Shown, through: Sequence[int], mark: bool) -> Slice:
    """A picture as its file has it: rows are the second axis."""
    image, heat = shown.image[:, :, 0], shown.heat[:, :, 0]
    grey = _grey(shown, image.swapaxes(0, 1))
    words = f"{heat.shape[0]} × {heat.shape[1]} pixels"
    place = (int(through[1]), int(through[0])) if mark else None
    return Slice("Picture", grey, np.ascontiguousarray(heat.T, dtype=np.float32), (1.0, 1.0), {}, place, words)


def _grey(shown: Shown, plane: np.ndarray) -> np.ndarray:
    if shown.is_colour and plane.dtype == np.uint8:
        return np.ascontiguousarray(plane[..., :3])
    if shown.is_colour:
        return as_bytes(plane[..., :3], shown.grey_range)
    return as_bytes(plane if plane.ndim == 2 else plane[..., 0], shown.grey_range)


def _caption(grid: Grid, name: str, normal: int, ras: int, through: Sequence[int]) -> str:
    """By its place in the patient; an oblique one by its number."""
    if abs(grid.directions[ras, normal]) > 0.9986:  # 3°
        mm = round(grid.to_ras(through)[ras], 1)
        return f"{name} {('RAS' if mm >= 0 else 'LPI')[ras]} {abs(mm):.1f} mm"
    return f"Oblique {name.lower()}, slice {through[normal] + 1} of {grid.shape[normal]} ({'IJK'[normal]})"


def letters_of(direction: np.ndarray) -> str:
    """``R``, ``L``, ``A``, ``P``, ``S``, ``I`` or several of them: where a vector in RAS points, its largest part
    first."""
    unit = np.asarray(direction, dtype=float) / np.linalg.norm(direction)
    order = sorted(range(3), key=lambda axis: -abs(unit[axis]))
    said = [axis for place, axis in enumerate(order) if place == 0 or abs(unit[axis]) >= SECOND_LETTER]
    return "".join(("RAS" if unit[axis] > 0 else "LPI")[axis] for axis in said)

"""Ways to put an image in the wrong place without saying so, and ways to change it that move nothing.

Each misplacement is a map: voxel p of the result shows what voxel f(p) showed before, while the affine claims that it
still shows p. How far that is off is therefore known exactly, and is measured where the image shows something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

Points = np.ndarray
"""N×3, voxel indices."""


@dataclass(frozen=True)
class Grid:
    """What a misplacement may depend on: the shape and spacing (mm) of the image."""

    shape: tuple[int, int, int]
    spacing: np.ndarray

    @property
    def centre(self) -> np.ndarray:
        return (np.array(self.shape) - 1) / 2


@dataclass(frozen=True)
class Kind:
    """One misplacement.

    Attributes:
        family: ``shift``, ``turn`` or ``zoom``, whose ``size`` is in mm, degrees, per cent, or ``other``.
        source: from a grid and voxels of the result to the voxels that they show.
        resulting: the result's shape, where it is another.
        affine: the voxels stay, and the affine is changed so that it claims this (a 4×4 of voxel indices).
    """

    name: str
    family: str
    size: Callable[[Grid], float]
    source: Callable[[Grid, Points], Points]
    resulting: Callable[[Grid], tuple[int, ...]] | None = None
    affine: bool = False

    def shape(self, grid: Grid) -> tuple[int, ...]:
        return self.resulting(grid) if self.resulting is not None else grid.shape

    def apply(self, image: Tensor, spacing: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """The changed image (C×I×J×K, same type), and a 4×4 by which its affine is to be multiplied from the right."""
        grid = Grid(tuple(int(n) for n in image.shape[1:]), spacing)
        if self.affine:
            basis = np.vstack([np.zeros(3), np.eye(3)])
            moved = self.source(grid, basis)
            claim = np.eye(4)
            claim[:3, :3], claim[:3, 3] = (moved[1:] - moved[0]).T, moved[0]
            return image, np.linalg.inv(claim)
        shape = self.shape(grid)
        points = self.source(grid, lattice(shape)).T.reshape(3, *shape)
        values = [
            ndimage.map_coordinates(c.numpy().astype(np.float32), points, order=1, cval=float(c.min())) for c in image
        ]
        return torch.from_numpy(np.stack(values)).to(image.dtype), np.eye(4)

    def displacement(self, image: Tensor, spacing: np.ndarray) -> float:
        """mm, 95th percentile over the voxels where the result shows something (I×J×K, before the change)."""
        grid = Grid(tuple(int(n) for n in image.shape), spacing)
        points = lattice(self.shape(grid))[::29]
        moved = self.source(grid, points)
        shown = np.rint(moved).astype(int)
        inside = ((shown >= 0) & (shown < grid.shape)).all(1)
        content = _content(image.numpy().astype(np.float32))
        busy = inside.copy()
        busy[inside] = content[tuple(shown[inside].T)]
        if not busy.any():
            return 0.0
        return float(np.percentile(np.linalg.norm((moved - points)[busy] * spacing, axis=1), 95))


def lattice(shape: tuple[int, ...]) -> Points:
    return np.indices(shape).reshape(3, -1).T.astype(float)


def _content(values: np.ndarray) -> np.ndarray:
    """Where the image is not flat."""
    smooth = ndimage.gaussian_filter(values, 1)
    gradient = ndimage.gaussian_gradient_magnitude(smooth, 1)
    return gradient > 0.1 * np.percentile(gradient, 98)


def _affine(matrix: Callable[[Grid], np.ndarray], offset: Callable[[Grid], np.ndarray] = lambda g: np.zeros(3)):
    """Linear map in mm about the centre of the grid, then an offset in voxels."""

    def source(grid: Grid, points: Points) -> Points:
        linear = matrix(grid) * grid.spacing / grid.spacing[:, None]
        return (points - grid.centre) @ linear.T + grid.centre + offset(grid)

    return source


def shift(name: str, *voxels: float, affine: bool = False) -> Kind:
    vector = np.array(voxels)
    return Kind(
        name, "shift", lambda g: float(np.abs(vector * g.spacing).max()), lambda g, p: p - vector, affine=affine
    )


def shift_mm(name: str, *mm: float, affine: bool = False) -> Kind:
    vector = np.array(mm)
    return Kind(
        name, "shift", lambda g: float(np.abs(vector).max()), lambda g, p: p - vector / g.spacing, affine=affine
    )


def turn(axis: int, degrees: float, affine: bool = False) -> Kind:
    from CAMOverlayLib.engine.alignment.bounds import rotation

    matrix = rotation(*(degrees * np.eye(3)[axis]))
    name = f"turned by {degrees:g}° about {'IJK'[axis]}{' in the affine alone' * affine}"
    return Kind(name, "turn", lambda g: abs(degrees), _affine(lambda g: matrix), affine=affine)


def zoom(per_cent: float, axis: int | None = None, affine: bool = False) -> Kind:
    factor = np.ones(3)
    factor[slice(None) if axis is None else axis] = 1 / (1 + per_cent / 100)
    along = "" if axis is None else f" along {'IJK'[axis]}"
    name = f"zoomed by {per_cent:+g} %{along}{' in the affine alone' * affine}"
    return Kind(name, "zoom", lambda g: abs(per_cent), _affine(lambda g: np.diag(factor)), affine=affine)


def other(name: str, source: Callable[[Grid, Points], Points], **more) -> Kind:
    return Kind(name, "other", lambda g: float("nan"), source, **more)


def shear(per_cent: float, a: int = 0, b: int = 2) -> Kind:
    matrix = np.eye(3)
    matrix[a, b] = per_cent / 100
    return other(f"sheared by {per_cent:g} % ({'IJK'[a]} by {'IJK'[b]})", _affine(lambda g: matrix))


def mirror(*axes: int, offset: int = 0) -> Kind:
    def source(grid: Grid, points: Points) -> Points:
        points = points.copy()
        for axis in axes:
            points[:, axis] = grid.shape[axis] - 1 - points[:, axis] - offset
        return points

    name = f"mirrored along {' and '.join('IJK'[a] for a in axes)}{f', {offset} voxels off' * bool(offset)}"
    return other(name, source)


def permuted(*order: int) -> Kind:
    """Axis n of the result is axis order[n] of the image."""
    back = np.argsort(order)
    return other(
        f"axes permuted to {''.join('IJK'[a] for a in order)}",
        lambda g, p: p[:, back],
        resulting=lambda g: tuple(g.shape[a] for a in order),
    )


def quarter(axis: int, times: int = 1) -> Kind:
    a, b = (n for n in range(3) if n != axis)

    def shape(grid: Grid) -> tuple[int, ...]:
        found = list(grid.shape)
        if times % 2:
            found[a], found[b] = found[b], found[a]
        return tuple(found)

    def source(grid: Grid, points: Points) -> Points:
        points = points.copy()
        for turned in range(times):
            size = grid.shape[b] if (times - turned) % 2 else grid.shape[a]
            points[:, a], points[:, b] = points[:, b].copy(), size - 1 - points[:, a]
        if times == 1:  # p = (a, b) shows (b, B - 1 - a)
            return points
        return points

    return other(f"turned by {90 * times}° about {'IJK'[axis]} (voxels)", source, resulting=shape)


def crop(start: int, end: int) -> Kind:
    return Kind(
        f"cropped by {start} at the start and {end} at the end",
        "shift",
        lambda g: float(start * g.spacing.max()),
        lambda g, p: p + start,
        lambda g: tuple(n - start - end for n in g.shape),
    )


def pad(start: int) -> Kind:
    return Kind(
        f"padded by {start} at the start",
        "shift",
        lambda g: float(start * g.spacing.max()),
        lambda g, p: p - start,
        lambda g: tuple(n + start for n in g.shape),
    )


def resize(factor: float) -> Kind:
    def shape(grid: Grid) -> tuple[int, ...]:
        return tuple(max(2, round(n * factor)) for n in grid.shape)

    def source(grid: Grid, points: Points) -> Points:
        scale = np.array(grid.shape) / np.array(shape(grid))
        return (points + 0.5) * scale - 0.5

    return other(f"resized by {factor:g}, affine left", source, resulting=shape)


def warp(name: str, per_cent: float, waves: float, seed: int = 0) -> Kind:
    """A smooth elastic deformation, up to ``per_cent`` of the longest axis, with ``waves`` bumps along it."""

    def source(grid: Grid, points: Points) -> Points:
        rng = np.random.default_rng(seed)
        extent = float((np.array(grid.shape) * grid.spacing).max())
        moved = np.zeros_like(points)
        for axis in range(3):
            for _ in range(6):
                direction = rng.normal(size=3)
                direction *= waves * rng.uniform(0.5, 1) / np.linalg.norm(direction)
                moved[:, axis] += np.sin(
                    2 * np.pi * (points * grid.spacing) @ direction / extent + rng.uniform(0, 6.28)
                )
        return points + moved / 2.5 * per_cent / 100 * extent / grid.spacing

    return other(name, source)


def slices(name: str, move: Callable[[np.random.Generator, int], tuple[float, np.ndarray]]) -> Kind:
    """Each slice turned (degrees) and shifted (2 voxels) in its plane by itself."""

    def source(grid: Grid, points: Points) -> Points:
        rng = np.random.default_rng(0)
        moves = [move(rng, k) for k in range(grid.shape[2])]
        k = points[:, 2].astype(int)
        angles = np.radians([m[0] for m in moves])[k]
        shifts = np.array([m[1] for m in moves])[k]
        found = points.copy()
        i, j = ((points[:, a] - grid.centre[a]) * grid.spacing[a] for a in (0, 1))
        found[:, 0] = (np.cos(angles) * i - np.sin(angles) * j) / grid.spacing[0] + grid.centre[0] + shifts[:, 0]
        found[:, 1] = (np.sin(angles) * i + np.cos(angles) * j) / grid.spacing[1] + grid.centre[1] + shifts[:, 1]
        return found

    return other(name, source)


def part(name: str, where: Callable[[np.ndarray], np.ndarray], move: Callable[[Grid, Points], Points]) -> Kind:
    """A part of the volume (given by relative positions, 0 to 1) shows something else."""

    def source(grid: Grid, points: Points) -> Points:
        inside = where(points / (np.array(grid.shape) - 1))
        found = points.copy()
        found[inside] = move(grid, points)[inside]
        return found

    return other(name, source)


def _mirrored(axis: int) -> Callable[[Grid, Points], Points]:
    return mirror(axis).source


def _moved(*voxels: float) -> Callable[[Grid, Points], Points]:
    return lambda g, p: p - np.array(voxels)


def _moved_mm(*mm: float) -> Callable[[Grid, Points], Points]:
    return lambda g, p: p - np.array(mm) / g.spacing


def _bend(grid: Grid, points: Points) -> Points:
    found = points.copy()
    found[:, 0] += 5 * np.sin(2 * np.pi * points[:, 2] / grid.shape[2])
    return found


def _twist(degrees: float) -> Callable[[Grid, Points], Points]:
    def source(grid: Grid, points: Points) -> Points:
        angles = np.radians(degrees) * (2 * points[:, 2] / (grid.shape[2] - 1) - 1)
        found = points.copy()
        i, j = ((points[:, a] - grid.centre[a]) * grid.spacing[a] for a in (0, 1))
        found[:, 0] = (np.cos(angles) * i - np.sin(angles) * j) / grid.spacing[0] + grid.centre[0]
        found[:, 1] = (np.sin(angles) * i + np.cos(angles) * j) / grid.spacing[1] + grid.centre[1]
        return found

    return source


def _swapped_slices(grid: Grid, points: Points) -> Points:
    found = points.copy()
    block = 4  # interleaved acquisition, put together in the wrong order
    k = points[:, 2].astype(int)
    swapped = (k // block ^ 1) * block + k % block
    found[:, 2] = np.where(swapped < grid.shape[2], swapped, k)
    return found


MISPLACEMENTS: tuple[Kind, ...] = (
    shift("shifted by 1 voxel along I", 1, 0, 0),
    shift("shifted by 1 voxel along K", 0, 0, 1),
    shift("shifted by 2 voxels along J", 0, 2, 0),
    shift("shifted by 3 voxels along K", 0, 0, -3),
    shift("shifted by 8 voxels along I", 8, 0, 0),
    shift("shifted by 20 voxels along J", 0, 20, 0),
    shift("shifted by (1.5, 1.5, 1.5)", 1.5, 1.5, 1.5),
    shift("shifted by (2, 2, 2)", 2, 2, 2),
    shift("shifted by (3, -2, 2)", 3, -2, 2),
    shift("shifted by (5, 5, -5)", 5, 5, -5),
    shift_mm("shifted by (12, 9, 15) mm", 12, 9, 15),
    mirror(0),
    mirror(1),
    mirror(2),
    mirror(0, 1),
    mirror(0, offset=4),
    permuted(1, 0, 2),
    permuted(2, 1, 0),
    permuted(0, 2, 1),
    quarter(2),
    quarter(0),
    quarter(2, 2),
    turn(2, 2),
    turn(2, 5),
    turn(2, 10),
    turn(2, 20),
    turn(2, 45),
    turn(0, 3),
    turn(0, 7),
    turn(0, 15),
    turn(1, 5),
    turn(1, 12),
    zoom(-3),
    zoom(3),
    zoom(5),
    zoom(-7),
    zoom(20),
    zoom(10, 1),
    zoom(-5, 2),
    shear(2),
    shear(5),
    shear(10, 1, 0),
    crop(4, 4),
    crop(10, 0),
    pad(6),
    resize(0.8),
    resize(1.15),
    shift_mm("origin of the affine moved by 1 mm", 1, 0, 0, affine=True),
    shift_mm("origin of the affine moved by (3, 3, 0) mm", 3, 3, 0, affine=True),
    zoom(3, affine=True),
    zoom(10, 2, affine=True),
    turn(2, 5, affine=True),
    warp("elastic warp of 2 %", 2, 2),
    warp("elastic warp of 4 %", 4, 2),
    warp("elastic warp of 6 %", 6, 1.5),
    warp("fine elastic warp of 4 %", 4, 4),
    warp("fine elastic warp of 2 %", 2, 5),
    slices("each slice turned by up to 5°", lambda r, k: (r.uniform(-5, 5), np.zeros(2))),
    slices("each slice turned by up to 20°", lambda r, k: (r.uniform(-20, 20), np.zeros(2))),
    slices("each slice shifted by up to 5 voxels", lambda r, k: (0.0, r.uniform(-5, 5, 2))),
    slices("every second slice mirrored", lambda r, k: (180.0 * (k % 2), np.zeros(2))),
    part("front half mirrored along I", lambda p: p[:, 1] > 0.5, _mirrored(0)),
    part("upper half mirrored along J", lambda p: p[:, 2] > 0.5, _mirrored(1)),
    part("lower half shifted by 5 voxels along I", lambda p: p[:, 2] < 0.5, _moved(5, 0, 0)),
    part("right half shifted by 8 mm along K", lambda p: p[:, 0] > 0.5, _moved_mm(0, 0, 8)),
    part("lower third shifted by (4, 4, 0) voxels", lambda p: p[:, 2] < 1 / 3, _moved(4, 4, 0)),
    part("an octant shifted by 10 mm", lambda p: (p > 0.5).all(1), _moved_mm(10, 0, 0)),
    other("bent by 5 voxels", _bend),
    other("twisted by ±8°", _twist(8)),
    other("twisted by ±20°", _twist(20)),
    other("packs of slices swapped", _swapped_slices),
)


Change = Callable[[np.ndarray], np.ndarray]


def _ranked(values: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(values.ravel())[::17], values).astype(np.float32)


def _unit(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values[::3, ::3, ::3], (1, 99))
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def _window(low: float, high: float) -> Change:
    return lambda v: np.clip((_unit(v) - low) / (high - low), 0, 1)


def _noise(amount: float) -> Change:
    return lambda v: v + amount * v.std() * np.random.default_rng(0).standard_normal(v.shape, dtype=np.float32)


def _bias(amount: float) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        i, j, k = (
            np.linspace(-1, 1, n).reshape([-1 if a == b else 1 for b in range(3)]) for a, n in enumerate(values.shape)
        )
        return (values * np.exp(amount * (i + 0.5 * j * j - k * i))).astype(np.float32)

    return change


def _local_contrast(values: np.ndarray) -> np.ndarray:
    """What CLAHE does: each neighbourhood brought to the same mean and contrast, as far as that is sensible."""
    unit = _unit(values)
    mean = ndimage.uniform_filter(unit, 31)
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(unit**2, 31) - mean**2, 0))
    return np.clip((unit - mean) / np.maximum(spread, 0.1), -3, 3)


def _table(seed: int) -> Change:
    def change(values: np.ndarray) -> np.ndarray:
        return np.random.default_rng(seed).permutation(256).astype(np.float32)[(255 * _unit(values)).astype(int)]

    return change


def _masked(values: np.ndarray) -> np.ndarray:
    centre = [(n - 1) / 2 for n in values.shape]
    distance = sum(
        ((x - c) / (0.42 * n)) ** 2
        for x, c, n in zip(np.ogrid[tuple(slice(n) for n in values.shape)], centre, values.shape)
    )
    return np.where(distance < 1, values, values.min())


def _cut_out(values: np.ndarray) -> np.ndarray:
    found, rng = values.copy(), np.random.default_rng(0)
    for _ in range(8):
        start = [rng.integers(0, max(1, n - n // 6)) for n in values.shape]
        found[tuple(slice(s, s + n // 6) for s, n in zip(start, values.shape))] = 0
    return found


def _deviation(values: np.ndarray) -> np.ndarray:
    mean = ndimage.uniform_filter(values, 5)
    return np.sqrt(np.maximum(ndimage.uniform_filter(values**2, 5) - mean**2, 0))


HARMLESS: dict[str, Change] = {
    "identity": lambda v: v,
    "times 3 plus 7": lambda v: 3 * v + 7,
    "inverted": lambda v: -v,
    "z-score": lambda v: (v - v.mean()) / max(v.std(), 1e-6),
    "unit range": _unit,
    "equalised": _ranked,
    "root": lambda v: np.sqrt(_unit(v)),
    "square": lambda v: _unit(v) ** 2,
    "logarithm": lambda v: np.log1p(20 * _unit(v)),
    "sigmoid": lambda v: 1 / (1 + np.exp(-8 * (_unit(v) - 0.5))),
    "gamma 0.3": lambda v: _unit(v) ** 0.3,
    "gamma 4": lambda v: _unit(v) ** 4,
    "narrow window, dark": _window(0.1, 0.3),
    "narrow window, middle": _window(0.4, 0.6),
    "window, bright": _window(0.5, 1.0),
    "threshold": lambda v: (_unit(v) > 0.4).astype(np.float32),
    "4 levels": lambda v: np.floor(4 * _unit(v)),
    "16 levels": lambda v: np.floor(16 * _unit(v)),
    "random table": _table(0),
    "another random table": _table(1),
    "sawtooth": lambda v: (3 * _unit(v)) % 1,
    "wraparound to int8": lambda v: np.rint(2 * 255 * _unit(v)).astype(np.int64).astype(np.int8).astype(np.float32),
    "wraparound to uint8": lambda v: np.rint(3 * 255 * _unit(v)).astype(np.int64).astype(np.uint8).astype(np.float32),
    "absolute deviation": lambda v: np.abs(v - np.median(v)),
    "local contrast": _local_contrast,
    "bias field": _bias(0.4),
    "strong bias field": _bias(0.9),
    "masked": _masked,
    "cut out": _cut_out,
    "noise, 0.1 sd": _noise(0.1),
    "noise, 0.3 sd": _noise(0.3),
    "noise, 1 sd": _noise(1),
    "noise, 3 sd": _noise(3),
    "blur by 1": lambda v: ndimage.gaussian_filter(v, 1),
    "blur by 2": lambda v: ndimage.gaussian_filter(v, 2),
    "blur by 3": lambda v: ndimage.gaussian_filter(v, 3),
    "blur by 6": lambda v: ndimage.gaussian_filter(v, 6),
    "median of 3": lambda v: ndimage.median_filter(v, 3),
    "sharpened": lambda v: v + 2 * (v - ndimage.gaussian_filter(v, 1.5)),
    "minimum of 3": lambda v: ndimage.minimum_filter(v, 3),
    "maximum of 3": lambda v: ndimage.maximum_filter(v, 3),
    "minimum of 7": lambda v: ndimage.minimum_filter(v, 7),
    "local deviation": _deviation,
    "Sobel along I": lambda v: ndimage.sobel(v, 0),
    "Sobel along K": lambda v: ndimage.sobel(v, 2),
    "gradient magnitude": lambda v: ndimage.gaussian_gradient_magnitude(v, 1),
    "Laplacian": lambda v: ndimage.gaussian_laplace(v, 1),
    "high pass": lambda v: v - ndimage.gaussian_filter(v, 5),
}
"""Changes of intensities (I×J×K float32) that leave everything where it is. Filters are among them."""


def phantoms(shape: tuple[int, int, int] = (64, 56, 48)) -> dict[str, np.ndarray]:
    """Synthetic volumes that are regular, empty or noisy: an image may be anything."""
    rng = np.random.default_rng(0)
    i, j, k = np.indices(shape).astype(np.float32)
    middle = [(n - 1) / 2 for n in shape]
    distance = np.sqrt(sum((x - c) ** 2 for x, c in zip((i, j, k), middle)))
    noise = rng.normal(size=shape).astype(np.float32)
    return {
        "ramp": i,
        "ramp and noise": i + 5 * noise,
        "diagonal ramp": i + j + k,
        "checkerboard of 1": (i + j + k) % 2,
        "checkerboard of 4": (i // 4 + j // 4 + k // 4) % 2,
        "checkerboard of 8": (i // 8 + j // 8 + k // 8) % 2,
        "stripes": (i // 6) % 2,
        "noise": noise,
        "repeated noise": np.tile(noise[:16, :14, :12], (4, 4, 4)),
        "smooth noise": ndimage.gaussian_filter(noise, 3),
        "ball": (distance < 15).astype(np.float32),
        "thick blob in noise": 10 * np.exp(-(distance**2) / 800) + noise,
        "small blob in noise": 10 * np.exp(-(distance**2) / 20) + noise,
        "shells": np.sin(distance / 3),
        "cube": (np.maximum.reduce([np.abs(x - c) for x, c in zip((i, j, k), middle)]) < 12).astype(np.float32),
        "one voxel": ((i == 20) & (j == 30) & (k == 10)).astype(np.float32),
        "sine": np.sin(i / 4) + np.sin(j / 5) + np.sin(k / 6),
        "constant": np.full(shape, 3, np.float32),
    }

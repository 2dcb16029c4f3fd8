"""How far could an image be off its claimed place without being noticed?

The claim is moved by shifts, turns and zooms of growing size, about the centre of what the image shows, and tested
again on the very same voxels. What scores clearly below the claim would have been noticed, had it been the truth; the
smallest size from which on everything would have been is how far the verdict sees. Where something near scores *above*
the claim, the search climbs from there to the affine that fits best: that is where the image really lies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .mutual_information import AXES, SamplePoints, margin

Three = Sequence[float] | np.ndarray

SHIFTS = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24)
"""In voxels of whichever grid is coarser: below one, a shift is not visible."""
TURNS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 60, 120, 180)
"""Degrees."""
ZOOMS = (1, 2, 3, 5, 7, 10, 15, 20, 30)
"""Per cent."""


@dataclass(frozen=True)
class Bounds:
    """The smallest misplacement along or about any axis that would have been noticed; None where none would.

    ``shift`` in mm, ``turn`` in degrees, ``zoom`` in per cent.
    """

    shift: float | None = None
    turn: float | None = None
    zoom: float | None = None


@dataclass(frozen=True)
class Motion:
    """A small misplacement of the image: 4×4 from voxel index to the voxel index whose place it takes."""

    family: str
    axis: int
    size: float
    words: str
    matrix: np.ndarray


class Space:
    """The image's voxel grid in mm, about the centre of what it shows.

    Args:
        samples: of the image.
        tracked: the claim, 4×4 from voxel index of the image to voxel index of its origin.
        spacing: of the image, mm.
    """

    def __init__(self, samples: SamplePoints, tracked: np.ndarray, spacing: np.ndarray) -> None:
        self.shape = samples.shape
        self.spacing = np.asarray(spacing, dtype=float)
        self.centre = samples.centre * self.spacing
        coarser = np.maximum(1, 1 / np.maximum(np.linalg.norm(tracked[:3, :3], axis=0), 1e-6))
        self.step = coarser * self.spacing
        """mm per voxel of the coarser grid along each axis."""
        self.axes = [a for a in range(3) if self.shape[a] > 1]
        self.unit = float(min((self.step[a] for a in self.axes), default=1.0))
        self.planes = [a for a in range(3) if all(b == a or self.shape[b] > 1 for b in range(3))]

    def matrix(self, shift: Three, turn: Three, zoom: Three, shear: Three = (0, 0, 0)) -> np.ndarray:
        """Shift in mm, turns about the axes in degrees, zooms and shears in per cent, as a map of voxel indices."""
        linear = rotation(*turn) @ np.diag(1 + np.asarray(zoom, dtype=float) / 100)
        skew = np.eye(3)
        skew[0, 1], skew[0, 2], skew[1, 2] = np.asarray(shear, dtype=float) / 100
        linear = linear @ skew
        found = np.eye(4)
        found[:3, :3] = linear * self.spacing / self.spacing[:, None]
        found[:3, 3] = (self.centre + np.asarray(shift, dtype=float) - linear @ self.centre) / self.spacing
        return found

    def motions(self) -> Iterator[Motion]:
        for axis, size, sign in itertools.product(self.axes, SHIFTS, (-1, 1)):
            mm = size * self.step[axis]
            if mm < self.spacing[axis] * self.shape[axis] / 2:
                # Content that moved forward shows at p what its origin had behind p.
                words = f"{size:g}-voxel shift along {AXES[axis]}"
                yield Motion("shift", axis, mm, words, self.matrix(-sign * mm * np.eye(3)[axis], (0, 0, 0), (0, 0, 0)))
        for axis, size, sign in itertools.product(self.planes, TURNS, (-1, 1)):
            if size < 180 or sign > 0:
                words = f"turn by {size:g}° about {AXES[axis]}"
                yield Motion(
                    "turn", axis, size, words, self.matrix((0, 0, 0), sign * size * np.eye(3)[axis], (0, 0, 0))
                )
        every = np.isin(range(3), self.axes).astype(float)
        for size, sign in itertools.product(ZOOMS, (-1, 1)):
            single = len(self.axes) > 1 and size in (2, 5, 10, 20)
            for axis, along in [(3, every), *((a, np.eye(3)[a]) for a in self.axes if single)]:
                words = f"zoom by {sign * size:+g} %" + (f" along {AXES[axis]}" if axis < 3 else "")
                yield Motion("zoom", axis, size, words, self.matrix((0, 0, 0), (0, 0, 0), -sign * size * along))


@dataclass(frozen=True)
class Surroundings:
    """What the moved claims scored: ``score`` of the claim, the best ``motion`` and its score, and how far it sees.

    ``shift_score`` is the best of the shifts, and ``shift_words`` names it: the alternative that readers know.
    """

    score: float
    motion: Motion | None
    motion_score: float
    bounds: Bounds
    shift_score: float = 0.0
    shift_words: str = ""


def look_around(samples: SamplePoints, origin: Tensor, tracked: np.ndarray, space: Space) -> Surroundings:
    """Test the claim moved by every motion, on the same samples."""
    motions = list(space.motions())
    score, *scores = samples.scores(origin, [tracked, *(tracked @ m.matrix for m in motions)])
    if not any(m.family == "shift" for m in motions):
        return Surroundings(score, None, 0.0, Bounds())
    best = int(np.argmax(scores))
    noticed = [s < score - margin(samples.count, score, s) for s in scores]
    smallest: dict[str, float | None] = {}
    for family in ("shift", "turn", "zoom"):
        axes = sorted({m.axis for m in motions if m.family == family})
        each = [
            _smallest([(m.size, n) for m, n in zip(motions, noticed) if (m.family, m.axis) == (family, a)])
            for a in axes
        ]
        smallest[family] = max(each) if each and None not in each else None  # type: ignore[type-var]
    shifts = [n for n, m in enumerate(motions) if m.family == "shift"]
    shift = max(shifts, key=lambda n: scores[n])
    return Surroundings(score, motions[best], scores[best], Bounds(**smallest), scores[shift], motions[shift].words)


def _smallest(found: list[tuple[float, bool]]) -> float | None:
    """The smallest size from which on every misplacement was noticed, in both directions."""
    missed = [size for size, noticed in found if not noticed]
    larger = [size for size, _ in found if size > max(missed, default=0.0)]
    return min(larger, default=None)


def climb(
    samples: SamplePoints, origin: Tensor, tracked: np.ndarray, space: Space, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """The affine that fits best near ``start`` (4×4, a motion), and its mutual information in nats.

    One parameter after the other: shifts, turns, zooms and shears, steps halved where nothing gets better.
    """
    steps = np.concatenate([4 * space.step, [4.0] * 3, [6.0] * 3, [4.0] * 3])
    free = [
        *space.axes,
        *(3 + a for a in space.planes),
        *(6 + a for a in space.axes),
        *(9 + n for n, pair in enumerate(((0, 1), (0, 2), (1, 2))) if set(pair) <= set(space.axes)),
    ]
    best, matrix = samples.scores(origin, [tracked @ start])[0], start
    for _ in range(24):
        trials = []
        for parameter, sign in itertools.product(free, (-1, 1)):
            values = np.zeros(12)
            values[parameter] = sign * steps[parameter]
            trials.append(matrix @ space.matrix(values[:3], values[3:6], values[6:9], values[9:]))
        scores = samples.scores(origin, [tracked @ t for t in trials])
        leader = int(np.argmax(scores))
        if scores[leader] > best + 0.001:
            best, matrix = scores[leader], trials[leader]
        else:
            steps = steps / 2
            if steps[3] < 0.4:
                break
    return matrix, best


def describe(matrix: np.ndarray, space: Space) -> tuple[str, str]:
    """A motion that was found in words (what was done to the image, so the inverse of it), and its kind."""
    linear = matrix[:3, :3] * space.spacing[:, None] / space.spacing
    shift = -(linear @ space.centre + matrix[:3, 3] * space.spacing - space.centre)
    left, scales, right = np.linalg.svd(linear)
    turn = left @ right
    angles = -np.degrees([(turn[2, 1] - turn[1, 2]) / 2, (turn[0, 2] - turn[2, 0]) / 2, (turn[1, 0] - turn[0, 1]) / 2])
    stretch = 100 * (1 / np.maximum(scales, 0.1) - 1)
    # What matters: by how many mm each part moves the rim of the image.
    radius = float(np.linalg.norm(space.spacing * space.shape)) / 4
    parts = {
        "shifted": float(np.linalg.norm(shift)),
        "turned": float(np.radians(np.abs(angles).max())) * radius,
        "rescaled": float(np.abs(stretch).max()) / 100 * radius,
    }
    kind = max(parts, key=lambda name: parts[name])
    voxels = ", ".join(f"{v:.3g}" for v in np.round(shift / space.step, 1) + 0.0)
    words = {
        "shifted": f"shifted by ({voxels}) voxels",
        "turned": f"turned by {np.abs(angles).max():.0f}° about {AXES[int(np.abs(angles).argmax())]}",
        "rescaled": f"rescaled by {stretch[np.abs(stretch).argmax()]:+.0f} %",
    }
    others = [n for n in parts if n != kind and parts[n] > max(0.4 * parts[kind], space.step.min())]
    return " and ".join(words[n] for n in (kind, *others)), kind


def reach(matrix: np.ndarray, samples: SamplePoints, space: Space) -> float:
    """By how many mm a motion moves what the image shows: the 90th percentile."""
    moved = samples.index @ matrix[:3, :3].T + matrix[:3, 3] - samples.index
    return float(np.percentile(np.linalg.norm(moved * space.spacing, axis=1), 90))


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """3×3 rotation by degrees about the three axes, one after the other."""
    cx, cy, cz = np.cos(np.radians([x, y, z]))
    sx, sy, sz = np.sin(np.radians([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x

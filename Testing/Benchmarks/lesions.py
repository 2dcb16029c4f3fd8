"""Phantoms: a real brain template with a synthetic lesion of known kind, place and size.

    template (RAS mm) ──pose──▶ patient (RAS mm) ──scan grid──▶ voxels ──paint, intensity──▶ phantom

The anatomy is the MNI152 template that comes inside nilearn's wheel (no network needed). Each phantom is another
head: mirrored or not, turned, scaled, shifted, with its own gamma, bias field, noise, brightness and contrast, scanned
on a grid of its own orientation, spacing and tilt. Everything random comes out of the seed and nothing of it depends
on the kind of lesion: two phantoms of one seed differ in the lesion alone. So neither head nor scan gives the class
away, and a network that tells the two apart has to look at the lesion.

Two more things keep it honest. Each head also carries small specks as bright and as dark as the lesions, so the
intensities alone say little; and a lesion lies in tissue, never in a ventricle or across the edge of the brain.

>>> phantom = make_phantom(seed=1, kind="dark")
>>> phantom.array.shape, phantom.centre_ras, phantom.radius_mm      # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np

LESIONS = {"bright": ("high", "high"), "dark": ("low", "low"), "ring": ("low", "high")}
"""Kind of lesion → what its core and its rim look like."""

TEXTURES = ("grains", "stripes")
"""Kinds of lesion that differ from their surroundings in texture alone: tissue whose own structure gives way to grains
or stripes about the mean of what lies around. Neither is brighter nor darker, and both vary as much."""

TEXTURE_SPREAD = 0.45
"""Standard deviation of a texture, on the scale of :data:`LEVELS`."""
GRAIN_MM, STRIPE_MM = 3.0, 12.0
"""Standard deviation of the blur that makes grains of white noise, and from one stripe to the next."""

LEVELS = {"high": (1.10, 1.30), "low": (0.10, 0.25)}
"""Range of intensities to draw from. On this scale fluid is about 0.35, grey matter 0.65, white matter 0.85."""

EDGE_MM = 1.5
"""Width over which a lesion fades into the tissue."""

AXES = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
"""Unit vector in RAS for each letter of an orientation."""


@dataclass(frozen=True)
class Scan:
    """How a head is sampled.

    Attributes:
        orientation: where the I, J and K axes point, e.g. ``LPS``, before the tilt.
        spacing: voxel size along I, J and K in mm.
        tilt: turns about the R, A and S axes in degrees, which make the grid oblique.
    """

    orientation: str = "RAS"
    spacing: tuple[float, float, float] = (1.5, 1.5, 1.5)
    tilt: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Lesion:
    """A ball in the patient: its kind, centre in RAS mm, and radius."""

    kind: str
    centre_ras: np.ndarray
    radius_mm: float


@dataclass(frozen=True)
class Phantom:
    """A volume, and the truth about it.

    Attributes:
        array: I×J×K, float32, 0 outside the head and above 0 inside.
        affine: voxel index (I, J, K, 1) → RAS mm.
        kind: a key of :data:`LESIONS`, one of :data:`TEXTURES`, or None where there is no lesion.
        centre_ras: the lesion's centre in RAS mm; without a lesion the place where it would be.
        radius_mm: of the lesion, likewise.
        seed: what it was made from.
        second: another lesion in the same head, where one was asked for.
    """

    array: np.ndarray
    affine: np.ndarray
    kind: str | None
    centre_ras: np.ndarray
    radius_mm: float
    seed: int
    second: Lesion | None = None

    @property
    def centre_ijk(self) -> np.ndarray:
        """The lesion's centre as a fractional voxel index (I, J, K)."""
        return apply(np.linalg.inv(self.affine), self.centre_ras)

    def save(self, path: str | Path) -> None:
        """Write it as int16 NIfTI whose sform and qform agree."""
        image = nibabel.Nifti1Image(np.rint(self.array).astype(np.int16), self.affine)
        image.set_sform(self.affine, code="scanner")
        image.set_qform(self.affine, code="scanner")
        image.header.set_xyzt_units("mm")
        nibabel.save(image, path)


def make_phantom(
    seed: int,
    kind: str | None,
    scan: Scan | None = None,
    radius_mm: tuple[float, float] = (7.0, 12.0),
    specks: int = 20,
    second: str | None = None,
) -> Phantom:
    """One phantom; the same seed gives the same head, scan and place of the lesion, whatever the kind.

    Args:
        kind: a key of :data:`LESIONS`, one of :data:`TEXTURES`, or None for no lesion.
        scan: the grid; None draws one.
        radius_mm: range from which the lesion's radius is drawn.
        specks: how many small distractors the head has.
        second: the kind of another lesion, of the same range of radii, that lies apart from the first.
    """
    rng = np.random.default_rng(seed)
    pose = _random_pose(rng)
    drawn = _random_scan(rng)
    radius = rng.uniform(*radius_mm)
    # Deep enough that the whole lesion is inside, and a turn of the grid cannot cut it.
    centre = apply(pose, _random_place(rng, depth_mm=radius + 2))
    levels = {name: rng.uniform(*limits) for name, limits in LEVELS.items()}
    spots = [
        (apply(pose, _random_place(rng, depth_mm=4)), rng.uniform(1.5, 2.5), rng.uniform(*LEVELS[name]))
        for name in rng.choice(list(LEVELS), size=specks)
    ]

    affine, shape = _grid(scan or drawn, pose)
    array = _sampled(pose.tobytes(), affine.tobytes(), shape).copy()
    head = array > 0
    for place, size, level in spots:
        _paint(array, affine, place, size, level)
    other = _second(second, pose, seed, radius_mm, Lesion(kind or "", centre, radius)) if second else None
    for lesion in (Lesion(kind, centre, radius) if kind else None, other):
        if lesion is not None:
            _paint_lesion(array, affine, lesion, levels, seed)
    array = _vary_intensity(array, head, rng)
    return Phantom(array, affine, kind, centre, float(radius), seed, other)


APART_MM = 10.0
"""Least distance between the surfaces of two lesions."""


def _second(kind: str, pose: np.ndarray, seed: int, radius_mm: tuple[float, float], first: Lesion) -> Lesion:
    """A lesion apart from the first; of random numbers of its own, so that the head stays as it is without it."""
    rng = np.random.default_rng([seed, 2])
    radius = rng.uniform(*radius_mm)
    least = radius + first.radius_mm + APART_MM
    places = (apply(pose, _random_place(rng, depth_mm=radius + 2)) for _ in range(1000))
    centre = next(place for place in places if np.linalg.norm(place - first.centre_ras) >= least)
    return Lesion(kind, centre, float(radius))


def _paint_lesion(array: np.ndarray, affine: np.ndarray, lesion: Lesion, levels: dict[str, float], seed: int) -> None:
    """Into the array, in place: a ball of a level and a smaller one of another, or a texture."""
    if lesion.kind in TEXTURES:
        _paint_texture(array, affine, lesion, np.random.default_rng([seed, 1]))
        return
    core, rim = LESIONS[lesion.kind]
    _paint(array, affine, lesion.centre_ras, lesion.radius_mm, levels[rim])
    if core != rim:
        _paint(array, affine, lesion.centre_ras, lesion.radius_mm * 0.6, levels[core])


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 3) through a 4×4 affine."""
    return np.asarray(points) @ affine[:3, :3].T + affine[:3, 3]


@lru_cache(maxsize=1)
def _template() -> tuple[np.ndarray, np.ndarray]:
    """The skull-stripped T1 template: I×J×K in [0, 1] at 1 mm, 0 outside the brain, and its RAS affine."""
    from nilearn.datasets import load_mni152_template  # an extra: only those who make phantoms need it

    image = load_mni152_template(resolution=1)
    return np.asarray(image.get_fdata(), np.float32), image.affine


@lru_cache(maxsize=1)
def _places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places in the template 3 mm apart: RAS mm (N×3), depth below the brain's surface in mm (N), is it tissue (N)."""
    from scipy import ndimage  # comes with nilearn

    array, affine = _template()
    step = 3
    # Smoothed, so that a place counts as tissue only where its surroundings are.
    tissue = ndimage.gaussian_filter(array, 3.0)[::step, ::step, ::step] > 0.6
    brain = np.pad(array[::step, ::step, ::step] > 0, 1)
    depth = ndimage.distance_transform_edt(brain, sampling=step)[1:-1, 1:-1, 1:-1]
    index = np.argwhere(depth > 0)
    return apply(affine, index * step), depth[depth > 0], tissue[depth > 0]


def _random_place(rng: np.random.Generator, depth_mm: float) -> np.ndarray:
    """A place in tissue at least that deep, in the template's RAS mm."""
    places, depth, tissue = _places()
    candidates = places[tissue & (depth >= depth_mm)]
    return candidates[rng.integers(len(candidates))] + rng.uniform(-1.5, 1.5, 3)


def _rotation(degrees: np.ndarray | tuple[float, ...]) -> np.ndarray:
    """3×3: turns about the R, the A and then the S axis."""
    matrix = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        turn = np.eye(3)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _random_pose(rng: np.random.Generator) -> np.ndarray:
    """4×4, template → patient in RAS mm: another head, mirrored or not, held a little differently."""
    scale = rng.uniform(0.9, 1.1, 3) * [rng.choice([-1, 1]), 1, 1]
    pose = np.eye(4)
    pose[:3, :3] = _rotation(rng.uniform(-8, 8, 3)) * scale
    pose[:3, 3] = rng.uniform(-20, 20, 3)
    return pose


def _random_scan(rng: np.random.Generator) -> Scan:
    """Any of the 48 orientations, 1 to 2.5 mm voxels of any proportion, up to 12° oblique."""
    letters = [rng.choice(list(pair)) for pair in ("RL", "AP", "SI")]
    spacing = rng.uniform(1.0, 2.5, 3)
    return Scan("".join(rng.permutation(letters)), tuple(spacing), tuple(rng.uniform(-12, 12, 3)))


def _grid(scan: Scan, pose: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Affine and shape of the scan's grid that holds the whole head with 6 mm to spare."""
    axes = np.array([AXES[letter] for letter in scan.orientation], float).T  # columns: where I, J, K point
    axes = _rotation(scan.tilt) @ axes
    places, _, _ = _places()
    along = apply(pose, places) @ axes  # mm along I, J, K
    low, high = along.min(axis=0) - 6, along.max(axis=0) + 6
    affine = np.eye(4)
    affine[:3, :3] = axes * scan.spacing
    affine[:3, 3] = axes @ low
    return affine, tuple(int(n) for n in np.ceil((high - low) / scan.spacing))


@lru_cache(maxsize=1)
def _sampled(pose: bytes, affine: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """The last head again: the phantoms of one seed, which follow each other, share it."""
    matrices = (np.frombuffer(one).reshape(4, 4) for one in (pose, affine))
    return _sample(*matrices, shape)


def _sample(pose: np.ndarray, affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The posed template on the grid."""
    from scipy import ndimage

    template, template_affine = _template()
    index_to_index = np.linalg.inv(template_affine) @ np.linalg.inv(pose) @ affine
    return ndimage.affine_transform(
        template, index_to_index[:3, :3], index_to_index[:3, 3], output_shape=shape, order=1, cval=0.0
    )


def _paint(array: np.ndarray, affine: np.ndarray, centre_ras: np.ndarray, radius_mm: float, level: float) -> None:
    """Blend a ball of that intensity into the array, in place and inside the head only."""
    box, distance = _around(array.shape, affine, centre_ras, radius_mm + EDGE_MM)
    weight = np.clip((radius_mm - distance) / EDGE_MM + 0.5, 0, 1) * (array[box] > 0)
    array[box] = (array[box] * (1 - weight) + level * weight).astype(array.dtype)


def _around(
    shape: tuple[int, ...], affine: np.ndarray, centre_ras: np.ndarray, reach_mm: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    """The box of voxels about a place, and each one's distance from it in mm."""
    inverse = np.linalg.inv(affine)
    centre = apply(inverse, centre_ras)
    reach = reach_mm * np.linalg.norm(inverse[:3, :3], axis=1)  # voxels, right for any affine
    low = np.maximum(np.floor(centre - reach), 0).astype(int)
    high = np.minimum(np.ceil(centre + reach) + 1, shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high))
    index = np.stack(np.mgrid[box], axis=-1)
    return box, np.linalg.norm(apply(affine, index) - centre_ras, axis=-1)


def _paint_texture(array: np.ndarray, affine: np.ndarray, lesion: Lesion, rng: np.random.Generator) -> None:
    """Blend a texture into a ball, in place and inside the head only, so that the ball's mean becomes that of the shell
    around it, half a radius thick."""
    box, distance = _around(array.shape, affine, lesion.centre_ras, 1.5 * lesion.radius_mm)
    tissue = array[box] > 0
    shell = tissue & (distance > lesion.radius_mm + EDGE_MM) & (distance <= 1.5 * lesion.radius_mm)
    ball = tissue & (distance <= lesion.radius_mm)
    wanted = float(array[box][shell].mean())
    pattern = _pattern(affine, box, lesion.kind, rng)
    pattern = (pattern - pattern[ball].mean()) / pattern[ball].std() * TEXTURE_SPREAD
    weight = np.clip((lesion.radius_mm - distance) / EDGE_MM + 0.5, 0, 1) * tissue
    painted = array[box] * (1 - weight) + (wanted + pattern) * weight
    painted += weight * (wanted - painted[ball].mean()) / weight[ball].mean()  # its edge holds some tissue still
    array[box] = np.where(weight > 0, np.maximum(painted, 1e-3), array[box]).astype(array.dtype)


def _pattern(affine: np.ndarray, box: tuple[slice, ...], kind: str, rng: np.random.Generator) -> np.ndarray:
    """Grains or stripes in a box of voxels, of any mean and spread."""
    from scipy import ndimage

    if kind == "grains":
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # White noise of a finer grid has more to blur away: only the size of the grains is the same for every scan.
        return ndimage.gaussian_filter(rng.standard_normal([b.stop - b.start for b in box]), GRAIN_MM / spacing)
    direction = rng.standard_normal(3)
    along = apply(affine, np.stack(np.mgrid[box], axis=-1)) @ (direction / np.linalg.norm(direction))
    return np.sin(2 * np.pi * along / STRIPE_MM + rng.uniform(0, 2 * np.pi))


def _vary_intensity(array: np.ndarray, head: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma, bias field, noise, contrast and brightness inside the head; float32, at least 1 there and 0 outside."""
    gamma, gain, offset = rng.uniform(0.8, 1.25), rng.uniform(200, 1000), rng.uniform(0, 0.3)
    noise = rng.uniform(0.01, 0.04)
    slopes, phase = rng.uniform(-0.1, 0.1, 3), rng.uniform(0, 2 * np.pi, 3)
    array = np.maximum(array, 0) ** gamma
    for axis, size in enumerate(array.shape):  # a smooth field, the product of one wave an axis
        wave = 1 + slopes[axis] * np.sin(np.linspace(0, 1.5 * np.pi, size) + phase[axis])
        array = array * wave.reshape([-1 if a == axis else 1 for a in range(3)])
    array = array + noise * rng.standard_normal(array.shape, dtype=np.float32)
    return np.where(head, np.maximum(gain * (array + offset), 1), 0).astype(np.float32)

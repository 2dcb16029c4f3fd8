"""Inputs drawn by chance, always the same: smooth tissue in a body, zeros around it and in holes inside it.

Intensities come in coarse steps and without noise, so that the files are small. Nothing is symmetric: a swapped or
mirrored axis shows.
"""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter


def field(shape, seed: int, width_mm: float, spacing) -> np.ndarray:
    """A smooth random field with mean 0 and standard deviation 1, about `width_mm` from hill to hill."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = gaussian_filter(noise, [width_mm / s for s in spacing], mode="wrap")
    return (smooth - smooth.mean()) / smooth.std()


def body(shape, seed: int, spacing) -> np.ndarray:
    """Where there is tissue: a lumpy ellipsoid off centre with a zero rim, holes inside and a notch from outside."""
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"), axis=-1)
    radius = np.linalg.norm((places - [0.06, -0.05, 0.04]) / [0.86, 0.84, 0.82], axis=-1)
    tissue = radius + 0.06 * field(shape, seed + 1, 9, spacing) < 1
    for centre, size in (((0.2, 0.1, -0.3), 0.17), ((-0.3, -0.25, 0.25), 0.13)):
        tissue &= np.linalg.norm(places - centre, axis=-1) > size
    notch = (np.abs(places[..., 1] - 0.1) < 0.12) & (places[..., 0] > 0.55)
    tissue &= ~notch
    for axis, n in enumerate(shape):
        at = [slice(None)] * 3
        for rim in [0, 1, n - 1] if n > 20 else [0]:
            at[axis] = rim
            tissue[tuple(at)] = False
    return tissue


def tissue(shape, seed: int, spacing, mean: float, spread: float, step: float, lowest: float) -> np.ndarray:
    """I×J×K intensities, zero outside the body. `step` is the distance between grey values."""
    values = mean + spread * (0.7 * field(shape, seed, 6, spacing) + 0.7 * field(shape, seed + 7, 2.5, spacing))
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"), axis=-1)
    values += 2 * spread * (np.linalg.norm((places - [0.35, -0.3, 0.2]) / [0.3, 0.25, 0.35], axis=-1) < 1)
    values = np.maximum(np.round(values / step) * step, lowest)
    values[values == 0] = step
    return np.where(body(shape, seed, spacing), values, 0)


def affine(spacing, order=(0, 1, 2), signs=(1, 1, 1), degrees=(0.0, 0.0), origin=(-31.5, 12.25, 40.0)) -> np.ndarray:
    """Array axis n runs along patient axis order[n] (R, A, S) with its sign, then is turned about S and about R."""
    turn_s, turn_r = np.radians(degrees)
    about_s = np.array([[np.cos(turn_s), -np.sin(turn_s), 0], [np.sin(turn_s), np.cos(turn_s), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(turn_r), -np.sin(turn_r)], [0, np.sin(turn_r), np.cos(turn_r)]])
    axes = np.zeros((3, 3))
    axes[list(order), range(3)] = signs
    result = np.eye(4)
    result[:3, :3] = about_s @ about_r @ axes * spacing
    result[:3, 3] = origin
    return result


def write_volume(path: Path, voxels: np.ndarray, matrix: np.ndarray) -> None:
    """With the geometry in both of the header's fields, as scanners' converters write it."""
    image = nibabel.Nifti1Image(voxels, matrix)
    image.set_qform(matrix, 1)
    image.set_sform(matrix, 1)
    nibabel.save(image, path)


def write_picture(path: Path) -> None:
    """Rows × columns × RGB, 8 bits, black around."""
    shape, spacing = (61, 3, 74), (1, 1, 1)
    channels = [np.clip(tissue((61, 9, 74), seed, spacing, 120, 45, 8, 8)[:, 4], 0, 255) for seed in (111, 112, 113)]
    inside = channels[0] != 0
    picture = np.stack([np.where(inside, channel, 0) for channel in channels], axis=-1).astype(np.uint8)
    assert picture.shape == (shape[0], shape[2], 3)
    Image.fromarray(picture).save(path, optimize=True)


MR = {"mean": 300.0, "spread": 70.0, "step": 8.0, "lowest": 8.0}
CT = {"mean": 60.0, "spread": 90.0, "step": 8.0, "lowest": -200.0}


def write_inputs(case_name: str, files: tuple[Path, ...]) -> None:
    """The input of a case, one file for each channel (a picture: one for all)."""
    if case_name == "photograph":
        write_picture(files[0])
        return
    # Shape I×J×K, spacing and affine, and what it is.
    table = {
        "anisotropic_ct": ((54, 16, 44), (0.9, 4.0, 1.15), {"degrees": (8, 0)}, CT),
        "isotropic_mr": ((50, 46, 44), (1.1, 1.1, 1.0), {"signs": (-1, 1, 1)}, MR),
        "slices_2d": ((12, 52, 48), (4.6, 1.0, 1.05), {"degrees": (12, -7)}, MR),
        "two_channels": ((44, 48, 40), (1.0, 1.0, 1.2), {"order": (1, 2, 0), "signs": (-1, 1, 1)}, MR),
        "regions": ((42, 46, 48), (1.1, 1.0, 0.95), {"signs": (-1, -1, 1)}, MR),
        "residual_encoder": ((44, 48, 50), (1.2, 1.0, 1.0), {"degrees": (-9, 14), "signs": (1, -1, 1)}, MR),
        "old_plans": ((40, 44, 48), (1.0, 1.0, 1.0), {"signs": (-1, -1, 1)}, CT),
        "masked_zscore": ((52, 50, 48), (1.05, 1.0, 1.1), {"degrees": (5, 3), "signs": (1, 1, -1)}, MR),
        "smaller_than_patch": ((32, 28, 33), (0.7374631,) * 3, {"signs": (-1, 1, 1)}, MR),
    }
    table["two_folds"] = table["isotropic_mr"]
    shape, spacing, orientation, kind = table[case_name]
    seed = 10 * list(table).index("isotropic_mr" if case_name == "two_folds" else case_name)
    for channel, path in enumerate(files):
        voxels = tissue(shape, seed + channel, spacing, **kind)
        if case_name == "two_channels":
            # One of each kind of number: fractions that are already normalised, and whole numbers.
            voxels = voxels.astype(np.int16) if channel == 0 else (voxels / 256 - (voxels != 0)).astype(np.float32)
        else:
            voxels = voxels.astype(np.int16)
        write_volume(path, voxels, affine(spacing, **orientation))

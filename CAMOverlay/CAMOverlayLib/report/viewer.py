"""A viewer in the page: niivue, out of the PyPI package ipyniivue, with image and heat small enough for a mail.

The package is not imported. It brings one JavaScript module of five megabytes, which goes into the page packed, with
its licence; ``viewer.js`` unpacks it in the browser and plays the notebook's part of its interface
(https://anywidget.dev/en/afm).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..contract.findings import HotSpot
from .shown import Shown, as_bytes
from .slices import nearest_axes

PACKAGE = "ipyniivue"

MOST_VOXELS = 2_600_000
"""Of the image in the page, before its size is looked at."""

MOST_BYTES = 1_250_000
"""Of image and heat together, packed: with the viewer (1.6 MB) and the pictures the page stays below 5 MB, which is a
third more than its bytes, as base64 says six bits with eight."""

EXPORT = re.compile(r"export\s*\{\s*([\w$]+)\s+as\s+default\s*\}\s*;?\s*$")
"""How the module ends; what it exports is handed to ``viewer.js``."""


@dataclass(frozen=True)
class Bundle:
    """The JavaScript of the viewer.

    Attributes:
        source: the text that a ``script`` element gets.
        packed: the same, gzip.
        licence: its copyright notice and conditions, which go wherever it goes.
        version: of the package.
    """

    source: str
    packed: bytes
    licence: str
    version: str

    @property
    def allowed(self) -> str:
        """Its hash as a content security policy has it: this script may run, and no other."""
        return script_hash(self.source)


def script_hash(source: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() + "'"


def find_bundle() -> Bundle | None:
    """The viewer, where its package is installed; None where it is not, or is of a version that ends otherwise."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    file = folder / "static" / "widget.js"
    return _read_bundle(file, file.stat().st_mtime_ns) if file.is_file() else None


@cache
def _read_bundle(file: Path, changed: int) -> Bundle | None:
    source, found = EXPORT.subn(r"globalThis.camOverlayViewer = \1;", file.read_text(encoding="utf-8"))
    info = sorted(file.parents[2].glob(f"{PACKAGE}-*.dist-info"))
    licences = [path for folder in info for path in sorted(folder.rglob("LICENSE*"))]
    if not found or not licences:
        return None
    licence = licences[-1].read_text(encoding="utf-8").strip()
    version = info[-1].name.removeprefix(f"{PACKAGE}-").removesuffix(".dist-info")
    return Bundle(source, gzip.compress(source.encode(), 4, mtime=0), licence, version)


# Image and heat -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    """Image and heat as the viewer gets them, on one grid in the patient.

    Attributes:
        image, heat: NIfTI files, gzip, a byte per voxel.
        factors: how many voxels of the volume along each axis were averaged to one.
        shape: of what is left.
    """

    image: bytes
    heat: bytes
    factors: tuple[int, int, int]
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        return len(self.image) + len(self.heat)


def small(shown: Shown, most: int = MOST_BYTES) -> Small:
    """Image and heat averaged over blocks of whole voxels until they fit; the finest that does."""
    voxels = MOST_VOXELS
    while True:
        made = _made_small(shown, _factors(shown, voxels))
        if made.size <= most or voxels < 4000:
            return made
        voxels = int(voxels * max(0.3, min(0.85, 0.95 * most / made.size)))


def _factors(shown: Shown, most: int) -> tuple[int, int, int]:
    """Whole voxels to average along each axis: the finest spacing is made coarser until few enough are left."""
    factors, shape, spacing = np.ones(3, int), np.array(shown.heat.shape), shown.grid.spacing
    while np.prod(np.ceil(shape / factors)) > most:
        open_axes = np.where(factors < shape, factors * spacing, np.inf)
        factors[int(np.argmin(open_axes))] += 1
    return int(factors[0]), int(factors[1]), int(factors[2])


def _made_small(shown: Shown, factors: tuple[int, int, int]) -> Small:
    low, high = shown.grey_range
    grey = shown.image if shown.image.ndim == 3 else _luminance(shown)
    image = as_bytes(_averaged(grey, factors), (low, high))
    heat = as_bytes(_averaged(shown.heat, factors), (0.0, 1.0))
    affine = shown.grid.blocks(factors).affine
    slope = (high - low) / 255
    files = (_nifti(image, affine, slope, low), _nifti(heat, affine, 1 / 255, 0.0))
    return Small(*files, factors, image.shape)


def _luminance(shown: Shown) -> np.ndarray:
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray(shown.image[..., :3], np.float32) @ weights


def _averaged(array: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """The means of blocks, float32 I×J×K; the last block of an axis is of what is left for it."""
    if factors == (1, 1, 1):
        return np.asarray(array, np.float32)
    planes = []
    starts = [np.arange(0, n, f) for n, f in zip(array.shape, factors)]
    lengths = [np.diff(np.append(s, n)) for s, n in zip(starts, array.shape)]
    for first, count in zip(starts[2], lengths[2]):  # a slab at a time: a large volume is not held twice
        slab = np.asarray(array[:, :, first : first + count], np.float32).sum(axis=2)
        slab = np.add.reduceat(np.add.reduceat(slab, starts[0], axis=0), starts[1], axis=1)
        planes.append(slab / (count * lengths[0][:, None] * lengths[1][None, :]))
    return np.stack(planes, axis=2).astype(np.float32)


def _nifti(array: np.ndarray, affine: np.ndarray, slope: float, intercept: float) -> bytes:
    """A NIfTI-1 file of bytes with its affine as sform, gzip (https://nifti.nimh.nih.gov/nifti-1)."""
    header = np.zeros(
        (),
        dtype=[
            ("sizeof_hdr", "<i4"), ("unused", "V35"), ("dim_info", "u1"), ("dim", "<i2", 8), ("intent", "<f4", 3),
            ("intent_code", "<i2"), ("datatype", "<i2"), ("bitpix", "<i2"), ("slice_start", "<i2"),
            ("pixdim", "<f4", 8), ("vox_offset", "<f4"), ("scl_slope", "<f4"), ("scl_inter", "<f4"),
            ("slice_end", "<i2"), ("slice_code", "u1"), ("xyzt_units", "u1"), ("cal", "<f4", 2), ("times", "<f4", 2),
            ("glmax", "<i4", 2), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "<i2"),
            ("sform_code", "<i2"), ("quatern", "<f4", 6), ("srow", "<f4", (3, 4)), ("intent_name", "S16"),
            ("magic", "S4"),
        ],
    )  # fmt: skip
    header["sizeof_hdr"], header["datatype"], header["bitpix"] = 348, 2, 8
    header["dim"] = [3, *array.shape, 1, 1, 1, 1]
    header["pixdim"] = [1, *np.linalg.norm(affine[:3, :3], axis=0), 0, 0, 0, 0]
    header["vox_offset"], header["scl_slope"], header["scl_inter"] = 352, slope, intercept
    header["xyzt_units"], header["sform_code"], header["srow"], header["magic"] = 2, 1, affine[:3], b"n+1"
    # Level 9 takes five times as long for 1 to 7 % less.
    return gzip.compress(header.tobytes() + bytes(4) + array.tobytes(order="F"), 6, mtime=0)


# What viewer.js reads -----------------------------------------------------------------------------------------------


def data_of(shown: Shown, spots: list[HotSpot | None]) -> tuple[dict[str, Any], Small]:
    """Everything that the viewer is given, as JSON can say it, and how small image and heat had to be made."""
    made = small(shown)
    low, high = shown.shown
    last = len(shown.colors) - 1
    levels = np.linspace(0, high, 64)
    colors = np.rint(shown.colors[np.clip((levels * last).astype(int), 0, last)] * 255).astype(int)
    axes = list(nearest_axes(shown.grid))
    places = [{"name": f"Hot spot {spot.region}", "at": share_of(shown, made, spot.peak)} for spot in spots if spot]
    extent = (np.array(shown.heat.shape) * shown.grid.spacing)[axes]
    return {
        "image": base64.b64encode(made.image).decode(),
        "heat": base64.b64encode(made.heat).decode(),
        "grey": list(shown.grey_range),
        "shown": [low, high],
        "opacity": shown.opacity,
        "colors": colors.tolist(),
        "spots": places,
        "extent": extent.tolist(),
    }, made


def share_of(shown: Shown, made: Small, voxel: tuple[int, int, int]) -> list[float]:
    """Where a voxel lies in the viewer's box: shares of its sides from left to right, back to front and upwards."""
    axes = list(nearest_axes(shown.grid))
    share = (np.array(voxel) + 0.5) / (np.array(made.factors) * np.array(made.shape))
    forward = shown.grid.directions[range(3), axes] > 0
    return np.where(forward, share[axes], 1 - share[axes]).tolist()


def json_in_html(values: Any) -> str:
    """JSON that cannot end the element in which it stands."""
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

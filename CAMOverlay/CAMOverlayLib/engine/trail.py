"""Runs a preprocessing chain one transform at a time and keeps the evidence of what each did.

The order, the precision and the laziness are those of ``monai.transforms.Compose``: the network gets exactly the
input it would have got from the chain itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing, to_affine_nd
from monai.transforms import Compose, MapTransform, Transform
from monai.transforms.lazy.functional import apply_pending_transforms
from monai.transforms.transform import apply_transform
from monai.transforms.utils import allow_missing_keys_mode
from monai.utils import CommonKeys

from ..errors import PlacementError, PreprocessingError, root_cause
from ..request import TransformStep
from .grid import Grid
from .needs import advice, what_went_wrong
from .placement import Witness
from .volume import affine_rows


ANSWERS = ("label", "labels", "seg", "mask", "pred")
"""Keys that training and evaluation need, and nobody has when asking."""


@dataclass(frozen=True)
class Trail:
    """A chain that was run: its result and what led there.

    Attributes:
        chain: the chain, and ``transforms`` its transforms as they were run; they still know how to invert.
        key: the dictionary key of the image, or None for an array chain.
        image: what goes into the network, C×I×J×K, with its ``affine`` and ``applied_operations``.
        grids: the voxel grid after every step, beginning with the loaded volume's.
        steps: the same for readers.
        witness: what the voxels say of the affine.
        images: every step's image, where the caller asked to keep them.
        flat: the chain handles pictures, C×I×J; grids and heatmaps of it have a third axis of one voxel all the same.
        frame: 4×4 from the world that the loader speaks of to RAS mm: a picture file knows no millimetres.
    """

    chain: Compose
    transforms: tuple[Any, ...]
    key: str | None
    image: MetaTensor
    grids: tuple[Grid, ...]
    steps: tuple[TransformStep, ...]
    witness: Witness
    images: tuple[MetaTensor, ...] = ()
    flat: bool = False
    frame: np.ndarray = field(default_factory=lambda: np.eye(4))

    def grid_of(self, image: MetaTensor) -> Grid:
        """Where an image of this chain (C×I×J×K, or C×I×J of a flat one) lies in the patient."""
        affine = self.frame @ to_affine_nd(3, np.asarray(image.affine, dtype=np.float64))
        return Grid(_solid(tuple(int(n) for n in image.shape[1:]), self.flat), affine)

    def solid(self, image: MetaTensor) -> torch.Tensor:
        """C×I×J×K of an image of this chain; a picture's K is 1."""
        values = image.as_tensor()
        return values[..., None] if self.flat else values

    @property
    def volume_grid(self) -> Grid:
        return self.grids[0]

    @property
    def input_grid(self) -> Grid:
        return self.grids[-1]


def run_chain(
    chain: Compose,
    files: Sequence[Path],
    report: Callable[[int, int, str], None] | None = None,
    keep_images: bool = False,
    original: torch.Tensor | None = None,
    grid: Grid | None = None,
    flat: bool = False,
    image_key: str | None = None,
) -> Trail:
    """Run a chain on image files, one transform at a time.

    Args:
        chain: dictionary or array transforms, beginning with one that loads.
        files: one file a channel, all on the same grid; several are handed to the loader as a list.
        report: called before each step with its index, the number of steps and its name.
        keep_images: keep every step's image, for those who want to look at them.
        original: the first file's voxels (I×J×K) where they are at hand, so that no copy is held to compare with.
        grid: where the volume really lies, as its file may not be able to say it; None believes the file.
        flat: the files are pictures, I×J, so the chain is one for pictures.
        image_key: the key of the network's input, where the bundle names it.

    Raises:
        PreprocessingError: a transform failed; its name and its reason are in the message.
        PlacementError: the chain's result is not one MetaTensor, so nobody can say where its voxels came from.
    """
    transforms = tuple(_flat(chain))
    keys = _input_keys(transforms)
    given = keys if len(keys) <= len(files) else tuple(k for k in keys if k not in ANSWERS) or keys
    data = _chain_input(given, files)
    missing = len(given) < len(keys) or len(files) == 1 < len(keys)
    grids: list[Grid] = []
    steps: list[TransformStep] = []
    images: list[MetaTensor] = []
    image: MetaTensor | None = None
    key: str | None = None
    frame = np.eye(4)
    witness = Witness(original, picture=flat)
    for number, transform in enumerate(transforms):
        name = type(transform).__name__
        if report is not None:
            report(number, len(transforms), name)
        recorded_before, image_before = _records(image), image
        started = time.perf_counter()
        try:
            absent = missing and isinstance(transform, MapTransform)
            several = number == 0 and isinstance(data, list)  # the files of one image, not several images
            with allow_missing_keys_mode(transform) if absent else nullcontext():
                data = apply_transform(
                    transform, data, chain.map_items and not several, chain.unpack_items, lazy=chain.lazy,
                    overrides=chain.overrides,
                )  # fmt: skip
                if number == len(transforms) - 1:
                    data = apply_pending_transforms(data, None, chain.overrides)
        except Exception as error:
            raise PreprocessingError(_failure(transform, number, error, image, keys, given)) from error
        seconds = time.perf_counter() - started
        if isinstance(made := getattr(transform, "name", None), str) and isinstance(data, dict) and made in data:
            keys = (made, *keys)  # ConcatItems: from here on that is the image
        key, image = _find_image(data, keys, name, image_key)
        if _records(image) < recorded_before:
            raise PlacementError(
                f"Transform {number + 1} of the preprocessing, {name}, dropped the image's history: "
                f"{recorded_before} saved operations before it, {_records(image)} after. Its author must keep "
                "applied_operations (MetaTensor.copy_meta_from) and add to them."
            )
        if not grids and grid is not None:
            frame = _frame(grid, image)
        before = grids[-1] if grids else None
        after = _grid_after(image, image_before, before or grid, frame, flat)
        evidence = witness.look(number, transform, image, after)
        steps.append(_describe(transform, before, after, image, recorded_before, seconds, evidence))
        grids.append(after)
        if keep_images:
            images.append(image)
    if image is None:
        raise PreprocessingError("The preprocessing chain is empty; it must at least load the image (LoadImaged).")
    if image.pending_operations:
        raise PlacementError(
            f"{steps[-1].name} left {len(image.pending_operations)} lazy operations that nothing executes, so the "
            "network would not get what the affine says. Let the chain apply them (ApplyPending, or Compose(lazy=True))."
        )
    return Trail(chain, transforms, key, image, tuple(grids), tuple(steps), witness, tuple(images), flat, frame)


def _flat(chain: Compose) -> Iterator[Any]:
    """The chain's transforms, inner chains taken apart where that changes nothing.

    ``Compose.flatten`` would seed random transforms anew, and a lazy chain decides itself when to resample.
    """
    for transform in chain.transforms:
        same = type(transform) is Compose and transform.map_items == chain.map_items
        if same and not chain.lazy and not transform.lazy:
            yield from _flat(transform)
        else:
            yield transform


def _input_keys(transforms: Sequence[Any]) -> tuple[str, ...]:
    """Keys that the first dictionary transform expects its images under; none for an array chain."""
    first = next((t for t in transforms if isinstance(t, MapTransform)), None)
    return tuple(str(k) for k in first.keys) if first is not None else ()


def _chain_input(keys: tuple[str, ...], files: Sequence[Path]) -> Any:
    paths = [str(f) for f in files]
    whole = paths[0] if len(paths) == 1 else paths
    if not keys:
        return whole
    if len(keys) == len(paths):
        return dict(zip(keys, paths))
    return {keys[0]: whole}


def _find_image(
    data: Any, keys: tuple[str, ...], name: str, image_key: str | None = None
) -> tuple[str | None, MetaTensor]:
    if isinstance(data, (list, tuple)):
        raise PlacementError(
            f"{name} made {len(data)} samples of one volume; a heatmap needs one input. "
            "Leave patch sampling to the inferer."
        )
    key = None
    if isinstance(data, dict):
        # What the bundle names, or MONAI's engines take by default, as soon as it is there; else what was loaded first.
        wanted = (image_key or CommonKeys.IMAGE, *keys)
        key = next((k for k in wanted if k in data), None)
        if key is None:
            raise PlacementError(f"{name} removed the image '{keys[0]}' from the data; {sorted(map(str, data))} remain.")
        data = data[key]
    if not isinstance(data, MetaTensor):
        raise PlacementError(
            f"{name} returned a {type(data).__module__}.{type(data).__name__} instead of a MetaTensor, so affine and "
            "saved operations are lost and the heatmap cannot be put back. Let it return the MetaTensor it was given "
            "(convert_to_dst_type, or MetaTensor(x, meta=img.meta, applied_operations=img.applied_operations))."
        )
    return key, data


def _grid_after(image: MetaTensor, earlier: MetaTensor | None, before: Grid | None, frame: np.ndarray, flat: bool) -> Grid:
    """The voxel grid of an image that a transform returned.

    Args:
        earlier: the image before the transform, None for the one that loads.
        before: its grid; of the one that loads the volume's, where it is known.
    """
    ndim = 2 if flat else 3
    lazy = bool(image.pending_operations)
    affine = frame @ to_affine_nd(3, np.asarray(image.peek_pending_affine() if lazy else image.affine, dtype=np.float64))
    shape = tuple(int(n) for n in (image.peek_pending_shape() if lazy else image.shape))
    if not lazy:
        channels_last = len(shape) > ndim and before is not None and shape[:ndim] == before.shape[:ndim]
        untouched = earlier is None or tuple(earlier.shape) == shape
        # A colour image is loaded with its channels last; only a transform can bring them to the front.
        shape = shape[:ndim] if channels_last and untouched else shape[-ndim:]
    return Grid(_solid(tuple(int(n) for n in shape), flat), affine)


def _solid(shape: tuple[int, ...], flat: bool) -> tuple[int, ...]:
    """A picture's shape with a third axis of one voxel."""
    return (*shape[:2], 1) if flat else shape


def _frame(grid: Grid, loaded: MetaTensor) -> np.ndarray:
    """From the loader's world to the patient: the identity, except where the file could not carry the geometry."""
    affine = np.asarray(loaded.affine, dtype=np.float64)
    if np.allclose(affine, grid.affine, rtol=1e-4, atol=1e-3):
        return np.eye(4)
    return grid.affine @ np.linalg.inv(affine)


def _records(image: MetaTensor | None) -> int:
    return 0 if image is None else len(image.applied_operations) + len(image.pending_operations)


def _describe(
    transform: Any,
    before: Grid | None,
    after: Grid,
    image: MetaTensor,
    recorded_before: int,
    seconds: float,
    evidence: str,
) -> TransformStep:
    values = image.as_tensor()
    low, high = (float(v) for v in values.aminmax())
    return TransformStep(
        name=type(transform).__name__,
        parameters=_parameters(transform),
        shape_before=before.shape if before else None,
        shape_after=after.shape,
        spacing_before=_spacing(before) if before else None,
        spacing_after=_spacing(after),
        orientation="".join(c or "?" for c in nibabel.aff2axcodes(after.affine)),
        affine=affine_rows(after.affine),
        value_range=(low, high),
        nonzero=float(torch.count_nonzero(values)) / max(1, values.numel()),
        recorded=_records(image) > recorded_before,
        seconds=seconds,
        evidence=evidence,
    )


def _parameters(transform: Any) -> dict[str, str]:
    """What a transform was made with, as far as it kept it: plain values, also of the array transform inside it."""
    found: dict[str, str] = {}
    for holder in (transform, *(v for v in vars(transform).values() if isinstance(v, Transform))):
        for name, value in vars(holder).items():
            plain = isinstance(value, (str, int, float, bool, list, tuple, np.ndarray, torch.Tensor, torch.dtype))
            if plain and not name.startswith("_") and name not in ("allow_missing_keys", "R", "tracing", "backend"):
                text = str(value.tolist() if isinstance(value, (np.ndarray, torch.Tensor)) else value)
                found.setdefault(name, text if len(text) <= 80 else text[:79] + "…")
    return found


def _spacing(grid: Grid) -> tuple[float, ...]:
    return tuple(float(s) for s in affine_to_spacing(grid.affine))


def _failure(
    transform: Any, number: int, error: Exception, image: MetaTensor | None, keys: Sequence[str], given: Sequence[str]
) -> str:
    cause = root_cause(error)
    shape = f" on an image of shape {tuple(image.shape)}" if image is not None else ""
    return (
        f"Transform {number + 1} of the preprocessing, {type(transform).__name__}, failed{shape}: "
        f"{what_went_wrong(cause).rstrip('.')}. {advice(transform, cause, image, keys, given)}"
    )

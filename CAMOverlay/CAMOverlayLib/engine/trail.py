"""Runs a preprocessing chain one transform at a time and keeps the evidence of what each did.

The order, the precision and the laziness are those of ``monai.transforms.Compose``: the network gets exactly the
input it would have got from the chain itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import Compose, MapTransform, Transform
from monai.transforms.lazy.functional import apply_pending_transforms
from monai.transforms.transform import apply_transform

from ..errors import PlacementError, PreprocessingError, root_cause
from ..request import TransformStep
from .grid import Grid
from .placement import Witness
from .volume import affine_rows


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
    """

    chain: Compose
    transforms: tuple[Any, ...]
    key: str | None
    image: MetaTensor
    grids: tuple[Grid, ...]
    steps: tuple[TransformStep, ...]
    witness: Witness
    images: tuple[MetaTensor, ...] = ()

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
) -> Trail:
    """Run a chain on image files, one transform at a time.

    Args:
        chain: dictionary or array transforms, beginning with one that loads.
        files: one file a channel, all on the same grid; several are handed to the loader as a list.
        report: called before each step with its index, the number of steps and its name.
        keep_images: keep every step's image, for those who want to look at them.
        original: the first file's voxels (I×J×K) where they are at hand, so that no copy is held to compare with.

    Raises:
        PreprocessingError: a transform failed; its name and its reason are in the message.
        PlacementError: the chain's result is not one MetaTensor, so nobody can say where its voxels came from.
    """
    transforms = tuple(_flat(chain))
    keys = _input_keys(transforms)
    data = _chain_input(keys, files)
    grids: list[Grid] = []
    steps: list[TransformStep] = []
    images: list[MetaTensor] = []
    image: MetaTensor | None = None
    key: str | None = None
    witness = Witness(original)
    for number, transform in enumerate(transforms):
        name = type(transform).__name__
        if report is not None:
            report(number, len(transforms), name)
        recorded_before = _records(image)
        started = time.perf_counter()
        try:
            data = apply_transform(
                transform, data, chain.map_items, chain.unpack_items, lazy=chain.lazy, overrides=chain.overrides
            )
            if number == len(transforms) - 1:
                data = apply_pending_transforms(data, None, chain.overrides)
        except Exception as error:
            raise PreprocessingError(_failure(name, number, error, image)) from error
        seconds = time.perf_counter() - started
        key, image = _find_image(data, keys, name)
        if _records(image) < recorded_before:
            raise PlacementError(
                f"Transform {number + 1} of the preprocessing, {name}, dropped the image's history: "
                f"{recorded_before} saved operations before it, {_records(image)} after. Its author must keep "
                "applied_operations (MetaTensor.copy_meta_from) and add to them."
            )
        grid = Grid(_spatial_shape(image), _affine(image))
        evidence = witness.look(number, transform, image, grid)
        before = grids[-1] if grids else None
        steps.append(_describe(transform, before, grid, image, recorded_before, seconds, evidence))
        grids.append(grid)
        if keep_images:
            images.append(image)
    if image is None:
        raise PreprocessingError("The preprocessing chain is empty; it must at least load the image (LoadImaged).")
    if image.pending_operations:
        raise PlacementError(
            f"{steps[-1].name} left {len(image.pending_operations)} lazy operations that nothing executes, so the "
            "network would not get what the affine says. Let the chain apply them (ApplyPending, or Compose(lazy=True))."
        )
    return Trail(chain, transforms, key, image, tuple(grids), tuple(steps), witness, tuple(images))


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


def _find_image(data: Any, keys: tuple[str, ...], name: str) -> tuple[str | None, MetaTensor]:
    if isinstance(data, (list, tuple)):
        raise PlacementError(
            f"{name} made {len(data)} samples of one volume; a heatmap needs one input. "
            "Leave patch sampling to the inferer."
        )
    key = None
    if isinstance(data, dict):
        key = next((k for k in keys if k in data), None)
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


def _spatial_shape(image: MetaTensor) -> tuple[int, ...]:
    spatial_ndim = image.affine.shape[-1] - 1
    shape = image.peek_pending_shape() if image.pending_operations else image.shape[-spatial_ndim:]
    return tuple(int(n) for n in shape)


def _affine(image: MetaTensor) -> np.ndarray:
    affine = image.peek_pending_affine() if image.pending_operations else image.affine
    return np.asarray(affine, dtype=np.float64)


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


def _failure(name: str, number: int, error: Exception, image: MetaTensor | None) -> str:
    cause = root_cause(error)
    reason = str(cause).strip().splitlines()[0] if str(cause).strip() else "no reason given"
    given = f" on an image of shape {tuple(image.shape)}" if image is not None else ""
    return (
        f"Transform {number + 1} of the preprocessing, {name}, failed{given}: {type(cause).__name__}: {reason}. "
        "Check that the volume is of the kind the bundle was trained on."
    )

"""The preprocessing of Auto3DSeg's SegResNet, in the order in which each program that people run does it.

The Slicer extension MONAIAuto3DSeg (``Scripts/auto3dseg_segresnet_inference.py`` of github.com/lassoan/
SlicerMONAIAuto3DSeg) normalises first, then turns, crops and resamples. Auto3DSeg's own inference
(``scripts/segmenter.py`` of its template ``segresnet``, github.com/Project-MONAI/research-contributions) turns, crops
and resamples first, as in training. Both are followed as they are, oddities included: what is explained is what the
network was given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from monai.transforms import (
    Compose,
    ConcatItemsd,
    CropForegroundd,
    DeleteItemsd,
    EnsureTyped,
    Lambdad,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ResampleToMatchd,
    ScaleIntensityRanged,
    Spacingd,
)

from ...contract.auto3dseg_config import RANGES, Settings

IMAGE = "image"
MARGIN = 10
"""Voxels around the foreground that are kept."""


def chain_of(settings: Settings, as_trained: bool) -> Compose:
    """From image files to the network's input.

    Args:
        as_trained: as Auto3DSeg's own inference does it; otherwise as the Slicer extension does.
    """
    if settings.stacked:  # the extension has a branch for these (BraTS), which does it as in training
        placed = _placed(settings, IMAGE, settings.resample or not as_trained)
        return Compose([*_loaded([IMAGE]), *placed, *normalisation(settings.modes[0], IMAGE, settings.bounds)])
    return Compose(_as_trained(settings) if as_trained else _as_the_extension(settings))


def _as_the_extension(settings: Settings) -> list[Any]:
    """Normalised on the image's own grid; a single image after it was made float, several before they are joined.

    The crop's box is looked for in ``image1``, which nothing turns: with ``orientation_ras`` it is the box of the image
    as its file has it. The extension resamples whenever a resolution is known, whether it was trained so or not.
    """
    keys = [f"image{number + 1}" for number in range(len(settings.inputs))]
    load = LoadImaged(keys, ensure_channel_first=True, dtype=None, allow_missing_keys=True)
    join = [ConcatItemsd(keys, IMAGE, dim=0), EnsureTyped(IMAGE, data_type="tensor", dtype=torch.float)]
    if len(keys) == 1:
        normalised = [*join, *normalisation(settings.modes[0], IMAGE, settings.bounds)]
    else:
        normalised = [
            step
            for mode, key in zip(settings.modes, keys, strict=True)
            for step in normalisation(mode, key, settings.bounds)
        ]
        normalised += join
    return [load, *normalised, *_placed(settings, keys[0], True)]


def _as_trained(settings: Settings) -> list[Any]:
    """Turned, cropped and resampled, then normalised; further inputs are resampled to the first."""
    first, *extra = keys = [IMAGE, *settings.inputs[1:]]
    steps = _loaded(keys) + _placed(settings, None if extra else first, settings.resample)
    steps += [ResampleToMatchd(key, key_dst=first, dtype=np.float32) for key in extra]
    for mode, key in zip(settings.modes, keys, strict=True):
        steps += normalisation(mode, key, settings.bounds)
    return steps + ([ConcatItemsd(keys, IMAGE), DeleteItemsd(extra)] if extra else [])


def _loaded(keys: list[str]) -> list[Any]:
    return [
        LoadImaged(keys, ensure_channel_first=True, dtype=None, allow_missing_keys=True),
        EnsureTyped(keys, data_type="tensor", dtype=torch.float, allow_missing_keys=True),
    ]


def _placed(settings: Settings, foreground: str | None, resample: bool) -> list[Any]:
    """The steps that move voxels.

    Args:
        foreground: the key in which the box of positive voxels is looked for; None crops nothing.
        resample: whether to, where a resolution is known.
    """
    steps: list[Any] = []
    if settings.orientation_ras:
        steps.append(Orientationd(IMAGE, axcodes="RAS"))
    if settings.crop_foreground and foreground is not None:
        steps.append(CropForegroundd(IMAGE, source_key=foreground, margin=MARGIN, allow_smaller=True))
    if resample and settings.resolution is not None:
        pixdim = np.array(settings.resolution)
        near = {"min_pixdim": pixdim * 0.75, "max_pixdim": pixdim * 1.25}  # what is nearly so is left as it is
        steps.append(Spacingd([IMAGE], list(settings.resolution), mode=["bilinear"], dtype=torch.float, **near))
    return steps


def normalisation(mode: str, key: str, bounds: tuple[float, float]) -> list[Any]:
    """The steps of a mode of :data:`CAMOverlayLib.contract.auto3dseg_config.MODES`."""
    if mode in RANGES:
        scale = ScaleIntensityRanged(key, a_min=bounds[0], a_max=bounds[1], b_min=-1, b_max=1, clip=False)
        return [scale, Lambdad(key, func=torch.sigmoid)]
    if mode == "pet":
        return [Lambdad(key, func=_above_the_least)]
    if mode == "none":
        return []
    steps: list[Any] = [NormalizeIntensityd(key, nonzero=True, channel_wise=True)]
    return [*steps, Lambdad(key, func=_softly_bounded)] if mode == "meanstdtanh" else steps


def _above_the_least(image: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid((image - image.min()) / image.std())


def _softly_bounded(image: torch.Tensor) -> torch.Tensor:
    return 3 * torch.tanh(image / 3)

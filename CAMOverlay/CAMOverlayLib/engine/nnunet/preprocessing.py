"""nnU-Net's preprocessing as a MONAI chain: turn, crop, normalise, resample, each a step that can be undone.

nnU-Net works on arrays without affines. Here every step carries the affine along and records itself in
``applied_operations``, so that a heatmap can go back through it, and the voxels can be asked whether it is right. The
values are nnU-Net's own: Isensee et al. 2021, https://doi.org/10.1038/s41592-020-01008-z, supplement 4, and the source
of its version 2 (https://github.com/MIC-DKFZ/nnUNet).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # its parts load when they are used
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, Crop, InvertibleTransform, LoadImage, Orientation, Transform
from monai.transforms.inverse import TraceableTransform
from monai.transforms.utils import scale_affine

from ...contract.errors import PreprocessingError
from ...contract.nnunet_plans import Normalisation, Plans, Resampling
from .resampling import resample_back, resample_image, separate_axis

SPACING = "spacing_in_file"
"""Where the image carries the voxel size that its header gives, in mm along its axes as they are by now. nnU-Net counts
with that, in single precision, and a size that is rounded from the affine may end up one voxel smaller."""

RAS_LABELS = (("L", "R"), ("P", "A"), ("I", "S"))
"""Ends of the axes of the patient's space, as MONAI wants them told."""


def chain_of(plans: Plans) -> Compose:
    """The whole way from image files to what the windows are cut from."""
    turned = [Orientation(axcodes="RAS", labels=RAS_LABELS)] if plans.reader.endswith("WithReorient") else []
    return Compose(
        [
            LoadImage(image_only=True, ensure_channel_first=True),
            *turned,
            AxisOrder(plans.transpose),
            CropToNonzero(),
            NormaliseChannels(plans.normalisations),
            ResampleToSpacing(plans.spacing, plans.resampling),
        ],
        map_items=False,  # a list of files is one image of several channels
    )


class AxisOrder(InvertibleTransform):
    """From I×J×K to the order in which nnU-Net has the axes: K×J×I, permuted by the plans.

    Args:
        transpose: new axis n is axis ``transpose[n]`` of K×J×I. A picture (I×J) has no K, which is then the first.
    """

    def __init__(self, transpose: Sequence[int]) -> None:
        self.transpose = tuple(transpose)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """C×I×J×K or C×I×J to the same with its axes in another order."""
        count = image.ndim - 1
        order = [2 - axis for axis in self.transpose[3 - count :]]
        if sorted(order) != list(range(count)):
            raise PreprocessingError(
                f"The plans move the axes of a picture by {self.transpose}, across its slices. Give a volume."
            )
        told = image.meta.get("pixdim", np.r_[1, _lengths(image)])[1 : 1 + count]
        pixels = [float(np.float32(mm)) for mm in told]  # now: what follows changes the header's own array
        turned = _permuted(image, order, self.get_transform_info())
        turned.meta[SPACING] = [pixels[axis] for axis in order]
        return turned

    def inverse(self, data: MetaTensor) -> MetaTensor:
        order = self.pop_transform(data)["extra_info"]["order"]
        return _permuted(data, [int(n) for n in np.argsort(order)], None)


def _permuted(image: MetaTensor, order: Sequence[int], info: dict | None) -> MetaTensor:
    """The image with its spatial axes in an order, recorded where ``info`` says how."""
    to_old = np.eye(len(order) + 1)
    to_old[:-1, :-1] = np.eye(len(order))[:, list(order)]
    shape = [image.shape[1 + axis] for axis in order]
    record = TraceableTransform.track_transform_meta(
        image,
        sp_size=shape,
        affine=to_old,
        extra_info={"order": list(order)},
        orig_size=tuple(image.shape[1:]),
        transform_info=info,
    )
    # In memory as nnU-Net has it, since later sums run along the last axis.
    return image.permute(0, *(1 + axis for axis in order)).contiguous().copy_meta_from(record)


class CropToNonzero(Crop):
    """To the box of all voxels that are not zero in any channel; an image of zeros stays whole."""

    def __call__(self, image: MetaTensor, lazy: bool | None = None) -> MetaTensor:  # type: ignore[override]
        anything = (image.as_tensor() != 0).any(0)
        slices = []
        for axis in range(anything.ndim):
            others = tuple(other for other in range(anything.ndim) if other != axis)
            along = torch.nonzero(anything.any(others) if len(others) == 1 else anything.amax(others)).flatten()
            slices.append(slice(int(along[0]), int(along[-1]) + 1) if len(along) else slice(None))
        return super().__call__(image, slices=tuple(slices), lazy=False)


class NormaliseChannels(Transform):
    """Every channel by a scheme of its own, in single precision as nnU-Net does it."""

    def __init__(self, schemes: Sequence[Normalisation]) -> None:
        self.schemes = [f"{one.scheme}{' inside the non-zero mask' if one.masked else ''}" for one in schemes]
        self._schemes = tuple(schemes)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """C×spatial to the same, float32.

        Raises:
            PreprocessingError: another number of channels than schemes, or a photograph that is not one.
        """
        if image.shape[0] != len(self._schemes):
            raise PreprocessingError(
                f"The model takes {len(self._schemes)} channel(s), and the image has {image.shape[0]}. Give one volume "
                "per channel, in its order."
            )
        values = image.as_tensor().numpy().astype(np.float32, copy=True)
        inside = None
        if any(one.masked for one in self._schemes):
            inside = scipy.ndimage.binary_fill_holes((values != 0).any(0))
        for channel, scheme in zip(values, self._schemes, strict=True):
            _normalise(channel, scheme, inside if scheme.masked else None)
        return MetaTensor(torch.from_numpy(values), meta=image.meta, applied_operations=image.applied_operations)


def _normalise(values: np.ndarray, how: Normalisation, inside: np.ndarray | None) -> None:
    """Change one channel in place."""
    known = how.intensities
    if how.scheme == "ZScoreNormalization" and inside is None:
        values[:] = (values - values.mean()) / max(values.std(), 1e-8)
    elif how.scheme == "ZScoreNormalization":
        within = values[inside]
        if within.size:
            values[inside] = (within - within.mean()) / max(within.std(), 1e-8)
    elif how.scheme == "CTNormalization":
        clipped = np.clip(values, known["percentile_00_5"], known["percentile_99_5"])
        values[:] = (clipped - known["mean"]) / max(known["std"], 1e-8)
    elif how.scheme == "RescaleTo01Normalization":
        values -= values.min()
        values /= max(values.max(), 1e-8)
    elif how.scheme == "RGBTo01Normalization":
        if values.min() < 0 or values.max() > 255:
            raise PreprocessingError(
                f"The model takes photographs with values from 0 to 255, and this image has {values.min():g} to "
                f"{values.max():g}. Give a photograph of 8 bits."
            )
        values /= 255


class ResampleToSpacing(InvertibleTransform):
    """To the plans' spacing, by as many voxels as nnU-Net rounds to: the scale is the ratio of the two shapes.

    Args:
        spacing: mm; of a 2-D configuration two numbers, and the first axis stays as it is.
    """

    def __init__(self, spacing: Sequence[float], how: Resampling) -> None:
        self.spacing, self._how = tuple(spacing), how

    def __call__(self, image: MetaTensor) -> MetaTensor:
        before = list(image.meta.get(SPACING) or _lengths(image))
        wanted = [*before[: len(before) - len(self.spacing)], *self.spacing]
        old = tuple(int(n) for n in image.shape[1:])
        shape = tuple(max(1, round(a / b * n)) for a, b, n in zip(before, wanted, old, strict=True))
        record = TraceableTransform.track_transform_meta(
            image,
            sp_size=shape,
            affine=scale_affine(old, shape),
            extra_info={"shape": list(old), "before": before, "after": wanted},
            orig_size=old,
            transform_info=self.get_transform_info(),
        )
        axis = separate_axis(before, wanted, self._how.slices_apart)
        values = resample_image(image.as_tensor().numpy(), shape, axis, self._how)
        return MetaTensor(torch.from_numpy(values)).copy_meta_from(record)

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """A map goes back as nnU-Net takes its probabilities back."""
        done = self.pop_transform(data)["extra_info"]
        old = tuple(done["shape"])
        record: Any = TraceableTransform.track_transform_meta(
            data, sp_size=old, affine=scale_affine(tuple(data.shape[1:]), old), transform_info=None
        )
        axis = separate_axis(done["after"], done["before"], self._how.slices_apart)
        return MetaTensor(resample_back(data.as_tensor().float(), old, axis)).copy_meta_from(record)


def _lengths(image: MetaTensor) -> list[float]:
    """Mm between voxels along the spatial axes, in single precision."""
    count = image.ndim - 1
    lengths = np.linalg.norm(np.asarray(image.affine, dtype=float)[:3, :count], axis=0)
    return [float(np.float32(length)) for length in lengths]

"""MONAI's Orientation on an image that nobody else has: it is mirrored where it lies, and not in a copy.

A volume that was loaded from memory and has been through nothing but MONAI's own loading is in one place only. Where
Orientation comes next, as in most chains, the copy that ``torch.flip`` makes would be the most memory that the whole
chain needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.transforms import (
    EnsureChannelFirst,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    Orientation,
    Orientationd,
)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ...contract.on_cores import on_cores

LOADING = (LoadImage, LoadImaged, EnsureChannelFirst, EnsureChannelFirstd)
"""Transforms that keep nothing of the image. The types themselves: of one derived from them nobody knows."""


def is_first_orientation(transforms: Sequence[Any], number: int, lazy: bool | None) -> bool:
    """Whether a transform of a chain is the Orientation that directly follows the loading, and is executed at once."""
    transform = transforms[number]
    return (
        type(transform) in (Orientation, Orientationd)
        and not (transform.lazy if lazy is None else lazy)
        and all(type(one) in LOADING for one in transforms[:number])
    )


class MirroredInPlace(TorchFunctionMode):
    """Meanwhile ``torch.flip`` mirrors images where they lie."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.flip and len(args) == 1 and set(kwargs) == {"dims"}:
            image = args[0]
            plain = image.as_tensor() if hasattr(image, "as_tensor") else image
            if plain.ndim == 4 and plain.device.type == "cpu" and plain.is_contiguous() and not plain.requires_grad:
                mirror(plain, kwargs["dims"])
                return image
        return func(*args, **kwargs)


def mirror(image: Tensor, axes: Sequence[int]) -> None:
    """Mirror C×I×J×K along some of its axes, in place: plane by plane, a pair of them at a time where I is mirrored."""
    array = image.numpy()
    channels, planes = array.shape[:2]
    across = {axis % 4 for axis in axes}
    within = tuple(slice(None, None, -1 if axis in across else 1) for axis in (2, 3))
    order = range(channels)[:: -1 if 0 in across else 1]

    def place(number: int) -> tuple[int, int]:
        channel, plane = divmod(number, planes)
        return order[channel], planes - 1 - plane if 1 in across else plane

    def swap(number: int) -> None:
        here, there = divmod(number, planes), place(number)
        if here > there:
            return  # the other one of the pair does it
        first = array[there][within].copy()
        if here != there:
            array[there] = array[here][within]
        array[here] = first

    on_cores(swap, range(channels * planes))

"""How far one activation sees: receptive fields, followed from tensor to tensor while the network runs.

Every operation says how it widens what it was given (Araujo, Norris and Sim 2019,
https://distill.pub/2019/computing-receptive-fields): a convolution or a pooling with kernel k, dilation d and stride s
adds d·(k − 1) steps of the present size, and the step grows s-fold; element-wise operations take the widest of their
inputs; attention, which mixes all places, has no limit. What the whole image only scales (normalisation, squeeze and
excitation) is taken as element-wise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

_ALL = math.inf

MIXING = ("bmm", "baddbmm", "scaled_dot_product", "_scaled_dot_product")
"""Products of activations with activations. Those with weights (``mm``, ``addmm``) go along channels."""


@dataclass(frozen=True)
class Field:
    """Along each axis, in voxels of the input: how many one value depends on, and how many lie from one to the next."""

    size: tuple[float, ...]
    step: tuple[float, ...]


class ReceptiveFields(TorchDispatchMode):
    """Follows every tensor that is made in its ``with`` block from the image.

    Args:
        image: 1×C×spatial, where it all begins.
    """

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self._axes = image.ndim - 2
        self._shape = tuple(image.shape[2:])
        self._known = WeakTensorKeyDictionary()
        self._known[image] = Field((1.0,) * self._axes, (1.0,) * self._axes)

    def of(self, tensor: Tensor) -> tuple[int, ...] | None:
        """Voxels along each axis, or None where there is no limit or nothing is known."""
        field = self._known.get(tensor)
        if field is None or not all(map(math.isfinite, field.size)):
            return None
        return tuple(round(s) for s in field.size)

    def step_of(self, tensor: Tensor) -> tuple[float, ...] | None:
        """Voxels of the image from one value to the next along each axis, where the tensor is known."""
        field = self._known.get(tensor)
        return None if field is None else field.step

    def __torch_dispatch__(self, function: Any, kinds: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        fields = [f for tensor in _tensors(arguments) if (f := self._known.get(tensor)) is not None]
        if fields:
            widest = Field(
                tuple(map(max, zip(*(f.size for f in fields)))), tuple(map(max, zip(*(f.step for f in fields))))
            )
            field = self._after(function.overloadpacket.__name__, arguments, result, widest)
            for tensor in _tensors((result,)):
                self._known[tensor] = field
        return result

    def _after(self, name: str, arguments: Any, result: Any, field: Field) -> Field:
        nowhere = Field((_ALL,) * self._axes, field.step)
        first = next(_tensors((result,)), None)
        if name in ("convolution", "_convolution"):
            _, weight, _, stride, _, dilation, transposed = arguments[:7]
            kernel = tuple(weight.shape[2:])
            if len(kernel) != self._axes:
                return nowhere
            return _transposed(field, kernel, stride) if transposed else _widened(field, kernel, stride, dilation)
        if "adaptive" in name:
            return nowhere
        if "pool" in name:
            kernel = arguments[1]
            stride = arguments[2] if len(arguments) > 2 and arguments[2] else kernel
            return _widened(field, kernel, stride, (1,) * self._axes)
        if name.startswith("upsample") and first is not None:
            ratio = [n / m for n, m in zip(first.shape[2:], arguments[0].shape[2:], strict=True)]
            near = 0 if "nearest" in name else 1
            size = tuple(s + near * t for s, t in zip(field.size, field.step))
            return Field(size, tuple(t / r for t, r in zip(field.step, ratio)))
        if name.startswith(MIXING):
            return nowhere
        return field


def _widened(field: Field, kernel: Any, stride: Any, dilation: Any) -> Field:
    kernel, stride, dilation = (_per_axis(x, len(field.size)) for x in (kernel, stride, dilation))
    size = tuple(s + d * (k - 1) * t for s, t, k, d in zip(field.size, field.step, kernel, dilation))
    return Field(size, tuple(t * n for t, n in zip(field.step, stride)))


def _transposed(field: Field, kernel: Any, stride: Any) -> Field:
    """Of a transposed convolution: every output depends on ⌈k / s⌉ inputs."""
    kernel, stride = (_per_axis(x, len(field.size)) for x in (kernel, stride))
    size = tuple(s + (math.ceil(k / n) - 1) * t for s, t, k, n in zip(field.size, field.step, kernel, stride))
    return Field(size, tuple(t / n for t, n in zip(field.step, stride)))


def _per_axis(values: Any, axes: int) -> tuple[int, ...]:
    values = (values,) if isinstance(values, int) else tuple(values)
    return values * axes if len(values) == 1 else values


def _tensors(values: Any):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)

"""What a module returns, seen as a map on a grid: 1×C×spatial, whatever the network keeps it as.

Convolutions return that already. Transformers keep tokens (1×N×C, often with a class token in front) or put the
channels last (1×spatial×C); encoders return several maps at once. Which of these it is follows from the shapes, so that
nobody has to write a reshape function; activation and gradient go through the same view.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class FeatureMapLayout:
    """Where in a module's output the tensor is, and how it becomes 1×C×spatial.

    Attributes:
        path: indices and keys that lead to the tensor through tuples, lists and dictionaries; empty for a bare one.
        layout: ``channels first`` (1×C×spatial), ``channels last`` (1×spatial×C), ``tokens`` (1×N×C) or ``tokens last``
            (1×C×N).
        grid: spatial shape of the tokens, the last axis running fastest.
        skip: tokens before them that belong to no place (the class token).
    """

    path: tuple[int | str, ...] = ()
    layout: str = "channels first"
    grid: tuple[int, ...] = ()
    skip: int = 0

    def pick(self, output: Any) -> Tensor:
        """The tensor in a module's output."""
        for key in self.path:
            output = output[key]
        return output

    def put(self, output: Any, tensor: Tensor) -> Any:
        """The module's output with another tensor in that place; the rest is the very same."""
        return _replaced(output, self.path, tensor)

    def to_map(self, tensor: Tensor) -> Tensor:
        """1×C×spatial. Only axes are moved: values and order along an axis stay."""
        if self.layout == "channels last":
            return tensor.movedim(-1, 1)
        if self.layout == "tokens last":
            tensor = tensor.transpose(1, 2)
        if self.layout.startswith("tokens"):
            tokens = tensor[:, self.skip :]
            return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *self.grid)
        return tensor


def find_layout(module: nn.Module, output: Any, image: Tensor) -> FeatureMapLayout | None:
    """How this module's output is a map over the image, or None where it is not.

    Of several maps the coarsest is taken, which is what an encoder that returns all its stages ends in.

    Args:
        output: what the module returned.
        image: what went into the network, 1×C×spatial.
    """
    size = tuple(image.shape[2:])
    best, fewest = None, math.inf
    for path, tensor in _tensors(output):
        found = _layout(module, tensor, size)
        if found is None:
            continue
        layout, grid, skip = found
        if math.prod(grid) < fewest:
            best, fewest = (
                FeatureMapLayout(path, layout, grid if layout.startswith("tokens") else (), skip),
                math.prod(grid),
            )
    return best


def _tensors(output: Any, path: tuple[int | str, ...] = ()) -> Iterator[tuple[tuple[int | str, ...], Tensor]]:
    if isinstance(output, Tensor):
        yield path, output
    elif isinstance(output, (tuple, list)):
        for index, value in enumerate(output):
            yield from _tensors(value, (*path, index))
    elif isinstance(output, dict):
        for key, value in output.items():
            yield from _tensors(value, (*path, key))


def _replaced(output: Any, path: tuple[int | str, ...], tensor: Tensor) -> Any:
    if not path:
        return tensor
    first, rest = path[0], path[1:]
    if isinstance(output, dict):
        return type(output)({k: _replaced(v, rest, tensor) if k == first else v for k, v in output.items()})
    items = [_replaced(v, rest, tensor) if i == first else v for i, v in enumerate(output)]
    if hasattr(output, "_fields"):  # a named tuple takes its items one by one
        return type(output)(*items)
    return type(output)(items)


def _layout(module: nn.Module, tensor: Tensor, size: tuple[int, ...]) -> tuple[str, tuple[int, ...], int] | None:
    """Layout, grid and tokens to skip."""
    shape = tuple(tensor.shape) or (0,)
    if not size or shape[0] != 1 or not tensor.is_floating_point():  # window attention folds windows into the batch
        return None
    if tensor.ndim == len(size) + 2:
        first, last = shape[2:], shape[1:-1]
        layout = "channels last" if _is_channels_last(module, first, last, shape[-1], size) else "channels first"
        grid = last if layout == "channels last" else first
        return (layout, grid, 0) if any(n > 1 for n in grid) else None
    if tensor.ndim == 3:
        inner, outer = token_grid(shape[1], size), token_grid(shape[2], size)
        bound = any(_width(m) == shape[2] for m in (module, *module.children()))  # the last axis is the channels
        if outer and not bound and (inner is None or _unevenness(outer[0], size) < _unevenness(inner[0], size)):
            return "tokens last", *outer
        return ("tokens", *inner) if inner else None
    return None


def _is_channels_last(
    module: nn.Module, first: tuple[int, ...], last: tuple[int, ...], channels: int, size: tuple[int, ...]
) -> bool:
    """The other axes fit the image, and those of channels-first do not; or they fit as well, and the module normalises
    or multiplies along the last axis."""
    if _unevenness(last, size) == math.inf:
        return False
    if _unevenness(first, size) == math.inf:
        return True
    along_last = any(_width(m) == channels for m in (module, *module.children()))
    return along_last and _unevenness(last, size) <= _unevenness(first, size)


def _width(module: nn.Module) -> int | None:
    """Length of the last axis that a module insists on."""
    if isinstance(module, nn.LayerNorm):
        return int(module.normalized_shape[-1])
    return module.out_features if isinstance(module, nn.Linear) else None


def _unevenness(grid: tuple[int, ...], size: tuple[int, ...]) -> float:
    """How unlike the strides along the axes are: 1 for a grid that is the image, evenly coarser."""
    strides = [n / g for n, g in zip(size, grid, strict=True)]
    return max(strides) / min(strides) if min(strides) >= 0.75 else math.inf  # padding may make a grid larger


def token_grid(tokens: int, size: tuple[int, ...]) -> tuple[tuple[int, ...], int] | None:
    """The grid that a number of tokens makes over an image, and how many of them (0 or 1) stand before it.

    Cubic patches are tried first, then patches that differ from axis to axis, the most even ones first.

    >>> token_grid(217, (96, 96, 96))
    ((6, 6, 6), 1)
    """
    for skip in (0, 1):
        for patch in range(1, max(size) + 1):
            grid = tuple(n // patch for n in size)
            if min(grid) >= 1 and math.prod(grid) == tokens - skip > 1 and all(n % patch == 0 for n in size):
                return grid, skip
    for skip in (0, 1):
        divisors = [[d for d in range(1, n + 1) if n % d == 0] for n in size]
        fitting = [g for g in itertools.product(*divisors) if math.prod(g) == tokens - skip > 1]
        if fitting:
            return min(fitting, key=lambda grid: _unevenness(grid, size)), skip
    return None

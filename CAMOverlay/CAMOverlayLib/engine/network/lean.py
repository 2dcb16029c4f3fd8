"""What the backward pass of a frozen network does not need is not kept.

Autograd keeps the input of every convolution, for the gradient of its weights; ours are frozen, and the gradient of its
input needs the input's shape alone. Of a ReLU and its kin it keeps a whole tensor where the signs are enough. Leaving
that out takes no second computation, and every gradient is to the bit what it was; a second derivative would not be,
and nothing here asks for one.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from .modules import modules_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

WORTH_BITS = 1 << 20
"""Elements from which on a bit for each is worth the time that it takes to pack them."""

PIECE = 1 << 20
"""Elements, a multiple of 8, that are packed at a time."""

Pack = Callable[[Tensor], Any]
Saving = Callable[[Tensor, Pack], tuple[Pack, Callable]]

top_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
"""Tells whose hooks look after what is saved now; a PyTorch that does not tell saves as ever."""


@contextmanager
def lean(network: nn.Module) -> Iterator[None]:
    """For the forward passes in a block. Modules of exactly these types are meant; what inherits from them may do
    other things, and is left alone, as are those whose weights may learn."""
    modules = modules_of(network)
    savings = {id(module): saving for module in modules if (saving := _saving(module)) is not None}
    entered: list[tuple[nn.Module, saved_tensors_hooks]] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        saving = savings.get(id(module))
        hooks = None if saving is None else _hooks(saving, inputs)
        if hooks is not None:
            hooks.__enter__()
            entered.append((module, hooks))

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not module._forward_pre_hooks:
            enter(module, inputs)

    def after(module: nn.Module, *_: Any) -> None:
        if entered and entered[-1][0] is module:
            entered.pop()[1].__exit__()

    # Two hooks for all modules: two for each take a hundredth of a pass to set. They come before a module's own; where
    # it has some before its forward, which may save other things, ours is the last of them.
    handles = [register_module_forward_pre_hook(before), register_module_forward_hook(after, always_call=True)]
    hooked = [module for module in modules if id(module) in savings and module._forward_pre_hooks]
    handles += [module.register_forward_pre_hook(enter) for module in hooked]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _saving(module: nn.Module) -> Saving | None:
    """How a module's forward is to save; None leaves it alone."""
    kind = type(module)
    if kind in CONVOLUTIONS:
        saving = _shapes
    elif kind is nn.ReLU:
        saving = _results
    elif kind is nn.PReLU or (kind is nn.LeakyReLU and module.negative_slope > 0):
        saving = _signs
    else:
        return None
    learns = any(one is not None and one.requires_grad for one in module._parameters.values())
    return None if learns or "forward" in vars(module) else saving


def _hooks(saving: Saving, inputs: tuple[Any, ...]) -> saved_tensors_hooks | None:
    given = inputs[0] if inputs else None
    if top_hooks is None or not isinstance(given, Tensor) or not given.requires_grad:  # nothing is saved
        return None
    top, (hook, count) = top_hooks(True), _counting[-1] if _counting else (None, lambda tensor: tensor)
    # Whoever else looks after what is saved (a network that checkpoints itself) counts on seeing all of it.
    if top is not None and top[0] is not hook:
        return None
    return saved_tensors_hooks(*saving(given, count))


@contextmanager
def measured(network: nn.Module) -> Iterator[list[float]]:
    """How many bytes a forward pass in the block leaves behind for its backward pass, weights aside. What is saved is
    watched over as autograd does it, so that the pass can be kept."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    sizes: dict[int, int] = {}
    found = [0.0]

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    def pack(tensor: Tensor) -> _Whole:
        return _Whole(tensor, count)

    _counting.append((pack, count))
    try:
        with saved_tensors_hooks(pack, _Whole.found):
            yield found
    finally:
        _counting.pop()
    found[0] = float(sum(sizes.values()))


_counting: list[tuple[Pack, Pack]] = []
"""Of every :func:`measured` that is under way its hook, and what counts."""


class _Whole:
    """A tensor that is kept as it is, such as the weights; as autograd does it, with an error where it was changed."""

    def __init__(self, tensor: Tensor, count: Pack) -> None:
        self._tensor = count(tensor)
        self._version = None if tensor.is_inference() else tensor._version

    def found(self) -> Tensor:
        if self._version is not None and self._tensor._version != self._version:
            raise RuntimeError("a tensor that the backward pass needs was modified by an inplace operation")
        return self._tensor


@dataclass(frozen=True)
class _Known:
    """A tensor to be known again while it lives. What packs lives as long as what was packed, and may hold none."""

    place: int
    shape: torch.Size
    stride: tuple[int, ...]
    kind: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> _Known:
        return cls(tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)


def _shapes(image: Tensor, count: Pack) -> tuple[Pack, Callable]:
    """Of a convolution's input the shape. The stand-in is laid out as no real tensor is, and PyTorch then computes as
    for a tensor of the usual layout, so others are left alone."""
    usual, known = image.is_contiguous(), _Known.of(image)

    def pack(tensor: Tensor) -> Any:
        meant = usual and _Known.of(tensor) == known
        return (tensor.shape, tensor.dtype, tensor.device) if meant else _Whole(tensor, count)

    def unpack(packed: Any) -> Tensor:
        if isinstance(packed, _Whole):
            return packed.found()
        shape, kind, device = packed
        return torch.zeros((), dtype=kind, device=device).expand(shape)

    return pack, unpack


class _Above:
    """Where a tensor is above 0: a bit an element where that is worth it, on the CPU, and else a byte."""

    def __init__(self, tensor: Tensor, count: Pack) -> None:
        self._kind, self._shape = tensor.dtype, tensor.shape
        self._packed = tensor.numel() >= WORTH_BITS and tensor.is_contiguous() and tensor.device.type == "cpu"
        self._above = count(_bits_of(tensor.detach().view(-1)) if self._packed else tensor > 0)

    def found(self) -> Tensor:
        """1 where it is, 0 elsewhere, in the tensor's type."""
        if not self._packed:
            return self._above.to(self._kind)
        found = torch.empty(self._shape, dtype=self._kind)
        bits, whole = self._above.numpy(), found.view(-1)
        for first in range(0, len(whole), PIECE):
            part = whole[first : first + PIECE]
            part.copy_(torch.from_numpy(np.unpackbits(bits[first // 8 :][: PIECE // 8], count=len(part))))
        return found


def _bits_of(values: Tensor) -> Tensor:
    """A bit for each value, piece by piece. They are kept in pages of their own: between the large blocks of a network
    they would lie in the way of the next one."""
    pages = mmap.mmap(-1, -(-len(values) // 8))
    bits = np.frombuffer(pages, np.uint8)
    for first in range(0, len(values), PIECE):
        some = np.packbits((values[first : first + PIECE] > 0).numpy())
        bits[first // 8 : first // 8 + len(some)] = some
    return torch.from_numpy(bits)


def _results(image: Tensor, count: Pack) -> tuple[Pack, Callable]:
    """Of a ReLU's result where it is above 0, as 1."""
    return (lambda tensor: _Above(tensor, count)), _Above.found


def _signs(image: Tensor, count: Pack) -> tuple[Pack, Callable]:
    """Of the input its signs, as 1 and -1."""
    known = _Known.of(image)

    def pack(tensor: Tensor) -> Any:
        return _Above(tensor, count) if _Known.of(tensor) == known else _Whole(tensor, count)

    def unpack(packed: Any) -> Tensor:
        return packed.found() if isinstance(packed, _Whole) else packed.found().mul_(2).sub_(1)

    return pack, unpack

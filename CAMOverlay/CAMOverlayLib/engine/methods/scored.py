"""The network as libraries want it: image in, the number to explain out, and every pass through it counted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..network.forward import differentiable, frozen, not_inplace
from .method import Case


class Scored(nn.Module):
    """B×C×spatial → B×1, the objective of each image of the batch.

    Args:
        case: what to explain.
        passes: how many images will come by, for the progress; raising from ``case.step`` ends the method.
        words: what to say meanwhile.

    Attributes:
        passes: the same; more where it turns out later.
    """

    def __init__(self, case: Case, passes: int, words: str) -> None:
        super().__init__()
        self.network = case.network
        self.passes = max(1, passes)
        self._case, self._words, self._done = case, words, 0

    def forward(self, images: Tensor) -> Tensor:
        self._case.step(min(self._done, self.passes), self.passes, self._words)
        self._done += images.shape[0]
        return self._case.objective(differentiable(self.network, images))[:, None]


@contextlib.contextmanager
def scored(case: Case, passes: int, words: str, seed: int | None = None) -> Iterator[Scored]:
    """The case's network for a library to work on: in eval mode, without parameter gradients, with nothing in place.

    Whatever the library does to modes, flags, gradients and hooks is undone, also when it is cancelled. With a ``seed``
    the library's noise is the same every time, and nobody else's random numbers change.
    """
    modules = list(case.network.modules())
    hooks = [(m, name, set(vars(m)[name])) for m in modules for name in _HOOKS if name in vars(m)]
    devices = [case.image.device] if case.image.is_cuda else []
    modes = torch.inference_mode(False), torch.enable_grad()  # the caller's own may be off
    with (
        modes[0],
        modes[1],
        frozen(case.network),
        not_inplace(case.network),
        torch.random.fork_rng(devices, enabled=seed is not None),
    ):
        if seed is not None:
            torch.manual_seed(seed)
        try:
            yield Scored(case, passes, words).eval()
        finally:
            for module, name, before in hooks:
                for key in set(vars(module)[name]) - before:
                    del vars(module)[name][key]


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

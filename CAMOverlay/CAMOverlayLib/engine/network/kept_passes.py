"""Forward passes of windows, kept from the prediction to the map while there is room.

What explains a window needs the window's forward pass, and the prediction has just made it. A pass holds what the
backward pass needs of it, hundreds of megabytes for a usual window, so not all can be kept; those that are not are made
again. Kept first are the windows in which anything but background was said, as most questions are about those.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from .forward import ForwardPass, forward_to_layers, is_out_of_memory, run_network
from .lean import measured

MOST = 2 << 30
"""Bytes of memory for passes at most, as they stay while the process waits for another question; a third of what is
free where that is less."""


class KeptPasses:
    """
    Args:
        layers: at which every pass is cut; none at all keeps nothing.
        room: bytes that all passes may take together.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str] = (), room: float = 0.0) -> None:
        self._network, self._layers = network, tuple(layers)
        self._room = room if layers else 0.0
        self._size: float | None = None  # of one pass, once one was measured
        self._passes: dict[int, tuple[Tensor, ForwardPass]] = {}
        self._seen = 0

    def __len__(self) -> int:
        return len(self._passes)

    def __contains__(self, number: int) -> bool:
        return number in self._passes

    def answer(self, windows: Tensor) -> Tensor:
        """The network's output for some windows (B×C×spatial), which come in the order in which they will be asked
        for."""
        first, self._seen = self._seen, self._seen + len(windows)
        if self._room < (self._size or 1):
            return run_network(self._network, windows)
        try:
            return torch.cat(
                [self._answer(number, windows[number - first][None]) for number in range(first, self._seen)]
            )
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._passes.clear()
            self._room = 0.0
        return run_network(self._network, windows)

    def _answer(self, number: int, window: Tensor) -> Tensor:
        if self._size is not None and self._size > self._room:  # the last room went to a window of the same batch
            return run_network(self._network, window)
        # Copies: the inferer's windows are views of one image, and the network may write into what it is given.
        with measured(self._network) if self._size is None else nullcontext() as size:
            forward = forward_to_layers(self._network, window.clone(), self._layers)
        if size is not None:
            held = (window, forward.output, *forward.tensors.values())
            self._size = size[0] + sum(one.numel() * one.element_size() for one in held)
        assert self._size is not None
        output = forward.output.detach()
        if self._size <= self._room and says_something(output):
            self._room -= self._size
            self._passes[number] = window.clone(), forward
        return output.clone()  # the inferer may weigh it in place

    def find(self, number: int, window: Tensor, layers: Sequence[str]) -> ForwardPass | None:
        """The pass of a window, if it is kept and is of this very window (1×C×spatial)."""
        image, forward = self._passes.get(number, (None, None))
        if image is None or not set(layers) <= set(self._layers) or not torch.equal(image, window):
            return None
        return forward


def says_something(output: Tensor) -> bool:
    """Whether an output (1×K×spatial) has anything but its first class anywhere; of a single one anything above 0."""
    found = output[:, 0] > 0 if output.shape[1] == 1 else output[:, 1:].amax(1) > output[:, 0]
    return bool(found.any())

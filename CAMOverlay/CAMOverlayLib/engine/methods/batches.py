"""Many images through the network at a time, as many as fit and as belong to nobody but themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ...contract.errors import NetworkError, root_cause
from ..bundle.compiled import is_compiled
from ..network.forward import is_out_of_memory
from .method import Case
from .scored import Scored

MOST, MOST_ON_GPU = 8, 64
"""Images in a batch. On a processor more gain nothing: a few fill its cores, and their activations its cache."""

ROOM = 256 * 2**20
"""Bytes that all activations of a batch may take together."""

TRIAL = 3
"""Images that go through the network before the first batch."""

SAME = 1e-4
"""How far the answer for an image may be off beside another one, relative to it."""

Make = Callable[[Sequence[int]], Tensor]
"""The images of these numbers, B×C×spatial."""


class Batches:
    """How many images go through a network together, found out with the image itself.

    One at a time where the network is compiled, refuses a second image, or lets one image change the answer for
    another (a normalisation over the batch, say); fewer where the memory does not suffice.

    Args:
        case: what is explained.
        network: its network, scored.

    Attributes:
        size: of a batch; it shrinks when memory runs out.
        whole: the target of the image itself.
    """

    def __init__(self, case: Case, network: Scored) -> None:
        self._network = network
        image = case.image.detach()
        with torch.no_grad(), _activations(case.network) as taken:
            self.whole = float(network(image))
        most = MOST_ON_GPU if image.is_cuda else MOST
        fits = max(1, min(most, int(ROOM // max(taken[0], image.numel() * image.element_size()))))
        self.size = 1 if is_compiled(case.network) or not self._independent(image) else fits

    def _independent(self, image: Tensor) -> bool:
        with torch.no_grad():
            try:
                beside = float(self._network(torch.cat([image, image.flip(-1) / 2]))[0])
            except NetworkError:
                return False
            except Exception as error:
                if is_out_of_memory(root_cause(error)):
                    return False
                raise
        return abs(beside - self.whole) <= SAME * abs(self.whole) + 1e-12

    def scores(self, count: int, make: Make) -> Tensor:
        """The target of so many images, without any gradient: shape ``count``, float64."""
        found = torch.zeros(count, dtype=torch.float64)

        def take(numbers: Sequence[int], images: Tensor) -> None:
            with torch.no_grad():
                found[list(numbers)] = self._network(images)[:, 0].double().cpu()

        self._each(count, make, take)
        return found

    def gradients(self, count: int, make: Make, take: Callable[[Tensor], None]) -> None:
        """The gradient of the target at so many images, each given to ``take`` in its turn: 1×C×spatial."""

        def of_batch(numbers: Sequence[int], images: Tensor) -> None:
            images = images.detach().requires_grad_()
            (found,) = torch.autograd.grad(self._network(images).sum(), images)
            for one in found:
                take(one[None])

        self._each(count, make, of_batch)

    def _each(self, count: int, make: Make, take: Callable[[Sequence[int], Tensor], None]) -> None:
        start = 0
        while start < count:
            numbers = range(start, min(count, start + self.size))
            try:
                take(numbers, make(numbers))
            except Exception as error:
                if len(numbers) == 1 or not is_out_of_memory(root_cause(error)):
                    raise
                self.size = len(numbers) // 2
                continue
            start = numbers.stop


@contextlib.contextmanager
def _activations(network: nn.Module) -> Iterator[list[float]]:
    """Bytes of all that the network's innermost modules return meanwhile."""
    taken = [0.0]

    def count(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            taken[0] += output.numel() * output.element_size()

    innermost = [one for one in network.modules() if not any(True for _ in one.children())]
    hooks = [] if is_compiled(network) else [one.register_forward_hook(count) for one in innermost]
    try:
        yield taken
    finally:
        for hook in hooks:
            hook.remove()

"""One forward pass that stops for a moment at a layer: its activation, and the gradient of a score with respect to it.

Everything below the layer runs without a graph, so the backward pass covers only what lies above it. The network is
left as it was found: no hooks, no gradients, same ``requires_grad``, same mode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LayerError


@dataclass(frozen=True)
class Pass:
    """One forward pass cut at a layer.

    Attributes:
        output: what the network returned, first tensor of it, batch first; still attached to ``activation``.
        activation: the layer's output, 1×C×spatial; a leaf of the graph.
    """

    output: Tensor
    activation: Tensor

    def gradient(self, score: Tensor) -> Tensor:
        """Gradient of a scalar made of ``output`` with respect to ``activation``, of the activation's shape."""
        (gradient,) = torch.autograd.grad(score, self.activation, retain_graph=True, allow_unused=True)
        return torch.zeros_like(self.activation) if gradient is None else gradient


def forward_to_layer(network: nn.Module, image: Tensor, layer: str) -> Pass:
    """Run the network and keep the output of one layer as the leaf that gradients are taken at.

    Args:
        image: 1×C×spatial, on the network's device.
        layer: a name in ``network.named_modules()``.

    Raises:
        LayerError: the layer did not run, or its output is not one tensor.
    """
    module = network.get_submodule(layer)
    captured: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise LayerError(
                f"Layer '{layer}' returns a {type(output).__name__}, not one tensor. Choose a layer inside it."
            )
        leaf = output.detach().requires_grad_()
        captured[:] = [leaf]  # a module that runs several times counts with its last run
        # A copy goes on: an in-place ReLU behind the layer may neither touch the activation nor a leaf.
        return leaf.clone()

    with frozen(network), torch.enable_grad(), hooked([(module, cut)]):
        output = first_tensor(network(image))
    if not captured:
        raise LayerError(f"Layer '{layer}' did not run when the network was applied. Choose another one.")
    return Pass(output, captured[0])


def first_tensor(output: Any) -> Tensor:
    """The first tensor of a network's output: itself, or the head of a tuple, list or dictionary."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    return first_tensor(next(iter(values)))


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """In eval mode and without parameter gradients; every module's mode and every flag is put back."""
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    try:
        network.eval()
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextlib.contextmanager
def hooked(hooks: list[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Forward hooks for the time of a block."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

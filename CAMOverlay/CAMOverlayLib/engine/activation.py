"""One forward pass that stops for a moment at its layers: their activations, and the gradients of a score there.

Everything below the first of them runs without a graph, so the backward pass covers only what lies above it. The network is
left as it was found: no hooks, no gradients, same ``requires_grad``, same mode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LayerError


@dataclass(frozen=True)
class Pass:
    """One forward pass cut at one or more layers.

    Attributes:
        output: what the network returned, first tensor of it, batch first; still attached to the activations.
        activations: by layer name, the layer's output, 1×C×spatial. The first layer that ran is a leaf of the graph;
            nothing below it was recorded.
    """

    output: Tensor
    activations: dict[str, Tensor]

    def gradients(self, score: Tensor) -> dict[str, Tensor]:
        """Gradient of a scalar made of ``output`` with respect to every activation, of that activation's shape.

        The graph is kept: other scores, of other classes, can follow.
        """
        found = torch.autograd.grad(score, list(self.activations.values()), retain_graph=True, allow_unused=True)
        return {
            name: torch.zeros_like(activation) if gradient is None else gradient
            for (name, activation), gradient in zip(self.activations.items(), found, strict=True)
        }


def forward_to_layers(network: nn.Module, image: Tensor, layers: Sequence[str]) -> Pass:
    """Run the network once and keep the outputs of some layers to take gradients at.

    Args:
        image: 1×C×spatial, on the network's device.
        layers: names in ``network.named_modules()``.

    Raises:
        LayerError: a layer did not run, or its output is not one tensor.
    """
    captured: dict[str, Tensor] = {}

    def cut(name: str) -> Callable[[nn.Module, Any, Any], Tensor]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise LayerError(
                    f"Layer '{name}' returns a {type(output).__name__}, not one tensor. Choose a layer inside it."
                )
            # The first layer that runs becomes the leaf: parameters are frozen, so nothing before it has a graph.
            activation = output if output.requires_grad else output.detach().requires_grad_()
            captured.pop(name, None)  # a module that runs several times counts with its last run
            captured[name] = activation
            # A copy goes on: an in-place ReLU behind the layer may neither touch the activation nor a leaf.
            return activation.clone()

        return hook

    hooks = [(network.get_submodule(name), cut(name)) for name in layers]
    with frozen(network), torch.enable_grad(), hooked(hooks):
        output = first_tensor(network(image))
    for name in layers:
        if name not in captured:
            raise LayerError(f"Layer '{name}' did not run when the network was applied. Choose another one.")
    return Pass(output, {name: captured[name] for name in layers})


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

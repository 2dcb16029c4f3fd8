"""One forward pass that stops for a moment at its layers: their activations, and the gradients of a score there.

Everything below the first of them runs without a graph, so the backward pass covers only what lies above it. The network is
left as it was found: no hooks, no gradients, same ``requires_grad``, same mode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LayerError
from .views import View, find_view

INPUT = "the network's input"
"""Stands among the names of layers for the image itself; no module is called so."""


@dataclass(frozen=True)
class Pass:
    """One forward pass cut at none, one or more layers.

    Attributes:
        output: what the network returned, first tensor of it, batch first; still attached to the activations.
        tensors: by layer name, what the layer returned, as the network keeps it. The first layer that ran is a leaf
            of the graph; nothing below it was recorded.
        views: by layer name, how that is a map.
    """

    output: Tensor
    tensors: dict[str, Tensor]
    views: dict[str, View]

    @property
    def activations(self) -> dict[str, Tensor]:
        """By layer name, the layer's output, 1×C×spatial."""
        return {name: self.views[name].to_map(tensor) for name, tensor in self.tensors.items()}

    def gradients(self, score: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Gradient of a scalar made of ``output`` with respect to activations, 1×C×spatial; of all of them by default.

        The graph is kept: other scores, of other classes, can follow.
        """
        names = list(self.tensors if layers is None else layers)
        tensors = [self.tensors[name] for name in names]
        if names and score.requires_grad:
            found = torch.autograd.grad(score, tensors, retain_graph=True, allow_unused=True)
        else:
            found = (None,) * len(names)
        return {
            name: self.views[name].to_map(torch.zeros_like(tensor) if gradient is None else gradient)
            for name, tensor, gradient in zip(names, tensors, found, strict=True)
        }


def forward_to_layers(network: nn.Module, image: Tensor, layers: Sequence[str]) -> Pass:
    """Run the network once and keep the outputs of some layers to take gradients at.

    Args:
        image: 1×C×spatial, on the network's device.
        layers: names in ``network.named_modules()``, or :data:`INPUT`; none at all is a plain forward pass without a
            graph.

    Raises:
        LayerError: a layer did not run, or its output is no map over the image.
    """
    tensors: dict[str, Tensor] = {}
    views: dict[str, View] = {}

    def cut(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> Any:
            view = find_view(module, output, image)
            if view is None:
                shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
                raise LayerError(
                    f"Layer '{name}' returns a {type(output).__name__}{shape}, which is no map over the image. "
                    "Choose a layer inside it, or an earlier one."
                )
            tensor = view.pick(output)
            # The first layer that runs becomes the leaf: parameters are frozen, so nothing before it has a graph.
            activation = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            tensors.pop(name, None)  # a module that runs several times counts with its last run
            tensors[name], views[name] = activation, view
            # A copy goes on: an in-place ReLU behind the layer may neither touch the activation nor a leaf.
            return view.put(output, activation.clone())

        return hook

    hooks = [(network.get_submodule(name), cut(name)) for name in layers if name != INPUT]
    given = image
    if INPUT in layers:
        tensors[INPUT], views[INPUT] = image.detach().requires_grad_(), View()
        given = tensors[INPUT]
    with frozen(network), torch.set_grad_enabled(bool(layers)), hooked(hooks):
        # A copy, as behind a layer: a network may overwrite what it was given.
        output = first_tensor(network(given.clone() if given.requires_grad else given))
    for name in layers:
        if name not in tensors:
            raise LayerError(f"Layer '{name}' did not run when the network was applied. Choose another one.")
    return Pass(output, {name: tensors[name] for name in layers}, views)


def first_tensor(output: Any) -> Tensor:
    """The first tensor of a network's output: itself, or the head of a tuple, list or dictionary."""
    if isinstance(output, Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    return first_tensor(next(iter(values)))


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """In eval mode and without parameter gradients; every mode, flag and gradient is put back as it was."""
    modes = [(module, module.training) for module in network.modules()]
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in network.parameters()]
    try:
        network.eval()
        for parameter, _, _ in flags:
            parameter.requires_grad_(False)
            parameter.grad = None  # out of reach of libraries that reset gradients
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag, gradient in flags:
            parameter.requires_grad_(flag)
            parameter.grad = gradient


@contextlib.contextmanager
def not_inplace(network: nn.Module) -> Iterator[None]:
    """No module overwrites its input for the time of a block, as hooks on the backward pass need it."""
    found = [module for module in network.modules() if getattr(module, "inplace", False) is True]
    try:
        for module in found:
            module.inplace = False
        yield
    finally:
        for module in found:
            module.inplace = True


@contextlib.contextmanager
def hooked(hooks: list[tuple[nn.Module, Callable]]) -> Iterator[None]:
    """Forward hooks for the time of a block."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

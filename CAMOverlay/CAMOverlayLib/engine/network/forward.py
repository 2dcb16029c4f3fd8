"""One forward pass that stops for a moment at its layers: their activations, and the gradients of a score there.

Everything below the first of them runs without a graph, so the backward pass covers only what lies above it. The
network is left as it was found: no hooks, no gradients, same ``requires_grad``, same mode.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...contract.errors import CAMOverlayError, Cancelled, LayerError, NetworkError, root_cause
from .feature_maps import FeatureMapLayout, find_layout
from .lean import lean
from .modules import modules_of

INPUT = "the network's input"
"""Stands among the names of layers for the image itself; no module is called so."""


@dataclass(frozen=True)
class ForwardPass:
    """One forward pass cut at none, one or more layers.

    Attributes:
        output: what the network returned, first tensor of it, batch first; still attached to the activations.
        tensors: by layer name, what the layer returned, as the network keeps it. The first layer that ran is a leaf
            of the graph; nothing below it was recorded.
        views: by layer name, how that is a map.
        network: what ran; one that checkpoints itself runs again in the backward pass.
    """

    output: Tensor
    tensors: dict[str, Tensor]
    views: dict[str, FeatureMapLayout]
    network: nn.Module | None = None

    @property
    def activations(self) -> dict[str, Tensor]:
        """By layer name, the layer's output, 1×C×spatial."""
        return {name: self.views[name].to_map(tensor) for name, tensor in self.tensors.items()}

    def gradients(self, score: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Gradient of a scalar made of ``output`` with respect to activations, 1×C×spatial; of all of them by default.

        The graph is kept: other scores, of other classes, can follow. A layer that the score does not depend on has a
        gradient of zeros, as long as it depends on one of the others.

        Raises:
            LayerError: the score depends on none of the layers, so there is no gradient, which is not the same as a
                gradient of zeros.
            NetworkError: a gradient holds NaN or infinite values.
        """
        names = list(self.tensors if layers is None else layers)
        if not names:
            return {}
        tensors = [self.tensors[name] for name in names]
        found: tuple[Tensor | None, ...] = (None,) * len(names)
        if score.requires_grad:
            with frozen(self.network) if self.network is not None else contextlib.nullcontext():
                found = torch.autograd.grad(score, tensors, retain_graph=True, allow_unused=True)
        if all(gradient is None for gradient in found):
            raise LayerError(
                f"There is no gradient at {_listed(names)}: the network's output does not depend on it in a way that "
                "can "
                "be differentiated. Choose another layer, or a method that needs no gradient (Eigen-CAM, Score-CAM, "
                "occlusion)."
            )
        for name, gradient in zip(names, found, strict=True):
            if gradient is not None:
                require_finite(gradient, f"The gradient at {_listed([name])}")
        return {
            name: self.views[name].to_map(torch.zeros_like(tensor) if gradient is None else gradient)
            for name, tensor, gradient in zip(names, tensors, found, strict=True)
        }


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name if name == INPUT else f"layer '{name}'" for name in names)


def require_finite(values: Tensor, what: str) -> None:
    """Refuse NaN and infinite values: a heatmap made of them would say nothing.

    Args:
        values: of any shape.
        what: the subject of the sentence, such as "The network's output".

    Raises:
        NetworkError: names how many there are and where they may come from.
    """
    # One sum instead of a mask of the whole: it is finite only where everything is, but for an overflow of the sum.
    if not values.is_floating_point() or bool(torch.isfinite(values.sum())):
        return
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise NetworkError(
            f"{what} holds {bad} values that are NaN or infinite, out of {values.numel()}. Check that the weights are "
            "those of this network and are finite, that the input is scaled as in training, and compute without mixed "
            "precision."
        )


def forward_to_layers(network: nn.Module, image: Tensor, layers: Sequence[str]) -> ForwardPass:
    """Run the network once and keep the outputs of some layers to take gradients at.

    Args:
        image: 1×C×spatial, on the network's device.
        layers: names in ``network.named_modules()``, or :data:`INPUT`; none at all is a plain forward pass without a
            graph.

    A network that switches gradients off for itself (``no_grad``, ``inference_mode``, ``set_grad_enabled``) is run a
    second time with them kept on.

    Raises:
        LayerError: a layer did not run, or its output is no map over the image; or the output depends on none of the
            layers in a way that can be differentiated.
        NetworkError: the output holds NaN or infinite values.
    """
    forward = _forward_once(network, image, layers)
    if layers and not forward.output.requires_grad:
        with gradients_kept_on():
            forward = _forward_once(network, image, layers)
    require_finite(forward.output.detach(), f"The output of the network {type(network).__name__}")
    return forward


def _forward_once(network: nn.Module, image: Tensor, layers: Sequence[str]) -> ForwardPass:
    tensors: dict[str, Tensor] = {}
    views: dict[str, FeatureMapLayout] = {}
    thrift = contextlib.ExitStack()  # from the first layer on: before it nothing is kept

    def cut(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> Any:
            view = find_layout(module, output, image)
            if view is None:
                shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
                raise LayerError(
                    f"Layer '{name}' returns a {type(output).__name__}{shape}, which is not a map over the image. "
                    "Choose a layer inside it, or an earlier one."
                )
            tensor = view.pick(output)
            if not tensors:
                thrift.enter_context(lean(network))
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
        tensors[INPUT], views[INPUT] = image.detach().requires_grad_(), FeatureMapLayout()
        given = tensors[INPUT]
    with frozen(network), torch.inference_mode(False), torch.set_grad_enabled(bool(layers)), hooked(hooks), thrift:
        if tensors:
            thrift.enter_context(lean(network))
        # A copy, as behind a layer: a network may overwrite what it was given.
        output = run_network(network, given.clone() if given.requires_grad else given)
    for name in layers:
        if name not in tensors:
            raise LayerError(f"Layer '{name}' did not run when the network was applied. Choose another one.")
    return ForwardPass(output, {name: tensors[name] for name in layers}, views, network)


@contextlib.contextmanager
def gradients_kept_on() -> Iterator[None]:
    """Whatever the code in a block does to switch gradients off has no effect, as a context or as a decorator.

    ``no_grad``, ``enable_grad`` and ``set_grad_enabled`` all go through one function of torch; ``inference_mode`` is a
    context of its own.
    """
    switch, enter, leave = torch._C._set_grad_enabled, torch.inference_mode.__enter__, torch.inference_mode.__exit__
    with torch.inference_mode(False), torch.enable_grad():
        torch._C._set_grad_enabled = lambda mode: None
        torch.inference_mode.__enter__ = lambda self: None
        torch.inference_mode.__exit__ = lambda self, *error: None
        try:
            yield
        finally:
            torch._C._set_grad_enabled = switch
            torch.inference_mode.__enter__, torch.inference_mode.__exit__ = enter, leave


def run_network(network: nn.Module, images: Tensor) -> Tensor:
    """Call the network: B×C×spatial to the first tensor of what it returns.

    Whatever it raises is told as the network's own failure, so that nothing else is blamed on it and it on nothing
    else.

    Raises:
        NetworkError: its own code failed, or it returned no tensor.
    """
    try:
        return first_tensor(network(images))
    except (CAMOverlayError, Cancelled):
        raise
    except (Exception, SystemExit) as error:
        cause = root_cause(error)
        if is_out_of_memory(cause):
            raise
        reason = (str(cause).strip().splitlines() or ["no reason given"])[0][:300].rstrip(". ")
        raise NetworkError(
            f"The network {type(network).__name__} failed on an input of shape {tuple(images.shape)}: "
            f"{type(cause).__name__}: {reason}{_place(cause)}. If the input does not suit it, let the preprocessing "
            "end "
            "with the size and the channels that it was trained with (Resized, DivisiblePadd)."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library ran out of memory, on whatever device."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in str(error) for words in ("allocate memory", "out of memory")
    )


def _place(error: BaseException) -> str:
    """Where the network's own code was, in words: the last frame that is neither PyTorch's nor this package's."""
    found, trace = "", error.__traceback__
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    libraries = os.path.dirname(os.path.abspath(torch.__file__))
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if not os.path.abspath(path).startswith((own, libraries)) and not path.startswith("<"):
            found = f" ({os.path.basename(path)}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def differentiable(network: nn.Module, images: Tensor) -> Tensor:
    """The network's first output; where gradients are wanted and it switched them off, once more with them kept on."""
    output = run_network(network, images)
    if torch.is_grad_enabled() and images.requires_grad and not output.requires_grad:
        with gradients_kept_on():
            output = run_network(network, images)
    return output


def first_tensor(output: Any) -> Tensor:
    """The first tensor of a network's output: itself, or the head of a tuple, list or dictionary.

    Raises:
        NetworkError: there is none.
    """
    if isinstance(output, Tensor):
        return output
    values = (
        list(output.values() if isinstance(output, dict) else output) if isinstance(output, (dict, list, tuple)) else []
    )
    if not values:
        raise NetworkError(
            f"The network returned {type(output).__name__} and no tensor, so there is nothing to explain. Explain "
            "the part "
            "of it that returns class scores or a map of them."
        )
    return first_tensor(values[0])


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """In eval mode and without parameter gradients; every mode, flag and gradient is put back as it was."""
    modules = modules_of(network)
    modes = [module.training for module in modules]
    parameters = {id(one): one for module in modules for one in module._parameters.values() if one is not None}
    flags = [(parameter, parameter.requires_grad, parameter.grad) for parameter in parameters.values()]
    try:
        if any(modes):
            network.eval()
        for parameter, flag, gradient in flags:  # to ask is cheaper than to set, and a network has hundreds
            if flag:
                parameter.requires_grad_(False)
            if gradient is not None:
                parameter.grad = None  # out of reach of libraries that reset gradients
        yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            if module.training is not training:  # to set it goes through all of a module's lists
                module.training = training
        for parameter, flag, gradient in flags:
            if parameter.requires_grad is not flag:
                parameter.requires_grad_(flag)
            if parameter.grad is not gradient:
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

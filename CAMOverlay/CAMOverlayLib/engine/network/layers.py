"""The layers of a network that a heatmap can be made of, and the one to take when nobody says which.

*Classifiers and regressions* are explained at the last map before pooling, as Grad-CAM's authors do. A layer whose
gradient is zero everywhere says nothing: in a transformer with a class token only that token goes on from the last
attention, so there the last layer that the answer still depends on is taken.

*Segmentation networks* are explained at their coarsest level, the bottleneck, as Seg-Grad-CAM's authors do: there the
context is that made the network label a region. Late decoder layers all but repeat the predicted mask; who wants them
asks for them by name. A network that keeps its resolution is explained at its last layer before the head.
"""

from __future__ import annotations

import difflib
import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...contract.errors import LayerError, NetworkError
from .feature_maps import find_layout
from .forward import forward_to_layers, frozen, hooked, run_network
from .receptive_field import ReceptiveFields

PASSIVE = ("Dropout", "Identity", "ConstantPad", "Flatten")
"""Beginnings of the names of modules that pass on what they got: never a choice, though they can be asked for."""

POOLING = "Pool"
"""In the name of a module that only averages or picks: the layer before it says the same and says it more finely."""

SIDE_BRANCH = 8
"""A layer with less than this part of the network's most channels is no stage of it (a pooled side branch, a head)."""


@dataclass(frozen=True)
class Layer:
    """A module by its name in ``named_modules()``, and what it returned last.

    Attributes:
        kind: its class.
        shape: C×spatial, as a map.
        stride: voxels of the network's input that one activation stands for, along each axis.
        receptive_field: voxels of the network's input that one activation depends on, along each axis; None where
            every activation depends on the whole (attention), or nobody can tell. What the whole only scales
            (normalisation, squeeze and excitation) is not counted.
        layout: how the network itself keeps it: ``channels first``, ``channels last``, ``tokens`` or ``tokens last``.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride: tuple[float, ...] = ()
    receptive_field: tuple[int, ...] | None = None
    layout: str = "channels first"

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return self.shape[1:]

    @property
    def depth(self) -> int:
        """How far inside the network's tree of modules it is."""
        return self.name.count(".")


@dataclass(frozen=True)
class LayerTable:
    """Every layer with spatial extent, in the order in which they finished, and the default among them."""

    layers: tuple[Layer, ...]
    default: str
    unused: frozenset[str] = frozenset()
    """Layers that were found not to lead to the network's output, so that they have no gradient."""

    def has(self, name: str | None) -> bool:
        """Whether :meth:`find` finds it."""
        return name is None or any(layer.name == name for layer in self.layers)

    def find(self, name: str | None) -> Layer:
        """The layer of this name, or the default.

        Raises:
            LayerError: no such layer; the nearest names are in the message.
        """
        wanted = self.default if name is None else name
        for layer in self.layers:
            if layer.name == wanted:
                return layer
        names = [layer.name for layer in self.layers]
        near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.3) or names[-3:]
        raise LayerError(
            f"There is no layer '{wanted}' with spatial extent in this network. The nearest are {', '.join(near)}; "
            f"the default is {self.default}."
        )

    @property
    def stages(self) -> tuple[Layer, ...]:
        """The last layer of every resolution up to the default one."""
        return self.stages_to(self.find(None))

    def stages_to(self, chosen: Layer) -> tuple[Layer, ...]:
        """The last layer of every resolution that finished before a layer, and that layer itself, in that order.

        Of one resolution the outermost module counts, so that a stage is what its author made a module of and not the
        first convolution of the next block. Resolutions are told apart by powers of two: padding makes no new one.
        """
        before = self.layers[: self.layers.index(chosen)]
        most = max((layer.shape[0] for layer in self.layers if layer.layout == "channels first"), default=1)
        stages: dict[tuple[int, ...], Layer] = {}
        for layer in before:
            if layer.kind.startswith(PASSIVE) or layer.shape[0] * SIDE_BRANCH**2 < most or layer.name in self.unused:
                continue
            level = _level(layer)
            if level != _level(chosen) and (level not in stages or layer.depth <= stages[level].depth):
                stages[level] = layer
        return (*sorted(stages.values(), key=before.index), chosen)


def list_layers(network: nn.Module, image: Tensor, receptive: bool = True, small: bool = False) -> LayerTable:
    """Run the network once and see what every module returns.

    Args:
        image: 1×C×spatial, on the network's device.
        receptive: follow receptive fields too; whoever only wants to find a layer saves the seconds that it takes torch
            to load what that needs.
        small: the image is small enough to keep everything that the network computes on the way, so the same pass tells
            which layers lead to the output.

    Raises:
        LayerError: no module of the network has an output with spatial extent.
    """
    if small:
        with (
            frozen(network),
            torch.inference_mode(False),
            torch.enable_grad(),
            record_layers(network, image, keep=True) as watched,
        ):
            output = run_network(network, image.detach().clone().requires_grad_().clone())
            return watched.table(output)
    fields = ReceptiveFields(image) if receptive else None
    with frozen(network), torch.no_grad(), record_layers(network, image, fields) as watched, fields or nullcontext():
        output = run_network(network, image)
    return watched.table(output)


def likely_layers(network: nn.Module, image: Tensor) -> LayerTable | None:
    """The table of a network on a smaller input, for an eighth of a forward pass; None where it takes no such.

    Sizes in it are another input's, and so may be the default: whoever acts on it checks it against the real table,
    which :func:`record_layers` makes of the real pass.
    """
    small = image[(..., *[slice(None, None, 2)] * (image.ndim - 2))].contiguous()
    if min(small.shape[2:]) < 16:
        return None
    try:
        return list_layers(network, small, receptive=False, small=True)
    except (LayerError, NetworkError):  # a network may fail in any way on a size that it was not made for
        return None


class Watched:
    """What every module of a network returned in a forward pass."""

    def __init__(self, network: nn.Module, image: Tensor, fields: ReceptiveFields | None, keep: bool = False) -> None:
        self._network, self._image, self._fields = network, image, fields
        self._kept: dict[str, Tensor] | None = {} if keep else None
        self._layers: dict[str, Layer] = {}
        self._tensors: dict[str, weakref.ref[Tensor]] = {}
        self._tokens: set[int] = set()
        self._channels_last: set[torch.Size] = set()

    def look(self, name: str, kind: str):
        """The hook for a module of this name and class."""
        image = self._image

        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            view = find_layout(module, output, image)
            if view is None:
                return
            tensor = view.pick(output)
            if view.layout.startswith("tokens"):
                self._tokens.add(tensor.shape[1 if view.layout == "tokens" else 2])
            elif tensor.shape[-1] in self._tokens and tensor.shape[-1] == tensor.shape[-2]:
                return  # in 2-D an attention matrix, tokens × tokens, has as many axes as a map
            elif view.layout == "channels last":
                self._channels_last.add(tensor.shape)
            elif tensor.shape in self._channels_last:
                return  # an activation function behind a channels-last layer, which by itself shows no sign of that
            shape = tuple(int(n) for n in view.to_map(tensor).shape[1:])
            stride = tuple(n / m for n, m in zip(image.shape[2:], shape[1:], strict=True))
            field = self._fields.of(tensor) if self._fields else None
            self._layers.pop(name, None)  # a module that runs again moves to its last place in the order
            self._layers[name] = Layer(name, kind, shape, stride, field, view.layout)
            self._tensors[name] = weakref.ref(tensor)
            if self._kept is not None:
                self._kept[name] = tensor

        return hook

    def table(self, output: Tensor, unused: frozenset[str] | None = None) -> LayerTable:
        """The layers, and the default among them.

        Args:
            output: what the network returned in the end.
            unused: layers that are known not to lead to it; None finds that out for the default, by passes of its own.

        Raises:
            LayerError: no module of the network has an output with spatial extent.
        """
        image = self._image
        if not self._layers:
            raise LayerError(
                f"No layer of this {type(self._network).__name__} keeps a spatial extent for an input of "
                f"{tuple(image.shape)}; there is nothing that a heatmap could be made of."
            )
        layers = tuple(self._layers.values())
        if layers[-1].layout.startswith("tokens") and not _is_map(output, image):
            default = _last_that_counts(self._network, image, layers)
            return LayerTable(layers, default.name, unused or frozenset())
        candidates = [layer for layer in layers if self._tensors[layer.name]() is not output] or list(layers)
        choose = _bottleneck if _is_map(output, image) else _last
        if unused is not None:
            return LayerTable(
                layers, choose([x for x in candidates if x.name not in unused] or candidates).name, unused
            )
        dead: set[str] = set()
        default = choose(candidates)
        for _ in range(TRIES):
            if self._leads(default.name, output):
                break
            dead |= {x.name for x in candidates if x.name == default.name or x.name.startswith(f"{default.name}.")}
            candidates = [x for x in candidates if x.name not in dead]
            if not candidates:
                break
            default = choose(candidates)
        return LayerTable(layers, default.name, frozenset(dead))

    def _leads(self, name: str, output: Tensor) -> bool:
        """Whether the output depends on a layer: by the graph of the pass itself where it was kept, else by another
        one."""
        if self._kept is None:
            return leads_to_output(self._network, self._image, name)
        if not output.requires_grad or not self._kept[name].requires_grad:
            return True  # the network switches gradients off; what leads where is not known
        try:
            (gradient,) = torch.autograd.grad(
                output.float().square().sum(), self._kept[name], retain_graph=True, allow_unused=True
            )
        except RuntimeError:  # something was overwritten in place, so it was used
            return True
        return gradient is not None


@contextmanager
def record_layers(
    network: nn.Module, image: Tensor, fields: ReceptiveFields | None = None, keep: bool = False
) -> Iterator[Watched]:
    """See what every module returns while a block runs the network on this image.

    Args:
        image: 1×C×spatial, what the network is run on.
        fields: receptive fields that are followed meanwhile.
        keep: hold on to what every module returned.
    """
    watched = Watched(network, image, fields, keep)
    modules = [(module, watched.look(name, type(module).__name__)) for name, module in network.named_modules() if name]
    with hooked(modules):
        yield watched


TRIES = 12
"""Layers that are tried as the default, one small pass each, before the last one is taken as it is."""


def leads_to_output(network: nn.Module, image: Tensor, name: str) -> bool:
    """Whether the network's output depends on a layer in a way that has a gradient.

    Some networks compute more than they use: levels of a pyramid that no head looks at, paths of a search space that
    were not chosen.

    Args:
        image: 1×C×spatial; a small one will do.
    """
    try:
        forward = forward_to_layers(network, image, [name])
        forward.gradients(forward.output.float().square().sum())
    except LayerError:
        return False
    except NetworkError:
        pass  # NaN somewhere says nothing about what leads where
    return True


def _is_map(output: Tensor, image: Tensor) -> bool:
    """A segmentation network's output, not a classifier's."""
    return output.ndim == image.ndim and any(n > 1 for n in output.shape[2:])


def _last(layers: list[Layer]) -> Layer:
    """The last map before pooling."""
    maps = [x for x in layers if POOLING not in x.kind]
    return (maps or layers)[-1]


def _bottleneck(layers: list[Layer]) -> Layer:
    """The last of the outermost modules at the coarsest resolution."""
    layers = [x for x in layers if POOLING not in x.kind] or layers
    most = max(layer.shape[0] for layer in layers)
    main = [x for x in layers if x.shape[0] * SIDE_BRANCH >= most and not x.kind.startswith(PASSIVE)] or layers
    coarsest = min(math.prod(layer.spatial_shape) for layer in main)
    there = [layer for layer in main if math.prod(layer.spatial_shape) == coarsest]
    outermost = min(layer.depth for layer in there)
    return [layer for layer in there if layer.depth == outermost][-1]


def _last_that_counts(network: nn.Module, image: Tensor, layers: tuple[Layer, ...]) -> Layer:
    """The last layer of tokens, as wide as the last of all, whose places the network's output still depends on."""
    width = layers[-1].shape[0]
    candidates = [
        x for x in layers if x.layout.startswith("tokens") and x.shape[0] == width and not x.kind.startswith(PASSIVE)
    ]
    forward = forward_to_layers(network, image, [layer.name for layer in candidates])
    # Of a sum of squares: some networks' outputs add up to a constant.
    gradients = forward.gradients(forward.output.square().sum())
    return next((x for x in reversed(candidates) if bool(gradients[x.name].any())), layers[-1])


def _level(layer: Layer) -> tuple[int, ...]:
    return tuple(round(math.log2(s)) for s in layer.stride)

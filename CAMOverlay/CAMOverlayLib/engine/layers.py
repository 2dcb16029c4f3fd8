"""The layers of a network that a heatmap can be made of, and the one to take when nobody says which."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LayerError
from .activation import first_tensor, frozen, hooked


@dataclass(frozen=True)
class Layer:
    """A module by its name in ``named_modules()``, and the shape (C, spatial…) of what it returned last."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        return self.shape[1:]


@dataclass(frozen=True)
class LayerTable:
    """Every layer with spatial extent, in the order in which they finished, and the default among them."""

    layers: tuple[Layer, ...]
    default: str

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


def list_layers(network: nn.Module, image: Tensor) -> LayerTable:
    """Run the network once without gradients and see what every module returns.

    Args:
        image: 1×C×spatial, on the network's device.

    Raises:
        LayerError: no module of the network has an output with spatial extent.
    """
    table: dict[str, Layer] = {}
    # Names of the modules that returned the very tensor that was the last one with spatial extent.
    last: dict[str, Any] = {"tensor": None, "name": ""}
    coarsest: dict[str, Any] = {"size": math.inf, "name": ""}

    def look(name: str, kind: str):
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not _has_extent(output, image):
                return
            table.pop(name, None)  # a module that runs again moves to its last place in the order
            table[name] = Layer(name, kind, tuple(int(n) for n in output.shape[1:]))
            last.update(tensor=output, name=name)
            size = math.prod(output.shape[2:])
            if size <= coarsest["size"]:
                coarsest.update(size=size, name=name)

        return hook

    modules = [(name, module) for name, module in network.named_modules() if name]
    with frozen(network), torch.no_grad(), hooked([(m, look(n, type(m).__name__)) for n, m in modules]):
        output = first_tensor(network(image))
    if not table:
        raise LayerError(
            f"No layer of this {type(network).__name__} keeps a spatial extent for an input of {tuple(image.shape)}; "
            "there is nothing that a heatmap could be made of."
        )
    # A classifier: the last map before pooling. A segmentation network ends in a map itself, whose evidence is
    # gathered at its coarsest level.
    default = coarsest["name"] if _has_extent(output, image) else last["name"]
    return LayerTable(tuple(table.values()), default)


def _has_extent(output: Tensor, image: Tensor) -> bool:
    return output.ndim == image.ndim and any(n > 1 for n in output.shape[2:])

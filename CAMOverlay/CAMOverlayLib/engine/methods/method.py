"""What a method is, and what it is given. A new one is a file here that ends in a ``METHOD``, and its entry in
``contract/methods.py``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...contract.errors import MethodError
from ...contract.methods import MethodInfo
from ...contract.request import Prediction
from ..network.forward import ForwardPass
from ..network.layers import Layer, LayerTable
from ..progress import Step
from ..target.objective import Objective


@dataclass(frozen=True)
class Case:
    """One thing to explain.

    Attributes:
        network, image: on one device; ``image`` is 1×C×spatial.
        forward: the forward pass, cut at ``layers``.
        layers: names of the layers that the method asked for, in the order in which they ran; the last is the chosen
        one.
        prediction: what the network said.
        objective: the number to explain.
        step: progress of long methods.
    """

    network: nn.Module
    image: Tensor
    forward: ForwardPass
    layers: tuple[str, ...]
    prediction: Prediction
    objective: Objective
    step: Step = lambda number, count, words: None

    def gradients(self) -> dict[str, Tensor]:
        """Of the objective, at every layer of the case, 1×C×spatial."""
        with torch.inference_mode(False), torch.enable_grad():  # the caller's own mode may be off
            return self.forward.gradients(self.objective(self.forward.output).sum(), self.layers)


@dataclass(frozen=True)
class ChannelWeights:
    """How a method weighs the channels of a layer, in terms of sums over places, so that several windows of one volume
    share one set of weights: a window's own would grow with how much of the target lies in it.

    Attributes:
        sums: of an activation and its gradient, both 1×C×spatial: a tensor whose sum over windows is all that the
            weights need. The gradient is None for a method whose map is the same for every target.
        weights: of that sum and the number of places in all windows: one weight per channel, shape C.
    """

    sums: Callable[[Tensor, Tensor | None], Tensor]
    weights: Callable[[Tensor, int], Tensor]


def the_layer(table: LayerTable, chosen: Layer) -> tuple[str, ...]:
    """For methods that look at one layer."""
    return (chosen.name,)


def no_layer(table: LayerTable, chosen: Layer) -> tuple[str, ...]:
    """For methods that need the network's input and output only."""
    return ()


@dataclass(frozen=True)
class Method:
    """A way to make a map.

    Attributes:
        info: what a user is told of it.
        compute: from a case to a map ≥ 0 of shape spatial, higher meaning more evidence for the target; on the grid of
            the last layer it asked for, the finest of them, or the network's input.
        layers: which layers it needs, of the table and the chosen one.
        of_target: the map is of the target; False where it is the same for every target.
        weigh: of those that need no more than one layer's activation and gradient, both 1×C×spatial: these to the map.
        channels: of those whose map is a weighted sum of one layer's channels: how these are weighed.
        objective: the number that the method explains, where it is not the one that was asked for.
    """

    info: MethodInfo
    compute: Callable[[Case], Tensor]
    layers: Callable[[LayerTable, Layer], tuple[str, ...]] = the_layer
    of_target: bool = True
    weigh: Callable[[Tensor, Tensor], Tensor] | None = None
    channels: ChannelWeights | None = None
    objective: Callable[[Case], Objective] = lambda case: case.objective

    @property
    def name(self) -> str:
        """What a user types."""
        return self.info.name

    @property
    def title(self) -> str:
        """What a user reads."""
        return self.info.title


def at_layer(
    info: MethodInfo, weigh: Callable[[Tensor, Tensor], Tensor], channels: ChannelWeights | None = None
) -> Method:
    """A method that makes one layer's activation and gradient, both 1×C×spatial, into a map."""

    def compute(case: Case) -> Tensor:
        (layer,) = case.layers
        return weigh(case.forward.activations[layer].detach(), case.gradients()[layer])

    return Method(info, compute, weigh=weigh, channels=channels)


def library(package: str, module: str, title: str) -> Any:
    """A module of a package that only some methods need.

    Raises:
        MethodError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = (error.name or package).split(".")[0]
        raise MethodError(
            f"{title} needs the package {missing}, which is not installed for {sys.executable}. Install it there "
            f"(pip install {package if missing == package else f'{package} {missing}'}; in Slicer pip_install), "
            "or choose another method."
        ) from error

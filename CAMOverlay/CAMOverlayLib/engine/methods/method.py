"""What a method is, and what it is given. A new one is a file here that ends in a ``METHOD``, and a line in the list."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ...errors import MethodError
from ...request import Prediction
from ..activation import Pass
from ..layers import Layer, LayerTable
from ..targets import Goal

Step = Callable[[int, int, str], None]
"""Called before each piece of a long computation: its number, how many there are, in words. Raising from it ends it."""


@dataclass(frozen=True)
class Case:
    """One thing to explain.

    Attributes:
        network, image: on one device; ``image`` is 1×C×spatial.
        forward: the forward pass, cut at ``layers``.
        layers: names of the layers that the method asked for, in the order in which they ran; the last is the chosen one.
        prediction: what the network said.
        goal: the number to explain.
        step: progress of long methods.
    """

    network: nn.Module
    image: Tensor
    forward: Pass
    layers: tuple[str, ...]
    prediction: Prediction
    goal: Goal
    step: Step = lambda number, count, words: None

    def gradients(self) -> dict[str, Tensor]:
        """Of the goal, at every layer of the case, 1×C×spatial."""
        return self.forward.gradients(self.goal(self.forward.output).sum(), self.layers)


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
        name: what a user types.
        title: what a user reads.
        paper: authors, year, address.
        description: in one sentence what the map shows, for a tooltip.
        compute: from a case to a map ≥ 0 of shape spatial, higher meaning more evidence for the target; on the grid of
            the last layer it asked for, the finest of them, or the network's input.
        layers: which layers it needs, of the table and the chosen one.
        long: many passes through the network; reports its progress.
        of_target: the map is of the target; False where it is the same for every target.
        weigh: of those that need no more than one layer's activation and gradient, both 1×C×spatial: these to the map.
    """

    name: str
    title: str
    paper: str
    description: str
    compute: Callable[[Case], Tensor]
    layers: Callable[[LayerTable, Layer], tuple[str, ...]] = the_layer
    long: bool = False
    of_target: bool = True
    weigh: Callable[[Tensor, Tensor], Tensor] | None = None


def at_layer(name: str, title: str, paper: str, description: str, weigh: Callable[[Tensor, Tensor], Tensor]) -> Method:
    """A method that makes one layer's activation and gradient, both 1×C×spatial, into a map."""

    def compute(case: Case) -> Tensor:
        (layer,) = case.layers
        return weigh(case.forward.activations[layer].detach(), case.gradients()[layer])

    return Method(name, title, paper, description, compute, weigh=weigh)


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

"""What a forward pass does, counted and in order: how many multiplications, and which weights come when.

Both are told by hooks, so a network that is compiled tells nothing, and weights that are used without their module
being called are not seen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .forward import hooked


@dataclass
class Watched:
    """What was seen of a pass.

    Attributes:
        multiplications: of inputs with weights, in all modules whose weights have two dimensions or more.
        below: the part of them that came before the first of the layers that were named had run, and ``above`` the
            rest: all of them without any.
        modules: those with weights of their own, in the order in which they last began to run.
    """

    multiplications: float = 0.0
    below: float = 0.0
    modules: dict[nn.Module, None] = field(default_factory=dict)

    @property
    def above(self) -> float:
        return self.multiplications - self.below


@contextlib.contextmanager
def watched(network: nn.Module, layers: Sequence[str] = ()) -> Iterator[Watched]:
    """Watch every pass within a block; nothing of the network changes.

    Args:
        layers: names of modules; where another is among them, as the input is, all comes after.
    """
    found = Watched()
    names = {name: one for name, one in network.named_modules() if not isinstance(one, torch.jit.ScriptModule)}

    def began(module: nn.Module, _inputs: Any) -> None:
        found.modules.pop(module, None)
        found.modules[module] = None

    def ended(module: nn.Module, inputs: Any, output: Any) -> None:
        found.multiplications += multiplications(module, inputs, output)

    def cut(module: nn.Module, _inputs: Any, _output: Any) -> None:
        found.below = found.below or found.multiplications

    cuts = [(names[name], cut) for name in layers if name in names] if set(layers) <= set(names) else []
    own = [one for one in dict.fromkeys(names.values()) if any(True for _ in one.parameters(recurse=False))]
    starts = [one.register_forward_pre_hook(began) for one in own]
    try:
        with hooked([*((one, ended) for one in own), *cuts]):
            yield found
    finally:
        for one in starts:
            one.remove()


def multiplications(module: nn.Module, inputs: Any, output: Any) -> float:
    """Of one run of one module: every weight once for each place that it is applied at.

    A convolution has as many places as its output, a transposed one as many as its input, a linear layer as many as it
    has vectors.
    """
    weights = sum(one.numel() for one in module.parameters(recurse=False) if one.ndim > 1)
    given = inputs[0] if isinstance(inputs, tuple) and inputs else None
    if not weights or not isinstance(output, Tensor) or not isinstance(given, Tensor):
        return 0.0
    if isinstance(module, nn.Linear):
        return weights * output.numel() / output.shape[-1]
    spread = given if getattr(module, "transposed", False) else output
    return float(weights * spread.shape[0] * math.prod(spread.shape[2:]))


def parameters_by_run(network: nn.Module, seen: Watched) -> list[int]:
    """Numbers of the network's weight tensors, those first that come first in the run.

    Tensors whose module did not run keep their place as they are registered, before all others: a cascade from the
    output reaches them last. Shared ones come with their last module.
    """
    numbers = {id(one): number for number, one in enumerate(network.parameters())}
    last = {
        numbers[id(one)]: place for place, module in enumerate(seen.modules) for one in module.parameters(recurse=False)
    }
    return sorted(numbers.values(), key=lambda number: (last.get(number, -1), number))

"""What is checked: one map and everything that it came from, so that it can be made again with something changed.

Of several pictures it is the hottest, of several windows the one that holds most of the map, of several networks the
first: to make all of them again would take as long as they took.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contract.geometry import as_3d
from ..inference import AttributionMap, EnsembleInference, Explained, SlidingWindowInference
from ..methods import Case, Method
from ..network.forward import forward_to_layers, frozen, require_finite, run_network
from ..preprocessing.trace import PreprocessingTrace
from ..progress import Step
from .similarity import SEED, Array, moved_pairs, random_maps, random_pairs

FEWEST_PLACES = 27
"""3 × 3 × 3: of fewer places no rank correlation says much."""


@dataclass(frozen=True)
class Subject:
    """One map to check.

    Attributes:
        method, case: what made it.
        heat: the map as the method made it, spatial, on the grid of its layer or the network's input.
        spacing: mm from one of its places to the next, an axis each.
        part: which part of the whole it is, in words; empty where it is the whole.
        step: progress; raising from it ends the check.
        kept: what a check leaves for the user, by name, on the grid of this map; only of a map that is the whole.
    """

    method: Method
    case: Case
    heat: Array
    spacing: tuple[float, ...]
    part: str = ""
    step: Step = lambda number, count, words: None
    kept: dict[str, Array] = field(default_factory=dict)

    def changed(self, **changes: Any) -> Case:
        """The case with another network, image or objective; a new forward pass where it takes one."""
        case = dataclasses.replace(self.case, **changes, step=lambda number, count, words: self.step(0, 1, words))
        if "network" in changes or "image" in changes:
            case = dataclasses.replace(case, forward=forward_to_layers(case.network, case.image, case.layers))
        return case

    def heat_of(self, case: Case) -> Array:
        return as_array(self.method.compute(case))

    def answer(self, image: Tensor) -> Tensor:
        """The network's output for another image, without a graph."""
        with frozen(self.case.network), torch.no_grad():
            output = run_network(self.case.network, image.clone())
        require_finite(output, "The network's output in a check")
        return output

    def activation(self, case: Case) -> Tensor | None:
        """1×C×spatial of the layer on whose grid the map is; None where there is none."""
        found = [case.forward.activations[name] for name in case.layers if name in case.forward.tensors]
        return next((one for one in reversed(found) if tuple(one.shape[2:]) == self.heat.shape), None)

    def chance(self, other: Case | None = None) -> Array:
        """Correlations of random pairs: both of this case, or one of it and one of another."""
        own = self.activation(self.case)
        second = own if other is None else self.activation(other)
        if own is None or second is None:
            return moved_pairs(self.heat)
        return random_pairs(random_maps(own, SEED), random_maps(second, SEED + 1))

    @property
    def problem(self) -> str:
        """Why nothing can be told from this map, in words; empty where something can."""
        if self.heat.size < FEWEST_PLACES:
            return f"the map has {self.heat.size} places only; an earlier layer has more"
        if not np.ptp(self.heat) > 0:
            return "the map is the same everywhere"
        return ""


def as_array(values: Tensor) -> Array:
    """Double precision, on the CPU."""
    return values.detach().float().cpu().numpy().astype(np.float64)


def hottest_subject(
    method: Method,
    explained: Explained,
    maps: Sequence[AttributionMap | None],
    traces: Sequence[PreprocessingTrace],
    step: Step,
) -> Subject:
    """The map of the hottest piece, or window of it.

    Args:
        maps: one a piece, as they were made.
        traces: of the preprocessing, one a piece.
    """
    number = max(range(len(maps)), key=lambda n: float(one.values.max()) if (one := maps[n]) else -1.0)
    values, objective = maps[number], explained.objectives[number]
    assert values is not None and objective is not None  # some piece has the target
    inference, words = explained.inferences[number], []
    if len(maps) > 1:
        words.append(f"picture {number + 1} of {len(maps)}")
    if isinstance(inference, EnsembleInference):
        words.append(f"the first of {len(inference.members)} networks")
        inference = inference.members[0]
    spacing = traces[number].input_grid.spacing
    if isinstance(inference, SlidingWindowInference):
        words.append(f"the window of {inference.count} that holds most of the map")
        case = inference.hottest_case(method, explained.layers, explained.prediction, objective, values.values)
        if case.image.ndim < inference.image.ndim:  # slices of a volume
            spacing = np.delete(spacing, inference.inferer.spatial_dim)
        heat = as_array(method.compute(case))
    else:
        case = inference.case(explained.layers, explained.prediction, objective, step)
        again = isinstance(explained.inferences[number], EnsembleInference)
        heat = as_array(method.compute(case) if again else values.values)
    input_shape = as_3d(tuple(case.image.shape[2:]))[: heat.ndim]
    steps = [float(s) * n / m for s, n, m in zip(spacing, input_shape, heat.shape)]
    return Subject(method, case, heat, tuple(steps), ", ".join(words), step)

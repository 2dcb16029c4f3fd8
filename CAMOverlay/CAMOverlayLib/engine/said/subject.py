"""What is asked: the network's answer of every piece of the volume, and the way back of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..bundle.model import Model
from ..inference import Explained
from ..methods import Method
from ..preprocessing.inputs import NetworkInputs
from ..restore.plan import InversionPlan
from ..target.prediction import is_map


@dataclass(frozen=True)
class Subject:
    """One run of the network, with everything that led to it."""

    model: Model
    inputs: NetworkInputs
    plans: Sequence[InversionPlan]
    explained: Explained
    method: Method

    @property
    def is_voxelwise(self) -> bool:
        """The network says something of every voxel."""
        return is_map(self.explained.outputs[0])

    @property
    def sigmoid(self) -> bool:
        """Every class is a yes or no of its own."""
        return self.explained.prediction.activation == "sigmoid"

    @property
    def index(self) -> int:
        """Of the class that is explained."""
        return next(one.target.index for one in self.explained.objectives if one)

    @property
    def class_name(self) -> str:
        return self.explained.prediction.classes[self.index]

    def answers(self) -> Iterator[Tensor]:
        """The network's output of each piece: 1×K×spatial, without a graph."""
        return (output.detach() for output in self.explained.outputs)

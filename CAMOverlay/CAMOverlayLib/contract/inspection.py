"""What a model is, as ``inspect`` on the command line prints it and *List the layers* in the panel shows it."""

from __future__ import annotations

from dataclasses import dataclass

from .model import ModelSummary
from .records import JsonRecord


@dataclass(frozen=True)
class LayerInfo(JsonRecord):
    """A module of the network whose output has spatial extent.

    Attributes:
        name: as in ``named_modules()``, and ``number`` its place there.
        kind: its class.
        shape: C×spatial, as a map.
        stride: voxels of the network's input that one activation stands for, along each axis.
        receptive_field: voxels of the input that one activation depends on, along each axis; None where it depends on
            all of them, or that cannot be told.
        layout: how the network itself keeps it: ``channels first``, ``channels last``, ``tokens`` or ``tokens last``.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride: tuple[float, ...]
    receptive_field: tuple[int, ...] | None
    layout: str
    number: int

    @property
    def depth(self) -> int:
        """How far inside the network's tree of modules it is."""
        return self.name.count(".")


@dataclass(frozen=True)
class Inspection(JsonRecord):
    """What a model says of itself, and, where it may run, what it is made of.

    Attributes:
        summary: what is known before anybody trusts it.
        content_hash: of everything in it.
        transforms: names of the preprocessing's transforms.
        input_shape: C×spatial that the layers were looked at with.
        layers: in the order in which they run; empty of a compiled network, and of a bundle that is not trusted.
        default: name of the layer that is taken automatically, and ``stages`` the last of every resolution.
    """

    summary: ModelSummary
    content_hash: str
    transforms: tuple[str, ...] = ()
    input_shape: tuple[int, ...] = ()
    layers: tuple[LayerInfo, ...] = ()
    default: str = ""
    stages: tuple[str, ...] = ()

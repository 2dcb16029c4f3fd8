"""What stays warm between explanations, so that another class, method or layer is not another start.

Everything is kept under a key made of content: the bundle's files by size and time of change, the volume's voxels and
affine by hash. What changed in the slightest is therefore another thing, and the old one falls out when its place is
needed. A worker keeps one :class:`Memory` for its life; a single command needs none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from monai.transforms import Compose

from .activation import Pass
from .bundle import Bundle
from .layers import LayerTable
from .trail import Trail
from .volume import Volume

Kept = TypeVar("Kept")


class Shelf(Generic[Kept]):
    """The last few things that were made, by key."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._things: OrderedDict[Hashable, Kept] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The thing under this key, made now if it is not there. Room is made before, not after: things are large."""
        if key not in self._things:
            while len(self._things) >= self._places:
                self._things.popitem(last=False)
            self._things[key] = make()
        self._things.move_to_end(key)
        return self._things[key]

    def peek(self, key: Hashable) -> Kept | None:
        """The thing under this key if it is there."""
        return self._things.get(key)

    def clear(self) -> None:
        self._things.clear()

    def __len__(self) -> int:
        return len(self._things)


@dataclass(frozen=True)
class Model:
    """A trusted bundle that was evaluated: its chain, and its network with weights on a device."""

    key: Hashable
    bundle: Bundle
    chain: Compose
    network: torch.nn.Module


class Memory:
    """Evaluated bundles, preprocessed volumes, layer tables and the last forward pass."""

    def __init__(self) -> None:
        self._models: Shelf[Model] = Shelf(2)
        self._trails: Shelf[Trail] = Shelf(2)
        self._tables: Shelf[LayerTable] = Shelf(8)
        self._passes: Shelf[Pass] = Shelf(1)

    def model(self, folder: str, trust: bool, device: torch.device) -> Model:
        """A bundle's chain and network.

        Raises:
            BundleError, UntrustedBundleError, WeightsError
        """
        bundle = Bundle(folder, trust)
        bundle.require_trust()
        key = (str(bundle.folder), bundle.signature, str(device))

        def make() -> Model:
            self._passes.clear()  # of a network that is about to go
            return Model(key, bundle, bundle.preprocessing(), bundle.network(device))

        return self._models.get(key, make)

    def trail(self, model: Model, volumes: Sequence[Volume], make: Callable[[], Trail]) -> Trail:
        return self._trails.get((model.key, volumes_key(volumes)), make)

    def table(self, model: Model, image: torch.Tensor, make: Callable[[], LayerTable]) -> LayerTable:
        return self._tables.get((model.key, tuple(image.shape)), make)

    def forward(self, model: Model, volumes: Sequence[Volume], layers: Sequence[str], make: Callable[[], Pass]) -> Pass:
        """A forward pass cut at these layers, or one that was kept and is cut at more of them."""
        key = (model.key, volumes_key(volumes))
        kept = self._passes.peek(key)
        if kept is not None and not set(layers) <= set(kept.tensors):
            self._passes.clear()
        return self._passes.get(key, make)


def volumes_key(volumes: Sequence[Volume]) -> Hashable:
    """Voxels, type, shape and affine of each volume."""
    return tuple(v.content_key for v in volumes)


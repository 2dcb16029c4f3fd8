"""What stays warm between explanations, so that another class, method or layer is not another start.

Everything is kept under a key made of content: the bundle's files by size, number and times of change (that of the
file itself too, which cannot be set), the volume's voxels and
affine by hash. What changed in the slightest is therefore another thing, and the old one falls out when its place is
needed. A worker keeps one :class:`Cache` for its life; a single command needs none.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from threading import Thread
from typing import Generic, TypeVar

import torch

from ..contract.model import ModelSource
from ..contract.request import Request
from .bundle.model import Model
from .bundle.opened import open_model
from .geometry.volume import Volume
from .inference import Inference
from .network.layers import LayerTable
from .preprocessing.inputs import Examine, NetworkInputs, prepare
from .progress import Step

Kept = TypeVar("Kept")


class LruCache(Generic[Kept]):
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


class Cache:
    """Evaluated bundles, preprocessed volumes, layer tables and the last forward pass."""

    def __init__(self) -> None:
        self._models: LruCache[Model] = LruCache(2)
        self._prepared: LruCache[NetworkInputs] = LruCache(2)
        self._tables: LruCache[LayerTable] = LruCache(8)
        self._applied: LruCache[list[Inference]] = LruCache(1)

    def model(self, source: ModelSource, device: torch.device) -> Model:
        """A model's chain and network; with a hash of what is trusted only if that is the hash of its content.

        Raises:
            BundleError, UntrustedBundleError, WeightsError
        """
        opened = open_model(source)
        opened.require_trust()

        def make() -> Model:
            self._applied.clear()  # of a network that is about to go
            return replace(opened.model(device), hashed=_Aside(opened.hash_if_readable))

        return self._models.get((opened.identity, str(device)), make)

    def forget_volumes(self) -> None:
        """Let go of what belongs to volumes; the model, and what is known of its layers, stay. For whoever goes from
        volume to volume and comes back to none."""
        self._prepared.clear()
        self._applied.clear()

    def prepared(
        self, model: Model, volumes: Sequence[Volume], slices: str | None, make: Callable[[], NetworkInputs]
    ) -> NetworkInputs:
        return self._prepared.get((model.identity, volumes_identity(volumes), slices), make)

    def inputs(
        self, model: Model, volumes: Sequence[Volume], request: Request, step: Step, examine: Examine
    ) -> NetworkInputs:
        """What the chain makes of the volumes; kept unless every step's image is wanted."""
        keep_images = request.intermediates_folder is not None

        def through_chain() -> NetworkInputs:
            return prepare(model, volumes, request.output_folder, request.slices, keep_images, step, examine)

        return through_chain() if keep_images else self.prepared(model, volumes, request.slices, through_chain)

    def table(self, model: Model, sample: torch.Tensor, make: Callable[[], LayerTable]) -> LayerTable:
        return self._tables.get((model.key, tuple(sample.shape)), make)

    def applied(
        self,
        model: Model,
        volumes: Sequence[Volume],
        slices: str | None,
        amp: bool,
        make: Callable[[], list[Inference]],
    ) -> list[Inference]:
        """The network applied to every piece of the volumes; each keeps what it can use again."""
        return self._applied.get((model.key, volumes_identity(volumes), slices, amp), make)


def volumes_identity(volumes: Sequence[Volume]) -> Hashable:
    """Voxels, type, shape and affine of each volume."""
    return tuple(v.voxel_hash for v in volumes)


class _Aside:
    """A text that a thread of its own works out while the run goes on: gigabytes of weights take seconds to hash."""

    def __init__(self, work: Callable[[], str]) -> None:
        self._work, self._value = work, ""
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def __call__(self) -> str:
        self._thread.join()
        return self._value

    def _run(self) -> None:
        self._value = self._work()

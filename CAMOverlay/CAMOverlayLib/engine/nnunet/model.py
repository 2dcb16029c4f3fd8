"""An nnU-Net v2 model that was read but not evaluated, and the evaluated one: no trust is needed for either."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from monai.transforms import Compose

from ...contract.errors import BundleError
from ...contract.model import ModelSource, ModelSummary
from ...contract.nnunet_folder import TrainedFolder, find_trained
from ...contract.nnunet_plans import Plans, read_plans, summary_of, trained_with
from ..bundle.model import Model
from ..bundle.opened import OpenedModel
from .network import build_network, load_network, read_checkpoint
from .preprocessing import chain_of
from .windows import NnunetWindows, SlicewiseWindows


class NnunetModel(OpenedModel):
    """A trained folder of nnU-Net v2, one above it, or an archive.

    Args:
        source: where it lies; its ``configs`` may name a configuration, a fold, ``all_folds`` and ``mirroring``.

    Raises:
        BundleError, WeightsError: there is no such model.
    """

    def __init__(self, source: ModelSource) -> None:
        super().__init__(source)
        self.trained = self._find()

    def _find(self) -> TrainedFolder:
        return find_trained(self.path, self.source.configs)

    @cached_property
    def _checkpoint(self) -> Mapping[str, Any]:
        """Of the first fold."""
        return read_checkpoint(self.trained.checkpoints[0])

    @cached_property
    def plans(self) -> Plans:
        """Of the configuration that the checkpoint says it was trained with, whatever the folder is called."""
        return read_plans(self.trained.folder, trained_with(self._checkpoint) or self.trained.configuration)

    @cached_property
    def summary(self) -> ModelSummary:
        return summary_of(self.trained, self.plans)

    @property
    def home(self) -> str:
        return ""  # nothing of it is imported

    def require_explainable(self) -> None:
        self.require_trust()

    def model(self, device: torch.device) -> Model:
        self.require_trust()
        networks = [self._network(number, device) for number in range(len(self.trained.folds))]
        return Model(
            identity=self.identity,
            device=str(device),
            folder=str(self.path),
            info=self.info,
            network=networks[0],
            chain=self.preprocessing(),
            inferer=self.inferer(),
            multilabel=self.plans.regions,
            others=tuple(networks[1:]),
            notes=self._notes(),
            home=self.home,
            mirror_axes=tuple(self._flat + axis for axis in self._trained_mirroring()),
        )

    def preprocessing(self) -> Compose:
        return chain_of(self.plans)

    def network(self, device: torch.device) -> torch.nn.Module:
        """The network of the first of the folds that were asked for."""
        return self._network(0, device)

    def _network(self, number: int, device: torch.device) -> torch.nn.Module:
        path = self.trained.checkpoints[number]
        checkpoint = self._checkpoint if number == 0 else read_checkpoint(path)
        plans = self.plans
        place = self.trained.folder / "plans.json"
        network = build_network(plans.network, len(plans.channels), len(plans.classes), place)
        loaded = load_network(network, checkpoint, path, device)
        self.require_unchanged()
        return loaded

    def inferer(self) -> NnunetWindows:
        windows = SlicewiseWindows if self._flat else NnunetWindows
        return windows(self.plans.patch, self._mirrored() if self.trained.mirroring else ())

    @property
    def _flat(self) -> bool:
        """A 2-D network that gets the slices of a volume: the image has one axis before those of a window."""
        return self.plans.is_2d and self.plans.reader != "NaturalImage2DIO"

    def _trained_mirroring(self) -> tuple[int, ...]:
        """The axes of a window over which the training mirrored its images too."""
        axes, count = self._checkpoint.get("inference_allowed_mirroring_axes") or (), len(self.plans.patch)
        return tuple(axis for axis in map(int, axes) if 0 <= axis < count)

    def _mirrored(self) -> tuple[int, ...]:
        """The same.

        Raises:
            BundleError: there are none.
        """
        axes = self._trained_mirroring()
        if not axes:
            raise BundleError(
                f"'{self.trained.folder}' was trained without mirroring, so its answers cannot be averaged over "
                "mirrored images. Leave mirroring out.",
                setting="configs",
            )
        return axes

    def input_shape(self) -> tuple[int, ...]:
        return (len(self.plans.channels), *self.plans.patch)

    def _notes(self) -> tuple[str, ...]:
        there, taken = self.trained.all_folds, self.trained.folds
        if len(there) == len(taken):
            return ()
        return (
            f"{taken[0].replace('_', ' ').capitalize()} of {len(there)} was explained; nnU-Net itself averages all of "
            "them.",
        )

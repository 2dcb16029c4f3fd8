"""A network that Auto3DSeg trained, evaluated: a checkpoint of SegResNet, or a fold with configurations.

Where it lies and what it says is :mod:`CAMOverlayLib.contract.auto3dseg_files`; the order of its preprocessing is
:mod:`.auto3dseg_chain`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SlidingWindowInferer
from monai.transforms import Compose

from ...contract import auto3dseg_files
from ...contract.auto3dseg_config import Settings
from ...contract.bundle_metadata import whole_number
from ...contract.errors import BundleError, CAMOverlayError, WeightsError, root_cause
from ...contract.model import ModelSource, ModelSummary
from ...contract.model_kinds import model_path
from .auto3dseg_chain import IMAGE, chain_of
from .bundle import Bundle
from .compat import without_download
from .model import Model
from .needs import what_went_wrong
from .opened import OpenedModel
from .weights import load_weights, require_finite_weights

OVERLAP = 0.625
"""Of neighbouring windows, with Gaussian weights: of the Slicer extension and of Auto3DSeg's own inference."""


class Auto3DSegModel(OpenedModel):
    """A ``model.pt`` of SegResNet, with its configuration in it.

    Its definition is a class of MONAI with plain values, unless the summary says otherwise; then nothing of it can run
    code, and it needs no trust.
    """

    home = ""  # it has no modules of its own, and nothing beside it may be taken for one

    @cached_property
    def summary(self) -> ModelSummary:
        auto3dseg_files.refuse_configs(self.path, self.source.configs)
        return auto3dseg_files.summary_of(self.checkpoint, self.settings)

    @cached_property
    def checkpoint(self) -> auto3dseg_files.Checkpoint:
        return auto3dseg_files.find_checkpoint(self.path)

    @cached_property
    def settings(self) -> Settings:
        return auto3dseg_files.read_settings(self.checkpoint)

    @property
    def identity(self) -> Hashable:
        """With the names of the classes, which may lie beside the file."""
        return (super().identity, self.info.classes)

    def require_explainable(self) -> None:
        self.require_trust()

    def model(self, device: torch.device) -> Model:
        return Model(
            identity=self.identity,
            device=str(device),
            folder=str(self.path),
            home=self.home,
            info=self.info,
            network=self.network(device),
            chain=self.preprocessing(),
            inferer=self.inferer(),
            image_key=IMAGE,
            multilabel=self.settings.sigmoid,
        )

    def preprocessing(self) -> Compose:
        self.require_trust()
        return chain_of(self.settings, self.checkpoint.as_trained)

    def network(self, device: torch.device) -> torch.nn.Module:
        """The network in eval mode, in which deep supervision answers with the finest output alone."""
        self.require_trust()
        network = self._bare_network()
        load_weights(network, self.checkpoint.path)
        require_finite_weights(network, self.checkpoint.path)
        self.require_unchanged()
        return network.to(device).eval()

    def _bare_network(self) -> torch.nn.Module:
        definition = self.settings.network
        try:
            with without_download():  # the checkpoint's weights replace what it would fetch
                network = ConfigParser({"network": definition}).get_parsed_content("network")
        except CAMOverlayError:
            raise
        except Exception as error:  # whatever a class says to its arguments
            said = what_went_wrong(root_cause(error)).rstrip(".")
            raise BundleError(
                f"The network {definition['_target_']} in '{self.checkpoint.path}' cannot be built: {said}. Give a "
                "checkpoint of a version of MONAI that this one can read."
            ) from error
        if not isinstance(network, torch.nn.Module):
            raise BundleError(
                f"'network' in '{self.checkpoint.path}' is a {type(network).__name__}, not a network. Give a checkpoint"
                " that Auto3DSeg wrote."
            )
        return network

    def inferer(self) -> Inferer:
        """Windows; MONAI's ``SlidingWindowInfererAdapt``, which the originals use, computes the same and differs in
        what it does where memory ends."""
        self.require_trust()
        return SlidingWindowInferer(self.settings.roi_size, sw_batch_size=1, overlap=OVERLAP, mode="gaussian")

    def input_shape(self) -> tuple[int, ...]:
        return (len(self.settings.inputs), *self.settings.roi_size)


class Auto3DSegFold(Bundle):
    """A fold of SwinUNETR or DiNTS: configurations with expressions, evaluated as a bundle's are.

    Windows are those of its ``scripts/infer.py`` (github.com/Project-MONAI/research-contributions,
    auto3dseg/algorithm_templates/swinunetr), which no configuration describes.
    """

    def __init__(self, source: ModelSource) -> None:
        folder = model_path(source.path)
        super().__init__(dataclasses.replace(source, configs=auto3dseg_files.fold_configs(folder)))

    @cached_property
    def summary(self) -> ModelSummary:
        return auto3dseg_files.summarise_fold(self.path)

    def _evaluated_of(self, *names: str) -> Any:
        """The first of some settings, wherever versions of Auto3DSeg keep it; None where none is there."""
        for name in names:
            for key in (name, f"training#{name}"):
                if self._has(key):
                    return self._evaluate(key)
        return None

    def inferer(self) -> Inferer:
        size = self._evaluated_of("patch_size_valid", "patch_size")
        if not isinstance(size, (list, tuple)) or not all(whole_number(n) for n in size):
            raise BundleError(
                f"The fold '{self.path}' has {str(size)[:80]!r} as 'patch_size_valid'; the sizes of a window are "
                "needed. Give a fold that was trained."
            )
        overlap = self._evaluated_of("overlap_ratio_final", "overlap_ratio")
        batch = whole_number(self._evaluated_of("num_sw_batch_size")) or 1
        return SlidingWindowInferer(
            [int(n) for n in size],
            sw_batch_size=batch,
            overlap=OVERLAP if overlap is None else float(overlap),
            mode="gaussian",
        )

    def weights_file(self) -> Path:
        named = self._evaluated_of("infer#ckpt_name")
        found = sorted(self.path.glob("model_fold*/best_metric_model.pt"))
        path = Path(str(named)) if named is not None else None
        if path is not None and path.is_file():
            return path
        if len(found) != 1:
            raise WeightsError(
                f"The fold '{self.path}' has {len(found) or 'no'} model_fold*/best_metric_model.pt; one is needed. "
                "Train it, or give another fold."
            )
        return found[0]

    @property
    def is_multilabel(self) -> bool:
        return self._evaluated_of("softmax") is False

    def input_shape(self, otherwise: int = 96) -> tuple[int, ...]:
        window = self.inferer().roi_size  # type: ignore[attr-defined]
        return (self.info.channels or 1, *window)

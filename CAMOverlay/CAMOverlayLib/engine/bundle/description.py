"""A model that is not a bundle, as its user describes it: its parts, and what its arguments say of its sizes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...contract.bundle_content import PROGRAMS, SAFETENSORS
from ...contract.errors import BundleError, WeightsError
from .scripts import IN_FILE

TASKS = ("", "classification", "segmentation", "regression")

DEFAULT_CHAIN = (
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "EnsureTyped", "keys": "image"},
    {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
)
"""Where no chain is given. Spacing and size stay the volume's own: nothing says which ones the network knows."""


@dataclass(frozen=True)
class ModelDescription:
    """A model that is not a bundle.

    Attributes:
        network: class of the network: one of MONAI's (``DenseNet121``), with its package (``my_package.nets.MyNet``),
            or in a Python file (``path/to/file.py:MyNet``); or a compiled one's (``.ts``, ``.pt2``), weights in it.
        arguments: of the network, as a configuration has them.
        weights: checkpoint file; None leaves the bundle without weights.
        preprocessing: YAML or JSON file with a list of transforms, a ``Compose``, or a key ``preprocessing`` beside
            others that it refers to, such as a bundle's configuration, of which ``inferer`` and ``postprocessing`` are
            taken too; None takes :data:`DEFAULT_CHAIN`.
        classes: names of the outputs in order; empty where they have none.
        channels: number of input channels, where the network's arguments do not say; or
        channel_names: their names in order.
        window: size of the sliding window; empty where the network takes the whole image.
        overlap: of neighbouring windows, as a share of the window.
        task: one of :data:`TASKS`; empty for classes, whether of the volume or of its voxels.
        multilabel: every output is a yes or no of its own (sigmoid).
        name: of the bundle; the network's class where empty.
    """

    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | str | None = None
    preprocessing: Path | str | None = None
    classes: tuple[str, ...] = ()
    channels: int | None = None
    channel_names: tuple[str, ...] = ()
    window: tuple[int, ...] = ()
    overlap: float = 0.25
    task: str = ""
    multilabel: bool = False
    name: str = ""

    @property
    def title(self) -> str:
        if self.name or not self.is_program:
            return self.name or re.split(r"[.:]", self.network)[-1]
        return Path(self.network).stem

    @property
    def weights_name(self) -> str:
        """The name of the weights in a bundle."""
        return f"model{SAFETENSORS}" if str(self.weights).endswith(SAFETENSORS) else "model.pt"

    @property
    def is_program(self) -> bool:
        return self.network.endswith(PROGRAMS)

    @property
    def input_count(self) -> int | None:
        shape = self.arguments.get("in_shape")  # of MONAI's Regressor and its like: channels × spatial
        if isinstance(shape, (list, tuple)) and shape and _is_count(shape[0]):
            return shape[0]
        return self._said("in_channels", "n_input_channels")

    @property
    def output_count(self) -> int | None:
        return len(self.classes) or self._said("out_channels", "num_classes", "classes")

    @property
    def spatial_shape(self) -> list[int | str]:
        """The size that the arguments fix; otherwise a star for every axis, as far as they say how many there are."""
        arguments = self.arguments
        size, dimensions = arguments.get("img_size"), arguments.get("spatial_dims")
        if isinstance(arguments.get("in_shape"), (list, tuple)):
            size = arguments["in_shape"][1:]
        if isinstance(size, int) and isinstance(dimensions, int) and _is_count(size) and _is_count(dimensions):
            size = [size] * dimensions
        if not isinstance(size, (list, tuple)) or not all(map(_is_count, size)):
            size = self.window
        axes: list[int | str] = ["*"] * (dimensions if isinstance(dimensions, int) and _is_count(dimensions) else 0)
        return list(size) or axes

    @property
    def origin(self) -> str:
        """What the bundle was made of, without the folders of the machine where that was."""
        weights = f"the weights {Path(self.weights).name}" if self.weights is not None else "no trained weights"
        given = self.preprocessing
        chain = f"the transforms of {Path(given).name}" if given is not None else "assumed transforms"
        network = f"{Path(m['file']).name}:{m['name']}" if (m := IN_FILE.fullmatch(self.network)) else self.network
        return f"{network} with {weights} and {chain}"

    def check(self) -> None:
        """
        Raises:
            BundleError, WeightsError: this describes no model, or its weights are not there.
        """
        dotted = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", self.network) and not self.network.endswith(".py")
        if self.is_program:
            if not os.path.isfile(os.path.expanduser(self.network)):
                raise WeightsError(f"The network '{self.network}' does not exist. Give the file of a compiled network.")
            if self.arguments or self.weights is not None:
                raise BundleError(f"'{self.network}' is network and weights in one. Leave arguments and weights out.")
        elif not dotted and not IN_FILE.fullmatch(self.network):
            raise BundleError(
                f"'{self.network}' does not name a network. Give one of MONAI's (DenseNet121), a class with its "
                "package (my_package.nets.MyNet), or one in a Python file (path/to/file.py:MyNet)."
            )
        if not isinstance(self.arguments, Mapping):
            raise BundleError(
                f"The network's arguments are a {type(self.arguments).__name__}, an object is needed, such as "
                '{"spatial_dims": 3, "in_channels": 1, "out_channels": 2}.'
            )
        if self.task not in TASKS:
            raise BundleError(f"There is no task '{self.task}'. Give one of {', '.join(filter(None, TASKS))}.")
        if self.weights is not None and not os.path.isfile(os.path.expanduser(self.weights)):
            raise WeightsError(f"The weights '{self.weights}' do not exist. Give the file with the network's weights.")
        if not all(isinstance(n, int) and n > 0 for n in self.window) or not 0 <= self.overlap < 1:
            raise BundleError(
                f"A window of {self.window} that overlaps by {self.overlap} cannot slide. "
                "Give its size in voxels, such as 96,96,96, and an overlap of 0 or more and less than 1."
            )
        _check_names("classes", "outputs", self.classes, self._said("out_channels", "num_classes", "classes"))
        _check_names("channels", "input channels", self.channel_names, self._said("in_channels", "n_input_channels"))

    def _said(self, *keys: str) -> int | None:
        """A count that the arguments of one of MONAI's networks give; what another network's mean is not known."""
        if IN_FILE.fullmatch(self.network) or not (self.network.startswith("monai.") or "." not in self.network):
            return None
        return next((n for key in keys if _is_count(n := self.arguments.get(key))), None)


def _check_names(what: str, of: str, names: tuple[str, ...], count: int | None) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BundleError(f"The {what} name '{twice[0]}' more than once. Give every one a name of its own.")
    if names and count is not None and len(names) != count:
        raise BundleError(
            f"{len(names)} {what} are named ({', '.join(names)}), but the network's arguments give it {count} {of}. "
            "Name as many as there are."
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0

"""How an Auto3DSeg network of SegResNet is to be used: what the configuration in its checkpoint says, checked.

The names are those of Auto3DSeg's template ``segresnet`` (``hyper_parameters.yaml`` and ``scripts/segmenter.py`` in
github.com/Project-MONAI/research-contributions, auto3dseg/algorithm_templates), which writes them into the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bundle_metadata import MOST, whole_number
from .errors import BundleError

RANGES = ("range", "ct")
"""Modes of normalisation that need ``intensity_bounds``."""
MODES = ("none", *RANGES, "meanstd", "mri", "meanstdtanh", "pet")


@dataclass(frozen=True)
class Settings:
    """What a checkpoint's configuration says of network, preprocessing and windows.

    Attributes:
        network: its definition, as MONAI's configurations write it (``_target_`` and arguments).
        inputs: names of the input channels, the main image first.
        modes: how each is normalised (:data:`MODES`); one for all where they are one image of several channels.
        stacked: several channels are one image, as with BraTS.
        outputs: channels of the answer.
        bounds: intensities that become −1 and 1.
        orientation_ras, crop_foreground: whether that is done.
        resample: it was trained on images resampled to ``resolution`` (mm).
        roi_size: of a window, in voxels.
        sigmoid: every output is a yes or no of its own.
        class_names: of all outputs, or of all but the background; empty where the training had none.
        modality: such as ``ct``.
    """

    network: dict[str, Any]
    inputs: tuple[str, ...]
    modes: tuple[str, ...]
    stacked: bool
    outputs: int
    bounds: tuple[float, float]
    orientation_ras: bool
    crop_foreground: bool
    resample: bool
    resolution: tuple[float, ...] | None
    roi_size: tuple[int, ...]
    sigmoid: bool
    class_names: tuple[str, ...]
    modality: str


def settings_of(config: Any, path: Path) -> Settings:
    """The settings in a checkpoint's ``config``.

    Args:
        path: of the checkpoint, for the errors.

    Raises:
        BundleError: a setting is missing, or is no such setting.
    """
    read = _Read(config, path)
    network = read.network()
    extra = read.extra_modalities()
    channels = read.count("input_channels", network.get("in_channels"))
    mode = read.mode("normalize_mode", config.get("normalize_mode"))
    stacked = channels > 1 and not extra
    names = tuple(f"image {n + 1}" for n in range(channels)) if stacked else ("image", *extra)
    if len(names) != channels:
        raise read.wrong("extra_modalities", tuple(extra), f"names of the {channels} input channels but the first")
    modes = (mode, *(read.mode("extra_modalities", value) for value in extra.values()))
    resolution = config.get("resample_resolution")
    return Settings(
        network=network,
        inputs=names,
        modes=modes,
        stacked=stacked,
        outputs=read.count("output_classes", network.get("out_channels")),
        bounds=read.bounds(any(mode in RANGES for mode in modes)),
        orientation_ras=read.flag("orientation_ras", False),
        crop_foreground=read.flag("crop_foreground", True),
        resample=read.flag("resample", False),
        resolution=None if resolution is None else read.numbers("resample_resolution", 3, 0.01),
        roi_size=tuple(int(n) for n in read.numbers("roi_size", 3, 1)),
        sigmoid=read.flag("sigmoid", False),
        class_names=_class_names(config.get("class_names")),
        modality=str(config.get("modality", ""))[:20],
    )


_HUGE = 1e9
"""No intensity, and no size of a window, is as large."""


class _Read:
    """A configuration, and how what is wrong in it is told."""

    def __init__(self, config: Any, path: Path) -> None:
        self._path = path
        if not isinstance(config, Mapping):
            raise BundleError(
                f"'{path}' has no configuration: 'config' is a {type(config).__name__}. Give a checkpoint that "
                "Auto3DSeg wrote."
            )
        self._config = config

    def wrong(self, name: str, found: Any, wanted: str) -> BundleError:
        return BundleError(
            f"The configuration in '{self._path}' has {str(found)[:80]!r} as '{name}'; {wanted} is needed. Give a "
            "checkpoint that Auto3DSeg's SegResNet wrote."
        )

    def network(self) -> dict[str, Any]:
        found = self._config.get("network")
        if not isinstance(found, dict) or not isinstance(found.get("_target_"), str):
            kind = "nothing" if found is None else f"a {type(found).__name__}"
            raise self.wrong("network", kind, "the definition of a network ('_target_' and arguments)")
        network = {key: _followed(value, self._config) for key, value in found.items()}
        norm = network.get("norm")
        name = norm[0] if isinstance(norm, (list, tuple)) and norm else norm
        if isinstance(name, str) and name.upper() == "INSTANCE_NVFUSER":  # the same, faster, with NVIDIA's apex only
            network["norm"] = ["INSTANCE", *norm[1:]] if isinstance(norm, (list, tuple)) else "INSTANCE"
        return network

    def extra_modalities(self) -> dict[str, Any]:
        found = self._config.get("extra_modalities") or {}
        if not isinstance(found, Mapping) or not all(isinstance(key, str) and key.isidentifier() for key in found):
            raise self.wrong("extra_modalities", type(found).__name__, "a mapping of names to modes")
        return dict(found)

    def count(self, name: str, otherwise: Any) -> int:
        found = self._config.get(name)
        number = whole_number(otherwise if found is None else found)
        if number is None or not 1 <= number <= MOST:
            raise self.wrong(name, found, f"a number from 1 to {MOST}")
        return number

    def mode(self, name: str, found: Any) -> str:
        if not isinstance(found, str) or found not in MODES:
            raise self.wrong(name, found, f"one of {', '.join(MODES)}")
        return found

    def flag(self, name: str, otherwise: bool) -> bool:
        found = self._config.get(name, otherwise)
        if not isinstance(found, (bool, int, type(None))):
            raise self.wrong(name, found, "true or false")
        return bool(found)

    def bounds(self, needed: bool) -> tuple[float, float]:
        if not needed or self._config.get("intensity_bounds") is None:
            return (-250.0, 250.0)  # what Auto3DSeg assumes; unused in the other modes
        low, high = self.numbers("intensity_bounds", 2, -_HUGE)
        if low >= high:
            raise self.wrong("intensity_bounds", [low, high], "a lower and a higher intensity")
        return low, high

    def numbers(self, name: str, count: int, least: float) -> tuple[float, ...]:
        found = self._config.get(name)
        items = list(found) if isinstance(found, (list, tuple)) else []
        good = all(isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) < _HUGE for n in items)
        if len(items) != count or not good or min(items) < least:
            limit = f", none below {least:g}," if least > 0 else ""
            raise self.wrong(name, found, f"a list of {count} numbers{limit}")
        return tuple(float(n) for n in items)


def _followed(value: Any, config: Mapping[str, Any]) -> Any:
    """A plain reference within the configuration (``@input_channels``) is what it refers to, if that is a number."""
    there = config.get(value[1:]) if isinstance(value, str) and value.startswith("@") else None
    return there if isinstance(there, int) else value


def _class_names(given: Any) -> tuple[str, ...]:
    """Names, from a list of names or of ``{"name": …, "index": …}``; Auto3DSeg's own ``acc_0`` … are none."""
    names = [item.get("name") if isinstance(item, Mapping) else item for item in given] if _is_list(given) else []
    if not all(isinstance(name, str) and name.strip() for name in names) or len(names) > MOST:
        return ()
    if all(name == f"acc_{number}" for number, name in enumerate(names)):
        return ()
    return tuple(str(name) for name in names)


def _is_list(given: Any) -> bool:
    return isinstance(given, (list, tuple))

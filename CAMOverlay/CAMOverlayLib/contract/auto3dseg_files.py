"""Networks that MONAI's Auto3DSeg trained: how they lie on disk, and what they say of themselves before they run.

A network of SegResNet is one file, ``model.pt``, with weights and configuration (:mod:`.auto3dseg_config`). It lies

- in a folder of its own, often with ``labels.csv`` beside it, as the Slicer extension MONAIAuto3DSeg downloads it
  (github.com/lassoan/SlicerMONAIAuto3DSeg), or
- as ``model/model.pt`` in the folder of a fold, ``segresnet_0``, as Auto3DSeg's output has it.

Folds of other algorithms (``swinunetr_0``, ``dints_0``) keep configurations with expressions beside their weights,
which are programs as those of bundles are. Algorithms that Auto3DSeg pickled (``algo_object.pkl``) are never opened.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bundle_files, plain_parts
from .auto3dseg_config import Settings, settings_of
from .bounded import read_text, read_values
from .bundle_metadata import MOST, names_by_index, whole_number
from .checkpoint import read_checkpoint
from .errors import BundleError
from .model import Code, ModelInfo, ModelSummary, shown

KIND = "MONAI Auto3DSeg model"
FOLD_KIND = "MONAI Auto3DSeg fold"
HYPER_PARAMETERS = Path("configs", "hyper_parameters.yaml")
FOLD_CONFIGS = ("configs/hyper_parameters.yaml", "configs/network.yaml", "configs/transforms_infer.yaml")
"""Of a fold whose algorithm is not SegResNet, in the order in which they are read."""
OTHERS = ("plans.json", "dataset.json", "metadata.json")
"""Files that say that a folder is something else: of nnU-Net, and of bundles."""


@dataclass(frozen=True)
class Checkpoint:
    """A ``model.pt`` of SegResNet.

    Attributes:
        path: the file.
        as_trained: it lies in the folder of its fold, and is used as Auto3DSeg's own inference uses it; otherwise as
            the Slicer extension does, in another order of steps.
        name: the model's name.
    """

    path: Path
    as_trained: bool
    name: str


# Which of them it is --------------------------------------------------------------------------------------------------


def recognises(path: Path) -> bool:
    """A checkpoint, a folder that holds one, a fold of SegResNet, or the folder above folds; by names alone."""
    if path.suffix == ".pt" and os.path.isfile(path):
        return True
    if not os.path.isdir(path) or _is_other(path):
        return False
    return os.path.isfile(path / "model.pt") or _is_segresnet_fold(path) or bool(_models_below(path))


def recognises_fold(path: Path) -> bool:
    """A fold of another algorithm, with its configurations; by names alone."""
    return (
        os.path.isdir(path)
        and not _is_other(path)
        and all(os.path.isfile(path / name) for name in FOLD_CONFIGS[::2])
        and not _is_segresnet_fold(path)
    )


def _is_other(folder: Path) -> bool:
    if any(os.path.isfile(folder / place / name) for name in OTHERS for place in ("", "configs")):
        return True
    configs = folder / "configs"
    return any(os.path.isfile(configs / f"{name}{end}") for name in bundle_files.MAIN for end in bundle_files.SUFFIXES)


def _is_segresnet_fold(folder: Path) -> bool:
    return os.path.isfile(folder / HYPER_PARAMETERS) and (
        os.path.isfile(folder / "model" / "model.pt") or not os.path.isfile(folder / FOLD_CONFIGS[2])
    )


def _models_below(folder: Path) -> list[str]:
    """Names of the folders in a folder that are folds, or hold a model with its labels."""
    try:
        names = sorted(os.listdir(folder))[:1000]
    except OSError:
        return []
    return [
        name
        for name in names
        if os.path.isfile(folder / name / HYPER_PARAMETERS)
        or all(os.path.isfile(folder / name / file) for file in ("model.pt", "labels.csv"))
    ]


def find_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint of a path that :func:`recognises` takes.

    Raises:
        BundleError: it is the folder above models, or of a fold that was not trained to the end.
    """
    if os.path.isfile(path):
        return Checkpoint(path, False, _name_of(path.parent))
    if os.path.isfile(path / "model.pt"):
        return Checkpoint(path / "model.pt", False, _name_of(path))
    if os.path.isfile(path / HYPER_PARAMETERS):
        file = path / "model" / "model.pt"
        if not os.path.isfile(file):
            found = ", ".join(sorted(os.listdir(path))[:10])
            raise BundleError(
                f"'{path}' is a fold of Auto3DSeg without a trained network: it has no model/model.pt (found: {found})."
                " Train it, or give another fold."
            )
        return Checkpoint(file, True, path.name)
    below = _models_below(path)
    raise BundleError(
        f"'{path}' is not a model but holds some: {shown(', '.join(below), 300)}. Give one of these folders."
    )


def _name_of(folder: Path) -> str:
    """``segresnet_0`` for its folder ``model``."""
    return folder.parent.name if folder.name == "model" else folder.name


# What it says of itself -----------------------------------------------------------------------------------------------


def read_settings(checkpoint: Checkpoint) -> Settings:
    """The configuration in a checkpoint.

    Raises:
        BundleError, WeightsError: it cannot be read, or it is not one of Auto3DSeg.
    """
    content = read_checkpoint(checkpoint.path)
    if missing := [key for key in ("config", "state_dict") if not isinstance(content.get(key), Mapping)]:
        found = ", ".join(map(str, list(content)[:6])) or "nothing"
        raise BundleError(
            f"'{checkpoint.path}' is not a network of Auto3DSeg: a checkpoint with 'config' and 'state_dict' is looked "
            f"for, and '{missing[0]}' is not there (found: {shown(found, 200)}). For weights alone name their network "
            "and preprocessing, or give the bundle that they belong to."
        )
    config = content["config"]
    for name in ("custom_data_transforms", "sliding_inferrer") if checkpoint.as_trained else ():
        if config.get(name):
            raise BundleError(
                f"The fold of '{checkpoint.path}' was trained with '{name}' of its own, which is code beside the "
                "checkpoint. Make it a MONAI bundle to have it explained."
            )
    return settings_of(config, checkpoint.path)


def summarise(path: Path, configs: Sequence[str] = ()) -> ModelSummary:
    """What a checkpoint of SegResNet says of itself.

    Raises:
        BundleError, WeightsError: it cannot be read, or it is not one of Auto3DSeg.
    """
    refuse_configs(path, configs)
    checkpoint = find_checkpoint(path)
    return summary_of(checkpoint, read_settings(checkpoint))


def summary_of(checkpoint: Checkpoint, settings: Settings) -> ModelSummary:
    """The same of settings that were read: what is judged here is then what is built.

    Raises:
        BundleError: its ``labels.csv`` is not a table of labels.
    """
    components, expressions = plain_parts.needs_trust({"network": settings.network})
    code = Code(tuple(map(shown, components)), tuple(map(shown, expressions)), ())
    return ModelSummary(KIND, _info(checkpoint, settings), code, needs_trust=bool(components or expressions))


def refuse_configs(path: Path, configs: Sequence[str]) -> None:
    """Raise BundleError where configurations are named, which only a bundle has."""
    if configs:
        raise BundleError(
            f"'{path}' has its configuration in its checkpoint; '{shown(configs[0], 100)}' belongs to a MONAI bundle. "
            "Leave it out.",
            setting="configs",
        )


def _info(checkpoint: Checkpoint, settings: Settings) -> ModelInfo:
    name, _, version = checkpoint.name.rpartition("-v")
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        name, version = checkpoint.name, ""
    return ModelInfo(
        name=name,
        version=version,
        task=f"{settings.modality.upper()} segmentation".strip(),
        channels=len(settings.inputs),
        channel_names=settings.inputs,
        spatial_shape=settings.roi_size,
        classes=_classes(checkpoint, settings),
    )


def _classes(checkpoint: Checkpoint, settings: Settings) -> tuple[str, ...]:
    """Names of the outputs. ``labels.csv`` names labels of the finished segmentation, which are the outputs unless each
    of these is a yes or no of its own."""
    names = dict(enumerate(settings.class_names))
    if not settings.sigmoid:
        if len(names) == settings.outputs - 1:  # all but the background
            names = {number + 1: name for number, name in names.items()}
        names |= read_labels(checkpoint.path.parent / "labels.csv")
    found = names_by_index({number: name for number, name in names.items() if number < settings.outputs})
    if not found:
        return ()
    first = "class 0" if settings.sigmoid else "background"
    return tuple(found.get(n, first if n == 0 else f"class {n}") for n in range(settings.outputs))


def read_labels(path: Path) -> dict[int, str]:
    """Label value → name, from the columns ``LabelValue`` and ``Name`` of a ``labels.csv``; empty where there is none.

    Raises:
        BundleError: it is not such a table.
    """
    if not os.path.isfile(path):
        return {}
    try:
        rows = csv.DictReader(read_text(path).removeprefix("\ufeff").splitlines())
        names = {whole_number(row.get("LabelValue")): row.get("Name") for row in rows}
    except csv.Error as error:
        raise BundleError(f"'{path}' cannot be read as a table: {error}. Correct it, or take it away.") from error
    if not names or not all(n is not None and 0 <= n < MOST and name for n, name in names.items()):
        raise BundleError(
            f"'{path}' is not a table of labels: every row needs a number under LabelValue and a Name. Correct it, or "
            "take it away."
        )
    return {n: str(name) for n, name in names.items() if n is not None}


# Folds of other algorithms --------------------------------------------------------------------------------------------


def fold_configs(folder: Path) -> tuple[str, ...]:
    """The configurations that a fold has, relative to its folder."""
    return tuple(name for name in FOLD_CONFIGS if os.path.isfile(folder / name))


def summarise_fold(folder: Path, configs: Sequence[str] = ()) -> ModelSummary:
    """What a fold with configurations says of itself; they are programs, so it needs trust.

    Raises:
        BundleError: they cannot be read.
    """
    files = tuple(folder / name for name in fold_configs(folder))
    code = bundle_files.code_of(folder, bundle_files.read_configs(folder, files))
    said = read_values(folder / HYPER_PARAMETERS)
    said = said if isinstance(said, Mapping) else {}  # YAML without PyYAML says nothing
    training = said.get("training")
    training = training if isinstance(training, Mapping) else {}

    def value(name: str) -> Any:
        found = said.get(name)
        return training.get(name) if found is None else found

    channels, outputs = whole_number(value("input_channels")), whole_number(value("output_classes"))
    window = value("patch_size_valid")
    window = window if isinstance(window, (list, tuple)) and len(window) == 3 else ()
    names = names_by_index(value("class_names"))
    softmax = value("softmax") is not False
    if softmax and outputs is not None and len(names) == outputs - 1:
        names = {0: "background", **{number + 1: name for number, name in names.items()}}
    info = ModelInfo(
        name=folder.name,
        version="",
        task="segmentation",
        channels=channels if channels is not None and 1 <= channels <= MOST else None,
        channel_names=(),
        spatial_shape=tuple(n for n in map(whole_number, window) if n is not None),
        classes=tuple(names.get(n, f"class {n}") for n in range(max(names) + 1)) if names else (),
    )
    return ModelSummary(FOLD_KIND, info, code)

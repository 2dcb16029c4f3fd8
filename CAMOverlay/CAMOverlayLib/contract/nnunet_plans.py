"""What ``plans.json`` and ``dataset.json`` of an nnU-Net v2 model say, in the forms of all its versions.

Sources: nnU-Net's documentation of its plans files (https://github.com/MIC-DKFZ/nnUNet), and the files that its
versions 2.0 to 2.8 write. Spatial lists are in nnU-Net's own order of axes: K×J×I as its readers give an image, then
permuted by ``transpose_forward``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .bounded import read_values
from .checkpoint import read_checkpoint
from .errors import BundleError
from .model import Code, ModelInfo, ModelSummary
from .nnunet_folder import TrainedFolder, find_trained

KIND = "nnU-Net v2 model"
SCHEMES = (
    "ZScoreNormalization",
    "CTNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "NoNormalization",
)
READERS = ("SimpleITKIO", "NibabelIO", "SimpleITKIOWithReorient", "NibabelIOWithReorient", "NaturalImage2DIO")
RESAMPLERS = ("resample_data_or_seg_to_shape",)


@dataclass(frozen=True)
class Normalisation:
    """How one channel's values are brought to the range that the network was trained on.

    Attributes:
        scheme: one of :data:`SCHEMES`.
        masked: only where the image is not zero (holes filled).
        intensities: of the training set: ``mean``, ``std``, ``percentile_00_5``, ``percentile_99_5``.
    """

    scheme: str
    masked: bool = False
    intensities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Resampling:
    """nnU-Net's resampling: spline orders within slices and across them, and whether slices are resampled apart (None:
    where the spacing is anisotropic)."""

    order: int = 3
    order_across: int = 0
    slices_apart: bool | None = None


@dataclass(frozen=True)
class NetworkPlan:
    """A network as plans define it: its class, its arguments, and which of these are names of classes."""

    class_name: str
    arguments: Mapping[str, Any]
    names_of_classes: tuple[str, ...]


@dataclass(frozen=True)
class Plans:
    """One configuration of a model.

    Attributes:
        name: of the dataset.
        configuration: of the plans.
        reader: nnU-Net's reader, which decides how axes are turned.
        transpose: new axis n is axis ``transpose[n]`` of K×J×I.
        spacing: mm, three axes or two.
        patch: of the window, in voxels.
        normalisations: one a channel.
        resampling: of images.
        network: None where an old plan names another class than nnU-Net's own.
        channels: names of the input channels.
        classes: names of the outputs, in their order.
        regions: outputs overlap: each is a yes or no of its own.
    """

    name: str
    configuration: str
    reader: str
    transpose: tuple[int, ...]
    spacing: tuple[float, ...]
    patch: tuple[int, ...]
    normalisations: tuple[Normalisation, ...]
    resampling: Resampling
    network: NetworkPlan
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    regions: bool

    @property
    def is_2d(self) -> bool:
        return len(self.patch) == 2


def summarise(path: Path, chosen: tuple[str, ...] = ()) -> ModelSummary:
    """What an nnU-Net model says of itself.

    Raises:
        BundleError: there is none, or its files are not what nnU-Net writes.
        WeightsError: it has no weights.
    """
    trained = find_trained(path, chosen)
    configuration = trained.configuration or trained_with(read_checkpoint(trained.checkpoints[0]))
    return summary_of(trained, read_plans(trained.folder, configuration))


def trained_with(checkpoint: Mapping[str, Any]) -> str:
    """The configuration that a checkpoint says it was trained with; empty where it says none."""
    started = checkpoint.get("init_args")
    said = started.get("configuration") if isinstance(started, Mapping) else None
    return said if isinstance(said, str) else ""


def summary_of(trained: TrainedFolder, plans: Plans) -> ModelSummary:
    """The same of plans that were read."""
    folds = " and ".join(fold.replace("_", " ") for fold in trained.folds)
    of = f" of {len(trained.all_folds)}" if len(trained.all_folds) > len(trained.folds) else ""
    task = f"nnU-Net segmentation, configuration {plans.configuration}, {folds}{of}"
    info = ModelInfo(plans.name, "", task, len(plans.channels), plans.channels, plans.patch, plans.classes)
    return ModelSummary(KIND, info, Code((), (), ()), needs_trust=False)


def read_plans(folder: Path, configuration: str) -> Plans:
    """The plans of a trained folder.

    Args:
        configuration: its name; empty is the only one there.

    Raises:
        BundleError: a file is missing or not valid, or names what cannot be done here.
    """
    plans, dataset = _Values(folder / "plans.json"), _Values(folder / "dataset.json")
    name, values = _configuration(plans, configuration)
    patch = values.numbers("patch_size", int)
    channels = _channels(dataset)
    classes, regions = _heads(dataset)
    return Plans(
        name=str(plans.get("dataset_name", dataset.get("name", folder.parent.name))),
        configuration=name,
        reader=plans.one_of("image_reader_writer", READERS, "SimpleITKIO"),
        transpose=_permutation(plans),
        spacing=values.numbers("spacing", float, len(patch)),
        patch=patch,
        normalisations=_normalisations(plans, values, len(channels)),
        resampling=_resampling(values),
        network=_network(values, len(patch)),
        channels=channels,
        classes=classes,
        regions=regions,
    )


def class_names(folder: Path) -> tuple[str, ...]:
    """Names of the outputs of a trained folder, of which nothing else is read.

    Raises:
        BundleError: there is no ``dataset.json`` with labels.
    """
    return _heads(_Values(folder / "dataset.json"))[0]


class _Values:
    """A mapping from a file, whose entries are asked for by name and kind."""

    def __init__(self, path: Path, values: Any = None) -> None:
        self.path = path
        self.values = read_values(path) if values is None else values
        if not isinstance(self.values, dict):
            raise self.wrong("", self.values, "an object")

    def get(self, key: str, otherwise: Any = None) -> Any:
        value = self.values.get(key)
        return otherwise if value is None else value

    def require(self, key: str) -> Any:
        if self.values.get(key) is None:
            there = ", ".join(list(map(str, self.values))[:10])
            raise BundleError(
                f"'{self.path}' has no '{key}' (it has {there}), so it is not of a version of nnU-Net that is known "
                "here. Give a model of nnU-Net v2."
            )
        return self.values[key]

    def one_of(self, key: str, known: tuple[str, ...], otherwise: str) -> str:
        value = self.get(key, otherwise)
        if value not in known:
            raise BundleError(
                f"'{self.path}' names the {key} '{str(value)[:80]}', which cannot be done here; known are "
                f"{', '.join(known)}. Give a model that was trained with one of them."
            )
        return value

    def numbers(self, key: str, kind: type, count: int | None = None) -> tuple[Any, ...]:
        value = self.require(key)
        counts = (2, 3) if count is None else (count,)
        if not isinstance(value, list) or len(value) not in counts or not all(_is_positive(n, kind) for n in value):
            raise self.wrong(key, value, f"a list of {' or '.join(map(str, counts))} numbers above 0")
        return tuple(kind(n) for n in value)

    def wrong(self, key: str, value: Any, wanted: str) -> BundleError:
        where = f"'{key}' in '{self.path}'" if key else f"'{self.path}'"
        return BundleError(f"{where} is {str(value)[:80]}, and should be {wanted}. Copy the file again.")


def _is_positive(value: Any, kind: type) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value > 0 and value < 1e9 and (kind is float or float(value).is_integer())


def _configuration(plans: _Values, wanted: str) -> tuple[str, _Values]:
    """The name and the values of one configuration, with those that it inherits."""
    there = plans.require("configurations")
    if not isinstance(there, dict) or not there:
        raise plans.wrong("configurations", there, "an object of configurations")
    name = wanted or (next(iter(there)) if len(there) == 1 else "")
    if name not in there:
        raise BundleError(
            f"'{plans.path}' has no configuration '{name}'; it has {', '.join(map(str, there))}. Name one of them.",
            setting="configs",
        )
    line: list[str] = []
    merged: dict[str, Any] = {}
    parent: Any = name
    while isinstance(parent, str) and parent in there and parent not in line and isinstance(there[parent], dict):
        line.append(parent)
        merged = there[parent] | merged
        parent = there[parent].get("inherits_from")
    values = _Values(plans.path, merged)
    if before := values.get("previous_stage"):
        others = [str(one) for one in there if "cascade" not in str(one) and one != name]
        raise BundleError(
            f"Configuration '{name}' is the second stage of a cascade: it takes the segmentation of '{before}' as an "
            f"input, which an explanation has not. Take {' or '.join(others) or 'another configuration'} instead.",
            setting="configs",
        )
    return name, values


def _permutation(plans: _Values) -> tuple[int, ...]:
    order = plans.get("transpose_forward", [0, 1, 2])
    if not isinstance(order, list) or sorted(order, key=str) != [0, 1, 2]:
        raise plans.wrong("transpose_forward", order, "0, 1 and 2 in some order")
    return tuple(order)


def _channels(dataset: _Values) -> tuple[str, ...]:
    named = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(named, dict) or not named or len(named) > 64:
        raise dataset.wrong("channel_names", named, "an object of names by number")
    try:
        return tuple(str(named[key]) for key in sorted(named, key=int))
    except ValueError:
        raise dataset.wrong("channel_names", named, "an object of names by number") from None


def _heads(dataset: _Values) -> tuple[tuple[str, ...], bool]:
    """Names of the network's outputs, and whether they overlap."""
    labels = dataset.require("labels")
    if not isinstance(labels, dict) or not 0 < len(labels) <= 4096:
        raise dataset.wrong("labels", labels, "an object of numbers by name")
    if all(isinstance(value, str) for value in labels.values()):  # numbers to names, as version 1 had it
        labels = {name: int(number) for number, name in labels.items() if str(number).isdecimal()}
    named = {str(name): value for name, value in labels.items() if name != "ignore"}
    if any(isinstance(value, list) and len(value) > 1 for value in named.values()):
        return tuple(name for name, value in named.items() if value not in (0, [0])), True
    numbers = {name: value[0] if isinstance(value, list) and value else value for name, value in named.items()}
    if sorted(numbers.values(), key=str) != sorted(range(len(numbers)), key=str):
        raise dataset.wrong("labels", labels, "numbers from 0 without a gap")
    return tuple(sorted(numbers, key=numbers.__getitem__)), False


def _normalisations(plans: _Values, values: _Values, channels: int) -> tuple[Normalisation, ...]:
    schemes = values.require("normalization_schemes")
    masked = values.get("use_mask_for_norm", [False] * channels)
    told = plans.get(
        "foreground_intensity_properties_per_channel", plans.get("foreground_intensity_properties_by_modality", {})
    )
    if not isinstance(schemes, list) or len(schemes) != channels or not isinstance(masked, list):
        raise values.wrong("normalization_schemes", schemes, f"a list of {channels}, one a channel")
    found = []
    for number, scheme in enumerate(schemes):
        if scheme not in SCHEMES:
            raise BundleError(
                f"'{values.path}' normalises channel {number} by '{str(scheme)[:80]}', which is not known here; known "
                f"are {', '.join(SCHEMES)}. Give a model that was trained with one of them."
            )
        numbers = told.get(str(number), {}) if isinstance(told, dict) else {}
        intensities = {key: float(n) for key, n in numbers.items() if isinstance(n, (int, float))}
        wanted = {"mean", "std", "percentile_00_5", "percentile_99_5"}
        if scheme == "CTNormalization" and (missing := wanted - intensities.keys()):
            raise BundleError(
                f"'{plans.path}' lacks {', '.join(sorted(missing))} of channel {number}, which CTNormalization needs. "
                "Copy the file again."
            )
        found.append(Normalisation(scheme, len(masked) > number and bool(masked[number]), intensities))
    return tuple(found)


def _resampling(values: _Values) -> Resampling:
    values.one_of("resampling_fn_data", RESAMPLERS, RESAMPLERS[0])
    told = values.get("resampling_fn_data_kwargs", {})
    order, across, apart = told.get("order", 3), told.get("order_z", 0), told.get("force_separate_z")
    if order not in range(6) or across not in range(6) or apart not in (None, True, False):
        raise values.wrong("resampling_fn_data_kwargs", told, "spline orders from 0 to 5")
    return Resampling(order, across, apart)


def _network(values: _Values, dimensions: int) -> NetworkPlan:
    """The definition in the form of nnU-Net 2.3 and later; earlier plans, which had the parts of a U-Net beside
    everything else, are turned into it."""
    if isinstance(told := values.get("architecture"), dict):
        made = _Values(values.path, told)
        arguments = made.require("arch_kwargs")
        if not isinstance(arguments, dict):
            raise made.wrong("arch_kwargs", arguments, "an object of arguments")
        imported = tuple(str(name) for name in made.get("_kw_requires_import", []))
        return NetworkPlan(str(made.require("network_class_name")), arguments, imported)
    name = str(values.get("UNet_class_name", "PlainConvUNet"))
    blocks = "n_blocks_per_stage" if "Residual" in name else "n_conv_per_stage"
    encoder = values.require("n_conv_per_stage_encoder")
    base, most = values.get("UNet_base_num_features", 32), values.get("unet_max_num_features", 320)
    arguments = {
        "n_stages": len(encoder),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(encoder))],
        "conv_op": f"torch.nn.Conv{dimensions}d",
        "kernel_sizes": values.require("conv_kernel_sizes"),
        "strides": values.require("pool_op_kernel_sizes"),
        blocks: encoder,
        "n_conv_per_stage_decoder": values.require("n_conv_per_stage_decoder"),
        "conv_bias": True,
        "norm_op": f"torch.nn.InstanceNorm{dimensions}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    path = f"dynamic_network_architectures.architectures.unet.{name}"
    return NetworkPlan(path, arguments, ("conv_op", "norm_op", "dropout_op", "nonlin"))

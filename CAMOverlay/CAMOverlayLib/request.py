"""What crosses the border between Slicer and the computation: a request, progress events, a result, and array files.

Everything here is a small frozen dataclass that turns into JSON and back. Arrays never do: they stay in ``.npy``
files that both sides map into memory. This module needs nothing but the standard library, and NumPy scalars, arrays
and paths become plain values as soon as they are in a record.

Conventions: arrays are indexed I, J, K; affines map voxel indices (I, J, K, 1) to RAS millimetres.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from .errors import CAMOverlayError, TargetError

Affine = tuple[tuple[float, float, float, float], ...]
"""4×4, row by row: voxel index (I, J, K, 1) → RAS millimetres."""

SCHEMA = 2
"""Version of :class:`Request` and :class:`Result`. 1, which did not say so, called the verdicts proven, undecided and
refuted. A field that is added later needs a default, and then no new version."""

VERDICTS = ("verified", "inconclusive", "mismatch")
"""What the voxels can say of a placement."""

FORMER_VERDICTS = {"proven": "verified", "undecided": "inconclusive", "refuted": "mismatch"}
"""The same in the words of version 1."""

Record = TypeVar("Record", bound="JsonRecord")


class SpoiltRecord(ValueError):
    """A text or dictionary that is not a record of this kind; says which field is wrong and what was found there."""


class JsonRecord:
    """A dataclass that turns into JSON and back without losing its types."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    def to_json(self, indent: int | None = None) -> str:
        """Raises ValueError where a number is NaN or infinite: other programs could not read it."""
        values = self.to_dict()
        try:
            return json.dumps(values, indent=indent, allow_nan=False, ensure_ascii=False)
        except ValueError:
            where = next(_not_finite(values), "")
            raise ValueError(f"{type(self).__name__}.{where} is not finite, which JSON cannot say") from None

    @classmethod
    def from_dict(cls: type[Record], values: dict[str, Any]) -> Record:
        """A record from what JSON had. Fields that it does not know are left out, those with a default may be missing.

        Raises:
            SpoiltRecord: a field is missing or of another type.
        """
        return _record(cls, values, cls.__name__)

    @classmethod
    def from_json(cls: type[Record], text: str | bytes) -> Record:
        """As :meth:`from_dict`; raises SpoiltRecord where it is no JSON either."""
        try:
            values = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise SpoiltRecord(f"{cls.__name__} is not JSON ({error})") from None
        return cls.from_dict(values)


def _not_finite(value: Any, where: str = "") -> typing.Iterator[str]:
    """Where in a value the numbers are that JSON cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _not_finite(inner, f"{where}[{number}]")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _record(cls: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise _spoilt(where, f"a {cls.__name__}", values)
    values = getattr(cls, "_migrated", dict)(values)
    hints, given = _hints(cls), {}
    for one in fields(cls):
        if one.name in values:
            given[one.name] = _restore(hints[one.name], values[one.name], f"{where}.{one.name}")
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise SpoiltRecord(f"{where}.{one.name} is missing")
    record = cls(**given)
    if problem := getattr(record, "_problem", lambda: "")():
        raise SpoiltRecord(f"{where}: {problem}")
    return record


def _restore(hint: Any, value: Any, where: str) -> Any:
    """A JSON value in the type that the annotation names: records, and tuples instead of lists.

    Raises:
        SpoiltRecord: it is of another type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _spoilt(where, "a list", value)
        any_length = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = [arguments[0]] * len(value) if any_length else arguments
        if len(kinds) != len(value):
            raise _spoilt(where, f"a list of {len(kinds)}", value)
        return tuple(_restore(kind, inner, f"{where}[{n}]") for n, (kind, inner) in enumerate(zip(kinds, value)))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise _spoilt(where, "an object", value)
        return {key: _restore(arguments[1], inner, f"{where}.{key}") for key, inner in value.items()}
    if is_dataclass(hint):
        return value if isinstance(value, hint) else _record(hint, value, where)
    return _plain_value(hint, value, where)


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value in the first of several types that takes it; the complaint is that of the only one that could."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if isinstance(value, dict):
        kinds = tuple(kind for kind in kinds if is_dataclass(kind)) or kinds
    if len(kinds) == 1:
        return _restore(kinds[0], value, where)
    for kind in kinds:
        try:
            return _restore(kind, value, where)
        except SpoiltRecord:
            pass
    raise _spoilt(where, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds), value)


def _plain_value(kind: type, value: Any, where: str) -> Any:
    """A bool, whole number, number or text as itself: ``True`` is no number, and a number is finite."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number:
        try:
            converted = float(value)
        except OverflowError:
            converted = math.inf
        if math.isfinite(converted):
            return converted
    elif kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    elif kind in (bool, str) and isinstance(value, kind):
        return value
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    raise _spoilt(where, names.get(kind, str(kind)), value)


def _spoilt(where: str, wanted: str, value: Any) -> SpoiltRecord:
    found = repr(value) if isinstance(value, (bool, int, float, type(None))) else type(value).__name__
    return SpoiltRecord(f"{where} is {found[:60]} where {wanted} belongs")


def plain(value: Any) -> Any:
    """A value as JSON can say it: scalars and arrays of NumPy and torch as numbers, paths as text, lists as tuples.

    What is none of these comes back as it is.
    """
    if isinstance(value, (str, bool, int, float, type(None))) and type(value) in (str, bool, int, float, type(None)):
        return value
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(plain(inner) for inner in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # also of a NumPy scalar and of a tensor
        return plain(value.tolist())
    return value


def _made_plain(record: Any) -> None:
    """Plain values in a frozen record that is being made.

    Raises:
        CAMOverlayError: one is nested without an end.
    """
    for one in fields(record):
        value = getattr(record, one.name)
        try:
            converted = plain(value)
        except RecursionError:
            where = f"{type(record).__name__}.{one.name}"
            raise CAMOverlayError(f"{where} is nested too deeply, or contains itself. Give plain values.") from None
        if converted is not value:
            object.__setattr__(record, one.name, converted)


def _class_of(value: Any, where: str) -> Any:
    """A class as index, name or None.

    Raises:
        TargetError: anything else: ``True`` is not class 1, and no class lies between two.
    """
    if value is None or (isinstance(value, (int, str)) and not isinstance(value, bool)):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise TargetError(f"{where} is {str(value)[:60]!r}, a {type(value).__name__}, and no class. Give its index or its name.")


def absolute(path: str | os.PathLike[str]) -> str:
    """A path that means the same in every process: ``~`` is the user's folder, and relative is to the one of now."""
    return os.path.abspath(os.path.expanduser(path))


@dataclass(frozen=True)
class VolumeFile(JsonRecord):
    """A volume outside the scene: its voxels in a ``.npy`` file, axes I, J, K, and where they are in the patient.

    Slicer keeps voxels in memory with I fastest, so the file is in Fortran order and neither side has to turn it.
    """

    path: str
    affine: Affine
    name: str = "volume"

    def __post_init__(self) -> None:
        _made_plain(self)

    def absolute(self) -> VolumeFile:
        """The same by its absolute path."""
        return dataclasses.replace(self, path=absolute(self.path))

    def _problem(self) -> str:
        return "" if len(self.affine) == 4 else f"the affine has {len(self.affine)} rows where 4 belong"


@dataclass(frozen=True)
class TargetSpec(JsonRecord):
    """What to explain, where a class alone does not say it.

    Attributes:
        output: class index or name; None for the predicted one (of that place, where a place is given).
        minus: class to compare with: the difference of the two outputs is explained.
        mask: of a segmentation network, the region to explain: an exported array file or the path of an image file,
            on any grid in the same patient space; every voxel but 0 counts.
        voxel: instead of it one voxel (I, J, K) of the original volume.
        ras: instead of it one point in RAS mm.
    """

    output: int | str | None = None
    minus: int | str | None = None
    mask: VolumeFile | str | None = None
    voxel: tuple[int, int, int] | None = None
    ras: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        """Raises TargetError where a class is no index or name, or a place is not three numbers."""
        _made_plain(self)
        object.__setattr__(self, "output", _class_of(self.output, "The target"))
        object.__setattr__(self, "minus", _class_of(self.minus, "The class to compare with"))
        object.__setattr__(self, "voxel", _three(self.voxel, int, "The voxel", "Give three whole numbers, I, J and K."))
        object.__setattr__(self, "ras", _three(self.ras, float, "The point", "Give three numbers, RAS in mm."))

    def absolute(self) -> TargetSpec:
        """The same with a mask's file by its absolute path."""
        mask = absolute(self.mask) if isinstance(self.mask, str) else self.mask and self.mask.absolute()
        return dataclasses.replace(self, mask=mask)


def _three(value: Any, kind: type, where: str, remedy: str) -> Any:
    """Three numbers of a kind, or None.

    Raises:
        TargetError: anything else.
    """
    if value is None:
        return None
    try:
        return _restore(tuple[kind, kind, kind], value, where)  # type: ignore[valid-type]
    except SpoiltRecord:
        raise TargetError(f"{where} is {str(value)[:60]}. {remedy}") from None


@dataclass(frozen=True)
class Request(JsonRecord):
    """One explanation to compute.

    Attributes:
        volumes: the input volume; further ones are further channels, in the bundle's order.
        bundle: folder of the MONAI bundle.
        output_folder: existing folder for the array files of the result; the caller owns it.
        trust: the caller trusts the bundle, whose configuration can run code, whatever is in it by now.
        trusted_hash: instead of it the hash of the content that is trusted (``bundle_files.content_hash``); what is
            there is compared with it before and after it is loaded, and anything else is refused.
        target: class index, class name, or None for the predicted class; in words also ``a-b`` and ``a@voxel=I,J,K``
            (``ras=``, ``mask=``), or a :class:`TargetSpec`.
        layer: name of the layer as in ``named_modules()``, or None for the automatic choice.
        method: registered name of the method.
        device: ``auto``, ``cpu`` or ``cuda``.
        inverse: ``auto`` (one resampling where the voxels bear it out, else the saved operations), ``affine`` or
            ``operations`` to force one.
        verify: compute both inverses and report how far apart they are.
        blocks: leave the heatmap as one block an activation instead of interpolating between them.
        trail_folder: existing folder for every step's intermediate volume, forward and backward, or None.
        slices: of a 2-D network, the orientation in which the volume is cut into pictures: ``axial``, ``coronal`` or
            ``sagittal``; None takes a volume of one slice as it is, and cuts any other axially.
        configs: the bundle's configuration files, relative to its root, where they are not named as usual.
        mixed: run the network in mixed precision, where the device is faster so.
        schema: version of this record.
    """

    volumes: tuple[VolumeFile, ...]
    bundle: str
    output_folder: str
    trust: bool = False
    target: int | str | TargetSpec | None = None
    layer: str | None = None
    method: str = "gradcam"
    device: str = "auto"
    inverse: str = "auto"
    verify: bool = False
    blocks: bool = False
    trail_folder: str | None = None
    slices: str | None = None
    configs: tuple[str, ...] = ()
    mixed: bool = False
    trusted_hash: str | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Raises TargetError where the target is no index, name or TargetSpec."""
        _made_plain(self)
        if not isinstance(self.target, TargetSpec):
            object.__setattr__(self, "target", _class_of(self.target, "The target"))

    def absolute(self) -> Request:
        """The same with every path absolute, so that it means the same in another process. A configuration file's is
        relative to the bundle, wherever that is, and stays so."""
        target = self.target
        if isinstance(target, TargetSpec):
            target = target.absolute()
        elif isinstance(target, str) and "@" in target:
            words, _, where = target.rpartition("@")
            kind, _, path = where.partition("=")
            if kind.strip().casefold() == "mask" and path.strip():
                target = f"{words}@mask={absolute(path.strip())}"
        return dataclasses.replace(
            self,
            volumes=tuple(volume.absolute() for volume in self.volumes),
            bundle=self.bundle and absolute(self.bundle),
            configs=tuple(map(os.path.expanduser, self.configs)),
            trail_folder=self.trail_folder and absolute(self.trail_folder),
            output_folder=self.output_folder and absolute(self.output_folder),
            target=target,
        )


STAGES = {
    "import": "Loading the libraries",
    "volume": "Reading the volume",
    "bundle": "Reading the bundle",
    "preprocess": "Preprocessing",
    "forward": "Running the network",
    "backward": "Computing the heatmap",
    "inverse": "Placing the heatmap on the volume",
    "write": "Writing the result",
}
"""Every stage of a run in its order, with the words that a user reads."""


@dataclass(frozen=True)
class Progress(JsonRecord):
    """How far a run is: the stage (a key of :data:`STAGES`), the share of the whole run that is done, some words."""

    stage: str
    fraction: float
    message: str = ""


@dataclass(frozen=True)
class TransformStep(JsonRecord):
    """What one transform of the preprocessing did to the image.

    Shapes are spatial (I, J, K), spacings in mm, orientation as axis codes such as ``RAS``, ``affine`` the one after
    the step. ``before`` fields are None for the step that loads the image. ``nonzero`` is the share of voxels that are
    not 0. ``recorded`` says whether the transform left an invertible record in ``applied_operations``, ``evidence``
    what the voxels said of the affine after this step (empty where nothing could have moved), and ``inverse`` what
    undid it for the heatmap.
    """

    name: str
    parameters: dict[str, str]
    shape_before: tuple[int, ...] | None
    shape_after: tuple[int, ...]
    spacing_before: tuple[float, ...] | None
    spacing_after: tuple[float, ...]
    orientation: str
    affine: Affine
    value_range: tuple[float, float]
    nonzero: float
    recorded: bool
    seconds: float
    evidence: str = ""
    inverse: str = ""


@dataclass(frozen=True)
class Placement(JsonRecord):
    """Whether the heatmap lies in the right place, asked of the voxels.

    Attributes:
        verdict: ``verified``, or ``inconclusive`` where the volume is too symmetric or too empty to tell.
        words: the same in a sentence.
        score: mutual information in nats between the network's input and the original volume under the tracked affine.
        rival: the best of the other placements that were tried, in words, and ``rival_score`` its mutual information.
        inverse: ``affine`` (one resampling through the composed affine) or ``operations`` (the saved operations
            replayed).
        seconds: that the evidence took.
        shift_mm, turn_degrees, zoom_percent: the smallest shift along, turn about or zoom along any axis of the network's
            input that this volume would have betrayed; None where none was noticed, or where that is not known.
        parts_mm: the smallest shift of a part of the volume that most parts would have betrayed.
        difference: largest difference between both inverses inside the field of view, where both were asked for.
        peak_distance: mm between the hottest spots of both inverses, where both were asked for.
    """

    verdict: str
    words: str
    score: float
    rival: str
    rival_score: float
    inverse: str
    seconds: float
    difference: float | None = None
    peak_distance: float | None = None
    shift_mm: float | None = None
    turn_degrees: float | None = None
    zoom_percent: float | None = None
    parts_mm: float | None = None


@dataclass(frozen=True)
class Prediction(JsonRecord):
    """What the network said of the whole volume.

    ``activation`` names how the outputs became probabilities: ``softmax``, ``sigmoid`` or ``none`` (a regression, whose
    ``probabilities`` are the outputs themselves). Of a segmentation network outputs and probabilities are averages over
    the volume, and ``voxels`` says how many voxels of the output are predicted as each class.
    """

    classes: tuple[str, ...]
    outputs: tuple[float, ...]
    probabilities: tuple[float, ...]
    activation: str
    index: int
    voxels: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.classes[self.index]


@dataclass(frozen=True)
class Target(JsonRecord):
    """What was differentiated: the class, and in words the number whose gradient was taken.

    ``minus`` is the class that it was compared with, if any.
    """

    index: int
    name: str
    description: str
    minus: int | None = None


@dataclass(frozen=True)
class FieldOfView(JsonRecord):
    """The part of the volume that the network saw.

    Attributes:
        share: of the volume's voxels.
        planes: pairs of parallel planes in voxel indices; a voxel (i, j, k) was seen if ``low ≤ a·i + b·j + c·k ≤
            high`` for each (a, b, c, low, high). An empty tuple means the whole volume; None that no planes can say it,
            as each picture was cropped in its own way, or what was seen came back through a warp.
    """

    share: float
    planes: tuple[tuple[float, ...], ...] | None = ()


@dataclass(frozen=True)
class Result(JsonRecord):
    """One explanation: the heatmap on the input volume's own grid, and everything that led to it.

    Attributes:
        heatmap: float32 in [0, 1], shape and affine of the (first) input volume; 0 where the network never saw.
        magnitude: raw value that 1.0 in the heatmap stands for, so ``heatmap * magnitude`` of two runs can be compared.
        peak: voxel (I, J, K) of the heatmap's largest value, the middle one where neighbours share it, and ``peak_ras``
            the same in RAS mm; None where the heatmap is 0 everywhere.
        activation_shape: the activation grid (of one window, or picture), and ``activation_spacing`` its spacing in mm
            of the original volume.
        applied: how the network was applied where not to the whole at once: in windows, or picture by picture.
        field_of_view: what of the volume the network saw.
        placement: whether the heatmap lies in the right place.
        steps: the preprocessing, one transform after the other.
        timings: seconds a stage, in the order of :data:`STAGES`.
        versions: of every library that took part.
        schema: version of this record.
    """

    heatmap: VolumeFile
    magnitude: float
    peak: tuple[int, int, int] | None
    peak_ras: tuple[float, float, float] | None
    prediction: Prediction
    target: Target
    layer: str
    method: str
    device: str
    bundle: str
    bundle_name: str
    bundle_version: str
    inputs: tuple[str, ...]
    activation_shape: tuple[int, ...]
    activation_spacing: tuple[float, ...]
    network_input_shape: tuple[int, ...]
    field_of_view: FieldOfView
    placement: Placement
    steps: tuple[TransformStep, ...]
    applied: str = ""
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @classmethod
    def _migrated(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The fields as of this version, of a result that an earlier one wrote. Its words are known by themselves, so
        that a record whose version was lost, or changed, is understood too."""
        if isinstance(values.get("placement"), dict):
            placement = dict(values["placement"])
            for old, new in FORMER_VERDICTS.items():
                if placement.get("verdict") == old:
                    placement["verdict"] = new
                if isinstance(placement.get("words"), str):
                    placement["words"] = placement["words"].replace(f"Placement {old}", f"Alignment {new}")
            values = values | {"placement": placement}
        version = values.get("schema", 1)
        return values | {"schema": SCHEMA if version == 1 else version}

    def _problem(self) -> str:
        """What does not fit together, so that no reader of the result has to ask again; empty where all does."""
        prediction = self.prediction
        count = len(prediction.classes)
        if not 0 < count == len(prediction.outputs) == len(prediction.probabilities):
            return f"there are {count} classes, {len(prediction.outputs)} outputs, {len(prediction.probabilities)} probabilities"
        if prediction.voxels and len(prediction.voxels) != count:
            return f"there are {count} classes and voxels of {len(prediction.voxels)}"
        if not 0 <= prediction.index < count or not 0 <= self.target.index < count:
            return f"class {prediction.index} is predicted and {self.target.index} explained, of {count}"
        if prediction.activation not in ("softmax", "sigmoid", "none"):
            return f"the activation is {prediction.activation[:40]!r}"
        return next((f"step {n} has an affine of {len(s.affine)} rows" for n, s in enumerate(self.steps) if len(s.affine) != 4), "")

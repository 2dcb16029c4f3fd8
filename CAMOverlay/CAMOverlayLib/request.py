"""What crosses the border between Slicer and the computation: a request, progress events, a result, and array files.

Everything here is a small frozen dataclass that turns into JSON and back. Arrays never do: they stay in ``.npy``
files that both sides map into memory. This module needs nothing but the standard library.

Conventions: arrays are indexed I, J, K; affines map voxel indices (I, J, K, 1) to RAS millimetres.
"""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

Affine = tuple[tuple[float, float, float, float], ...]
"""4×4, row by row: voxel index (I, J, K, 1) → RAS millimetres."""

Record = TypeVar("Record", bound="JsonRecord")


class JsonRecord:
    """A dataclass that turns into JSON and back without losing its types."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    def to_json(self, indent: int | None = None) -> str:
        # Strict JSON: a NaN would be unreadable to other programs, so it is an error here and not there.
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    @classmethod
    def from_dict(cls: type[Record], values: dict[str, Any]) -> Record:
        hints = typing.get_type_hints(cls)
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: _restore(hints[name], value) for name, value in values.items() if name in known})

    @classmethod
    def from_json(cls: type[Record], text: str) -> Record:
        return cls.from_dict(json.loads(text))


def _restore(hint: Any, value: Any) -> Any:
    """A JSON value in the type that the annotation names: records, and tuples instead of lists."""
    if value is None:
        return None
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        candidates = [a for a in arguments if a is not type(None)]
        record = next((a for a in candidates if is_dataclass(a)), None)
        if record is not None and isinstance(value, dict):
            return _restore(record, value)
        return _restore(candidates[0], value) if len(candidates) == 1 else value
    if origin is tuple:
        inner = arguments[0] if len(arguments) == 2 and arguments[1] is Ellipsis else None
        if inner is None and len(arguments) == len(value):
            return tuple(_restore(a, v) for a, v in zip(arguments, value))
        return tuple(_restore(inner or arguments[0], v) for v in value)
    if is_dataclass(hint) and isinstance(value, dict):
        return hint.from_dict(value)  # type: ignore[attr-defined]
    return value


@dataclass(frozen=True)
class VolumeFile(JsonRecord):
    """A volume outside the scene: its voxels in a ``.npy`` file, axes I, J, K, and where they are in the patient.

    Slicer keeps voxels in memory with I fastest, so the file is in Fortran order and neither side has to turn it.
    """

    path: str
    affine: Affine
    name: str = "volume"


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


@dataclass(frozen=True)
class Request(JsonRecord):
    """One explanation to compute.

    Attributes:
        volumes: the input volume; further ones are further channels, in the bundle's order.
        bundle: folder of the MONAI bundle.
        output_folder: existing folder for the array files of the result; the caller owns it.
        trust: the caller trusts the bundle, whose configuration can run code.
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

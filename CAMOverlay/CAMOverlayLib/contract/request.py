"""What crosses the border between Slicer and the computation: a request, progress events, a result, and array files.

Everything here is a small frozen dataclass that turns into JSON and back. Arrays never do: they stay in ``.npy``
files that both sides map into memory. This module needs nothing but the standard library, and NumPy scalars, arrays
and paths become plain values as soon as they are in a record.

Conventions: arrays are indexed I, J, K; affines map voxel indices (I, J, K, 1) to RAS millimetres.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .findings import Check, HotSpot, StructureFall, StructureFigures, Threshold
from .model import ModelSource
from .options import Options
from .provenance import Provenance
from .records import Affine, JsonRecord, absolute
from .target import StructureFile, TargetSpec, VolumeFile, class_of

SCHEMA = 3
"""Version of :class:`Request` and :class:`Result`. 1, which did not say so, called the verdicts proven, undecided and
refuted; up to 2 a request had the fields of its model among its own. A field that is added later needs a default, and
then no new version."""

VERDICTS = ("verified", "inconclusive", "mismatch")
"""What the voxels can say of a placement."""

FORMER_VERDICTS = {"proven": "verified", "undecided": "inconclusive", "refuted": "mismatch"}
"""The same in the words of version 1."""

FORMER_FIELDS = {"rival": "candidate", "rival_score": "candidate_score"}
"""Fields of a placement, and what they are called now."""


@dataclass(frozen=True)
class Request(Options):
    """One explanation to compute: what, of what, and with which :class:`Options`.

    Attributes:
        volumes: the input volume; further ones are further channels, in the bundle's order.
        model: where the model lies, and in what it is trusted.
        output_folder: existing folder for the array files of the result; the caller owns it.
        target: class index, class name, or None for the predicted class; in words also ``a-b`` and ``a@voxel=I,J,K``
            (``ras=``, ``mask=``), or a :class:`TargetSpec`.
        sketch: write the map coarsely as well as soon as it is there, and name the file in the progress.
        unchecked: tell the result in the progress before the map is checked, where it will be.
        schema: version of this record.
    """

    volumes: tuple[VolumeFile, ...]
    model: ModelSource
    output_folder: str
    target: int | str | TargetSpec | None = None
    sketch: bool = False
    unchecked: bool = False
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Raises TargetError where the target is no index, name or TargetSpec, or a structure no file."""
        super().__post_init__()
        if not isinstance(self.target, TargetSpec):
            object.__setattr__(self, "target", class_of(self.target, "The target"))

    @classmethod
    def _migrated(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Version 2 had the fields of the model among its own."""
        former = {"bundle": "path", "trust": "trust", "trusted_hash": "trusted_hash", "configs": "configs"}
        if "bundle" in values and "model" not in values:
            source = {new: values[old] for old, new in former.items() if old in values}
            values = {"model": source} | {name: value for name, value in values.items() if name not in former}
        return super()._migrated(values)

    def absolute(self) -> Request:
        """The same with every path absolute, so that it means the same in another process."""
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
            model=self.model.absolute(),
            intermediates_folder=self.intermediates_folder and absolute(self.intermediates_folder),
            output_folder=self.output_folder and absolute(self.output_folder),
            target=target,
            structures=tuple(StructureFile.of(one).absolute() for one in self.structures),
        )


STAGES = {
    "import": "Loading the libraries",
    "volume": "Reading the volume",
    "bundle": "Reading the bundle",
    "preprocess": "Preprocessing",
    "forward": "Running the network",
    "backward": "Computing the heatmap",
    "inverse": "Placing the heatmap on the volume",
    "also": "Placing what else was asked",
    "findings": "Reading off the heatmap",
    "write": "Writing the result",
    "check": "Checking the heatmap",
}
"""Every stage of a run in its order, with the words that a user reads."""


@dataclass(frozen=True)
class Progress(JsonRecord):
    """How far a run is: the stage, the share of the whole run that is done, some words.

    The stage is a key of :data:`STAGES`; ``send`` or ``fetch`` while files are on their way to another machine or back;
    or one of the command's own. Of those the words say all there is to say.

    Attributes:
        sketch: a map that is not finished, where the request asks for such: in [0, 1], on coarser voxels than the
            volume's over the same extent, or over more by less than one of them.
        result: as it is before the map is checked, where the request asks for it; its files are there.
    """

    stage: str
    fraction: float
    message: str = ""
    sketch: VolumeFile | None = None
    result: Result | None = None

    def with_result(self, made: Callable[[Result], Result]) -> Progress:
        """The same with what this makes of the result, where there is one."""
        return self if self.result is None else dataclasses.replace(self, result=made(self.result))


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
        candidate: the best of the other placements that were tried, in words, and ``candidate_score`` its mutual
        information.
        inverse: ``affine`` (one resampling through the composed affine) or ``operations`` (the saved operations
            replayed).
        seconds: that the evidence took.
        shift_mm, turn_degrees, zoom_percent: the smallest shift along, turn about or zoom along any axis of the
            network's
            input that this volume would have betrayed; None where none was noticed, or where that is not known.
        parts_mm: the smallest shift of a part of the volume that most parts would have betrayed.
        difference: largest difference between both inverses inside the field of view, where both were asked for.
        peak_distance: mm between the hottest spots of both inverses, where both were asked for.
    """

    verdict: str
    words: str
    score: float
    candidate: str
    candidate_score: float
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
class FurtherVolume(JsonRecord):
    """What else a run says of every voxel, beside the heatmap and on its grid.

    Attributes:
        name: such as ``probability``; also the name of its file.
        file: voxels, shape and affine of the (first) input volume; 0 where the network never saw.
        words: what it shows, for a reader.
        highest: largest value that it can have, for the scale of its colours.
        classes: of a label map (whole numbers), the name of value n at place n; empty of a scalar volume (float32).
        overlapping: of a label map whose classes may share voxels: bit n of a value says whether class n is there.
    """

    name: str
    file: VolumeFile
    words: str
    highest: float = 1.0
    classes: tuple[str, ...] = ()
    overlapping: bool = False


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
        findings: hot spots, the hottest peak first, and ``threshold``: from where on heat was one.
        structures: how much of the heat lies in which structure, where any were given.
        occluded: by how much the answer falls without each structure, where that was asked.
        channels: share of the evidence of each input channel, of a network with several.
        checks: whether the map can be believed, as far as that was asked.
        further: what else was asked of every voxel, and what came of it.
        timings: seconds per stage, in the order of :data:`STAGES`.
        versions: of every library that took part.
        provenance: what was asked for, to compute it again.
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
    findings: tuple[HotSpot, ...] = ()
    threshold: Threshold = Threshold()  # noqa: RUF009 (frozen)
    structures: tuple[StructureFigures, ...] = ()
    occluded: tuple[StructureFall, ...] = ()
    channels: dict[str, float] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    further: tuple[FurtherVolume, ...] = ()
    warnings: tuple[str, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
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
            for old, new in FORMER_FIELDS.items():
                if old in placement:
                    placement.setdefault(new, placement.pop(old))
            values = values | {"placement": placement}
        version = values.get("schema", 1)
        return values | {"schema": SCHEMA if version == 1 else version}

    def _problem(self) -> str:
        """What does not fit together, so that no reader of the result has to ask again; empty where all does."""
        prediction = self.prediction
        count = len(prediction.classes)
        if not 0 < count == len(prediction.outputs) == len(prediction.probabilities):
            return f"there are {count} classes, {len(prediction.outputs)} outputs, {len(prediction.probabilities)} probabilities"  # noqa: E501
        if prediction.voxels and len(prediction.voxels) != count:
            return f"there are {count} classes and voxels of {len(prediction.voxels)}"
        if not 0 <= prediction.index < count or not 0 <= self.target.index < count:
            return f"class {prediction.index} is predicted and {self.target.index} explained, of {count}"
        if prediction.activation not in ("softmax", "sigmoid", "none"):
            return f"the activation is {prediction.activation[:40]!r}"
        return next(
            (f"step {n} has an affine of {len(s.affine)} rows" for n, s in enumerate(self.steps) if len(s.affine) != 4),
            "",
        )

"""The result in words and figures: what was computed, as the report and the panel tell it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import monai
import nibabel
import numpy as np
import torch

from .. import __version__
from ..contract.findings import Check
from ..contract.geometry import as_3d
from ..contract.options import Options
from ..contract.provenance import Provenance
from ..contract.request import FurtherVolume, Request, Result, TransformStep
from ..contract.target import VolumeFile
from .bundle.model import Model
from .findings import Findings
from .geometry.volume import Volume
from .inference import AttributionMap, EnsembleInference, Explained, Inference, SlidingWindowInference
from .methods import Method
from .network.device import device_of
from .occluded import Occluded
from .preprocessing.inputs import NetworkInputs
from .preprocessing.trace import PreprocessingTrace
from .restore.assemble import VolumeHeatmap
from .restore.plan import InversionPlan
from .target.objective import Objective


@dataclass(frozen=True)
class Told:
    """Everything that a result tells of: what went in, what each stage made of it, and which piece is the hottest.

    Attributes:
        magnitude: largest value of the maps before they were normalised.
        hottest: number of the piece in which the heatmap's peak lies; 0 where there is none.
        found: what was read off the heatmap.
        channels: share of the evidence of each input channel, where asked for.
        further: what else was asked of every voxel.
        checks: whether the map can be believed.
        occluded: what the answer is without each structure.
    """

    model: Model
    volumes: Sequence[Volume]
    method: Method
    inputs: NetworkInputs
    plans: Sequence[InversionPlan]
    explained: Explained
    maps: Sequence[AttributionMap | None]
    magnitude: float
    heatmap: VolumeHeatmap
    hottest: int
    found: Findings
    channels: Mapping[str, float]
    further: tuple[FurtherVolume, ...] = ()
    checks: tuple[Check, ...] = ()
    occluded: Occluded = Occluded()  # noqa: RUF009 (frozen)

    @property
    def map(self) -> AttributionMap:
        """Of the hottest piece, or the first that has one."""
        return self.maps[self.hottest] or next(one for one in self.maps if one)

    @property
    def objective(self) -> Objective:
        objectives = self.explained.objectives
        return objectives[self.hottest] or next(one for one in objectives if one)

    @property
    def trace(self) -> PreprocessingTrace:
        return self.inputs.traces[self.hottest]

    @property
    def where(self) -> str:
        return " × ".join(self.explained.layers) or "the network's input"


def tell(
    told: Told, heatmap: VolumeFile, notes: Sequence[str], seconds: Mapping[str, float], request: Request
) -> Result:
    """The result.

    Args:
        heatmap: its array file.
        notes: what the user should know of the volumes.
        seconds: per stage.
        request: what was asked for.
    """
    volume, overlay, peak, grid = told.inputs.volume, told.heatmap, told.heatmap.peak, told.trace.input_grid
    return Result(
        heatmap=heatmap,
        magnitude=told.magnitude * overlay.scale if overlay.scale else told.magnitude,
        peak=peak,
        peak_ras=None if peak is None else volume.grid.to_ras(peak),
        prediction=told.explained.prediction,
        target=told.objective.target,
        layer=told.where,
        method=told.method.title,
        device=str(device_of(told.model.network)),
        bundle=told.model.folder,
        bundle_name=told.model.info.name,
        bundle_version=told.model.info.version,
        inputs=tuple(v.name for v in told.volumes),
        activation_shape=as_3d(told.map.activation),
        activation_spacing=tuple(float(s * n) for s, n in zip(grid.spacing, as_3d(told.map.stride, 1.0), strict=True)),
        network_input_shape=grid.shape,
        applied=_applied_words(told.inputs, told.explained.inferences[0]),
        field_of_view=overlay.field_of_view,
        placement=overlay.placement,
        steps=_with_inverse(told.trace, told.plans[told.hottest].inverse),
        findings=told.found.findings,
        threshold=told.found.threshold,
        structures=told.found.structures,
        occluded=told.occluded.falls,
        channels=dict(told.channels),
        checks=told.checks,
        further=told.further,
        warnings=tuple(_all_warnings(told, notes)),
        timings=dict(seconds),
        versions=versions(),
        provenance=provenance_of(request, told.model.content_hash),
    )


def provenance_of(request: Request, content_hash: str) -> Provenance:
    """What was asked for. The folder of intermediate volumes is left out: nothing of the result hangs on it."""
    asked = request.absolute()
    options = Options(**{one.name: getattr(asked, one.name) for one in dataclasses.fields(Options)})
    options = dataclasses.replace(options, intermediates_folder=None)
    return Provenance("", options, asked.target, asked.model, content_hash)


def _all_warnings(told: Told, notes: Sequence[str]) -> list[str]:
    objectives = [one for one in told.explained.objectives if one]
    return [
        *notes,
        *told.model.notes,
        *told.inputs.notes,
        # Pictures of one volume may each have something to say.
        *dict.fromkeys(warning for objective in objectives for warning in objective.warnings),
        *_warnings(told.magnitude, told.objective.target.name, told.where, told.heatmap.scale),
        *dict.fromkeys((*told.found.warnings, *told.occluded.warnings)),
        *_resolution(
            told.trace.input_grid.shape, told.map, told.explained.finer_layer if told.method.name != "refined" else None
        ),
    ]


def _applied_words(prepared: NetworkInputs, applied: Inference) -> str:
    """How the network was applied, where it was not to the volume as a whole."""
    words = [prepared.words()]
    one = applied.members[0] if isinstance(applied, EnsembleInference) else applied
    if isinstance(one, SlidingWindowInference):
        words.append(_slices_words(prepared, one.inferer))
        windows = f"{one.count} window{'s' * (one.count > 1)}"
        words.append(f"{windows} of {' × '.join(map(str, one.sample.shape[2:]))} voxels{one.blend}")
    if isinstance(applied, EnsembleInference):
        low, high = min(applied.agreement), max(applied.agreement)
        words.append(
            f"{len(applied.members)} networks averaged, whose maps correlate with the average by {low:.2f} to "
            f"{high:.2f}"
        )
    return ", ".join(filter(None, words))


def _slices_words(prepared: NetworkInputs, inferer: object) -> str:
    """Which slices an inferer for 2-D networks cuts, by where their axis points in the patient."""
    axis = getattr(inferer, "spatial_dim", None)
    if axis is None:
        return ""
    grid = prepared.traces[0].input_grid
    direction = grid.affine[:3, axis] / np.linalg.norm(grid.affine[:3, axis])
    name = ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(direction)))]
    oblique = "oblique " if np.abs(direction).max() < np.cos(np.radians(10)) else ""
    count = grid.shape[axis]
    return f"{count} {oblique}{name} slice{'s' * (count > 1)} along {'IJK'[axis]} of the network's input"


def _with_inverse(trace: PreprocessingTrace, inverse: str) -> tuple[TransformStep, ...]:
    """The steps, each with what undid it for the heatmap."""
    before, steps = None, []
    for step, grid in zip(trace.steps, trace.grids, strict=True):
        moved = before is not None and (before.shape != grid.shape or not np.allclose(before.affine, grid.affine))
        if inverse == "affine":
            undone = "part of the one resampling" if moved else "nothing to undo"
        else:
            undone = "its saved operation was inverted" if step.recorded else "nothing recorded to undo"
        steps.append(dataclasses.replace(step, inverse=undone))
        before = grid
    return tuple(steps)


def _warnings(magnitude: float, target: str, layer: str, scale: float) -> tuple[str, ...]:
    if magnitude > 0 and not scale > 0:
        return (f"All evidence for '{target}' lies outside of the volume, in what the preprocessing padded.",)
    if magnitude > 0:
        return ()
    return (f"No evidence for '{target}' at layer {layer}: the heatmap is 0 everywhere.",)


FEW_ACTIVATIONS = 3
"""Along the longest axis: with fewer a map is a blot."""


def _resolution(shape: tuple[int, ...], heat: AttributionMap, finer: str | None) -> tuple[str, ...]:
    """A warning where the map is so coarse that it hardly says where."""
    counts = [n / s for n, s in zip(shape, as_3d(heat.stride, 1.0)) if n > 1]
    if not counts or max(counts) >= FEW_ACTIVATIONS:
        return ()
    remedy = f" Take an earlier layer, such as {finer}, or the method refined." if finer else ""
    return (
        "This map has hardly any resolution: what the network saw is "
        f"{' × '.join(f'{n:.1f}' for n in counts)} activations.{remedy}",
    )


def versions() -> dict[str, str]:
    """Of everything that took part in the numbers."""
    return {
        "CAMOverlay": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "nibabel": nibabel.__version__,
        "numpy": np.__version__,
    } | {name: v for name in ("captum", "torchcam") if (v := _installed(name))}


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None

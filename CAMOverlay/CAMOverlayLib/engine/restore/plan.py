"""Which way the heatmap goes back, decided by what the voxels say, and the heatmap put there."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from ...contract.errors import PlacementError
from ...contract.request import Placement
from ..alignment.monitor import refuse
from ..alignment.mutual_information import AlignmentScore
from ..geometry.resample import activation_grid
from ..geometry.unnamed_file import Zeros, in_memory
from ..preprocessing.trace import PreprocessingTrace
from .affine import MappedHeatmap, place_by_affine
from .transforms import as_network_input, invert_chain, place_by_operations, undo_steps

Inverse = Literal["affine", "operations"]


@dataclass(frozen=True)
class InversionPlan:
    """The way back: by which inverse, and what was found out about it.

    Attributes:
        inverse: the one to use.
        affine_holds: the voxels do not contradict the tracked affine.
        agreement: the evidence for the way chosen.
    """

    inverse: Inverse
    affine_holds: bool
    agreement: AlignmentScore


def plan_inversion(trace: PreprocessingTrace, wanted: str = "auto") -> InversionPlan:
    """Decide how to go back, before anything is computed for nothing.

    The composed affine, where the voxels bear it out or cannot tell. Where they contradict it at steps that are
    invertible (a warp, say, that an affine cannot express), the saved operations, if replaying them brings the *volume*
    back to where it was.

    Raises:
        PlacementError: the voxels contradict the affine, and the operations too; names the step that did it.
    """
    if wanted not in ("auto", "affine", "operations"):
        raise PlacementError(f"There is no inverse '{wanted}'. Use auto, affine or operations.")
    monitor = trace.monitor
    whole = monitor.overall()
    # A step that the voxels contradict stands, however well the whole agrees: the whole is tried against fewer
    # candidates.
    if not monitor.contradictions and whole.verdict != "mismatch":
        return InversionPlan("operations" if wanted == "operations" else "affine", True, whole)
    # A replay undoes the steps that are named; what nobody is known to have done, it cannot.
    if wanted == "affine" or not monitor.contradictions or not all(c.invertible for c in monitor.contradictions):
        raise refuse(monitor.contradictions, whole)
    if monitor.replayed is None:
        try:
            monitor.replayed = _replayed(trace)
        except PlacementError as error:
            raise refuse(monitor.contradictions, whole) from error
    if monitor.replayed.verdict != "verified":
        raise refuse(monitor.contradictions, whole)
    return InversionPlan("operations", False, monitor.replayed)


def examine(trace: PreprocessingTrace) -> None:
    """Let a chain that misplaced the image end the run before anything is computed; forget the images it was seen by.

    Raises:
        PlacementError: as :func:`plan_inversion`.
    """
    plan_inversion(trace)
    trace.monitor.forget()


def _replayed(trace: PreprocessingTrace) -> AlignmentScore:
    """The evidence for the saved operations: the network's own image, brought back by them.

    Raises:
        PlacementError: a contradicted step is not undone by its inverse, or the chain cannot be inverted.
    """
    monitor, image = trace.monitor, as_network_input(trace.as_3d(trace.image)[:1].float(), trace)
    contradicted = {c.number: c for c in monitor.contradictions}
    given = image
    for number, restored in undo_steps(deepcopy(image), trace, lazily=False):
        found = contradicted.pop(number, None)
        if found and not monitor.undone(found, trace.as_3d(given)[0].float(), trace.as_3d(restored)[0].float()):
            raise refuse([found], found.agreement)
        given = restored
    if contradicted:
        raise refuse([*contradicted.values()], monitor.overall())
    return monitor.overall_of_replay(trace.as_3d(invert_chain(image, trace, lazily=False))[0])


def place(
    heat: Tensor,
    trace: PreprocessingTrace,
    plan: InversionPlan,
    verify: bool = False,
    nearest: bool = False,
    steps: tuple[float, ...] | None = None,
    zeros: Zeros = in_memory,
) -> tuple[MappedHeatmap, Placement]:
    """Put a map on the activation grid (spatial shape, ≥ 0) back on the volume, and say how sure its place is.

    Args:
        zeros: what makes the array, where the affine tells the place.

    Raises:
        PlacementError: the operations cannot be inverted.
    """
    difference = peak_distance = None
    if plan.inverse == "affine":
        placed = place_by_affine(heat, trace, nearest, steps, zeros=zeros)
        other = place_by_operations(heat, trace, nearest, steps=steps) if verify else None
    else:
        placed = place_by_operations(heat, trace, nearest, plan.affine_holds, steps)
        other = place_by_affine(heat, trace, nearest, steps) if verify and plan.affine_holds else None
    if other is not None:
        difference = float(np.abs(placed.array - other.array).max())
        reach = float(activation_grid(tuple(heat.shape), trace.input_grid, steps).spacing.max())
        if placed.peak is not None and other.peak is not None:
            peak_distance = hot_spot_gap(placed, other, trace.volume_grid.affine, reach)
    agreement = plan.agreement
    placement = Placement(
        verdict=agreement.verdict,
        words=_words(plan),
        score=agreement.score,
        candidate=agreement.candidate,
        candidate_score=agreement.candidate_score,
        inverse=plan.inverse,
        seconds=trace.monitor.seconds,
        difference=difference,
        peak_distance=peak_distance,
        shift_mm=agreement.shift_mm,
        turn_degrees=agreement.turn_degrees,
        zoom_percent=agreement.zoom_percent,
        parts_mm=agreement.parts_mm,
    )
    return placed, placement


def hot_spot_gap(one: MappedHeatmap, other: MappedHeatmap, affine: np.ndarray, activation: float) -> float:
    """Mm between the hottest spots of two maps on one volume.

    A spot is the weighted centre of what is above 80 % of its maximum: a map that was interpolated twice is flat around
    its peak, and which of those voxels is the largest is chance. The other map's spot is looked for near the first's
    where it has one there that is at least two thirds as hot as its maximum, which is as far as interpolating on a grid
    four times as fine as the activations' can lower a peak that lies between its voxels.

    Args:
        activation: size of an activation in mm.
    """
    first = _spot(one.array, np.array(one.peak), affine, activation)
    box = _box(np.array(one.peak), one.array.shape, affine, activation)
    near = other.array[box]
    start = np.array(other.peak)
    if near.max() >= 0.66 * other.array.max():
        start = np.array([s.start for s in box]) + np.unravel_index(int(near.argmax()), near.shape)
    second = _spot(other.array, start, affine, activation)
    return float(np.linalg.norm(affine[:3, :3] @ (first - second)))


def _spot(array: np.ndarray, peak: np.ndarray, affine: np.ndarray, activation: float) -> np.ndarray:
    """Voxel index (I, J, K), not rounded, of the centre of the spot that has its maximum at ``peak``."""
    centre = peak.astype(float)
    for _ in range(3):  # centred anew, so that the box cuts the spot evenly
        box = _box(centre, array.shape, affine, 1.5 * activation)
        values = np.maximum(array[box] - 0.8 * array[tuple(peak)], 0)
        if not values.any():
            return centre
        index = np.indices(values.shape).reshape(3, -1) @ values.ravel() / values.sum()
        centre = index + [s.start for s in box]
    return centre


def _box(centre: np.ndarray, shape: tuple[int, ...], affine: np.ndarray, reach: float) -> tuple[slice, ...]:
    half = np.maximum(1, np.ceil(reach / np.linalg.norm(affine[:3, :3], axis=0)))
    return tuple(slice(max(0, round(c - h)), min(n, round(c + h) + 1)) for c, h, n in zip(centre, half, shape))


def _words(plan: InversionPlan) -> str:
    agreement = plan.agreement
    figures = (
        f"mutual information {agreement.score:.2f} nats; the best alternative ({agreement.candidate}) "
        f"{agreement.candidate_score:.2f}"
    )
    if agreement.verdict != "verified":
        if not agreement.score:
            return f"Alignment inconclusive: nothing to compare, {agreement.candidate}."
        reason = agreement.reason or "the volume is too symmetric or too empty to tell"
        return f"Alignment inconclusive: {reason} ({figures})."
    within = _within(agreement)
    sure, count = agreement.channels
    if sure < count:
        within += f" in {sure} of {count} channels, the others cannot tell"
    if plan.inverse == "operations" and not plan.affine_holds:
        return f"Alignment verified by replaying the saved operations on the volume itself{within}: {figures}."
    return f"Alignment verified{within}: {figures}."


def _within(agreement: AlignmentScore) -> str:
    """How far the verdict sees: what is larger than this would have been noticed."""
    if agreement.shift_mm is None:
        return ""
    turn = "" if agreement.turn_degrees is None else f" and {agreement.turn_degrees:.0f}°"
    words = f" to within {_plain(agreement.shift_mm)} mm{turn}"
    if agreement.parts_mm is not None and agreement.parts_mm > 1.05 * agreement.shift_mm:
        words += f", parts of it to within {_plain(agreement.parts_mm)} mm"
    return words if turn else f"{words} (a turn would not be noticed)"


def _plain(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:.0f}"

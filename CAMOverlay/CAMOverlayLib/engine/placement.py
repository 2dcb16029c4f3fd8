"""Watches a chain run, and says at its end whether the tracked affine can be believed.

After each step that could have moved voxels the image is compared with the one before it, and at the end the network's
input with the volume as it was loaded. A step that the voxels contradict is named, with what it really did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from torch import Tensor

from ..errors import PlacementError
from .evidence import POINTS, STEP_POINTS, Agreement, Samples, compare, search, warped
from .grid import Grid

# Transforms of MONAI that only touch values, types or the channel axis. Everything else could have moved voxels.
STILL_MODULES = ("monai.transforms.intensity.", "monai.transforms.io.", "monai.transforms.post.")
STILL = (
    "EnsureChannelFirst", "EnsureType", "CastToType", "ToTensor", "ToDevice", "Identity", "AsChannelLast",
    "RepeatChannel", "RemoveRepeatedChannel", "SplitDim", "DataStats", "SimulateDelay", "SelectItems", "DeleteItems",
    "CopyItems", "FlattenSubKeys", "ToPIL", "ClassesToIndices", "ConvertToMultiChannelBasedOnBratsClasses",
)  # fmt: skip


@dataclass(frozen=True)
class Contradiction:
    """A step whose affine the voxels contradict."""

    number: int
    name: str
    agreement: Agreement
    invertible: bool
    before: Tensor | None = field(default=None, repr=False, compare=False)
    tracked: np.ndarray | None = field(default=None, repr=False, compare=False)
    """One channel of the image before it, and 4×4 from voxel index after it to before it as the affine has it, to see
    whether a replay undoes the step."""

    def sentence(self) -> str:
        done = {
            "mirrored": f"mirrored the image ({self.agreement.rival})",
            "permuted": f"permuted the axes ({self.agreement.rival})",
            "shifted": f"shifted the image ({self.agreement.rival})",
            "cropped": f"cropped or padded the image ({self.agreement.rival})",
            "rescaled": f"rescaled the image ({self.agreement.rival})",
            "warped": f"warped the image ({self.agreement.rival})",
            "in place": "changed the affine although the voxels stayed in place",
        }.get(self.agreement.kind, "moved voxels")
        # After a change of the affine alone there is nothing that a record could undo.
        without = "" if self.agreement.kind == "in place" else " without saying so in the affine"
        return (
            f"Transform {self.number + 1} of the preprocessing, {self.name}, {done}{without}: agreement with the image "
            f"before it is {self.agreement.score:.2f} nats as tracked and {self.agreement.rival_score:.2f} so. "
            "A heatmap would land in the wrong place. Its author must update the image's affine, or make it an "
            "InvertibleTransform that records itself."
        )


class Witness:
    """Sees the image after every step.

    Args:
        original: the volume (I×J×K, any type, mapped from a file at best), or one for each channel, all on one grid.
            The first step, which loads it, is compared with it as any other step is with the one before. Where it is
            not given, what the first step returns must be believed, and is held in memory.
        picture: what is seen is one of many pictures, so a quarter of the samples must do.
        original_grid: where ``original`` lies; None where that is what the first step says, if the shapes agree.

    Attributes:
        contradictions: steps that the voxels contradict, in order.
        seconds: spent on looking.
        replayed: the outcome of replaying the saved operations on the volume, where that was tried.
    """

    def __init__(
        self,
        original: Tensor | Sequence[Tensor] | None = None,
        picture: bool = False,
        original_grid: Grid | None = None,
    ) -> None:
        originals = [original] if isinstance(original, Tensor) else list(original or ())
        self._originals = originals
        self._points, self._step_points = (POINTS // 4, STEP_POINTS // 4) if picture else (POINTS, STEP_POINTS)
        self.contradictions: list[Contradiction] = []
        self.seconds = 0.0
        self._compared: list[Agreement] = []
        self.replayed: Agreement | None = None
        self._whole: Agreement | None = None
        self._loaded: tuple[Tensor, Grid] | None = None
        self._before: tuple[Tensor, Grid] | None = None
        if originals and original_grid is not None:
            self._loaded = self._before = (originals[0], original_grid)
        self._nothing_seen = True

    def look(self, number: int, transform: Any, image: MetaTensor, grid: Grid) -> str:
        """Compare the image after a step with the last one seen; returns the outcome in a few words."""
        channel = _first_channel(image, grid)
        if channel is None or image.pending_operations:
            return ""  # a lazy chain has not moved anything yet: it will be seen when it has
        with self._timed():
            return self._look(number, transform, channel, grid)

    def _look(self, number: int, transform: Any, channel: Tensor, grid: Grid) -> str:
        words = ""
        first, self._nothing_seen = self._nothing_seen, False
        if self._before is None:
            same = bool(self._originals) and tuple(self._originals[0].shape) == grid.shape
            self._loaded = (self._originals[0] if same else channel, grid)
        elif self._first_differs(channel, grid) if first else _could_move(transform, self._before[1], grid):
            agreement = self._compare_step(transform, channel, grid)
            self._compared.append(agreement)
            words = f"{agreement.verdict} ({agreement.score:.2f} against {agreement.rival_score:.2f} nats {agreement.rival})"
            if agreement.verdict == "mismatch":
                invertible = isinstance(transform, InvertibleTransform)
                name = type(transform).__name__
                before, before_grid = self._before
                tracked = before_grid.index_from(grid)
                self.contradictions.append(Contradiction(number, name, agreement, invertible, before, tracked))
        self._before = (channel, grid)
        return words

    def _first_differs(self, channel: Tensor, grid: Grid) -> bool:
        """Whether the loader returned anything but the original as it is: its kind says nothing, its reader may be anyone's."""
        assert self._before is not None
        original, original_grid = self._before
        in_place = np.allclose(original_grid.index_from(grid), np.eye(4), atol=1e-3)
        return not in_place or not same_voxels(channel, original)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        # A few thousand samples are too little work to share: handing them to several threads takes longer.
        started, threads = time.perf_counter(), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            self.seconds += time.perf_counter() - started

    def _compare_step(self, transform: Any, channel: Tensor, grid: Grid) -> Agreement:
        assert self._before is not None
        origin, origin_grid = self._before
        tracked = np.linalg.inv(origin_grid.affine) @ grid.affine
        samples = Samples(channel, self._step_points)
        agreement = compare(samples, origin, tracked, exhaustive=False)
        # MONAI's own transforms are known to track, and what shares most of its information with the image before it
        # lies where it lay. Any other stranger gets the long look.
        known = type(transform).__module__.startswith("monai.") or agreement.score > 0.6 * samples.information
        if agreement.verdict != "verified" or not known:
            samples = Samples(channel, self._points)
            agreement = compare(samples, origin, tracked, exhaustive=False)
            agreement = search(samples, channel, origin, tracked, agreement)
            if agreement.verdict == "inconclusive" and not samples.empty:
                agreement = warped(samples, origin, tracked) or agreement
        return agreement

    def conclude(self) -> Agreement:
        """The whole chain: network input against the loaded volume, every rival tried.

        ``mismatch`` where any step is contradicted. ``verified`` also where the whole is too far from its origin in
        intensities to decide, but every step that could move voxels was verified against the one before it.
        """
        if self._whole is None:
            with self._timed():
                self._whole = self._conclude()
        return self._whole

    def _conclude(self) -> Agreement:
        assert self._loaded is not None and self._before is not None, "nothing was seen"
        (loaded, loaded_grid), (image, grid) = self._loaded, self._before
        tracked = np.linalg.inv(loaded_grid.affine) @ grid.affine
        samples = Samples(image, self._points)
        whole = compare(samples, loaded, tracked, exhaustive=True)
        if self.contradictions:
            # What a step did stands, whatever the whole looks like: later steps may blur it, nothing undoes it.
            return replace(self.contradictions[0].agreement, verdict="mismatch")
        step_by_step = bool(self._compared) and all(a.verdict == "verified" for a in self._compared)
        if whole.verdict == "inconclusive" and step_by_step and not samples.empty:
            whole = replace(whole, verdict="verified", kind="step by step")
        return whole

    def conclude_replay(self, restored: Tensor) -> Agreement:
        """The volume as the saved operations bring it back (I×J×K), against the volume as it was loaded."""
        assert self._loaded is not None, "nothing was seen"
        with self._timed():
            self.replayed = compare(Samples(restored, self._points), self._loaded[0], np.eye(4), exhaustive=True)
        return self.replayed

    def undone(self, contradiction: Contradiction, given: Tensor, restored: Tensor) -> bool:
        """Whether undoing a contradicted step brought the image back to how it was before that step.

        An inverse that leaves the voxels as they are (the default one of ``Lambda``) undoes nothing, however much the
        image resembles the one before.

        Args:
            given: one channel (I×J×K) of what the inverse was given, and ``restored`` of what it returned.
        """
        before, tracked = contradiction.before, contradiction.tracked
        if before is None or tracked is None or restored.shape != before.shape or same_voxels(restored, given):
            return False
        with self._timed():
            found = compare(Samples(restored, self._points), before, np.eye(4), exhaustive=True)
            # What later steps blurred is blurred in both: against that, the inverse must have brought it nearer.
            still = compare(Samples(given, self._points), before, tracked, exhaustive=False)
        return found.verdict == "verified" and found.score > 1.1 * still.score + 0.02

    def forget(self) -> None:
        """Let go of the images; what was concluded stays."""
        self._loaded = self._before = None
        self._originals = []
        self.contradictions[:] = [replace(c, before=None) for c in self.contradictions]


def same_voxels(one: Tensor, other: Tensor) -> bool:
    """Whether two images (I×J×K, of any types and orders in memory) hold the same values in the same places."""
    if one.shape != other.shape:
        return False
    # Sixteen slices at a time, so that neither order in memory is read against the grain, and no copy is as large.
    parts = range(0, one.shape[-1], 16)
    return all(torch.equal(one[..., k : k + 16].cpu().float(), other[..., k : k + 16].cpu().float()) for k in parts)


def refuse(contradictions: list[Contradiction], whole: Agreement) -> PlacementError:
    """The error that names the step, or the chain where no single step stands out."""
    if contradictions:
        return PlacementError(contradictions[0].sentence())
    return PlacementError(
        f"The preprocessing as a whole does not keep its affine: the network's input agrees with the volume better when "
        f"{whole.rival} ({whole.rival_score:.2f} nats) than as tracked ({whole.score:.2f}). "
        "One of its transforms must update the image's affine, or be an InvertibleTransform that records itself."
    )


def _could_move(transform: Any, before: Grid, after: Grid) -> bool:
    if before.shape != after.shape or not np.allclose(before.affine, after.affine, atol=1e-9):
        return True
    kind = type(transform)
    plain = kind.__name__.removeprefix("Rand").removesuffix("d").removesuffix("D").removesuffix("Dict")
    still = kind.__module__.startswith(STILL_MODULES) or (kind.__module__.startswith("monai.") and plain in STILL)
    return not still


def _first_channel(image: MetaTensor, grid: Grid) -> Tensor | None:
    """I×J×K of the first channel, or None while the axes are in an order that cannot be told. A picture has K = 1."""
    values = image.as_tensor()
    if grid.shape[-1] == 1 and tuple(values.shape[-2:]) == grid.shape[:2] and values.shape[-1] > 1:
        values = values[..., None]
    if tuple(values.shape) == grid.shape:
        return values
    if tuple(values.shape[1:]) == grid.shape:
        return values[0]
    return None

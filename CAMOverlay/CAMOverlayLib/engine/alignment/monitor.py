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

from ...contract.errors import PlacementError
from ...contract.geometry import Grid
from ...contract.on_cores import on_cores
from .channels import claims_of, examine_all
from .examination import Claim, examine
from .mutual_information import POINTS, STEP_POINTS, AlignmentScore, SamplePoints, compare

# Transforms of MONAI that only touch values, types or the channel axis. Everything else could have moved voxels.
STILL_MODULES = ("monai.transforms.intensity.", "monai.transforms.io.", "monai.transforms.post.")
STILL = (
    "EnsureChannelFirst",
    "EnsureType",
    "CastToType",
    "ToTensor",
    "ToDevice",
    "Identity",
    "AsChannelLast",
    "RepeatChannel",
    "RemoveRepeatedChannel",
    "SplitDim",
    "DataStats",
    "SimulateDelay",
    "SelectItems",
    "DeleteItems",
    "CopyItems",
    "FlattenSubKeys",
    "ToPIL",
    "ClassesToIndices",
    "ConvertToMultiChannelBasedOnBratsClasses",
)


UNSURE = ("Elastic", "Distortion", "Deform", "LowResolution", "Lambda", "Transpose", "OneOf", "RandomOrder", "SomeOf")
"""In the names of MONAI's transforms that move voxels otherwise than their affine says, or do what somebody wrote."""


@dataclass(frozen=True)
class Contradiction:
    """A step whose affine the voxels contradict."""

    number: int
    name: str
    agreement: AlignmentScore
    invertible: bool
    before: Tensor | None = field(default=None, repr=False, compare=False)
    tracked: np.ndarray | None = field(default=None, repr=False, compare=False)
    """One channel of the image before it, and 4×4 from voxel index after it to before it as the affine has it, to see
    whether a replay undoes the step."""

    def sentence(self) -> str:
        agreement = self.agreement
        done = {
            "mirrored": f"mirrored the image ({agreement.candidate})",
            "permuted": f"permuted the axes ({agreement.candidate})",
            "shifted": f"shifted the image ({agreement.candidate})",
            "turned": f"turned the image ({agreement.candidate})",
            "cropped": f"cropped or padded the image ({agreement.candidate})",
            "rescaled": f"rescaled the image ({agreement.candidate})",
            "warped": f"warped the image ({agreement.candidate})",
            "in place": "changed the affine although the voxels stayed in place",
        }.get(agreement.kind, "moved voxels")
        # After a change of the affine alone there is nothing that a record could undo.
        without = "" if agreement.kind == "in place" else " without saying so in the affine"
        of = f" of channel {agreement.channel + 1}" if agreement.channel is not None else ""
        return (
            f"Transform {self.number + 1} of the preprocessing, {self.name}, {done}{without}: agreement{of} with the "
            f"image before it is {contrast(agreement)}. "
            "A heatmap would land in the wrong place. Its author must update the image's affine, or make it an "
            "InvertibleTransform that records itself."
        )


def contrast(agreement: AlignmentScore) -> str:
    """The two figures that contradict each other."""
    if agreement.correlations is not None:
        return (
            f"{agreement.correlations[0]:.2f} (correlation of the parts that moved) as tracked and "
            f"{agreement.correlations[1]:.2f} with the best alternative"
        )
    return f"{agreement.score:.2f} nats as tracked and {agreement.candidate_score:.2f} with the best alternative"


@dataclass(frozen=True)
class _Seen:
    """An image of the chain: its channels (I×J×K each) and where they lie."""

    channels: Sequence[Tensor]
    grid: Grid


class AlignmentMonitor:
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
        self.replayed: AlignmentScore | None = None
        self._whole: AlignmentScore | None = None
        self._loaded: _Seen | None = None
        self._before: _Seen | None = None
        if originals and original_grid is not None:
            self._loaded = self._before = _Seen(originals, original_grid)
        self._nothing_seen, self._as_given = True, False
        self._strangers = 0

    def observe(self, number: int, transform: Any, image: MetaTensor, grid: Grid) -> str:
        """Compare the image after a step with the last one seen; returns the outcome in a few words."""
        channels = _channels(image, grid)
        if channels is None or image.pending_operations:
            return ""  # a lazy chain has not moved anything yet: it will be seen when it has
        with self._timed():
            return self._observe(number, transform, _Seen(channels, grid))

    def _observe(self, number: int, transform: Any, seen: _Seen) -> str:
        words = ""
        first, self._nothing_seen = self._nothing_seen, False
        if self._before is None:
            same = bool(self._originals) and tuple(self._originals[0].shape) == seen.grid.shape
            self._loaded = _Seen(self._originals, seen.grid) if same else seen
        elif self._first_differs(seen) if first else _could_move(transform, self._before.grid, seen.grid):
            agreement = self._compare_step(transform, seen)
            words = f"{agreement.verdict} ({agreement.score:.2f} against {agreement.candidate_score:.2f} nats {agreement.candidate})"  # noqa: E501
            if agreement.verdict == "mismatch":
                invertible = isinstance(transform, InvertibleTransform)
                name = type(transform).__name__
                before, tracked = self._before.channels[0], self._before.grid.index_from(seen.grid)
                self.contradictions.append(Contradiction(number, name, agreement, invertible, before, tracked))
        elif first:
            self._as_given = len(seen.channels) == len(self._originals)
        self._before = seen
        return words

    def look_at_original(self) -> bool:
        """Compare the next image with the original in the place of the last one seen, which may change from here on;
        whether that can be, as the loader returned the original voxel for voxel. For a caller who knows that no step
        since then changed a value."""
        if self._as_given and self._before is not None:
            self._before = _Seen(self._originals, self._before.grid)
        return self._as_given

    def _first_differs(self, seen: _Seen) -> bool:
        """Whether the loader returned anything but the original as it is: its kind says nothing, its reader may be
        anyone's."""
        assert self._before is not None
        in_place = np.allclose(self._before.grid.index_from(seen.grid), np.eye(4), atol=1e-3)
        pairs = zip(seen.channels, self._before.channels)  # a grey slice for a colour network has more than there were
        return not in_place or not all(same_voxels(*pair) for pair in pairs)

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

    def _compare_step(self, transform: Any, seen: _Seen) -> AlignmentScore:
        assert self._before is not None
        claims = self._claims(seen, self._before)
        kind = type(transform)
        monai = kind.__module__.startswith("monai.") and not any(word in kind.__name__ for word in UNSURE)
        self._strangers += not monai
        # MONAI's own affine transforms are known to track, and treat all channels alike; what shares nearly all of its
        # information with the image before it lies where it lay. Any other stranger gets the long look.
        for claim in claims[:1] if monai else claims:
            samples = SamplePoints(claim.image, self._step_points)
            agreement = compare(samples, claim.origin, claim.tracked, exhaustive=False)
            if agreement.verdict != "verified" or not (monai or agreement.score > 0.85 * samples.information):
                break
        else:
            return agreement
        if monai:
            return examine(claims[0], self._points, named=True)
        return examine_all(claims, self._points, named=True)

    def _claims(self, seen: _Seen, before: _Seen) -> list[Claim]:
        tracked = before.grid.index_from(seen.grid)
        return claims_of(seen.channels, before.channels, tracked, seen.grid.spacing)

    def overall(self) -> AlignmentScore:
        """The whole chain: every channel of the network's input against the volume, every candidate tried.

        ``mismatch`` where any step is contradicted.
        """
        if self._whole is None:
            with self._timed():
                self._whole = self._conclude()
        return self._whole

    def _conclude(self) -> AlignmentScore:
        assert self._loaded is not None and self._before is not None, "nothing was seen"
        if self.contradictions:
            # What a step did stands, whatever the whole looks like: later steps may blur it, nothing undoes it.
            return replace(self.contradictions[0].agreement, verdict="mismatch")
        whole = examine_all(self._claims(self._before, self._loaded), self._points)
        if whole.verdict == "mismatch" and whole.kind == "warped" and not self._strangers:
            # Parts that fit better elsewhere, although every step is one of MONAI's affine ones, which move no parts,
            # and
            # none was contradicted: a smooth or regular volume whose parts resemble each other.
            whole = replace(whole, verdict="inconclusive", reason="parts of the volume resemble each other")
        return whole

    def overall_of_replay(self, restored: Tensor) -> AlignmentScore:
        """The volume as the saved operations bring it back (I×J×K), against the volume as it was loaded."""
        assert self._loaded is not None, "nothing was seen"
        with self._timed():
            claim = Claim(restored, self._loaded.channels[0], np.eye(4), self._loaded.grid.spacing)
            self.replayed = examine(claim, self._points)
        return self.replayed

    def undone(self, contradiction: Contradiction, given: Tensor, restored: Tensor) -> bool:
        """Whether undoing a contradicted step brought the image back to how it was before that step.

        An inverse that leaves the voxels as they are (the default one of ``Lambda``) undoes nothing, however much the
        image resembles the one before.

        Args:
            given: one channel (I×J×K) of what the inverse was given, and ``restored`` of what it returned.
        """
        before, tracked = contradiction.before, contradiction.tracked
        if contradiction.agreement.channel:
            return False  # only the first channel is brought back
        if before is None or tracked is None or restored.shape != before.shape or same_voxels(restored, given):
            return False
        with self._timed():
            found = compare(SamplePoints(restored, self._points), before, np.eye(4), exhaustive=True)
            # What later steps blurred is blurred in both: against that, the inverse must have brought it nearer.
            still = compare(SamplePoints(given, self._points), before, tracked, exhaustive=False)
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
    known = (one.detach().cpu(), other.detach().cpu())
    arrays = [(image.float() if image.dtype == torch.bfloat16 else image).numpy() for image in known]

    def same_plane(j: int) -> bool:
        # A plane fits into a core's own memory, where it does not matter in which order it lies.
        planes = [np.asarray(array[:, j], np.float32) for array in arrays]
        if planes[0].strides != planes[1].strides:
            planes = [np.ascontiguousarray(plane) for plane in planes]
        return bool((planes[0] == planes[1]).all())

    return all(on_cores(same_plane, range(one.shape[1])))


def refuse(contradictions: list[Contradiction], whole: AlignmentScore) -> PlacementError:
    """The error that names the step, or the chain where no single step stands out."""
    if contradictions:
        return PlacementError(contradictions[0].sentence())
    return PlacementError(
        f"The preprocessing as a whole does not keep its affine: the network's input seems {whole.candidate}; its "
        "agreement "
        f"with the volume is {contrast(whole)}. "
        "One of its transforms must update the image's affine, or be an InvertibleTransform that records itself."
    )


def _could_move(transform: Any, before: Grid, after: Grid) -> bool:
    if before.shape != after.shape or not np.allclose(before.affine, after.affine, atol=1e-9):
        return True
    kind = type(transform)
    plain = kind.__name__.removeprefix("Rand").removesuffix("d").removesuffix("D").removesuffix("Dict")
    still = kind.__module__.startswith(STILL_MODULES) or (kind.__module__.startswith("monai.") and plain in STILL)
    return not still


def _channels(image: MetaTensor, grid: Grid) -> Sequence[Tensor] | None:
    """I×J×K of each channel, or None while the axes are in an order that cannot be told. A picture has K = 1."""
    values = image.as_tensor()
    if grid.shape[-1] == 1 and values.ndim < 4 and tuple(values.shape[-2:]) == grid.shape[:2] and values.shape[-1] > 1:
        values = values[..., None]
    if tuple(values.shape) == grid.shape:
        return [values]
    if tuple(values.shape[1:]) == grid.shape:
        return list(values)
    if tuple(values.shape[:-1]) == grid.shape:
        return list(values.unbind(-1))
    return None

"""One image against the one it was made from, every test that there is: the verdict, and how far it sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ...contract.on_cores import together
from .blocks import Local, match_blocks
from .bounds import Space, Surroundings, climb, describe, look_around, reach
from .halves import MirroredHalf, mirrored_half
from .mutual_information import (
    AROUND_POINTS,
    POINTS,
    AlignmentScore,
    SamplePoints,
    best_nearby,
    best_of_filters,
    compare,
    estimate_shift,
    margin,
    search,
)

DISPLACED = 0.1
FEWEST = 8
"""Share and number of the blocks that must fit clearly better elsewhere before an image is called warped."""
MOVED = 0.025
DOUBTFUL = 0.15
DOUBTFUL_AND_POOR = 0.08
POOR = 0.7
UNEXPLAINED = 0.3
"""An image is verified up to these shares of displaced blocks, of blocks that fit better elsewhere at least if filtered
(fewer where the blocks correlate worse than ``POOR`` with what is claimed), and of blocks that fit nowhere."""


@dataclass(frozen=True)
class Claim:
    """What is tested: ``image`` and ``origin`` (I×J×K), and the 4×4 that is claimed to lead from the one's voxel index
    to the other's; ``spacing`` of the image in mm."""

    image: Tensor
    origin: Tensor
    tracked: np.ndarray
    spacing: np.ndarray


def examine(claim: Claim, points: int, named: bool = False) -> AlignmentScore:
    """Far candidates, near ones, and parts of the image.

    Args:
        points: samples.
        named: look longer for what happened, to say it; else a mismatch is one, whatever the candidate is called.
    """
    image, origin, tracked = claim.image, claim.origin, claim.tracked
    samples = SamplePoints(image, points)
    if samples.empty:
        return compare(samples, origin, tracked, exhaustive=True)
    fewer = SamplePoints(image, AROUND_POINTS * points // POINTS)  # one of many pictures gets fewer
    space = Space(fewer, tracked, claim.spacing)
    local, agreement, around = together(
        lambda: match_blocks(image, origin, tracked, claim.spacing, fewer),
        lambda: compare(samples, origin, tracked, exhaustive=True),
        lambda: look_around(fewer, origin, tracked, space),
    )
    judge = _Judge(claim, space, points)

    if named:
        agreement = search(samples, image, origin, tracked, agreement)
    found = [agreement] if agreement.verdict == "mismatch" and judge.stands(agreement.mapping, agreement.kind) else []
    if agreement.verdict != "verified" or _rivalled(around, fewer.count) or local.displaced > MOVED:
        nearby = _nearby(claim, fewer, space, around, local)
        if nearby is not None and judge.stands(nearby.mapping, nearby.kind):
            found.append(nearby)
    if found:
        # What fits best is what happened; of what fits as well, what was thought of first is the simplest.
        best = max(found, key=lambda a: round(a.candidate_score, 1))
        if not (_bent(local) and _explains_little(best, claim, fewer)):
            return replace(best, verdict="mismatch", score=min(best.score, best.candidate_score))
    if _bent(local):
        return _warped(agreement, local)
    half = mirrored_half(SamplePoints(image, points, seed=2), origin, tracked, judge.step)
    if half is not None and half.verdict == "mismatch":
        return _mirrored(agreement, half)
    return _bounded(agreement, around, local, half, is_2d=min(image.shape) == 1)


def _rivalled(around: Surroundings, count: int) -> bool:
    """Whether something near the claim fits about as well; ``count`` samples were looked at."""
    return around.motion_score > around.score - 0.5 * margin(count, around.score, around.score)


def _explains_little(best: AlignmentScore, claim: Claim, samples: SamplePoints) -> bool:
    """An affine may be the best that was found and still leave parts displaced: what bends has no affine."""
    if best.kind not in ("turned", "rescaled", "shifted") or best.mapping is None:
        return False
    rest = match_blocks(claim.image, claim.origin, best.mapping, claim.spacing, samples)
    return rest.displaced > MOVED or rest.doubtful > 0.4 * DOUBTFUL


def _bent(local: Local) -> bool:
    return local.displaced >= DISPLACED and local.displaced * local.count >= FEWEST


def _warped(agreement: AlignmentScore, local: Local) -> AlignmentScore:
    correlations = (local.agreement, local.better)
    return replace(agreement, verdict="mismatch", candidate=local.words, kind="warped", correlations=correlations)


def _mirrored(agreement: AlignmentScore, half: MirroredHalf) -> AlignmentScore:
    return replace(
        agreement,
        verdict="mismatch",
        score=half.score,
        candidate=half.words,
        candidate_score=half.mirrored_score,
        kind="mirrored",
        mapping=None,
    )


def _bounded(
    agreement: AlignmentScore, around: Surroundings, local: Local, half: MirroredHalf | None, is_2d: bool
) -> AlignmentScore:
    """Verified only as far as the tests saw."""
    bounds = around.bounds
    reason = ""
    doubts = DOUBTFUL if local.claimed > POOR else DOUBTFUL_AND_POOR
    if local.count and (local.displaced > MOVED or local.doubtful > doubts or local.glaring > 1):
        reason = "some parts of it fit better elsewhere"
    elif local.count and local.unexplained > UNEXPLAINED:
        reason = "too much of it resembles nothing in the volume"
    elif agreement.verdict != "verified":
        reason = "the volume is too symmetric or too empty to tell"
    elif bounds.shift is None or (local.bound is None and not is_2d):  # a picture has few parts to look at
        reason = "the volume would not betray a shift"
    elif half is not None:
        reason = "parts of it resemble their mirror image"
    candidate, candidate_score = agreement.candidate, agreement.candidate_score
    if around.motion is not None and agreement.verdict != "mismatch":
        shifted = max(candidate_score, around.shift_score)
        candidate, candidate_score = (
            (around.shift_words, shifted) if shifted > candidate_score else (candidate, candidate_score)
        )
    return replace(
        agreement,
        verdict="inconclusive" if reason else "verified",
        reason=reason,
        candidate=candidate,
        candidate_score=candidate_score,
        shift_mm=bounds.shift,
        turn_degrees=bounds.turn,
        zoom_percent=bounds.zoom,
        parts_mm=local.bound,
    )


def _nearby(
    claim: Claim, samples: SamplePoints, space: Space, around: Surroundings, local: Local
) -> AlignmentScore | None:
    """The affine near the claim that fits best, where that is better than the claim."""
    starts = [np.eye(4)]
    if around.motion is not None:
        starts.append(around.motion.matrix)
    if local.displaced > 0.1:
        starts.append(space.matrix(local.vector, (0, 0, 0), (0, 0, 0)))
    estimate = estimate_shift(claim.image, claim.origin, claim.tracked, "shifted").mapping
    starts.append(np.linalg.inv(claim.tracked) @ estimate)
    scores = samples.scores(claim.origin, [claim.tracked @ s for s in starts])
    start = starts[int(np.argmax(scores))]
    matrix, score = climb(samples, claim.origin, claim.tracked, space, start)
    if score < scores[0] + margin(samples.count, score, scores[0]) or reach(matrix, samples, space) < 0.75 * space.unit:
        return None
    words, kind = describe(matrix, space)
    return AlignmentScore("mismatch", scores[0], words, score, kind, mapping=claim.tracked @ matrix)


class _Judge:
    """Whether a candidate stands: on other voxels, and with every usual filter granted to the claim."""

    def __init__(self, claim: Claim, space: Space, points: int) -> None:
        self._claim, self._space = claim, space
        self._samples = SamplePoints(claim.image, AROUND_POINTS * points // POINTS, seed=1)
        self.step = space.step / space.spacing
        self._own: float | None = None

    def stands(self, mapping: np.ndarray | None, kind: str) -> bool:
        claim, samples = self._claim, self._samples
        if mapping is None:
            return True
        if self._own is None:
            self._own = max(
                best_of_filters(samples, claim.origin, claim.tracked, self.step),
                best_nearby(samples, claim.origin, claim.tracked),
            )
        rival = best_of_filters(samples, claim.origin, mapping, self.step)
        return rival > self._own + margin(samples.count, rival, self._own)

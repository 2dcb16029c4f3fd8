"""Does every part of an image lie where its affine says? One affine cannot tell: a warp, a half that was moved.

Small blocks of the image, where it shows something, are each matched with the image that it was made from, shifted by
some voxels in every direction. Intensities are first brought together by the relation that the image as a whole shows
(the mean of the one for each value of the other), then compared by local correlation, which forgives what bias fields
and local contrast do. A block speaks only where its best match is unmistakable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv3d

from .mutual_information import AXES, SamplePoints, at, sample

POINTS = 7
"""Voxels of a block along each axis, on a lattice of about a ninetieth of the image."""
REACH = 5
"""Steps of the lattice that a block is shifted by in each direction."""
MOST = 64
LEVELS = 32


@dataclass(frozen=True)
class Local:
    """What the blocks say.

    Attributes:
        count: blocks that show something.
        displaced: share of them that fits clearly better elsewhere, and ``shift`` by how many mm (median).
        glaring: number of those that hardly fit as claimed, and perfectly elsewhere; ``vector`` the median shift, mm.
        doubtful: share of them that fits somewhat better elsewhere.
        claimed: median of their correlations in the claimed place.
        unexplained: share of them that fits nowhere near.
        bound: mm of the smallest shift that most of them exclude, and half a step of the lattice, as parts may have
            moved by what lies between the shifts that are tried; None where there is none.
        agreement: mean correlation of the displaced blocks as claimed, and ``better`` where they fit best.
        words: what was found, in words.
    """

    count: int
    displaced: float = 0.0
    glaring: int = 0
    vector: tuple[float, ...] = (0.0, 0.0, 0.0)
    doubtful: float = 0.0
    claimed: float = 0.0
    shift: float = 0.0
    unexplained: float = 0.0
    bound: float | None = None
    agreement: float = 0.0
    better: float = 0.0
    words: str = ""


def match_blocks(
    image: Tensor, origin: Tensor, tracked: np.ndarray, spacing: np.ndarray, samples: SamplePoints
) -> Local:
    """Match blocks of ``image`` with ``origin`` (both I×J×K) around where the claim (4×4 of voxel indices) puts them.

    Args:
        spacing: of the image, mm.
        samples: of the image, which give the relation of the intensities.
    """
    relation = _Relation(image, origin, tracked, samples)
    if relation.strength < 0.02:
        return Local(0)
    layout = _layout(np.array(image.shape), tracked, spacing)
    starts, values = _busy_blocks(image, layout, relation)
    if not len(starts):
        return Local(0)
    centred = values - values.mean(1, keepdim=True)
    centred = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-12)
    blocks = centred.view(len(starts), 1, *layout.size)

    points, step, reach = layout.points, layout.step, layout.reach
    wide = _lattice(points + 2 * reach, step) - reach * step
    positions = (starts[:, None] + wide) @ tracked[:3, :3].T + tracked[:3, 3]
    expected = relation.apply(sample(origin, torch.from_numpy(positions.reshape(-1, 3))))
    expected = expected.view(len(starts), 1, *(points + 2 * reach).tolist())
    floor = 1e-3 * relation.variance
    found = [_correlate(filtered, blocks, floor, signed) for filtered, signed in _filters(expected)]
    correlation = torch.stack(found).amax(0)
    here = correlation.shape[1] // 2
    middle = expected[(slice(None), 0, *(slice(r, r + n) for r, n in zip(reach.tolist(), layout.size)))]
    unmasked = _unmasked(values, middle.reshape(len(starts), -1), relation.filler)
    correlation[:, here] = torch.maximum(correlation[:, here], unmasked)

    shifts = (_lattice(2 * reach + 1, step) - reach * step) * spacing
    return _judge(correlation, found[0], shifts, step * spacing, reach)


@dataclass(frozen=True)
class _Layout:
    """How blocks lie in an image of this shape, three numbers each: ``points`` of a block, ``step`` between them in
    voxels, and ``reach``, by how many steps it is shifted."""

    shape: np.ndarray
    points: np.ndarray
    step: np.ndarray
    reach: np.ndarray

    @property
    def size(self) -> tuple[int, ...]:
        return tuple(int(p) for p in self.points)

    @property
    def is_2d(self) -> bool:
        return bool(self.shape.min() == 1)


def _layout(shape: np.ndarray, tracked: np.ndarray, spacing: np.ndarray) -> _Layout:
    coarser = np.maximum(1, 1 / np.maximum(np.linalg.norm(tracked[:3, :3], axis=0), 1e-6))
    mm = max(float((coarser * spacing)[shape > 1].max(initial=0)) / 3, float((shape * spacing).max()) / 90)
    step = np.maximum(1, np.rint(np.maximum(coarser, mm / spacing))).astype(int)
    points = np.minimum((shape - 1) // step + 1, POINTS if shape.min() > 1 else 2 * POINTS - 1)
    return _Layout(shape, points, step, np.where(shape > 1, REACH, 0))


def _busy_blocks(image: Tensor, layout: _Layout, relation: _Relation) -> tuple[np.ndarray, Tensor]:
    """First voxels (B×3) and values (B×N) of the blocks that show something, spread evenly where there are too many."""
    starts = _starts(layout.shape, (layout.points - 1) * layout.step)
    index = torch.from_numpy(starts)[:, None] + torch.from_numpy(_lattice(layout.points, layout.step))
    values = relation.clipped(at(image, index.view(-1, 3)).view(len(starts), -1))
    variance = values.var(1)
    busy = torch.nonzero(variance > max(0.03 * float(variance.quantile(0.95)), 1e-12))[:, 0]
    most = MOST // 2 if layout.is_2d else MOST
    if len(busy) > most:
        busy = busy[torch.linspace(0, len(busy) - 1, most).round().long()]
    return starts[busy.numpy()], values[busy]


def _correlate(expected: Tensor, values: Tensor, floor: float, signed: bool) -> Tensor:
    """Correlation of each block (B×1×I×J×K, centred, of norm 1) with each window of its surroundings: B×S."""
    size = tuple(values.shape[2:])
    numerator = conv3d(expected.transpose(0, 1), values, groups=len(values))[0]
    mean, square = _mean(expected, size)[:, 0], _mean(expected**2, size)[:, 0]
    spread = ((square - mean**2).clamp(min=0) + floor) * values[0].numel()
    found = (numerator / spread.sqrt()).flatten(1).clamp(-0.999, 0.999)
    return found if signed else found.abs()


def _mean(values: Tensor, size: tuple[int, ...], half: tuple[int, ...] = (0, 0, 0)) -> Tensor:
    """Over boxes of this size, one axis after the other; of boxes that reach beyond the edge by ``half`` of what lies
    inside. The same to the bit as PyTorch's pooling, which takes seven times as long for one channel."""
    for axis, (length, edge) in enumerate(zip(size, half, strict=True), start=2):
        if length > 1:
            total = _along(values, axis, length, edge, 0.0, torch.add)
            values = total / _inside(values.shape[axis], length, edge).view(-1, *[1] * (values.ndim - 1 - axis))
    return values


def _highest(values: Tensor, size: tuple[int, ...], half: tuple[int, ...]) -> Tensor:
    """The largest value of each box, as :func:`_mean` has them."""
    for axis, (length, edge) in enumerate(zip(size, half, strict=True), start=2):
        if length > 1:
            values = _along(values, axis, length, edge, -torch.inf, torch.maximum)
    return values


def _along(values: Tensor, axis: int, length: int, edge: int, beyond: float, join: Callable[..., Tensor]) -> Tensor:
    """So many neighbours along an axis taken together, from the first to the last; beyond the edge is ``beyond``."""
    if edge:
        wider = [*values.shape[:axis], edge, *values.shape[axis + 1 :]]
        outside = values.new_full(wider, beyond)
        values = torch.cat([outside, values, outside], axis)
    count = values.shape[axis] - length + 1
    found = values.narrow(axis, 0, count).clone()
    for number in range(1, length):
        join(found, values.narrow(axis, number, count), out=found)
    return found


def _inside(count: int, length: int, edge: int) -> Tensor:
    """How many values of each box along an axis of so many lie inside."""
    first = torch.arange(count + 2 * edge - length + 1) - edge
    return ((first + length).clamp(max=count) - first.clamp(min=0)).float()


def _filters(expected: Tensor) -> Iterator[tuple[Tensor, bool]]:
    """What intensities alone may have gone through: smoothed, eroded, dilated, edges of any or of one direction.

    Such an image matches what it was made from best a little aside; filtered alike, it does in its own place.
    Each with whether its sign is known.
    """
    size = tuple(3 if n > 1 else 1 for n in expected.shape[2:])
    half = tuple(n // 2 for n in size)
    yield expected, True
    smooth = _mean(expected, size, half)
    yield smooth, True
    for _ in range(2):
        smooth = _mean(smooth, size, half)
    yield smooth, True
    wide = tuple(7 if n > 7 else 1 for n in expected.shape[2:])
    smooth = expected
    for _ in range(2):
        smooth = _mean(smooth, wide, tuple(n // 2 for n in wide))
        yield smooth, True
    upper, lower = _highest(expected, size, half), -_highest(-expected, size, half)
    yield upper, True
    yield lower, True
    yield upper - lower, False
    for axis in range(2, 5):
        if expected.shape[axis] > 2:
            yield expected.roll(-1, axis) - expected.roll(1, axis), False


def _unmasked(values: Tensor, expected: Tensor, filler: float | None) -> Tensor:
    """Correlation of each block (B×N) with what is expected in its place, where it was not masked; 0 where it was."""
    if filler is None:
        return torch.zeros(len(values))
    weight = (values != filler).float()
    count = weight.sum(1, keepdim=True).clamp(min=1)
    centred = [(v - (v * weight).sum(1, keepdim=True) / count) * weight for v in (values, expected)]
    norm = (centred[0].norm(dim=1) * centred[1].norm(dim=1)).clamp(min=1e-9)
    found = (centred[0] * centred[1]).sum(1) / norm
    return found.masked_fill(count[:, 0] < 0.25 * values.shape[1], 0).clamp(-0.999, 0.999)


def _judge(correlation: Tensor, plain: Tensor, shifts: np.ndarray, step: np.ndarray, reach: np.ndarray) -> Local:
    """From the correlation of each block (B×S) at each shift (S×3, mm), with any filter and with none."""
    found = correlation.numpy()
    length = np.linalg.norm(shifts, axis=1)
    left = np.log1p(-(np.clip(found, 0, None) ** 2))  # log of the variance that is left unexplained
    here, best, each = int(length.argmin()), left.argmin(1), np.arange(len(left))
    claim, claimed, value = left[:, here], found[:, here], found[each, best]
    steps = np.abs(shifts[best] / step).max(1)
    explained = value > 0.4
    gain, ahead = claim - left[each, best], value - claimed
    doubtful = explained & (gain > 0.35) & (ahead > 0.08) & (steps > 1.5)
    # What was moved matches as it is; what matches only if it is filtered was filtered, and may match anywhere.
    moved = doubtful & (ahead > 0.15) & (plain.numpy()[each, best] > value - 0.08)
    excluded = (left - claim[:, None] > 0.35) & (claimed[:, None] - found > 0.08)
    said = Local(
        count=len(best),
        doubtful=float(doubtful.mean()),
        claimed=float(np.median(claimed)),
        unexplained=float((~explained).mean()),
        bound=_bound((excluded & explained[:, None]).mean(0), length, step, reach),
    )
    if not moved.any():
        return said
    there = shifts[best[moved]]
    return replace(
        said,
        displaced=float(moved.mean()),
        glaring=int((moved & (value > 0.75) & (ahead > 0.4)).sum()),
        vector=tuple(np.median(there, 0)),
        shift=float(np.median(length[best[moved]])),
        agreement=float(np.sqrt(1 - np.exp(claim[moved])).mean()),
        better=float(value[moved].mean()),
        words=_in_words(there),
    )


def _bound(share: np.ndarray, length: np.ndarray, step: np.ndarray, reach: np.ndarray) -> float | None:
    """The smallest shift (mm) from which on most blocks exclude every one, and half a step; ``share`` of the blocks
    exclude the shift of each ``length``."""
    missed = length[share < 0.5]
    if not len(missed):
        return None
    longest = float(np.where(reach > 0, reach * step, np.inf).min())
    bound = float(length[length > missed.max()].min(initial=np.inf))
    return None if bound > longest else bound + float(np.max(step, where=reach > 0, initial=0)) / 2


def _in_words(shifts: np.ndarray) -> str:
    """What happened to blocks that were shifted so (B×3, mm)."""
    mean = np.median(shifts, 0)
    if np.linalg.norm(shifts - mean, axis=1).mean() < 0.5 * np.linalg.norm(mean):
        axis = int(np.abs(mean).argmax())
        return f"parts shifted by about {np.abs(mean[axis]):.0f} mm along {AXES[axis]}"
    return f"parts shifted by {np.median(np.linalg.norm(shifts, axis=1)):.0f} mm in different directions"


class _Relation:
    """What value of the image goes with each value of its origin, as the samples show it under the claim.

    Attributes:
        strength: share of the image's variance that it explains.
        variance: of the image's values that it predicts.
        filler: a value that many of its voxels have, as after masking; None where there is none.
    """

    def __init__(self, image: Tensor, origin: Tensor, tracked: np.ndarray, samples: SamplePoints) -> None:
        seen = at(image, torch.from_numpy(samples.index).long())
        self.low, self.high = (float(seen.quantile(q)) for q in (0.02, 0.98))
        commonest = seen.mode().values
        self.filler = float(commonest.clamp(self.low, self.high)) if (seen == commonest).float().mean() > 0.05 else None
        seen = self.clipped(seen)
        source = sample(origin, torch.from_numpy(samples.index @ tracked[:3, :3].T + tracked[:3, 3]))
        order = source.argsort()
        groups = torch.chunk(order, LEVELS)
        centres = np.array([float(source[g].mean()) for g in groups])
        means = np.array([float(seen[g].mean()) for g in groups])
        # Equal values, background above all, fill several groups; they are one.
        self.centres, where = np.unique(np.round(centres, 6), return_inverse=True)
        totals = np.bincount(where)
        self.means = np.bincount(where, means) / totals
        predicted = torch.from_numpy(means)
        self.variance = float(np.var(means))
        total = float(seen.double().var())
        self.strength = float(predicted.var()) / total if total > 0 else 0.0

    def clipped(self, values: Tensor) -> Tensor:
        """Without the extremes, so that one bright vessel does not outweigh everything else."""
        return values.float().clamp(self.low, self.high) if self.high > self.low else values.float()

    def apply(self, values: Tensor) -> Tensor:
        return torch.from_numpy(np.interp(values.numpy(), self.centres, self.means).astype(np.float32))


def _starts(shape: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """First voxels of blocks all over the image: N×3."""
    count = 7 if shape.min() > 1 else 11
    axes = [np.unique(np.rint(np.linspace(0, n - 1 - e, count)).astype(int)) for n, e in zip(shape, extent)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def _lattice(points: np.ndarray, step: np.ndarray) -> np.ndarray:
    """N×3 voxel offsets of a block."""
    axes = [np.arange(n) * s for n, s in zip(points, step)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)

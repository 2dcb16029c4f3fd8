"""Does an image lie where its affine says? Asked of the voxels, not of the metadata.

An affine is a claim: voxel ``p`` of the image shows what voxel ``T p`` of the image it was made from showed. The claim
is tested on a subsample of voxels by the mutual information between the two, which survives any change of intensities,
and against candidates: the same claim mirrored, with axes swapped, shifted by some voxels. No fixed threshold can
tell a
mirrored brain from a correct one (they correlate at 0.97), but the true placement beats its mirror image. Where a
candidate wins, the claim is wrong, and the candidate says what happened. Where none is clearly ahead, nothing is
verified.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

POINTS = 5000
"""Samples for the chain as a whole; a single step, whose image resembles the one before it, needs fewer."""
STEP_POINTS = 2000
AROUND_POINTS = 2000
"""Samples at which the claim is compared with some hundred near candidates."""
BINS = 20
AXES = "IJK"


@dataclass(frozen=True)
class CandidatePose:
    """Another claim: a 4×4 from voxel index of the image to voxel index of its origin, and what it would mean."""

    words: str
    kind: str
    mapping: np.ndarray


@dataclass(frozen=True)
class AlignmentScore:
    """The outcome of one comparison.

    Attributes:
        verdict: ``verified``, ``inconclusive`` or ``mismatch``.
        score: mutual information in nats of image and origin under the tracked affine.
        candidate: the best of the others in words, and ``candidate_score`` its mutual information.
        kind: of what the candidate says was done, and ``mapping`` its 4×4 of voxel indices, where it has one.
        reason: why it is inconclusive, in words.
        channel: of the image, where it has several and this one decided; ``channels`` how many of how many are
        verified.
        shift_mm, turn_degrees, zoom_percent: the smallest misplacement of the whole that would have been noticed, and
            ``parts_mm`` of its parts; None where none would, or where that was not looked for.
        correlations: of a warp: of the displaced parts in the claimed place, and where they fit best.
    """

    verdict: str
    score: float
    candidate: str
    candidate_score: float
    kind: str = ""
    mapping: np.ndarray | None = field(default=None, compare=False, repr=False)
    reason: str = ""
    channel: int | None = None
    channels: tuple[int, int] = (1, 1)
    shift_mm: float | None = None
    turn_degrees: float | None = None
    zoom_percent: float | None = None
    parts_mm: float | None = None
    correlations: tuple[float, float] | None = None


class SamplePoints:
    """The voxels of an image at which claims are tested: half of them anywhere, half where the image changes most.

    Args:
        image: one channel, I×J×K.
    """

    def __init__(self, image: Tensor, count: int = POINTS, seed: int = 0) -> None:
        self.shape = tuple(int(n) for n in image.shape)
        rng = np.random.default_rng(seed)  # the same voxels in every run
        candidates = torch.from_numpy(rng.integers(0, self.shape, size=(4 * count, 3)))
        values = at(image, candidates)
        contrast = torch.zeros(len(candidates))
        for axis, size in enumerate(self.shape):
            ahead = candidates.clone()
            ahead[:, axis] = (ahead[:, axis] + max(1, size // 100)).clamp(max=size - 1)
            contrast += (at(image, ahead) - values).abs()
        edges = contrast[count // 2 :].argsort(descending=True, stable=True)[: count - count // 2] + count // 2
        chosen = torch.cat([torch.arange(count // 2), edges])
        self.count = count
        self.index = candidates[chosen].double().numpy()
        self.centre = candidates[edges].double().mean(0).numpy()  # of what the image shows
        self.bins = _quantile_bins(values[chosen][None])[0]

    @property
    def empty(self) -> bool:
        """The image is constant as far as the samples see."""
        return int(self.bins.max()) == int(self.bins.min())

    @property
    def information(self) -> float:
        """Mutual information in nats with a perfect copy: the entropy of the bins."""
        shares = torch.bincount(self.bins).double() / len(self.bins)
        return float(-(shares[shares > 0] * shares[shares > 0].log()).sum())

    def within(self, inside: np.ndarray) -> SamplePoints:
        """Those of them, N booleans, that lie in a part of the image."""
        part = copy(self)
        part.index, part.bins, part.count = self.index[inside], self.bins[torch.from_numpy(inside)], int(inside.sum())
        return part

    def scores(self, origin: Tensor, mappings: Sequence[np.ndarray], every: int = 1) -> list[float]:
        """Mutual information in nats with ``origin`` (I×J×K) under each 4×4 mapping of voxel indices.

        Args:
            every: 4 looks at every fourth sample only.
        """
        index = self.index[::every]
        positions = np.stack([index @ m[:3, :3].T + m[:3, 3] for m in mappings])
        values = sample(origin, torch.from_numpy(positions.reshape(-1, 3)))
        return _mutual_information(self.bins[::every], _quantile_bins(values.view(len(mappings), -1)))


def sample(image: Tensor, positions: Tensor) -> Tensor:
    """Linear interpolation of ``image`` (I×J×K) at ``positions`` (N×3, voxel indices); 0 outside."""
    shape = torch.tensor(image.shape, dtype=torch.float64)
    positions = positions.double()
    outside = ((positions < -0.5) | (positions > shape - 0.5)).any(1)
    if image.dtype == torch.float32:
        # grid_sample counts from edge to edge of the image, −1 to 1, and names the last axis first.
        grid = ((2 * positions + 1) / shape - 1).flip(-1).float().view(1, -1, 1, 1, 3)
        values = grid_sample(
            image[None, None],
            grid.to(image.device),  # a chain may leave its image on a GPU
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )
        return values.view(-1).cpu().masked_fill(outside, 0)
    # Of a large volume of integers, mapped from its file, only the corners that are needed are read.
    inside = torch.minimum(positions.clamp(min=0), shape - 1).T.contiguous()
    low = inside.floor()
    weights = torch.stack([1 - (inside - low).float(), (inside - low).float()])
    low, ends, strides = low.long(), shape.long()[:, None] - 1, torch.tensor(image.stride())[:, None]
    reach = torch.minimum(low + 1, ends).sub(low) * strides
    first = (low * strides).sum(0) + image.storage_offset()
    flat = image.as_strided((_extent(image),), (1,), 0)
    values = torch.zeros(len(positions))
    for corner in itertools.product((0, 1), repeat=3):
        weight, where = torch.ones(len(positions)), first
        for axis, upper in enumerate(corner):
            weight = weight * weights[upper, axis]
            where = where + reach[axis] if upper else where
        values += weight * flat[where.to(image.device)].float().cpu()
    return values.masked_fill(outside, 0)


def best_of_filters(samples: SamplePoints, origin: Tensor, mapping: np.ndarray, step: np.ndarray) -> float:
    """Mutual information in nats with ``origin`` as it is, or filtered in any usual way, under a 4×4 of voxel indices.

    An image of edges, eroded or smoothed, shares more with its origin a little aside than in its own place. With its
    origin filtered alike it does not: whatever is to be called misplaced must be better off even so.

    Args:
        step: along each axis, the voxels that make up one of the coarser grid.
    """
    near = np.array(
        [o for o in itertools.product((-1, 0, 1), repeat=3) if all(n > 1 or not d for n, d in zip(samples.shape, o))]
    )
    values = []
    for reach in (1.0, 3.0):
        index = samples.index + (near * reach * step)[:, None]
        positions = index @ mapping[:3, :3].T + mapping[:3, 3]
        around = sample(origin, torch.from_numpy(positions.reshape(-1, 3))).view(len(near), -1)
        if reach == 1:
            values.append(around[len(near) // 2])
        upper, lower = around.amax(0), around.amin(0)
        values += [around.mean(0), upper, lower, upper - lower, around.std(0)]
        directions = torch.from_numpy(near).float()
        for axis in range(3):
            values.append((directions[:, axis, None] * around).sum(0))
            middle = around[torch.from_numpy((near[:, [a for a in range(3) if a != axis]] == 0).all(1))]
            values.append(middle[-1] - middle[0])
    return max(_mutual_information(samples.bins, _quantile_bins(torch.stack(values))))


def compare(samples: SamplePoints, origin: Tensor, tracked: np.ndarray, *, exhaustive: bool) -> AlignmentScore:
    """Test a claim against its candidates.

    Args:
        samples: of the image whose placement is claimed.
        origin: the image it was made from, one channel, I×J×K.
        tracked: the claim, 4×4 from voxel index of the image to voxel index of ``origin``.
        exhaustive: all 47 ways to turn and mirror the image and more shifts, instead of the flips, axis swaps and
            small shifts alone.
    """
    if samples.empty:
        return AlignmentScore("inconclusive", 0.0, "the image is constant", 0.0)
    candidates = _shortlist(samples, origin, list(_candidate_poses(samples.shape, tracked, exhaustive)))
    score, *scores = samples.scores(origin, [tracked, *(candidate.mapping for candidate in candidates)])
    best = int(np.argmax(scores))
    allowed = margin(samples.count, score, scores[best])
    if score < scores[best] + allowed:
        # Half a voxel is within what interpolation modes disagree about (nearest-neighbour sampling is that far off),
        # so claim and turned candidates are both granted it before anything is called wrong or open.
        score = max(score, best_nearby(samples, origin, tracked))
        turned = [n for n, candidate in enumerate(candidates) if candidate.kind != "shifted"]
        leader = max(turned, key=lambda n: scores[n])
        scores[leader] = max(scores[leader], best_nearby(samples, origin, candidates[leader].mapping))
        best = int(np.argmax(scores))
    verdict = _verdict(samples.count, score, scores[best])
    return AlignmentScore(
        verdict, score, candidates[best].words, scores[best], candidates[best].kind, candidates[best].mapping
    )


def _shortlist(
    samples: SamplePoints, origin: Tensor, candidates: list[CandidatePose], most: int = 4
) -> list[CandidatePose]:
    """The candidates of each kind that look best at a first glance; most are plainly wrong and need no second one."""
    glance = samples.scores(origin, [candidate.mapping for candidate in candidates], every=5)
    order = sorted(range(len(candidates)), key=lambda n: -glance[n])
    kinds = {candidate.kind for candidate in candidates}
    return [candidates[n] for kind in sorted(kinds) for n in [n for n in order if candidates[n].kind == kind][:most]]


def margin(count: int, score: float, candidate: float) -> float:
    """By how much two estimates from so few samples may differ by chance: some hundredths of a nat."""
    return 0.02 * (POINTS / count) ** 0.5 + 0.03 * max(score, candidate)


def _verdict(count: int, score: float, candidate: float) -> str:
    allowed = margin(count, score, candidate)
    if score > candidate + allowed:
        return "verified"
    return "mismatch" if candidate > score + allowed else "inconclusive"


def best_nearby(samples: SamplePoints, origin: Tensor, mapping: np.ndarray) -> float:
    return max(samples.scores(origin, [mapping @ shift for shift in _half_voxels()]))


def search(
    samples: SamplePoints, image: Tensor, origin: Tensor, tracked: np.ndarray, agreement: AlignmentScore
) -> AlignmentScore:
    """Look farther for what happened, where the near candidates leave a claim unverified or cannot be all there are.

    Candidates are stated from both sides: the claim turned, shifted or rescaled, and, for an affine that says nothing
    true, the voxels left in place, turned, cropped, or stretched to their new number.

    Returns:
        the agreement, with the best candidate as its candidate where that beats the candidates tried before.
    """
    if samples.empty:
        return agreement
    before, after = tuple(int(n) for n in origin.shape), samples.shape
    candidates = list(_candidates(before, after, tracked))
    candidates.append(estimate_shift(image, origin, tracked, "shifted"))
    if before != after:
        candidates.append(estimate_shift(image, origin, np.eye(4), "cropped"))
    candidates = [c for c in candidates if not _same(c.mapping, tracked, after)]
    scores = samples.scores(origin, [c.mapping for c in candidates])
    # Of explanations that are equally good, the first is the simplest.
    best = max(range(len(candidates)), key=lambda n: (round(scores[n], 2), -n))
    if scores[best] <= agreement.candidate_score + 0.01 and agreement.verdict == "mismatch":
        return agreement
    score = agreement.score
    if scores[best] < max(score, agreement.candidate_score):
        return agreement
    chosen = candidates[best]
    return AlignmentScore(
        _verdict(samples.count, score, scores[best]), score, chosen.words, scores[best], chosen.kind, chosen.mapping
    )


def _same(mapping: np.ndarray, tracked: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Both say the same of an image of this shape, to half a voxel."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0]) for j in (0, shape[1]) for k in (0, shape[2])]).T
    return bool(np.abs((mapping - tracked) @ corners).max() <= 0.6)


def _candidates(before: tuple[int, ...], after: tuple[int, ...], tracked: np.ndarray) -> Iterator[CandidatePose]:
    def differs(mapping: np.ndarray) -> bool:
        return not _same(mapping, tracked, after)

    if differs(np.eye(4)):
        yield CandidatePose("left in place although the affine says that they moved", "in place", np.eye(4))
    for turn, words, kind in _turns(after, True):
        if differs(turn):
            yield CandidatePose(words, kind, turn)
        yield CandidatePose(words, kind, tracked @ turn)
    stretch = np.diag([*(b / a for a, b in zip(after, before)), 1.0])
    stretch[:3, 3] = (np.diag(stretch)[:3] - 1) / 2
    if before != after and differs(stretch):
        yield CandidatePose(f"rescaled from {before} to {after} voxels", "rescaled", stretch)
        offsets = [sorted({0, (b - a) // 2, b - a}) for a, b in zip(after, before)]
        for offset in itertools.product(*offsets):
            crop = np.eye(4)
            crop[:3, 3] = offset
            if differs(crop):
                yield CandidatePose(f"cropped or padded by {offset} voxels at the start of the axes", "cropped", crop)
    for factor in (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.1, 1.2, 1.25, 1.33, 1.5, 2.0):
        zoom = np.diag([1 / factor] * 3 + [1.0])
        zoom[:3, 3] = (np.array(after) - 1) / 2 * (1 - 1 / factor)
        yield CandidatePose(f"rescaled by {factor} about the centre", "rescaled", tracked @ zoom)


def estimate_shift(image: Tensor, origin: Tensor, tracked: np.ndarray, kind: str, lattice: int = 40) -> CandidatePose:
    """The shift of the image against its claim, by cross-correlation on a coarse lattice, then to the voxel."""
    steps = [max(1, -(-n // lattice)) for n in image.shape]
    axes = [torch.arange(0, n, s) for n, s in zip(image.shape, steps)]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
    shape = tuple(len(a) for a in axes)
    positions = index.double().numpy() @ tracked[:3, :3].T + tracked[:3, 3]
    seen, expected = at(image, index), sample(origin, torch.from_numpy(positions))
    size = [2 * n for n in shape]  # padded, so that nothing wraps around
    spectra = [torch.fft.rfftn(_standardised(v).view(shape), s=size) for v in (expected, seen)]
    correlation = torch.fft.irfftn(spectra[0] * spectra[1].conj(), s=size)
    peak = np.unravel_index(int(correlation.argmax()), size)
    shift = np.array([(p - n if p > n // 2 else p) * s for p, n, s in zip(peak, size, steps)], dtype=float)

    samples = SamplePoints(image)
    reach = max(steps)
    while reach >= 1:  # one axis after the other, half the reach each time
        for axis in range(3):
            trials = [shift + d * np.eye(3)[axis] for d in (-reach, 0, reach)]
            scores = samples.scores(origin, [tracked @ _translation(t) for t in trials])
            shift = trials[int(np.argmax(scores))]
        reach //= 2
    forward, offset = (tuple(int(s * n) for n in shift) for s in (-1, 1))
    words = (
        f"shifted by {forward} voxels" if kind == "shifted" else f"cropped or padded by {offset} voxels at the start"
    )
    return CandidatePose(words, kind if any(offset) else "in place", tracked @ _translation(shift))


def _translation(offset: Sequence[float] | np.ndarray) -> np.ndarray:
    shift = np.eye(4)
    shift[:3, 3] = offset
    return shift


def _standardised(values: Tensor) -> Tensor:
    """By rank, so that one bright vessel does not outweigh everything else."""
    ranks = torch.searchsorted(values.sort().values, values).float()
    return ranks - ranks.mean()


def _half_voxels() -> Iterator[np.ndarray]:
    for offset in itertools.product((-0.5, 0, 0.5), repeat=3):
        yield _translation(offset)


def _candidate_poses(shape: tuple[int, ...], tracked: np.ndarray, exhaustive: bool) -> Iterator[CandidatePose]:
    for turn, words, kind in _turns(shape, exhaustive):
        yield CandidatePose(words, kind, tracked @ turn)
    # A voxel of whichever grid is coarser: below that, a shift is not visible.
    step = np.maximum(1, 1 / np.maximum(np.linalg.norm(tracked[:3, :3], axis=0), 1e-6))
    for axis, count in itertools.product(range(3), (1, 2, 3, 5, 8) if exhaustive else (1, 3)):
        for sign in (-1, 1):
            # Content that moved forward by s shows at p what its origin had at p - s.
            shift = -sign * count * step[axis] * np.eye(3)[axis]
            if np.abs(shift).max() < shape[axis] / 2:
                words = f"shifted by {sign * count} voxel{'s' * (count > 1)} along {AXES[axis]}"
                yield CandidatePose(words, "shifted", tracked @ _translation(shift))


def _turns(shape: tuple[int, ...], exhaustive: bool) -> Iterator[tuple[np.ndarray, str, str]]:
    """4×4 voxel index maps that permute and mirror an image of this shape, the identity left out."""
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((1, -1), repeat=3):
            swapped, mirrored = order != (0, 1, 2), flips.count(-1)
            if (not swapped and not mirrored) or (not exhaustive and swapped and mirrored):
                continue
            if any(flip < 0 and shape[column] == 1 for column, flip in zip(order, flips)):
                continue  # of a picture's one slice that is the very same
            yield turn_matrix(shape, order, flips), _turn_words(order, flips), "permuted" if swapped else "mirrored"


def turn_matrix(shape: tuple[int, ...], order: tuple[int, ...], flips: tuple[int, ...]) -> np.ndarray:
    """4×4 voxel index map that takes an image's axes in another order, mirrored where a flip is −1."""
    turn = np.zeros((4, 4))
    turn[3, 3] = 1
    for row, (column, flip) in enumerate(zip(order, flips)):
        turn[row, column] = flip
        turn[row, 3] = 0 if flip > 0 else shape[column] - 1
    return turn


def _turn_words(order: tuple[int, ...], flips: tuple[int, ...]) -> str:
    words = []
    if order != (0, 1, 2):
        words.append(f"axes permuted to {''.join(AXES[a] for a in order)}")
    if -1 in flips:
        words.append("mirrored along " + " and ".join(AXES[a] for a, f in enumerate(flips) if f < 0))
    return ", ".join(words)


def _extent(image: Tensor) -> int:
    """Elements from the start of an image's memory to its last one."""
    return image.storage_offset() + 1 + sum((n - 1) * s for n, s in zip(image.shape, image.stride()))


def at(image: Tensor, index: Tensor) -> Tensor:
    """Values of ``image`` (I×J×K) at voxel indices (N×3)."""
    i, j, k = index.to(image.device).unbind(1)
    return image[i, j, k].float().cpu()


def _quantile_bins(values: Tensor) -> Tensor:
    """R×N values by rank in ``BINS`` bins of equal size; equal values, as far as interpolation is exact, share one."""
    low = values.amin(1, keepdim=True)
    grain = (values.amax(1, keepdim=True) - low).clamp(min=1e-30) * 1e-5
    values = ((values - low) / grain).round()
    # The bin of a value is BINS · rank // N: that of the last edge below it, which is quicker to find than its rank.
    edges = -(-np.arange(1, BINS) * values.shape[1] // BINS) - 1
    ordered = np.ascontiguousarray(np.sort(values.numpy(), axis=1)[:, edges])
    return torch.searchsorted(torch.from_numpy(ordered), values)


def _mutual_information(a: Tensor, b: Tensor) -> list[float]:
    """In nats between bins ``a`` (N) and each row of bins ``b`` (R×N)."""
    rows = torch.arange(len(b))[:, None]
    joint = torch.bincount(((rows * BINS + a) * BINS + b).view(-1), minlength=len(b) * BINS**2).double()
    joint = joint.view(len(b), BINS, BINS) / len(a)
    independent = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    return torch.where(joint > 0, joint * (joint / independent).log(), 0.0).nan_to_num(0.0).sum((1, 2)).tolist()

"""Means with 95 % intervals, by resampling the cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
LEVEL = 0.95

FEW = 0.1
"""Shares below it are told with one more digit."""

Z = 1.959963984540054


@dataclass(frozen=True)
class Interval:
    """A mean over cases.

    Attributes:
        low, high: its 95 % interval; None of fewer than two cases.
        count: of cases.
        wilson: the interval is Wilson's, as all cases hit or none did.
    """

    mean: float
    low: float | None
    high: float | None
    count: int
    wilson: bool = False


def mean_of(values: Sequence[float], seed: int = 0) -> Interval | None:
    """The mean of some values with the percentile interval of 4000 bootstrap samples (Efron & Tibshirani 1993, ch. 13),
    the same for the same seed. None of no values.

    Where every case hit or none did, all samples are alike and the interval would be of no width; there Wilson's
    (1927) stands for it.
    """
    found = np.asarray(values, dtype=float)
    if not found.size:
        return None
    mean, count = float(found.mean()), int(found.size)
    if count < 2:
        return Interval(mean, None, None, count)
    if found.min() == found.max() and mean in (0.0, 1.0):
        return Interval(mean, *_wilson(mean, count), count, wilson=True)
    random = np.random.default_rng(seed)
    step = max(1, min(RESAMPLES, 4_000_000 // count))  # a few at a time: fifty thousand cases fit into the memory
    starts = range(0, RESAMPLES, step)
    means = np.concatenate(
        [found[random.integers(0, count, (min(step, RESAMPLES - start), count))].mean(1) for start in starts]
    )
    low, high = np.percentile(means, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(mean, float(low), float(high), count)


def _wilson(share: float, count: int) -> tuple[float, float]:
    middle = (share + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * np.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))

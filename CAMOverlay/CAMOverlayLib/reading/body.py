"""Where the body is in a volume, roughly: what is brighter than its background."""

from __future__ import annotations

import numpy as np

SAMPLE = 500_000
"""Voxels that are enough to tell body from background."""

LEAST = 0.01
"""Share of the volume below which what was found is no body."""


def body_of(voxels: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray | None:
    """Bool, I×J×K: voxels above Otsu's threshold (1979), as far as the network saw them.

    Args:
        voxels: I×J×K, or I×J×K×C of a colour image.
        seen: bool I×J×K; None is all.

    Returns:
        the body; ``seen`` where no body stands out.
    """
    grey = voxels if voxels.ndim == 3 else voxels.mean(-1)
    flat = grey.T.reshape(-1)  # as it lies in memory
    sample = flat[:: max(1, flat.size // SAMPLE)].astype(np.float64)
    sample = sample[np.isfinite(sample)]
    if not sample.size or sample.min() == sample.max():
        return seen
    body = grey > _otsu(sample)
    if seen is not None:
        body &= seen
    return body if np.count_nonzero(body) >= LEAST * body.size else seen


def _otsu(sample: np.ndarray) -> float:
    """The threshold that leaves the least variance on both sides of it."""
    counts, edges = np.histogram(sample, 256, tuple(np.percentile(sample, [0, 99.5])))
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    first = np.cumsum(counts * middles)[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (first / below - ((counts * middles).sum() - first) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between))])

"""What each channel of an image claims: which channel or volume it was made from, and where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from .examination import Claim, examine
from .mutual_information import STEP_POINTS, AlignmentScore, SamplePoints, compare

IN_FULL = 3
"""Channels that are examined in every way; of more, the rest are tested against turns, mirrors and shifts alone."""
MOST = 64
NEIGHBOURS = 6
"""Slices, to each side, that an image of neighbouring slices may show in its other channels."""


def claims_of(
    channels: Sequence[Tensor], origins: Sequence[Tensor], tracked: np.ndarray, spacing: np.ndarray
) -> list[Claim]:
    """One claim for each channel (I×J×K): channel n of as many was made from origin n, several of one from that one,
    and else from whichever it resembles most. Channels that show neighbouring slices claim just that."""
    claims = []
    for number, channel in enumerate(channels[:MOST]):
        origin = origins[0]
        if len(origins) == len(channels):
            origin = origins[number]
        elif len(origins) > 1:
            samples = SamplePoints(channel, STEP_POINTS // 4)
            origin = max(origins, key=lambda o: samples.scores(o, [tracked])[0])
        claims.append(Claim(channel, origin, tracked, spacing))
    return _neighbouring(claims) if len(claims) % 2 and len(claims) > 1 and len(origins) == 1 else claims


def _neighbouring(claims: list[Claim]) -> list[Claim]:
    """Channel c shows slice k + (c − middle)·n of the one volume: 2.5-D networks want it so."""
    tracked, shape = claims[0].tracked, claims[0].image.shape
    steps = np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    for axis in (a for a in range(3) if shape[a] > 1):
        shifts = [np.eye(4) for _ in steps]
        for shift, step in zip(shifts, steps):
            shift[axis, 3] = step
        found = []
        for claim in claims:
            samples = SamplePoints(claim.image, STEP_POINTS // 2)
            scores = samples.scores(claim.origin, [tracked @ s for s in shifts])
            found.append(int(steps[int(np.argmax(scores))]) if not samples.empty else 99)
        gaps = np.diff(found)
        if 0 < abs(gaps[0]) <= 2 and (gaps == gaps[0]).all() and found[len(found) // 2] == 0:
            return [replace(c, tracked=tracked @ shifts[f + NEIGHBOURS]) for c, f in zip(claims, found)]
    return claims


def examine_all(claims: list[Claim], points: int, named: bool = False) -> AlignmentScore:
    """The verdict on all channels together: what one contradicts, all do.

    ``verified`` where at least one is, and none says otherwise: a channel may be empty, or show too little.
    """
    found = []
    for number, claim in enumerate(claims):
        full = len(claims) <= IN_FULL or number in np.linspace(0, len(claims) - 1, IN_FULL).astype(int)
        agreement = (
            None
            if full
            else compare(SamplePoints(claim.image, STEP_POINTS), claim.origin, claim.tracked, exhaustive=False)
        )
        if agreement is None or agreement.verdict == "mismatch":
            agreement = examine(claim, points, named)
        agreement = replace(agreement, channel=number if len(claims) > 1 else None)
        if agreement.verdict == "mismatch":
            return agreement
        found.append((agreement, full))
    verified = [a for a, full in found if a.verdict == "verified" and full]
    if not verified:
        return found[0][0]
    worst: dict[str, Any] = {}
    for name in ("shift_mm", "turn_degrees", "zoom_percent", "parts_mm"):
        values = [getattr(a, name) for a in verified]
        worst[name] = None if None in values else max(values)
    sure = sum(a.verdict == "verified" for a, _ in found)
    return replace(verified[0], channels=(sure, len(found)), **worst)

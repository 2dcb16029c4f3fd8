"""Means with their intervals as one plot, a line for each."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from ...report.markup import Markup, clean
from .intervals import FEW, Interval

WIDTH, LEFT, RIGHT, ROW = 480, 130, 84, 30

MOST = 60


def forest(
    title: str, rows: Sequence[tuple[str, Interval]], percent: bool = True, chance: float | None = None
) -> Markup:
    """A point and a line for the 95 % interval of each row.

    Args:
        percent: values are shares of 1, and the axis ends at 100 % unless all are below half of that.
        chance: where a dashed line is drawn.
    """
    rows = rows[:MOST]
    ends = [value for _, one in rows for value in (one.mean, one.low, one.high, chance) if value is not None]
    high = max(_round_up(max([*ends, 1e-9])), 1e-9)
    high = 1.0 if percent and high > 0.5 else high
    height = ROW * len(rows) + 34

    def at(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(value, 0.0), high) / high

    parts = []
    for tick in np.linspace(0, high, 5):
        words = f"{100 * tick:g}%" if percent else f"{tick:g}"
        parts.append(f'<path class="grid" d="M{at(tick):.1f} 6V{height - 24}"/>')
        parts.append(f'<text x="{at(tick):.1f}" y="{height - 6}" text-anchor="middle">{words}</text>')
    if chance is not None:
        parts.append(f'<path class="axis" stroke-dasharray="4 3" d="M{at(chance):.1f} 6V{height - 24}"/>')
    parts += [_row(name, one, 6 + ROW * (number + 0.5), at, percent) for number, (name, one) in enumerate(rows)]
    words = escape(clean(title))
    return Markup(
        f'<svg class="plot forest" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{words}">'
        f"<title>{words}</title>"
        f"{''.join(parts)}</svg>"
    )


def _row(name: str, one: Interval, y: float, at: object, percent: bool) -> str:
    short = clean(name) if len(name) <= 17 else clean(name[:10]) + "…" + clean(name[-6:])
    said = f"{one.mean:.{int(0 < one.mean < FEW)}%}" if percent else f"{one.mean:.2g}"
    x = at(one.mean)  # type: ignore[operator]
    line = ""
    if one.low is not None and one.high is not None:
        line = f'<path class="curve c1" d="M{at(one.low):.1f} {y}H{at(one.high):.1f}"/>'  # type: ignore[operator]
    return (
        f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(short)}</text>{line}'
        f'<circle class="dot" cx="{x:.1f}" cy="{y}" r="5"/>'
        f'<text x="{WIDTH - RIGHT + 14}" y="{y + 4}">{said} of {one.count}</text>'
    )


def _round_up(value: float) -> float:
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(base * power for base in (1, 2, 4, 6, 8, 10) if base * power >= value * 0.999))

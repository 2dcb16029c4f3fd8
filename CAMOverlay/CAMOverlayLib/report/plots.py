"""Plots as SVG: the curves of a check, the shares of the channels. In a page they take its colours, alone their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from ..contract.findings import Check

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 40
LINE = 20
"""Height of a line of the legend."""

MOST_CURVES, MOST_POINTS = 12, 400
"""What is drawn of curves that a file claims to have."""

STYLE = (
    ".plot{font:13px system-ui,sans-serif;fill:#333}.plot .axis{stroke:#777;fill:none}.plot .grid{stroke:#ddd}"
    ".plot .curve{fill:none;stroke-width:2.2}.plot .c0{stroke:#b5123f}.plot .c1{stroke:#1f6fb2}"
    ".plot .c2{stroke:#1f7a3e}.plot .c3{stroke:#8a5a00}.plot .c4{stroke:#6b4fa0}.plot .bar{fill:#b5123f}"
)
"""Of a plot in a file of its own; the page's style sheet has the same classes."""


CAPTIONS = {
    "network similarity": "How alike the map stays while the weights are shuffled, stage by stage, from the output on",
    "answer deletion": "The answer while places are taken away, by their share: the map's hottest first, and controls",
    "answer insertion": "The answer while all but some places are taken away, by the share that is left",
    "stability similarity": "How alike the map is after each small change of the image",
    "stability peak moved mm": "How far the peak moves by each small change of the image, in mm",
}
"""What a plot shows, by check and title."""


def groups_of(check: Check) -> dict[str, dict[str, Sequence[float]]]:
    """The curves that belong into one plot, by its title: those that share a first word, of which there are several."""
    names = [name for name in check.curves if name != "x"][:MOST_CURVES]
    first = [name.partition(" ")[0] for name in names]
    found: dict[str, dict[str, Sequence[float]]] = {}
    for name, word in zip(names, first, strict=True):
        several = first.count(word) > 1
        title, label = (word, name.partition(" ")[2]) if several else (name, name)
        found.setdefault(title, {})[label] = check.curves[name]
    return found


def plots_of(check: Check, alone: bool = False) -> dict[str, str]:
    """An SVG for each group of curves, by its title."""
    x = check.curves.get("x", ())
    return {title: curves_svg(f"{check.name}: {title}", x, curves, alone) for title, curves in groups_of(check).items()}


def curves_svg(title: str, x: Sequence[float], curves: Mapping[str, Sequence[float]], alone: bool = False) -> str:
    """Curves over one axis, with a legend below; the first is the map's own and drawn on top."""
    x, curves = _drawable(x), {name: _drawable(values) for name, values in curves.items()}
    across, bounds = _bounds(x, curves)
    high = HEIGHT + LINE * len(curves)
    parts = [_axes(across, bounds)]
    for number, (name, values) in reversed(list(enumerate(curves.items()))):
        count = min(len(values), MOST_POINTS)
        axis = x[:count] if len(x) >= count else range(count)
        points = " ".join(f"{_place(a, b, across, bounds)}" for a, b in zip(axis, values[:count]))
        look = f'class="curve c{number % 5}"{_dashes(number)}'
        y = HEIGHT + LINE * number
        parts.append(f'<polyline {look} points="{points}"/><path {look} d="M{LEFT} {y}h34"/>')
        parts.append(f'<text x="{LEFT + 44}" y="{y + 4}">{escape(name)}</text>')
    return _svg(title, high, "".join(parts), alone)


def _drawable(values: Sequence[float]) -> list[float]:
    """Numbers that a plot can be as high as; a result that came with a scene may hold any."""
    return [min(max(float(value), -1e12), 1e12) for value in values[:MOST_POINTS]]


def channels_svg(channels: Mapping[str, float], alone: bool = False) -> str:
    """A bar for each input channel: its share of the evidence."""
    rows = list(channels.items())[:50]
    parts = []
    for number, (name, share) in enumerate(rows):
        y, wide = 8 + 40 * number, max(float(share), 0.0) * (WIDTH - 80)
        parts.append(f'<text x="4" y="{y + 10}">{escape(name[:60])}</text>')
        parts.append(f'<rect class="bar" x="4" y="{y + 15}" width="{max(wide, 1):.1f}" height="13"/>')
        parts.append(f'<text x="{wide + 12:.1f}" y="{y + 26}">{share:.1%}</text>')
    return _svg("Share of the evidence of each channel", 12 + 40 * len(rows), "".join(parts), alone)


def _svg(title: str, height: int, inside: str, alone: bool) -> str:
    head = ' xmlns="http://www.w3.org/2000/svg"' if alone else ""
    style = f"<style>{STYLE}</style>" if alone else ""
    size = f' width="{WIDTH}" height="{height}"' if alone else ""
    return (
        f'<svg class="plot"{head}{size} viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{style}{inside}</svg>"
    )


def _dashes(number: int) -> str:
    """The lines differ without their colours too."""
    pattern = ("", "7 4", "2 4", "9 3 2 3", "14 3", "3 2")[number % 6]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _bounds(
    x: Sequence[float], curves: Mapping[str, Sequence[float]]
) -> tuple[tuple[float, float], tuple[float, float]]:
    values = np.array([value for curve in curves.values() for value in curve] or [0.0], dtype=float)
    axis = np.array(list(x) or [0.0, max((len(curve) for curve in curves.values()), default=1) - 1], dtype=float)
    return _wide(float(axis.min()), float(axis.max())), _wide(float(values.min()), float(values.max()))


def _wide(low: float, high: float) -> tuple[float, float]:
    """Bounds that a tick lies on."""
    if not high > low:
        return low - 0.5, high + 0.5
    step = _step(high - low)
    return float(np.floor(low / step + 1e-9) * step), float(np.ceil(high / step - 1e-9) * step)


def _step(span: float) -> float:
    """A round distance of ticks, four to eight of them."""
    raw = span / 5
    power = 10.0 ** np.floor(np.log10(raw))
    return float(next(base * power for base in (1, 2, 5, 10) if base * power >= raw * 0.999))


def _place(a: float, b: float, across: tuple[float, float], bounds: tuple[float, float]) -> str:
    x = LEFT + (WIDTH - LEFT - RIGHT) * (a - across[0]) / (across[1] - across[0])
    y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (b - bounds[0]) / (bounds[1] - bounds[0])
    return f"{x:.1f},{y:.1f}"


def _axes(across: tuple[float, float], bounds: tuple[float, float]) -> str:
    parts = []
    for value in _ticks(bounds):
        y = _place(across[0], value, across, bounds).partition(",")[2]
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{float(y) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in _ticks(across):
        x = _place(value, bounds[0], across, bounds).partition(",")[0]
        parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:g}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    return "".join(parts)


def _ticks(bounds: tuple[float, float]) -> list[float]:
    step = _step(bounds[1] - bounds[0])
    first = np.ceil(bounds[0] / step - 1e-9)
    return [float(round((first + n) * step, 12)) for n in range(12) if (first + n) * step <= bounds[1] + step * 1e-6]

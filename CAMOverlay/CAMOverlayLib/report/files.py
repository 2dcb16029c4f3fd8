"""Further files of a result: the heatmap as NRRD, the montage, the plots and the tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..contract.request import Result
from .drawing import SIDE, as_png, montage
from .nrrd import write_nrrd
from .plots import channels_svg, plots_of
from .shown import Shown
from .slices import MOST_SPOTS, pictured, slices_through
from .tables import TABLES


def montage_of(result: Result, shown: Shown, side: int = SIDE, most: int = MOST_SPOTS) -> bytes:
    """The slices through the hottest spots, so many of them, as PNG; a row each."""
    rows = []
    for spot in pictured(shown, result.findings, result.peak)[:most]:
        words = "No heat anywhere" if spot is None else f"Hot spot {spot.region}: peak {spot.maximum:.2f}"
        rows.append((words, slices_through(shown, spot.peak if spot else None)))
    return as_png(montage(rows, shown, side))


def _nrrd(folder: Path, result: Result, shown: Shown) -> None:
    write_nrrd(folder / "heatmap.nrrd", shown.heat, shown.affine)


def _montage(folder: Path, result: Result, shown: Shown) -> None:
    (folder / "montage.png").write_bytes(montage_of(result, shown))


def _svg(folder: Path, result: Result, shown: Shown) -> None:
    """A file for each plot; none where nothing was measured."""
    plots = {f"{check.name}-{title}": svg for check in result.checks for title, svg in plots_of(check, True).items()}
    if result.channels:
        plots["channels"] = channels_svg(result.channels, alone=True)
    for name, svg in plots.items():
        plain = re.sub(r"[^\w-]+", "-", name)[:80]
        (folder / f"plot-{plain}.svg").write_text(svg + "\n", encoding="utf-8")


def _csv(folder: Path, result: Result, shown: Shown) -> None:
    for name, table in TABLES.items():
        (folder / name).write_text(table(result), encoding="utf-8")


SAVERS: dict[str, Callable[[Path, Result, Shown], None]] = {
    "nrrd": _nrrd,
    "montage": _montage,
    "svg": _svg,
    "csv": _csv,
}
"""By what the command line calls them."""

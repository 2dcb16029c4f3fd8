"""What a run writes beside the heatmap for those who have no Slicer: the page, and on request further files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..contract.records import absolute
from ..contract.request import Progress, Request, Result

Compute = Callable[[Request, Callable[[Progress], None]], Result]

REPORTS = ("viewer", "pictures", "none")

SAVED = ("nrrd", "montage", "svg", "csv")

REPORT_HELP = (
    "report.html: with a viewer that scrolls (where ipyniivue is installed), with pictures only, or none "
    "(default: %(default)s)"
)

SAVE_HELP = (
    "further files, with commas between: nrrd (heatmap.nrrd), montage (montage.png, the slices where the heat is), svg "
    "(plots), csv (classes, structures, channels, checks)"
)

FILES = ("report.html", "heatmap.nrrd", "montage.png", "plot-*.svg", "classes.csv", "structures.csv", "channels.csv",
         "checks.csv")  # fmt: skip
"""What may be written; none of them may replace an input."""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", choices=REPORTS, default="viewer", help=REPORT_HELP)
    parser.add_argument("--no-picture", dest="picture", action="store_false", help="do not draw overlay.png")
    parser.add_argument("--no-scene", dest="scene", action="store_false", help="do not save scene.mrb")
    parser.add_argument("--save", type=_saved, default=(), metavar="KIND,…", help=SAVE_HELP)


def _saved(words: str) -> tuple[str, ...]:
    kinds = tuple(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    if wrong := [kind for kind in kinds if kind not in SAVED]:
        raise argparse.ArgumentTypeError(f"there is no kind {wrong[0]!r}; choose of {', '.join(SAVED)}")
    return kinds


def names(report: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """What is written, in words for the terminal."""
    files = {"nrrd": "heatmap.nrrd", "montage": "montage.png", "svg": "plot-*.svg", "csv": "*.csv"}
    return (*(["report.html"] if report != "none" else []), *(files[kind] for kind in kinds))


def of_files(compute: Compute, paths: Sequence[str], told: Callable[[Result], Result], python: str = "") -> Compute:
    """A computation whose results say which files they were asked of, in the words of the command line.

    Args:
        python: that computes, where one was named.
    """

    def in_words(result: Result) -> Result:
        asked = replace(result.provenance, door="command", volumes=tuple(map(absolute, paths)), python=python)
        return told(replace(result, provenance=asked))

    def computed(request: Request, report: Callable[[Progress], None]) -> Result:
        return in_words(compute(request, lambda progress: report(progress.with_result(in_words))))

    return computed


def shown_in_file(grid: Any, volume: Any, heatmap: Any) -> Any:
    """Volume and heatmap in the voxels of the file, which are those of its result."""
    from ..scene.figure.report import shownOf

    shown = shownOf(volume, heatmap)
    further = tuple(replace(one, values=grid.array(one.values)) for one in shown.further)
    there = {"image": grid.array(shown.image), "heat": grid.array(shown.heat), "further": further}
    return replace(shown, **there, affine=grid.grid.affine)


def write_away(folder: Path, result: Result, shown: Any, report: str, kinds: Sequence[str]) -> None:
    """``report.html``, with a viewer or without, where one is wanted, and the further files that were asked for."""
    from ..report.files import SAVERS
    from ..report.page import write_page

    if report != "none":
        (folder / "report.html").write_text(write_page(result, shown, report == "viewer"), encoding="utf-8")
    for kind in kinds:
        SAVERS[kind](folder, result, shown)

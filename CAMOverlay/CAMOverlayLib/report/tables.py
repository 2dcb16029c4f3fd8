"""The tables of a result as CSV: a line of names, then a row each; decimal points and commas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

from ..contract.findings import StructureFigures
from ..contract.request import Result


def structures_csv(result: Result) -> str:
    """How much of the heat lies in which structure; every figure of the record."""
    names = [one.name for one in fields(StructureFigures)]
    return _csv(names, ([getattr(figures, name) for name in names] for figures in result.structures))


def channels_csv(result: Result) -> str:
    """The share of the evidence of each input channel."""
    return _csv(("channel", "share"), result.channels.items())


def checks_csv(result: Result) -> str:
    """Verdicts and figures of the checks, a row for each figure."""
    rows: list[tuple[str, str, str | float]] = []
    for check in result.checks:
        rows.append((check.name, "verdict", check.verdict))
        rows += [(check.name, name, value) for name, value in check.figures.items()]
    return _csv(("check", "figure", "value"), rows)


def classes_csv(result: Result) -> str:
    """What the network said, a row for each class; ``voxels`` of a segmentation network only."""
    said = result.prediction
    voxels: Sequence[Any] = said.voxels or [""] * len(said.classes)
    rows = zip(range(len(said.classes)), said.classes, said.outputs, said.probabilities, voxels, strict=True)
    return _csv(("index", "class", "output", "probability", "voxels"), rows)


TABLES = {
    "classes.csv": classes_csv,
    "structures.csv": structures_csv,
    "channels.csv": channels_csv,
    "checks.csv": checks_csv,
}
"""Files beside ``findings.csv``, which a run always writes."""


def _csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows([_safe(value) for value in row] for row in rows)
    return text.getvalue()


def _safe(value: Any) -> Any:
    """A name that a spreadsheet would take for a formula gets an apostrophe, as it would when it is typed there."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

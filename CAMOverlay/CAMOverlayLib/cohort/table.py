"""What comes out of a cohort: one row per case, from what lies on disk."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..contract.whole_files import save_text
from .cases import Case
from .folder import ROW, Found
from .plan import Plan

FILE = "cohort.csv"

COLUMNS = ("id", "state", "volume", "label", "target", *ROW)
"""In their order; the columns that are carried along follow."""


def record_of(case: Case, found: Found, carried: Sequence[str]) -> dict[str, Any]:
    """A row: numbers as numbers, None where there is nothing to say."""
    state = found.state if found.state in ("done", "failed") else "missing"
    row = found.row if state != "missing" else {}
    record: dict[str, Any] = {
        "id": case.id,
        "state": state,
        "volume": case.volumes[0],
        "label": case.label or None,
        "target": case.target or None,
        **{name: row.get(name) for name in ROW},
    }
    return record | {carried_name(name): case.carried.get(name) or None for name in carried}


def carried_name(name: str) -> str:
    """What a column of the list is called here: none hides one of ours."""
    return f"list_{name}" if name in COLUMNS else name


def records_of(plan: Plan, cases: Sequence[Case], found: Mapping[str, Found]) -> list[dict[str, Any]]:
    """The rows of a list, in its order.

    Args:
        found: what lies on disk, by the case's id.
    """
    carried = list(dict.fromkeys(name for case in cases for name in case.carried))
    target = "" if plan.target is None else str(plan.target)
    records = [record_of(case, found[case.id], carried) for case in cases]
    return [one | {"target": one["target"] or target or None} for one in records]


def write_table(plan: Plan, records: Sequence[Mapping[str, Any]]) -> None:
    """Write ``cohort.csv``, complete or not at all. Raises OutputError where that cannot be."""
    names = list(dict.fromkeys([*COLUMNS, *(name for one in records for name in one)]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_said(name, one.get(name)) for name in names] for one in records)
    save_text(plan.folder / FILE, text.getvalue())


def _said(name: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.2f}" if name == "seconds" or name.startswith("peak_") else f"{value:.6g}"
    return str(value)


def as_table(records: list[dict[str, Any]]) -> Any:
    """The rows as a pandas table where pandas is installed, else as they are."""
    try:
        import pandas
    except ImportError:
        return records
    return pandas.DataFrame(records, columns=list(records[0]) if records else list(COLUMNS))

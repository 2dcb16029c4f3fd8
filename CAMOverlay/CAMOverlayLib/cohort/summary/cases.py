"""The cases of a cohort as its folder has them: ``cohort.csv``, and a folder for each case."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...contract.errors import OutputError

TABLE = "cohort.csv"
ACCOUNT = "cohort.json"
CASES = "cases"

COLUMNS = (
    "id", "state", "volume", "label", "target", "prediction", "probability", "peak_r", "peak_a", "peak_s", "placement",
    "share", "enrichment", "hit", "seconds", "error",
)  # fmt: skip
"""Of ``cohort.csv``; further ones were carried along from the list."""

_TEXTS = ("id", "state", "volume", "label", "target", "prediction", "error")
_NUMBERS = ("probability", "share", "enrichment", "seconds")

FAILED = ("failed", "error")

MOST_CELL = 2000
"""Characters of a cell that are read; more is no name and no sentence."""

MOST_REPORT = 64 << 20
"""Bytes of a ``report.json``."""


@dataclass(frozen=True)
class Case:
    """One row of ``cohort.csv``.

    Attributes:
        id: also the name of its folder.
        state: as the table says; see :attr:`failed`.
        volume: path of the volume (of its first channel).
        label: what is true, as the list had it; empty where it says nothing.
        target: the class that was asked for, empty for the predicted one; ``prediction`` what the network said, and
            ``probability`` of that.
        peak: RAS in mm.
        placement: verdict of the alignment.
        share, enrichment: of the heat in the mask; None where there was none.
        hit: whether the peak lies in the mask.
        error: why it failed.
        carried: further columns.
        folder: where its files lie; None where there is none.
    """

    id: str
    state: str = ""
    volume: str = ""
    label: str = ""
    target: str = ""
    prediction: str = ""
    probability: float | None = None
    peak: tuple[float, float, float] | None = None
    placement: str = ""
    share: float | None = None
    enrichment: float | None = None
    hit: bool | None = None
    seconds: float | None = None
    error: str = ""
    carried: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def failed(self) -> bool:
        return bool(self.error) or self.state.casefold() in FAILED

    @property
    def done(self) -> bool:
        """There is a heatmap to look at."""
        return not self.failed and self.heatmap is not None

    @cached_property
    def heatmap(self) -> Path | None:
        return self.file("heatmap.nii.gz")

    def file(self, name: str) -> Path | None:
        """A file of the case, where it is there."""
        path = self.folder / name if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    @cached_property
    def told(self) -> Mapping[str, Any]:
        """Its ``report.json``, empty where there is none or it is damaged: it says nothing that the table lacks, but
        for the names of the classes and what the network saw."""
        path = self.file("report.json")
        try:
            if path is None or path.stat().st_size > MOST_REPORT:
                return {}
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def right(self) -> bool | None:
        """Whether the network said what is true; None where that is not known. A label is a name, or an index."""
        label, said = self.label.strip().casefold(), self.prediction.strip().casefold()
        if not label or not said or self.failed:
            return None
        if label == said:
            return True
        names = [name.casefold() for name in self._classes]
        number = _number(label)
        if number is not None and number == int(number) and label not in names:
            return said == names[int(number)] if 0 <= number < len(names) else _number(said) == number
        return False

    @property
    def _classes(self) -> list[str]:
        prediction = self.told.get("prediction")
        names = prediction.get("classes") if isinstance(prediction, dict) else None
        return [str(name) for name in names] if isinstance(names, list) else []

    @cached_property
    def explained(self) -> str:
        """The class under which the case is counted: what was explained, of one that failed what is true."""
        if self.failed:
            return self.target or self.label
        target = self.told.get("target")
        name = target.get("name") if isinstance(target, dict) else None
        return str(name)[:MOST_CELL] if name else self.target or self.prediction

    @property
    def planes(self) -> tuple[tuple[float, ...], ...]:
        """What the network saw, as ``FieldOfView`` has it; empty for all, or where that is not known."""
        seen = self.told.get("field_of_view")
        planes = seen.get("planes") if isinstance(seen, dict) else None
        try:
            found = tuple(tuple(float(n) for n in plane) for plane in planes or ())
        except (TypeError, ValueError):
            return ()
        sane = all(len(plane) == 5 and all(map(math.isfinite, plane)) and any(plane[:3]) for plane in found)
        return found if sane and len(found) < 1000 else ()


def read_cases(folder: Path) -> list[Case]:
    """Every row of a cohort's table, in its order.

    Raises:
        OutputError: the folder has no such table, or it is none.
    """
    path = folder / TABLE
    if not path.is_file():
        raise OutputError(f"'{folder}' holds no {TABLE}. Give the folder that cam-overlay cohort wrote.")
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        rows = csv.DictReader(io.StringIO(text, newline=""), restkey="", restval="")
        if "id" not in (rows.fieldnames or ()):
            raise OutputError(f"'{path}' has no column 'id', so it is no table of a cohort. Compute the cohort again.")
        return [_case(folder, row, rows.fieldnames or ()) for row in rows]
    except (OSError, csv.Error) as error:
        raise OutputError(f"'{path}' cannot be read: {error}. Compute the cohort again.") from None


def _case(folder: Path, row: Mapping[str, Any], names: Iterable[str]) -> Case:
    said = {name: str(row.get(name) or "")[:MOST_CELL] for name in names if name}
    texts: dict[str, Any] = {name: said.get(name, "") for name in _TEXTS}
    numbers: dict[str, Any] = {name: _number(said.get(name, "")) for name in _NUMBERS}
    r, a, s = (_number(said.get(f"peak_{axis}", "")) for axis in "ras")
    return Case(
        **texts,
        **numbers,
        peak=(r, a, s) if r is not None and a is not None and s is not None else None,
        placement=said.get("placement", ""),
        hit=_truth(said.get("hit", "")),
        carried={name: value for name, value in said.items() if name not in COLUMNS},
        folder=case_folder(folder, texts["id"]),
    )


def case_folder(folder: Path, id_: str) -> Path | None:
    """The folder of a case, one step below ``cases``; None of a name that would lead elsewhere, and where there is
    none."""
    if not id_ or id_ in (".", "..") or any(sign in id_ for sign in "/\\\0"):
        return None
    path = folder / CASES / id_
    try:
        return path if path.is_dir() else None
    except OSError:  # a name too long
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _truth(text: str) -> bool | None:
    word = text.strip().casefold()
    if word in ("1", "1.0", "true", "yes"):
        return True
    return False if word in ("0", "0.0", "false", "no") else None


def read_account(folder: Path) -> dict[str, Any]:
    """``cohort.json``: options, hash of the model, version; empty where it is not there or damaged."""
    try:
        found = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

"""The list: what is to be explained, one case per row of a table, per image of a folder, or per match of a pattern."""

from __future__ import annotations

import csv
import glob
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..contract.errors import CohortError, reason
from ..contract.records import JsonRecord

IMAGES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".img.gz")
"""Endings of the files that a folder is searched for."""

TABLES = (".csv", ".tsv", ".txt")

FILES = ("mask", "to_template")
"""Columns that name a file and are carried along."""

IDENTITY = "identity"
"""In the place of a transform's file: the volume lies on the template already."""

OWN = ("volume", "id", "label", "target")
"""Columns that are understood, and not carried along under their own names."""

LONGEST = 120
"""Characters of an id: with the names of the files in it, a path that every system allows."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
"""Names that Windows keeps for itself."""


@dataclass(frozen=True)
class Case(JsonRecord):
    """One volume to explain.

    Attributes:
        id: the name of its folder.
        volumes: absolute path of each channel, in the model's order.
        mask: where a radiologist sees something, or empty.
        label: the class that is true, as the list says it.
        target: what to explain; empty takes that of the whole cohort.
        carried: further columns of the list, and what they say of this case.
    """

    id: str
    volumes: tuple[str, ...]
    mask: str = ""
    label: str = ""
    target: str = ""
    carried: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Row:
    """What a line of a table says, by the names of the columns."""

    where: str
    values: dict[str, str]


def cases_of(given: Any, channels: Sequence[str] = (), output: Path | None = None) -> tuple[Case, ...]:
    """The cases that somebody asks for.

    Args:
        given: path of a table (CSV), of a folder or of an image, or a pattern; several of these; or records by column
            name, such as a pandas table.
        channels: names of the model's channels, which may be columns.
        output: a folder in which nothing is looked for.

    Raises:
        CohortError: there is none, or a row cannot be understood; with its line.
    """
    if hasattr(given, "to_dict") and hasattr(given, "columns"):
        given = given.to_dict("records")
    several = [given] if isinstance(given, (str, os.PathLike)) else list(given)
    if several and all(hasattr(one, "items") for one in several):
        records: list[Any] = several
        rows = [_Row(f"Record {n}", _texts(one)) for n, one in enumerate(records)]
        return _cases(rows, list(dict.fromkeys(name for row in rows for name in row.values)), Path.cwd(), channels)
    words = [os.path.expanduser(os.fspath(one)) for one in several]
    tables = [one for one in words if one.lower().endswith(TABLES) and not Path(one).is_dir()]
    if tables and len(words) > 1:
        raise CohortError(f"'{tables[0]}' is a table, and {len(words) - 1} further words were given. Give it alone.")
    if tables:
        columns, rows = _table(Path(tables[0]))
        return _cases(rows, columns, Path(tables[0]).absolute().parent, channels)
    return _cases_of_files([one for word in words for one in _files(word, output)], words)


def _texts(record: Mapping[str, Any]) -> dict[str, str]:
    """A record as a table would say it; nothing stays nothing, also as pandas says it."""
    return {str(name): "" if value is None or value != value else str(value).strip() for name, value in record.items()}


# Tables -------------------------------------------------------------------------------------------------------------


def _table(path: Path) -> tuple[list[str], list[_Row]]:
    """The columns of a CSV file (commas, semicolons or tabs), and its rows."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CohortError(f"The list '{path}' is not UTF-8 text ({error.reason}). Save it as CSV in UTF-8.") from None
    except OSError as error:
        raise CohortError(f"The list '{path}' cannot be read: {error.strerror or error}.") from None
    lines = text.splitlines()
    head = next((line for line in lines if line.strip()), "")
    reader = csv.reader(lines, delimiter=max(",;\t", key=head.count), strict=True)
    columns: list[str] = []
    rows: list[_Row] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            where = f"Line {reader.line_num} of '{path.name}'"
            if not any(cells):
                continue
            if not columns:
                columns = _columns(cells, where)
                continue
            if len(cells) > len(columns):
                raise CohortError(
                    f"{where} has {len(cells)} values, and there are {len(columns)} columns "
                    f"({', '.join(columns)}). Quote a value that holds the separator."
                )
            rows.append(_Row(where, dict(zip(columns, [*cells, *[""] * len(columns)]))))
    except csv.Error as error:
        raise CohortError(f"Line {reader.line_num} of '{path.name}' is not CSV: {reason(error)}.") from None
    if not rows:
        raise CohortError(f"The list '{path}' has no rows. Give a first line with names, and one line per volume.")
    return columns, rows


def _columns(cells: Sequence[str], where: str) -> list[str]:
    known = {name: name for name in (*OWN, *FILES)}
    columns = [known.get(cell.casefold(), cell) for cell in cells]
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise CohortError(f"{where} names the column '{twice[0]}' twice. Give each a name of its own.")
    if "" in columns:
        raise CohortError(f"{where} has no name for column {columns.index('') + 1}. The first line names all of them.")
    return columns


def _cases(rows: Sequence[_Row], columns: list[str], base: Path, channels: Sequence[str]) -> tuple[Case, ...]:
    """The rows understood; paths are relative to ``base``."""
    volumes = _volume_columns(columns, channels)
    others = [name for name in columns if name not in (*OWN, *volumes)]
    cases: list[Case] = []
    for row in rows:
        paths = [row.values.get(name, "") for name in volumes]
        if "" in paths:
            column = volumes[paths.index("")]
            raise CohortError(f"{row.where} names no file in the column '{column}'. Name one, or remove the row.")
        said = {name: row.values[name] for name in FILES if row.values.get(name)}
        files = {name: one if one.casefold() == IDENTITY else _absolute(one, base) for name, one in said.items()}
        carried = {name: files.get(name, row.values.get(name, "")) for name in others}
        name = row.values.get("id", "") or _id_of(paths[0], base)
        _require_folder(name, row.where)
        cases.append(
            Case(
                name,
                tuple(_absolute(path, base) for path in paths),
                files.get("mask", ""),
                row.values.get("label", ""),
                row.values.get("target", ""),
                carried,
            )
        )
    _require_own(cases, [row.where for row in rows])
    return tuple(cases)


def _volume_columns(columns: Sequence[str], channels: Sequence[str]) -> list[str]:
    """The columns that name the image files, one per channel."""
    if "volume" in columns:
        return ["volume"]
    by_name = {name.casefold(): name for name in columns}
    named = [by_name[one.casefold()] for one in channels if one.casefold() in by_name]
    if channels and len(named) == len(channels):
        return named
    numbered = sorted(
        (int(found[1]), name)
        for name in columns
        if (found := re.fullmatch(r"(?:volume|channel)[_ ]?(\d+)", name, re.I))
    )
    if numbered:
        return [name for _, name in numbered]
    wanted = "'volume', or one per channel: " + (", ".join(channels) if channels else "volume_1, volume_2 …")
    raise CohortError(f"The list has the columns {', '.join(columns)}. Name the image files in the column {wanted}.")


# Folders and patterns -------------------------------------------------------------------------------------------------


def _files(word: str, output: Path | None) -> list[tuple[str, Path]]:
    """The images that a word names, each with the folder that its id is seen from."""
    path = Path(word)
    if path.is_dir():
        base = path.absolute()
        found = [str(one) for one in sorted(base.rglob("*")) if _is_image(one, base, output)]
    elif path.exists():
        return [(os.path.abspath(word), path.absolute().parent)]
    elif glob.has_magic(word):
        start = re.split(r"[*?\[]", os.path.abspath(word))[0]
        base = Path(start if start.endswith(os.sep) else os.path.dirname(start))
        found = sorted(os.path.abspath(one) for one in glob.glob(word, recursive=True) if Path(one).is_file())
    else:
        raise CohortError(f"There is no '{word}'. Give a CSV file, a folder, an image, or a pattern in quotes.")
    if not found:
        raise CohortError(
            f"There is not an image in '{word}' ({', '.join(IMAGES)} are looked for). Other files, and DICOM series, "
            "are named in a CSV file."
        )
    return [(one, base) for one in found]


def _is_image(path: Path, base: Path, output: Path | None) -> bool:
    """Whether a file of a folder is to be explained: not a hidden one, nor one of an earlier cohort's results."""
    if not path.name.lower().endswith(IMAGES) or not path.is_file():
        return False
    hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
    return not hidden and (output is None or output not in path.parents)


def _cases_of_files(files: Sequence[tuple[str, Path]], words: Sequence[str]) -> tuple[Case, ...]:
    if not files:
        raise CohortError("The list is empty. Give a CSV file, a folder, or a pattern in quotes.")
    cases = [Case(_id_of(path, base), (path,)) for path, base in files]
    _require_own(cases, [f"'{path}'" for path, _ in files])
    return tuple(cases)


# Ids ----------------------------------------------------------------------------------------------------------------


def _absolute(path: str, base: Path) -> str:
    return os.path.abspath(base / os.path.expanduser(path))


def _id_of(path: str, base: Path) -> str:
    """A name made of the path alone, so that a case keeps its folder when the list grows."""
    whole = Path(_absolute(path, base))
    shown = str(whole.relative_to(base)) if whole.is_relative_to(base) else str(whole)
    for ending in sorted((*IMAGES, ".gz", ".dcm", ".nrrd", ".mha"), key=len, reverse=True):
        if shown.lower().endswith(ending):
            shown = shown[: -len(ending)]
            break
    plain = re.sub(r"[^\w.+-]+", "_", shown).strip("._-") or "volume"
    if len(plain) <= LONGEST and not RESERVED.match(plain):
        return plain
    return f"{plain[-(LONGEST - 9) :].lstrip('._-')}-{hashlib.sha256(shown.encode()).hexdigest()[:8]}"


def _require_folder(name: str, where: str) -> None:
    """Raise CohortError where an id cannot be the name of a folder everywhere."""
    fine = name.isprintable() and not re.search(r'[/\\:*?"<>|]', name) and name[0] not in ".-" and name[-1] not in ". "
    if not fine or len(name) > LONGEST or RESERVED.match(name):
        raise CohortError(
            f"{where} has the id '{name[:80]}', which cannot name a folder. Use at most {LONGEST} letters, digits, "
            "'_', '-', '+', blanks and dots, and none of the last three at either end."
        )


def _require_own(cases: Iterable[Case], places: Sequence[str]) -> None:
    """Raise CohortError where two cases share a folder; some systems tell no capitals."""
    seen: dict[str, int] = {}
    for number, case in enumerate(cases):
        before = seen.setdefault(case.id.casefold(), number)
        if before != number:
            raise CohortError(
                f"{places[number]} has the id '{case.id}', as {places[before][:1].lower()}{places[before][1:]}. "
                "Give each case its own in the column 'id'."
            )

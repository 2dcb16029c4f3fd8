"""The result that an overlay carries as text, read back so that no scene can upset whoever reads it.

The text comes with a scene: from an earlier version, from another program, cut short, or made by somebody who means
harm. What is missing gets a neutral value; what is there must be of the type that the record says, in numbers that add
up. Anything else is as if there were no report.
"""

from __future__ import annotations

import json
import math
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, lru_cache
from typing import Any

from ...contract.request import FORMER_VERDICTS, VERDICTS, Result

MOST_CHARACTERS = 8 << 20
"""Longest text that is read: a report of a thousand classes and fifty transforms has 0.1 million characters."""

MOST_CLASSES = 25_000
"""More classes than any network in the field has (ImageNet-21k has 21,841)."""

MOST_ENTRIES = 100_000
"""Longest list of anything."""

NEEDED = ("target", "prediction")
"""Without these there is nothing to show."""


@lru_cache(maxsize=32)
def readReport(text: str) -> Result | None:
    """The result in a report; None where it is spoilt. The same text is read once and gives the same object."""
    if len(text) > MOST_CHARACTERS:
        return None
    try:
        text.encode()  # half a surrogate pair can be shown by no widget and written to no file
        values = json.loads(text, parse_constant=_refuse)
        if not isinstance(values, dict) or not all(isinstance(values.get(name), dict) for name in NEEDED):
            return None
        result = Result.from_dict(_withVerdict(_completed(Result, values)))
        _require(Result, result)
        _requireSense(result)
        result.to_json().encode()  # what "\ud800" stands for is found only here
    except Exception:  # whatever the records' own constructors make of it: the text decides, and it may be anything  # noqa: BLE001
        return None
    return result


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of a report")


def _withVerdict(values: dict[str, Any]) -> dict[str, Any]:
    """With a verdict that there is, or was in an earlier version; any other says nothing of the placement."""
    placement = dict(values["placement"])
    if placement.get("verdict") not in (*VERDICTS, *FORMER_VERDICTS):
        placement["verdict"] = "inconclusive"
    return {**values, "placement": placement}


# What is missing -----------------------------------------------------------------------------------------------------


def _completed(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values with a neutral one for each field that has no default and is missing, in inner records too."""
    hints, complete = _hints(kind), dict(values)
    for field in fields(kind):
        hint = hints[field.name]
        if field.name in values:
            if is_dataclass(hint) and isinstance(values[field.name], dict):
                complete[field.name] = _completed(hint, values[field.name])
            elif _recordIn(hint) and isinstance(values[field.name], list):
                record = _recordIn(hint)
                complete[field.name] = [_completed(record, v) if isinstance(v, dict) else v for v in values[field.name]]
        elif field.default is MISSING and field.default_factory is MISSING:
            complete[field.name] = _neutral(field.name, hint)
    return complete


def _recordIn(hint: Any) -> Any:
    """The record of which a field holds a tuple, or None."""
    inner = typing.get_args(hint)[:1] if typing.get_origin(hint) is tuple else ()
    return inner[0] if inner and is_dataclass(inner[0]) else None


def _neutral(name: str, hint: Any) -> Any:
    if name == "affine":
        return [[float(row == column) for column in range(4)] for row in range(4)]
    if is_dataclass(hint):
        return _completed(hint, {})
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if type(None) in arguments else _neutral(name, arguments[0])
    if origin is tuple:
        return [] if Ellipsis in arguments else [_neutral("", inner) for inner in arguments]
    return {bool: False, int: 0, float: 0.0, str: "", dict: {}}.get(origin or hint)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


# What is there -------------------------------------------------------------------------------------------------------


def _require(hint: Any, value: Any) -> None:
    """Raise TypeError or ValueError unless a value is what its annotation says, all the way down."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        _requireOneOf(arguments, value)
    elif is_dataclass(hint):
        if type(value) is not hint:
            raise TypeError(hint)
        for name, inner in _hints(hint).items():
            if not name.startswith("_") and typing.get_origin(inner) is not typing.ClassVar:
                _require(inner, getattr(value, name))
    elif origin is tuple:
        if type(value) is not tuple or len(value) > MOST_ENTRIES:
            raise TypeError(hint)
        alike = len(arguments) == 2 and arguments[1] is Ellipsis
        if not alike and len(value) != len(arguments):
            raise TypeError(hint)
        for inner, one in zip(arguments[:1] * len(value) if alike else arguments, value):
            _require(inner, one)
    elif origin is dict:
        if type(value) is not dict or len(value) > MOST_ENTRIES:
            raise TypeError(hint)
        for key, one in value.items():
            _require(arguments[0], key)
            _require(arguments[1], one)
    elif hint is float:
        if type(value) not in (int, float) or not math.isfinite(float(value)):
            raise TypeError(hint)
    elif hint is int:
        if type(value) is not int or abs(value) >= 1 << 63:
            raise TypeError(hint)
    elif hint in (str, bool, type(None)) and type(value) is not hint:
        raise TypeError(hint)


def _requireOneOf(hints: tuple[Any, ...], value: Any) -> None:
    for hint in hints:
        try:
            _require(hint, value)
        except (TypeError, ValueError, OverflowError):
            continue
        return
    raise TypeError(hints)


def _requireSense(result: Result) -> None:
    """Raise ValueError unless the parts fit each other, as those who show them take for granted."""
    said = result.prediction
    count = len(said.classes)
    sound = (
        0 < count <= MOST_CLASSES
        and 0 <= said.index < count
        and len(said.outputs) == len(said.probabilities) == count
        and len(said.voxels) in (0, count)
        and all(number >= 0 for number in said.voxels)
        and (said.activation == "none" or all(-0.01 <= share <= 1.01 for share in said.probabilities))
        and len(result.heatmap.affine) == 4
        and all(len(plane) == 5 for plane in result.field_of_view.planes or ())
        and -0.01 <= result.field_of_view.share <= 1.01
    )
    if not sound:
        raise ValueError("the parts of the report contradict each other")

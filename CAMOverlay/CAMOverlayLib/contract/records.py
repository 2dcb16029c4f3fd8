"""Small frozen records that turn into JSON and back without losing their types.

NumPy scalars, arrays and paths become plain values as soon as they are in a record. Nothing here needs more than the
standard library.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from .errors import CAMOverlayError

Affine = tuple[tuple[float, float, float, float], ...]
"""4×4, row by row: voxel index (I, J, K, 1) → RAS millimetres."""

Record = TypeVar("Record", bound="JsonRecord")


class SpoiltRecord(ValueError):
    """A text or dictionary that is not a record of this kind; says which field is wrong and what was found there."""


class JsonRecord:
    """A dataclass that turns into JSON and back without losing its types."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)  # type: ignore[call-overload]

    def to_json(self, indent: int | None = None) -> str:
        """Raises ValueError where a number is NaN or infinite: other programs could not read it."""
        values = self.to_dict()
        try:
            return json.dumps(values, indent=indent, allow_nan=False, ensure_ascii=False)
        except ValueError:
            where = next(_not_finite(values), "")
            raise ValueError(f"{type(self).__name__}.{where} is not finite, which JSON cannot say") from None

    @classmethod
    def from_dict(cls: type[Record], values: dict[str, Any]) -> Record:
        """A record from what JSON had. Fields that it does not know are left out, those with a default may be missing.

        Raises:
            SpoiltRecord: a field is missing or of another type.
        """
        return _record(cls, values, cls.__name__)

    @classmethod
    def from_json(cls: type[Record], text: str | bytes) -> Record:
        """As :meth:`from_dict`; raises SpoiltRecord where it is no JSON either."""
        try:
            values = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise SpoiltRecord(f"{cls.__name__} is not JSON ({error})") from None
        return cls.from_dict(values)


def _not_finite(value: Any, where: str = "") -> typing.Iterator[str]:
    """Where in a value the numbers are that JSON cannot say."""
    if isinstance(value, float) and not math.isfinite(value):
        yield where
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for number, inner in enumerate(value):
            yield from _not_finite(inner, f"{where}[{number}]")


@cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _record(cls: type, values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise _spoilt(where, f"a {cls.__name__}", values)
    values = getattr(cls, "_migrated", dict)(values)
    hints, given = _hints(cls), {}
    for one in fields(cls):
        if one.name in values:
            given[one.name] = restore(hints[one.name], values[one.name], f"{where}.{one.name}")
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            raise SpoiltRecord(f"{where}.{one.name} is missing")
    record = cls(**given)
    if problem := getattr(record, "_problem", lambda: "")():
        raise SpoiltRecord(f"{where}: {problem}")
    return record


def restore(hint: Any, value: Any, where: str) -> Any:
    """A JSON value in the type that the annotation names: records, and tuples instead of lists.

    Raises:
        SpoiltRecord: it is of another type.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise _spoilt(where, "a list", value)
        any_length = len(arguments) == 2 and arguments[1] is Ellipsis
        kinds = [arguments[0]] * len(value) if any_length else arguments
        if len(kinds) != len(value):
            raise _spoilt(where, f"a list of {len(kinds)}", value)
        return tuple(restore(kind, inner, f"{where}[{n}]") for n, (kind, inner) in enumerate(zip(kinds, value)))
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise _spoilt(where, "an object", value)
        return {key: restore(arguments[1], inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return value if isinstance(value, hint) else _record(hint, value, where)
    return _plain_value(hint, value, where)


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The value in the first of several types that takes it; the complaint is that of the only one that could."""
    if value is None and type(None) in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if isinstance(value, dict):
        kinds = tuple(kind for kind in kinds if is_dataclass(kind)) or kinds
    if len(kinds) == 1:
        return restore(kinds[0], value, where)
    for kind in kinds:
        try:
            return restore(kind, value, where)
        except SpoiltRecord:
            pass
    raise _spoilt(where, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds), value)


def _plain_value(kind: type, value: Any, where: str) -> Any:
    """A bool, whole number, number or text as itself: ``True`` is no number, and a number is finite."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number:
        try:
            converted = float(value)
        except OverflowError:
            converted = math.inf
        if math.isfinite(converted):
            return converted
    elif kind is int and number and (isinstance(value, int) or value.is_integer()):
        return int(value)
    elif kind in (bool, str) and isinstance(value, kind):
        return value
    names = {float: "a finite number", int: "a whole number", bool: "true or false", str: "text"}
    raise _spoilt(where, names.get(kind, str(kind)), value)


def _spoilt(where: str, wanted: str, value: Any) -> SpoiltRecord:
    found = repr(value) if isinstance(value, (bool, int, float, type(None))) else type(value).__name__
    return SpoiltRecord(f"{where} is {found[:60]} where {wanted} belongs")


def plain(value: Any) -> Any:
    """A value as JSON can say it: scalars and arrays of NumPy and torch as numbers, paths as text, lists as tuples.

    What is none of these comes back as it is.
    """
    if isinstance(value, (str, bool, int, float, type(None))) and type(value) in (str, bool, int, float, type(None)):
        return value
    if isinstance(value, dict):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(plain(inner) for inner in value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist") and hasattr(value, "shape"):  # also of a NumPy scalar and of a tensor
        return plain(value.tolist())
    return value


def made_plain(record: Any) -> None:
    """Plain values in a frozen record that is being made.

    Raises:
        CAMOverlayError: one is nested without an end.
    """
    for one in fields(record):
        value = getattr(record, one.name)
        try:
            converted = plain(value)
        except RecursionError:
            where = f"{type(record).__name__}.{one.name}"
            raise CAMOverlayError(f"{where} is nested too deeply, or contains itself. Give plain values.") from None
        if converted is not value:
            object.__setattr__(record, one.name, converted)


def absolute(path: str | os.PathLike[str]) -> str:
    """A path that means the same in every process: ``~`` is the user's folder, and relative is to the one of now."""
    return os.path.abspath(os.path.expanduser(path))

"""What ``metadata.json`` says of a network's inputs and outputs, in whatever of the usual forms it says it.

Model Zoo bundles name classes under ``channel_def`` or ``label_def``, by index, by name, or as a list; numbers come as
numbers or as strings. What does not make sense counts as not said: a bundle can be explained without it.
"""

from __future__ import annotations

import re
from typing import Any

CLASS_KEYS = ("channel_def", "label_def", "class_def", "label_names", "class_names", "classes", "labels", "label_dict")
"""Where bundles keep the names of classes, MONAI's own place first."""
MOST, LONGEST = 4096, 120
"""Classes that a network may have, and letters that a name may have; beyond that it is no list of classes."""


def described(metadata: dict[str, Any], kind: str) -> dict[str, Any]:
    """The first of the network's ``inputs`` or ``outputs``, which is the one that is explained; empty if not
    described."""
    data_format = metadata.get("network_data_format")
    entries = data_format.get(kind) if isinstance(data_format, dict) else None
    values = entries.values() if isinstance(entries, dict) else entries if isinstance(entries, list) else ()
    first = next(iter(values), None)
    return first if isinstance(first, dict) else {}


def channel_count(entry: dict[str, Any]) -> int | None:
    count = whole_number(entry.get("num_channels"))
    return count if count is not None and 1 <= count <= MOST else None


def spatial_shape(entry: dict[str, Any]) -> tuple[int | str, ...]:
    """Numbers where they are numbers (also written as strings), else the rule as written, such as ``16*n``."""
    sizes = entry.get("spatial_shape")
    if not isinstance(sizes, (list, tuple)) or len(sizes) > 4:
        return ()
    found: list[int | str] = []
    for size in sizes:
        number = whole_number(size)
        if number is not None and number > 0:
            found.append(number)
        elif isinstance(size, str) and size.strip():
            found.append(_plain(size))
        else:
            return ()
    return tuple(found)


def class_names(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Names of the output's channels by index; empty where none are given."""
    output = described(metadata, "outputs")
    for place in (output, metadata):
        for key in CLASS_KEYS:
            if names := names_by_index(place.get(key)):
                said = str(output.get("format", "")).casefold()
                # Channel 0 of a segmentation is the background; label lists often begin with 1.
                first = "background" if said.startswith(("segment", "label")) and len(names) > 1 else "class 0"
                return tuple(names.get(i, first if i == 0 else f"class {i}") for i in range(max(names) + 1))
    return ()


def channel_names(entry: dict[str, Any]) -> tuple[str, ...]:
    """Names of the input's channels by index; empty where none are given."""
    names = names_by_index(entry.get("channel_def"))
    return tuple(names.get(i, f"channel {i}") for i in range(max(names) + 1)) if names else ()


def names_by_index(given: Any) -> dict[int, str]:
    """Index → name, from an object by index or by name, or a list; empty where it is neither."""
    if isinstance(given, (list, tuple)):
        pairs = [_pair(number, value) for number, value in enumerate(given)]
    elif isinstance(given, dict):
        pairs = [_pair(key, value) for key, value in given.items()]
    else:
        return {}
    names: dict[int, str] = {}
    for index, name in pairs:
        if index is None or not 0 <= index < MOST or not name:
            return {}
        names.setdefault(index, name)
    return names


def _pair(key: Any, value: Any) -> tuple[int | None, str]:
    """Index and name of one entry: ``"1": "liver"``, ``"liver": 1``, ``"1": {"name": "liver"}``, ``{"id": 1, "name":
    …}``."""
    if isinstance(value, dict):
        name = next((value[k] for k in ("name", "label", "class") if isinstance(value.get(k), str)), None)
        own = next(
            (n for k in ("id", "index", "value", "label") if (n := whole_number(value.get(k))) is not None), None
        )
        index = own if own is not None else whole_number(key)
        return index, _plain(name if name is not None else str(key))
    index = whole_number(key)
    if index is not None and isinstance(value, (str, int, float)):
        return index, _plain(str(value))
    return whole_number(value), _plain(str(key))


def whole_number(value: Any) -> int | None:
    """An integer, also as a string or as a float without a fraction; None where it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,9}\s*", value) else None


def _plain(text: str) -> str:
    """One line of printable letters, of a length that a list can show."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * LONGEST]).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"

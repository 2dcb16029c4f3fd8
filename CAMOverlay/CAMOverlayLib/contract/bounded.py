"""Reading what strangers wrote: a text file of a bounded size, a configuration of a bounded number of values.

Slicer's side reads bundles in the thread that draws its windows, so nothing that is read there may go on for ever: no
pipe, no device, no YAML whose aliases unfold into billions of values, no nesting without an end.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from .errors import BundleError

MOST_BYTES = 16 << 20
"""Of a configuration; the largest of the Model Zoo has 60 kB."""
MOST_VALUES = 200_000
DEEPEST = 100


class RawText(str):
    """A configuration that nothing here can read: YAML without PyYAML."""


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """A regular file's content.

    Raises:
        BundleError: it is something else than a file, too large, or not readable.
    """
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise BundleError(f"'{path}' is not an ordinary file. Replace it by one.")
            with os.fdopen(os.dup(file), "rb") as stream:
                data = stream.read(most + 1)
        finally:
            os.close(file)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise BundleError(f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if len(data) > most:
        raise BundleError(f"'{path}' is larger than {most >> 20} MB, which no configuration is. Give the right file.")
    return data


def read_text(path: Path) -> str:
    """The same as text.

    Raises:
        BundleError: also where it is not UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8-sig" if path.suffix.lower() == ".json" else "utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"'{path}' cannot be read as a configuration: {error}. Save it as UTF-8.") from error


def read_values(path: Path) -> Any:
    """A JSON or YAML file as mappings, lists and plain values; :class:`RawText` where it is YAML and there is no
    PyYAML.

    Raises:
        BundleError: it cannot be read, is neither, or holds more than a configuration does.
    """
    text = read_text(path)
    try:
        if path.suffix.lower() == ".json":
            return checked(json.loads(text), path)
        try:
            import yaml
        except ImportError:
            return RawText(text)
        _check_aliases(yaml, text, path)
        return checked(yaml.safe_load(text), path)
    except BundleError:
        raise
    except RecursionError:
        raise _too_much(path) from None
    except Exception as error:  # json and yaml raise many kinds
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"'{path}' cannot be read as a configuration: {reason}. Correct it.") from error


def checked(content: Any, path: Path | str) -> Any:
    """The content, if walking through it ends soon.

    Raises:
        BundleError: it is nested too deeply (or in itself), or has too many values.
    """
    left = MOST_VALUES
    level = [content]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                below += [*node.keys(), *node.values()]
            elif isinstance(node, (list, tuple, set)):
                below += node
            if len(below) > left:
                raise _too_much(path)
        left -= len(below)
        level = below
        if not level:
            return content
    raise _too_much(path)


def _too_much(path: Path | str) -> BundleError:
    return BundleError(
        f"'{path}' holds more than {MOST_VALUES} values, or values nested more than {DEEPEST} deep. "
        "Give the configuration of a bundle."
    )


def _check_aliases(yaml: Any, text: str, path: Path) -> None:
    """Raise where aliases would unfold into too many values; told from the events, before anything is built."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and the size when it was opened
    total = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(event.anchor, MOST_VALUES)  # within itself: without an end
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            open_nodes.append((event.anchor, total))
            total += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if total > MOST_VALUES or len(open_nodes) > DEEPEST:
            raise _too_much(path)

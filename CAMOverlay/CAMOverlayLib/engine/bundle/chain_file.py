"""A chain of transforms from a file of its own, as part of a bundle's configuration.

MONAI follows ``%file.yaml::key`` too, once the chain is evaluated and from the folder where that happens. Here it is
written out beforehand, within bounds, because the file does not come along: ``docs/decisions/8-writing-a-bundle.md``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path
from typing import Any

from ...contract.bounded import MOST_VALUES, read_values
from ...contract.errors import BundleError
from .scripts import Scripts, is_reference

# What a configuration means by a string that begins with %.
_MACRO = re.compile(r"%(?P<file>.*\.(?:json|yaml|yml))(?:(?:::|#)(?P<id>.*))?", re.IGNORECASE)


def read_chain(path: Path, scripts: Scripts) -> dict[str, Any]:
    """A file with a chain as part of a configuration: its ``preprocessing``, and what that refers to beside it.

    Raises:
        BundleError: it cannot be read, or holds no chain.
    """
    content = with_files(_read(path, "preprocessing"), path.parent)
    if isinstance(content, list) or (isinstance(content, dict) and "_target_" in content):
        content = {"preprocessing": content}
    if not isinstance(content, dict) or "preprocessing" not in content:
        found = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise BundleError(
            f"'{path}' holds no preprocessing but {found or 'nothing'}. "
            "Give a list of transforms, a Compose, or a mapping with the key 'preprocessing'."
        )
    chain = content["preprocessing"]
    if isinstance(chain, dict) and not str(chain.get("_target_")).endswith("Compose"):
        chain = [chain]
    if isinstance(chain, list):
        chain = {"_target_": "Compose", "transforms": chain}
    transforms = chain.get("transforms") if isinstance(chain, dict) else chain
    if not transforms:
        raise BundleError(f"The preprocessing in '{path}' is empty. It must at least load the image (LoadImaged).")
    for number, transform in enumerate(transforms if isinstance(transforms, list) else (), 1):
        if not (isinstance(transform, dict) and "_target_" in transform) and not is_reference(transform):
            raise BundleError(
                f"Entry {number} of the preprocessing in '{path}' is not a transform: {str(transform)[:60]!r}. "
                "Write each as a mapping with _target_, such as {_target_: LoadImaged, keys: image}."
            )
    return scripts.gather(_needed({**content, "preprocessing": chain}), path.parent)


def _needed(content: dict[str, Any]) -> dict[str, Any]:
    """Of a whole configuration what a chain, an inferer and a postprocessing need. The rest could load other weights,
    or would be code to trust for nothing."""
    found: dict[str, Any] = {}
    waiting = [key for key in ("imports", "image_key", "preprocessing", "inferer", "postprocessing") if key in content]
    while waiting:
        key = waiting.pop()
        if key not in found and key not in ("bundle_root", "network_def"):
            found[key] = content[key]
            named = re.findall(r"[@%](?:#|::)*(\w+)", json.dumps(content[key], default=str, ensure_ascii=False))
            waiting += [name for name in named if name in content]
    return {key: value for key, value in content.items() if key in found}


class _Room:
    """How many values a configuration may still grow to: files that copy each other would fill any memory."""

    def __init__(self) -> None:
        self.left = MOST_VALUES

    def take(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise BundleError(
                f"The configuration grows to more than {MOST_VALUES} values by its references. Write out what is meant."
            )


def with_files(node: Any, folder: Path, within: tuple[Path, ...] = (), room: _Room | None = None) -> Any:
    """The configuration with what it takes from other files (``%file.yaml::key``) in it: these do not come along."""
    room = room or _Room()
    room.take()
    if isinstance(node, dict):
        return {key: with_files(value, folder, within, room) for key, value in node.items()}
    if isinstance(node, list):
        return [with_files(value, folder, within, room) for value in node]
    if not isinstance(node, str) or (macro := _MACRO.fullmatch(node)) is None:
        if isinstance(node, str) and node.startswith("%") and not re.fullmatch(r"%[\w:#+\-]+", node):
            # MONAI would take it for a file all the same, and read that once it runs.
            raise BundleError(
                f"{node[:120]!r} is not a reference that can be followed. Write %FILE.yaml::KEY, or the value."
            )
        return node
    path = (folder / macro["file"]).resolve()
    if path in within:
        raise BundleError(f"'{path}' refers to itself by '{node}'. Write out what is meant.")
    content = _read(path, "configuration")
    for key in re.split("::|#", macro["id"]) if macro["id"] else ():
        try:
            content = content[int(key) if isinstance(content, list) else key]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BundleError(f"'{node}' refers to '{key}', which '{path}' does not have there.") from error
    return with_files(content, path.parent, (*within, path), room)


def _read(path: Path, what: str) -> Any:
    if not os.path.isfile(path):
        raise BundleError(f"The {what} '{path}' does not exist. Give a YAML or JSON file.")
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise BundleError(f"The {what} '{path}' is neither .yaml nor .json. Write it as one of these.")
    if path.suffix.lower() != ".json" and importlib.util.find_spec("yaml") is None:
        raise BundleError(f"Reading '{path}' needs PyYAML, which is not installed. Install it, or give a JSON file.")
    return read_values(path)

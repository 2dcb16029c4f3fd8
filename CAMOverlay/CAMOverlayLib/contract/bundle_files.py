"""What a bundle folder says of itself, read without running anything of it and without torch or MONAI.

Slicer's side asks here before anybody was asked for trust, and the engine uses the same functions, so both agree on
what a bundle is, what it would run, and by which hash it is recognised.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import bundle_metadata
from .bounded import MOST_VALUES, RawText, checked, read_bytes, read_text, read_values
from .bundle_content import ContentHash, code_files, content_hash, signature
from .errors import BundleError
from .model import Code, ModelInfo, ModelSummary, shown

__all__ = ["MOST_VALUES", "ContentHash", "content_hash", "read_bytes", "signature"]  # what others find here

KIND = "MONAI bundle"
SUFFIXES = (".json", ".yaml", ".yml")
MAIN = ("inference", "infer", "predict")
"""Names of the configuration that describes inference, best first."""
OTHER_JOBS = ("train", "evaluate", "test", "multi_gpu", "export", "logging", "metadata", "algo")
"""Beginnings of the names of configurations that describe something else, or nothing that runs."""


def config_files(folder: Path, chosen: Sequence[str] = ()) -> tuple[Path, ...]:
    """The configurations that describe inference, in the order in which they are read; later ones win.

    That is ``configs/inference.*`` and, where it refers to something that it does not define, the other files beside
    it: bundles of several files keep common definitions there.

    Args:
        chosen: paths relative to the bundle, where its author named the files otherwise; these and no other.

    Raises:
        BundleError: the folder is not a bundle, or a chosen file is not there.
    """
    if not os.path.isdir(folder):  # which unlike Path.is_dir raises nothing for what is too long, or no path at all
        raise BundleError(
            f"'{shown(str(folder))}' is not a folder. Give the root of a MONAI bundle, a folder or an archive of "
            "nnU-Net, or a model.pt of Auto3DSeg."
        )
    if chosen:
        files = tuple(folder / name for name in chosen)
        if outside := [name for name in chosen if not _inside(folder, name)]:
            raise BundleError(f"The configuration '{outside[0]}' is not in the bundle '{folder}'. Put it there.")
        if missing := [str(f) for f in files if not os.path.isfile(f)]:
            raise BundleError(
                f"The configuration '{missing[0]}' does not exist. Name it relative to the bundle's root."
            )
        return files
    there = sorted(p for p in (folder / "configs").glob("*") if p.suffix in SUFFIXES)
    ranked = [p for name in MAIN for suffix in SUFFIXES for p in there if p.name == name + suffix]
    # Bundles with several ways to infer number or name them; the plainest name is the usual one.
    ranked += sorted((p for p in there if p.stem.startswith(MAIN)), key=lambda p: (len(p.stem), p.name))
    if not ranked:
        found = ", ".join(p.name for p in there) or _names_in(folder)
        raise BundleError(
            f"'{folder}' is not a MONAI bundle: it has no configs/inference.json or .yaml (found: {found}); nor is it "
            "a model of nnU-Net (plans.json and dataset.json) or of Auto3DSeg (model.pt with its configuration). Give "
            "the folder that contains 'configs' and 'models', or name the configuration, such as configs/NAME.json.",
            setting="configs",
        )
    main = ranked[0]
    others = [p for p in there if not p.stem.startswith((*OTHER_JOBS, *MAIN))]
    return (*_needed(main, {p: read_text(p) for p in (main, *others)}), main)


def _names_in(folder: Path, most: int = 6) -> str:
    """The first few names in a folder, for the one who chose the wrong one."""
    names = sorted(shown(os.fsdecode(name), 60) for name in os.listdir(folder))
    return ", ".join(names[:most]) + (", …" if len(names) > most else "") or "nothing"


def _needed(main: Path, texts: dict[Path, str]) -> list[Path]:
    """Those of the files that define what the main one, or another of them, refers to and does not define."""
    found: list[Path] = []
    while True:
        read = (main, *found)
        defined = {name for p in read for name in _defined(texts[p], p.suffix)}
        missing = {name for p in read for name in _referred(texts[p])} - defined
        new = [p for p in texts if p not in read and _defined(texts[p], p.suffix) & missing]
        if not new:
            return sorted(found)
        found += new


def _referred(text: str) -> set[str]:
    """What a configuration refers to with ``@`` or ``%``, by the first part of its name. (``@`` also multiplies
    matrices in expressions, so this may be too much; it is never too little.)"""
    return set(re.findall(r"[@%](?:#)?([A-Za-z_]\w*)", re.sub(r"%[\w./-]+\.(?:json|ya?ml)(?:#[\w#]*)?", "", text)))


def _defined(text: str, suffix: str) -> set[str]:
    """The names at the top level of a configuration."""
    if suffix == ".json":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return set()
        return set(values) if isinstance(values, dict) else set()
    return set(re.findall(r"""^["']?([A-Za-z_]\w*)["']?\s*:""", text, re.MULTILINE))


def summarise(folder: Path, configs: Sequence[str] = ()) -> ModelSummary:
    """What a bundle says of itself.

    Raises:
        BundleError: the folder is not a bundle, or its files are not valid.
    """
    read = read_configs(folder, config_files(folder, configs))
    return summary_of(folder, read_metadata(folder), read)


def summary_of(folder: Path, metadata: dict[str, Any], read: list[Any]) -> ModelSummary:
    """The same of a bundle whose metadata and configurations were read.

    Raises:
        BundleError: the folder cannot be looked through.
    """
    return ModelSummary(KIND, info_of(folder, metadata), code_of(folder, read))


def read_metadata(folder: Path) -> dict[str, Any]:
    """``configs/metadata.json``; empty where there is none: such a bundle can be explained, its classes are numbers.

    Raises:
        BundleError: it is not a JSON object.
    """
    path = folder / "configs" / "metadata.json"
    if not os.path.isfile(path):
        return {}
    text = read_text(path)
    try:
        metadata = checked(json.loads(text), path)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"'{path}' is not valid JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"'{path}' holds a {type(metadata).__name__}, an object is needed.")
    return metadata


def info_of(folder: Path, metadata: dict[str, Any]) -> ModelInfo:
    """What the metadata of a bundle says."""
    inputs = bundle_metadata.described(metadata, "inputs")
    return ModelInfo(
        name=str(metadata.get("name", folder.name)),
        version=str(metadata.get("version", "")),
        task=str(metadata.get("task", "")),
        channels=bundle_metadata.channel_count(inputs),
        channel_names=bundle_metadata.channel_names(inputs),
        spatial_shape=bundle_metadata.spatial_shape(inputs),
        classes=bundle_metadata.class_names(metadata),
    )


def code_of(folder: Path, config: Any) -> Code:
    """Everything in a configuration that would be imported, called or evaluated, and the bundle's own files of code.

    Args:
        config: one configuration, or a list of them as :func:`read_configs` gives it.

    Raises:
        BundleError: the folder cannot be looked through.
    """
    found = _Listing(config if isinstance(config, list) else [config])
    scripts, programs = code_files(folder)
    parts = (found.targets, found.expressions, scripts, programs, found.raw)
    return Code(*(tuple(dict.fromkeys(map(shown, part))) for part in parts))


class _Listing:
    """What configurations would run, references followed as far as they are plain."""

    def __init__(self, configs: list[Any]) -> None:
        self.targets: list[str] = []
        self.expressions: list[str] = []
        self.raw: list[str] = []
        self._configs = configs
        for config in configs:
            if isinstance(config, RawText):
                self.raw += [line for line in config.splitlines() if line.strip()]
            else:
                self._walk(config, "")

    def _walk(self, node: Any, where: str) -> None:
        if isinstance(node, dict):
            target = node.get("_target_")
            if target is not None:
                self.targets.append(self._named(target))
            for key, value in node.items():
                if key != "_target_" or not isinstance(value, str):
                    self._walk(value, f"{target}({key}" if target is not None else where)
        elif isinstance(node, (list, tuple)):
            for value in node:
                self._walk(value, where)
        elif isinstance(node, str):
            if node.startswith("$"):
                self.expressions.append(node[1:])
            elif where and _DOTTED.fullmatch(self._followed(node)):  # MONAI may import what an argument names
                self.targets.append(f"{where}={self._named(node)})")

    def _named(self, target: Any) -> str:
        end = self._followed(target)
        return str(target) if end == target else f"{target} = {end}"

    def _followed(self, value: Any) -> str:
        """What a reference (``@name``, ``%name``) comes to in the end."""
        for _ in range(20):
            if not (isinstance(value, str) and re.fullmatch(r"[@%]\w+((::|#)\w+)*", value)):
                break
            found = next((f for c in reversed(self._configs) if (f := _at(c, value[1:])) is not None), None)
            if found is None:
                break
            value = found
        return value if isinstance(value, str) else str(value)[:200]


_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def _at(node: Any, name: str) -> Any:
    for part in re.split("::|#", name):
        if isinstance(node, dict) and part in node:
            node = node[part]
        elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def read_configs(folder: Path, files: Sequence[Path]) -> list[Any]:
    """Configurations as they are written, and those that their macros (``%file.json#key``) copy from.

    Without PyYAML, which Slicer's Python may lack, a YAML file is given as :class:`RawText`.

    Raises:
        BundleError: one is not valid, or copies from a file outside the bundle, which nobody would notice to change.
    """
    waiting, read = list(files), {}
    while waiting:
        path = waiting.pop(0)
        if path in read:
            continue
        read[path] = read_values(path)
        for name in _copied_from(read[path]):
            if not _inside(folder, name):
                raise BundleError(
                    f"'{path}' copies from '{shown(name, 120)}', which is not in the bundle. Put that file into the "
                    "bundle."
                )
            waiting += [p for p in (folder / name, path.parent / name) if os.path.isfile(p)]
        if len(read) > 1000:
            raise BundleError(f"'{folder}' has more than 1000 configurations. Give the root of a MONAI bundle.")
    return list(read.values())


def _copied_from(content: Any) -> list[str]:
    """The files that macros name, however they are written: MONAI looks for the ending anywhere after a ``%``."""
    found, waiting = [], [content]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting += node.values()
        elif isinstance(node, (list, tuple)):
            waiting += node
        elif isinstance(node, RawText):
            found += re.findall(r"%([^\s\"'#:]+\.(?:json|ya?ml))", node, re.IGNORECASE)
        elif isinstance(node, str) and node.startswith("%"):
            found += re.findall(r".*\.(?:json|ya?ml)", node[1:], re.IGNORECASE)[:1]
    return found


def _inside(folder: Path, name: str) -> bool:
    """Whether a path is one in the folder, whichever links there are on the way: those in the folder are looked
    into."""
    root = os.path.abspath(folder)
    path = os.path.join(root, name)
    if ".." in Path(name).parts:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    return Path(path).is_relative_to(root) or Path(path).is_relative_to(os.path.realpath(root))

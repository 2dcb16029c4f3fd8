"""What a bundle folder says of itself, read without running anything of it and without torch or MONAI.

Slicer's side asks here before anybody was asked for trust, and the engine uses the same functions, so both agree on
what a bundle is, what it would run, and by which hash it is recognised.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import bundle_metadata
from .errors import BundleError

SUFFIXES = (".json", ".yaml", ".yml")
MAIN = ("inference", "infer", "predict")
"""Names of the configuration that describes inference, best first."""
OTHER_JOBS = ("train", "evaluate", "test", "multi_gpu", "export", "logging", "metadata", "algo")
"""Beginnings of the names of configurations that describe something else, or nothing that runs."""


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle says of itself in ``metadata.json``; nothing is evaluated to know it.

    Attributes:
        channels: input channels, or None where the metadata does not say.
        spatial_shape: expected input size of the network as written (numbers, or strings such as ``16*n``).
        classes: names of the output channels by index (``channel_def``, ``label_def``); empty where not given.
    """

    name: str
    version: str
    task: str
    channels: int | None
    channel_names: tuple[str, ...]
    spatial_shape: tuple[int | str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """What a configuration would run, for the one who has to decide whether to trust it."""

    targets: tuple[str, ...]
    expressions: tuple[str, ...]
    scripts: tuple[str, ...]

    def summary(self, most: int = 3) -> str:
        parts = [
            f"{len(values)} {kind} ({', '.join(values[:most])}{', …' if len(values) > most else ''})"
            for kind, values in (
                ("components", self.targets),
                ("expressions", self.expressions),
                ("Python files of its own", self.scripts),
            )
            if values
        ]
        return "; ".join(parts) or "nothing"


def config_files(folder: Path, chosen: Sequence[str] = ()) -> tuple[Path, ...]:
    """The configurations that describe inference, in the order in which they are read; later ones win.

    That is ``configs/inference.*`` and, where it refers to something that it does not define, the other files beside
    it: bundles of several files keep common definitions there.

    Args:
        chosen: paths relative to the bundle, where its author named the files otherwise; these and no other.

    Raises:
        BundleError: the folder is not a bundle, or a chosen file is not there.
    """
    if not folder.is_dir():
        raise BundleError(f"'{folder}' is not a folder. Give the root of a MONAI bundle.")
    if chosen:
        files = tuple(folder / name for name in chosen)
        if missing := [str(f) for f in files if not f.is_file()]:
            raise BundleError(f"The configuration '{missing[0]}' does not exist. Name it relative to the bundle's root.")
        return files
    there = sorted(p for p in (folder / "configs").glob("*") if p.suffix in SUFFIXES)
    ranked = [p for name in MAIN for suffix in SUFFIXES for p in there if p.name == name + suffix]
    # Bundles with several ways to infer number or name them; the plainest name is the usual one.
    ranked += sorted((p for p in there if p.stem.startswith(MAIN)), key=lambda p: (len(p.stem), p.name))
    if not ranked:
        found = ", ".join(p.name for p in there) or "nothing"
        raise BundleError(
            f"'{folder}' is not a MONAI bundle: it has no configs/inference.json or .yaml (found: {found}). Give the "
            "folder that contains 'configs' and 'models', or name the configuration (--config configs/NAME.json)."
        )
    main = ranked[0]
    others = [p for p in there if not p.stem.startswith((*OTHER_JOBS, *MAIN))]
    return (*_needed(main, {p: _text(p) for p in (main, *others)}), main)


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
        except ValueError:
            return set()
        return set(values) if isinstance(values, dict) else set()
    return set(re.findall(r"""^["']?([A-Za-z_]\w*)["']?\s*:""", text, re.MULTILINE))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"'{path}' cannot be read as a configuration: {error}") from error


def read_metadata(folder: Path) -> dict[str, Any]:
    """``configs/metadata.json``; empty where there is none: such a bundle can be explained, its classes are numbers.

    Raises:
        BundleError: it is not a JSON object.
    """
    path = folder / "configs" / "metadata.json"
    if not path.is_file():
        return {}
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"'{path}' is not valid JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise BundleError(f"'{path}' holds a {type(metadata).__name__}, an object is needed.")
    return metadata


def info_of(folder: Path, metadata: dict[str, Any]) -> BundleInfo:
    """What the metadata of a bundle says."""
    inputs = bundle_metadata.described(metadata, "inputs")
    return BundleInfo(
        name=str(metadata.get("name", folder.name)),
        version=str(metadata.get("version", "")),
        task=str(metadata.get("task", "")),
        channels=bundle_metadata.channel_count(inputs),
        channel_names=bundle_metadata.channel_names(inputs),
        spatial_shape=bundle_metadata.spatial_shape(inputs),
        classes=bundle_metadata.class_names(metadata),
    )


def code_of(folder: Path, config: Any) -> Code:
    """Everything in a configuration that would be imported, called or evaluated, and the bundle's own Python files."""
    targets: list[str] = []
    expressions: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "_target_" in node:
                targets.append(str(node["_target_"]))
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
        elif isinstance(node, str) and node.startswith("$"):
            expressions.append(node[1:])

    walk(config)
    scripts = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.py"))
    return Code(tuple(dict.fromkeys(targets)), tuple(dict.fromkeys(expressions)), tuple(scripts))


def read_configs(folder: Path, files: Sequence[Path]) -> list[Any]:
    """Configurations as they are written, and those that their macros (``%file.json#key``) copy from.

    Without PyYAML, which Slicer's Python may lack, a YAML file is read line by line, just well enough to list what it
    would run.

    Raises:
        BundleError: one is not valid.
    """
    waiting, read = list(files), {}
    while waiting:
        path = waiting.pop(0)
        if path not in read:
            read[path] = _read_config(path)
            named = re.findall(r"%([\w./-]+\.(?:json|ya?ml))", _text(path))
            waiting += [p for n in named for p in (folder / n, path.parent / n) if p.is_file()]
    return list(read.values())


def _read_config(path: Path) -> Any:
    try:
        text = _text(path)
        if path.suffix == ".json":
            return json.loads(text)
        try:
            import yaml
        except ImportError:
            return _listed(text)
        return yaml.safe_load(text)
    except BundleError:
        raise
    except Exception as error:  # json and yaml raise many kinds
        raise BundleError(f"'{path}' cannot be read as a configuration: {error}") from error


def _listed(yaml: str) -> list[Any]:
    """The components and expressions in a YAML text, in the form that :func:`code_of` reads."""
    targets = re.findall(r"""_target_["']?\s*:\s*["']?([^\s"',}#]+)""", yaml)
    expressions = re.findall(r"""(?:[:\-,\[]\s+|\[)["']?(\$[^\n]*?)["']?\s*$""", yaml, re.MULTILINE)
    return [*({"_target_": target} for target in targets), *expressions]


def content_hash(folder: Path) -> str:
    """SHA-256 over everything that can run: configurations, scripts and weights, with their names."""
    hasher = ContentHash(folder)
    for _ in hasher.steps():
        pass
    return hasher.value


class ContentHash:
    """The hash of a bundle's content in small steps, for a caller that must stay responsive meanwhile.

    Args:
        folder: the bundle's root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.value = ""

    def steps(self) -> Iterator[None]:
        """Every step takes a few milliseconds; ``value`` is known after the last."""
        digest = hashlib.sha256()
        for path in sorted(p for p in self.folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            # With the size, so that no byte can move from one file's end to the next one's name.
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    yield
        self.value = digest.hexdigest()

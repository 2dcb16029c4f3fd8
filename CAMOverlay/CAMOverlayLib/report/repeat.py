"""A result as the words that compute it again: code for the Python console, and a command for a terminal.

What is written is what was asked, not what was chosen because of it: no class was named where the predicted one was
explained. Places follow the patient where the two doors count voxels from different ends: a voxel becomes its RAS mm.
Names come from models and files, which may say anything; each is quoted, and none gets out of a comment.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

from ..contract.geometry import Grid
from ..contract.model import shown
from ..contract.options import Options, option_fields
from ..contract.request import Result
from ..contract.target import StructureFile, TargetSpec

PROGRAM = "cam-overlay"

WIDTH = 110
"""Characters of a line of a command; longer ones are continued on the next."""


def as_python(result: Result, nodes: Sequence[str] = ()) -> str:
    """Code for Slicer's Python console, or a Python that has the Slicer core.

    Args:
        nodes: names of the volume nodes in the scene, where it is to run there; without them files are loaded.
    """
    asked = result.provenance
    if asked.door == "python" or not (asked.model.path or asked.network_arguments):
        return _in_memory(result)
    lines, imports = [], []
    needed = _needed(result, nodes)
    worker = f"worker=Worker({asked.python!r})" if asked.python else ""
    if nodes and not worker:
        lines.append('logic = slicer.util.getModuleLogic("CAMOverlay")')
    else:
        imports.append("from CAMOverlayLib.logic import OverlayLogic")
        lines.append(f"logic = OverlayLogic({worker})")
    if nodes:
        volumes = [f"slicer.util.getNode({name!r})" for name in nodes]
    else:
        imports.append("from CAMOverlayLib.scene import core")
        volumes = [f"core.loadVolume({path!r})" for path in _volume_files(result)]
    imports += ["from CAMOverlayLib.worker.client import Worker"] if worker else []
    model = repr(asked.model.path)
    if asked.network_arguments:
        imports = ["import tempfile", "", "from CAMOverlayLib.cli.main import main", *imports]
        lines.append("model = tempfile.mkdtemp()")
        lines.append(f"main({['bundle', *asked.network_arguments]!r} + ['--output', model])")
        model = "model"
    target, extra = _target_in_python(result)
    if "TargetSpec(" in target:
        names = "TargetSpec, VolumeFile" if "VolumeFile(" in target else "TargetSpec"
        imports.insert(0 if nodes else 1, f"from CAMOverlayLib.contract.target import {names}")
    arguments = [volumes[0], model, *_trust_in_python(result)]
    arguments += [f"channels=[{', '.join(volumes[1:])}]"] if volumes[1:] else []
    arguments += [f"target={target}"] if target != "None" else []
    of_nodes = [
        f"slicer.util.getNode({name!r})" if nodes else repr(_structures_file(name)) for name in asked.structure_nodes
    ]
    arguments += [*extra, *(f"{name}={value}" for name, value in _options_in_python(asked.options, of_nodes))]
    call = ["overlay = logic.process(", *(f"    {argument}," for argument in arguments), ")"]
    blank = [""] if imports else []
    return "\n".join([*_head(result), *needed, *imports, *blank, *lines, *call]) + "\n"


def as_command(result: Result, windows: bool = os.name == "nt") -> str:
    """The command line, quoted for a POSIX shell, or for PowerShell.

    Where something of it lies in no file, or the network was in memory, a comment says what is to be done first.
    """
    asked = result.provenance
    if not (asked.model.path or asked.network_arguments):
        words = "The network was in memory. Write it as a bundle first, and name that with --model."
        return "\n".join([*_head(result), f"# {words}"]) + "\n"
    said = [PROGRAM, "explain", *_volume_files(result)]
    if asked.network_arguments:
        said += [*asked.network_arguments]
    else:
        said += ["--model", asked.model.path, *(["--trust"] if asked.model.is_trusted else [])]
        said += [word for one in asked.model.configs for word in _flag("--config", one)]
    if (target := _target_in_words(result)) is not None:
        said += _flag("--target", target)
    said += _flag("--python", asked.python) if asked.python else []
    said += [word for name in asked.structure_nodes for word in _flag("--structures", _structures_file(name))]
    said += [*_options_in_words(asked.options), "--output", "explained"]
    needed = _needed(result, (), for_command=True)
    return "\n".join([*_head(result), *needed, _wrapped(said, windows)]) + "\n"


def report_json(result: Result) -> str:
    """The result as ``report.json`` has it: with the words that compute it again in ``repeat``."""
    repeat = {"command": as_command(result), "python": as_python(result)}
    return json.dumps(result.to_dict() | {"repeat": repeat}, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


# What both say ------------------------------------------------------------------------------------------------------


def _head(result: Result) -> list[str]:
    """What it computes and by what, as comments."""
    by = ", ".join(
        f"{name} {result.versions[name]}" for name in ("CAMOverlay", "torch", "monai") if name in result.versions
    )
    said = f"{result.target.name}: {result.method} at {result.layer}"
    lines = [f"# {shown(said, 200)}" + (f" ({shown(by, 100)})" if by else "")]
    if result.provenance.content_hash:
        lines.append(
            f"# model {shown(result.bundle_name, 80)}, content sha256 {shown(result.provenance.content_hash, 64)}"
        )
    return lines


def _needed(result: Result, nodes: Sequence[str], for_command: bool = False) -> list[str]:
    """What lies in no file and has to be there first, as comments."""
    asked = result.provenance
    lines = []
    if not nodes:
        named = zip(result.inputs, [*asked.volumes, *[""] * len(result.inputs)], _volume_files(result))
        lines += [
            f"# First save the volume {shown(repr(name))} as {shown(file)}" for name, path, file in named if not path
        ]
    if for_command and asked.mask_node:
        lines.append(f"# First save what was asked about, of {shown(repr(asked.mask_node))}, as {_mask_file(result)}")
    if not nodes:
        lines += [
            f"# First save the structures of {shown(repr(name))} as the label map {_structures_file(name)}"
            for name in asked.structure_nodes
        ]
    return lines


def _volume_files(result: Result) -> list[str]:
    """The file of each input; of one without a file the name under which it should be saved."""
    names = result.inputs or ("volume",)
    known = [*result.provenance.volumes, *[""] * len(names)]
    return [path or f"{_plain(name)}.nii.gz" for name, path in zip(names, known)]


def _mask_file(result: Result) -> str:
    return f"{_plain(result.provenance.mask_node)}-mask.nii.gz"


def _structures_file(name: str) -> str:
    return f"{_plain(name)}-structures.nii.gz"


def _plain(name: str) -> str:
    """A name that can be one of a file anywhere."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._-")[:80] or "volume"


def _ras_of(result: Result, voxel: Sequence[int]) -> tuple[float, float, float]:
    import numpy as np

    return Grid((1, 1, 1), np.array(result.heatmap.affine)).to_ras(voxel)


def in_the_patient(result: Result, target: Any) -> Any:
    """A target whose place is a voxel of the result's heatmap, as the same place in RAS mm; any other as it is."""
    if isinstance(target, TargetSpec) and target.voxel is not None:
        return replace(target, voxel=None, ras=_ras_of(result, target.voxel))
    if isinstance(target, str) and (found := re.fullmatch(r"(.*)@\s*voxel\s*=([-\d,\s]+)", target, re.I | re.S)):
        place = ",".join(map(repr, _ras_of(result, [int(n) for n in found[2].split(",")])))
        return f"{found[1]}@ras={place}"
    return target


def _chosen(options: Options) -> Iterable[tuple[Any, Any]]:
    """Field and value of every option that is not at its default; where volumes go is not an option of the result."""
    for one in option_fields():
        value = getattr(options, one.name)
        if one.name not in ("intermediates_folder",) and value != one.default:
            yield one, value


# Python -------------------------------------------------------------------------------------------------------------


def _trust_in_python(result: Result) -> list[str]:
    """The content that was explained, and no other."""
    asked = result.provenance
    if asked.network_arguments:
        return ["trust=True"]
    said = [f"trustedHash={asked.content_hash!r}"] if asked.content_hash else ["trust=True"] * asked.model.is_trusted
    return said + ([f"configs={list(asked.model.configs)!r}"] if asked.model.configs else [])


def _target_in_python(result: Result) -> tuple[str, list[str]]:
    """The target, and the arguments beside it that name nodes."""
    asked = result.provenance
    target = in_the_patient(result, asked.target) if asked.door == "command" else asked.target
    if not (asked.mask_node and isinstance(target, TargetSpec)):
        return _spec(target), []
    extra = [f"minus={target.minus!r}"] if target.minus is not None else []
    extra.append(f"mask=slicer.util.getNode({asked.mask_node!r})")
    extra += [f"segment={asked.segment!r}"] if asked.segment else []
    extra += [f"label={asked.label!r}"] if asked.label is not None else []
    return repr(target.output), extra


def _spec(target: Any) -> str:
    """A target as Python says it, of a record only what was given."""
    if not isinstance(target, TargetSpec):
        return repr(target)
    given = [(one.name, getattr(target, one.name)) for one in fields(target)]
    return "TargetSpec(" + ", ".join(f"{name}={value!r}" for name, value in given if value is not None) + ")"


def _options_in_python(options: Options, of_nodes: Sequence[str] = ()) -> Iterable[tuple[str, str]]:
    """
    Args:
        of_nodes: code for the structures that came out of a scene.
    """
    structures = [*of_nodes, *map(repr, map(_structure, options.structures))]
    if structures:
        yield "structures", f"[{', '.join(structures)}]"
    for one, value in _chosen(options):
        if one.name != "structures":
            yield one.name, repr(value)


def _structure(one: Any) -> str:
    """A structure's file with its names, as it is typed."""
    given = StructureFile.of(one)
    return f"{','.join(given.names)}={given.file}" if given.names else str(given.file)


def _in_memory(result: Result) -> str:
    """Of a network that was in memory: the call, with what has to be there under names of its own."""
    asked = result.provenance
    files = _volume_files(result)
    volume = repr(files[0]) if len(files) == 1 else repr(files)
    arguments = ["model=network", "preprocessing=chain", f"volume={volume}"]
    target = _spec(asked.target)
    arguments += [f"target={target}"] if target != "None" else []
    arguments += [f"{name}={value}" for name, value in _options_in_python(asked.options)]
    lines = [
        "# The network and its chain were in memory: have them there, with inferer and classes where they were given"
    ]
    imports = ["from CAMOverlayLib import explain"]
    if "TargetSpec(" in target:
        imports.append("from CAMOverlayLib.contract.target import TargetSpec")
    call = ["found = explain(", *(f"    {argument}," for argument in arguments), ")"]
    return "\n".join([*_head(result), *_needed(result, ()), *lines, *imports, "", *call]) + "\n"


# The command --------------------------------------------------------------------------------------------------------


def _flag(name: str, value: str) -> list[str]:
    """An option with its value, joined where the value would be taken for an option."""
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def _target_in_words(result: Result) -> str | None:
    asked = result.provenance
    target = in_the_patient(result, asked.target) if asked.door == "scene" else asked.target
    if not isinstance(target, TargetSpec):
        return None if target is None else str(target)
    own, minus = result.target.index, result.target.minus
    words = "" if target.output is None and target.minus is None else _class(target.output, own)
    if target.minus is not None:
        words += f"-{_class(target.minus, minus if minus is not None else own)}"
    if target.mask is not None:
        return f"{words}@mask={target.mask if isinstance(target.mask, str) else _mask_file(result)}"
    for kind, place in (("voxel", target.voxel), ("ras", target.ras)):
        if place is not None:
            return f"{words}@{kind}={','.join(map(repr, place))}"
    return words or None


def _class(value: int | str | None, index: int) -> str:
    """A class by its name, and by its index where the name could be read in two ways."""
    plain = isinstance(value, str) and re.fullmatch(r"[^\W\d][^-@=]*", value)
    return str(value) if plain or isinstance(value, int) else str(index)


def _options_in_words(options: Options) -> list[str]:
    words: list[str] = []
    for one, value in _chosen(options):
        flag = "--" + (one.metadata["flag"] or one.name).replace("_", "-")
        if isinstance(value, bool):
            words.append(flag)
        elif isinstance(value, tuple):
            typed = map(_structure, value) if one.name == "structures" else map(str, value)
            words += [word for inner in typed for word in _flag(flag, inner)]
        else:
            words += _flag(flag, str(value))
    return words


def _wrapped(words: Sequence[str], windows: bool) -> str:
    """The words quoted, an option with its value on a line where it would get too long."""
    quoted = [_powershell(word) if windows else shlex.quote(word) for word in words]
    if sum(map(len, quoted)) + len(quoted) <= WIDTH:
        return " ".join(quoted)
    lines: list[list[str]] = [[]]
    for word in quoted:
        if (word.startswith("--") or word.startswith("'--")) and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    return (" `\n  " if windows else " \\\n  ").join(" ".join(line) for line in lines)


def _powershell(word: str) -> str:
    """As PowerShell takes it literally; it reads typographic quotation marks as its own."""
    if re.fullmatch(r"[\w.:\\/+=-]+", word, re.ASCII):
        return word
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", word) + "'"

"""``cam-overlay compare``: one volume explained for several classes, methods, layers or models."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..contract.comparison import HOTTEST, distinct, on_scale, one_kind, why_not_comparable
from ..contract.errors import ComparisonError
from ..contract.model import ModelSource
from ..contract.options import Options
from ..contract.records import absolute
from ..contract.request import Progress, Request, Result
from ..contract.target import StructureFile
from .computation import PYTHON_HELP, several
from .model import TRUST_HELP
from .options import add_options
from .output import Output, finished_folders
from .progress import ProgressLine

FILES = ("heatmap-*.nii.gz", "difference.nii.gz", "agreement.nii.gz", "compare.json", "montage.png", "scene.mrb")
"""What a comparison writes into its output folder."""

MEASURES = ("heat", "magnitude")

_SEVERAL = "{what}, with commas between them; may be given several times"


def add_options_of_compare(parser: argparse.ArgumentParser) -> None:
    """The options of ``compare``, and what runs it."""
    parser.set_defaults(run=run_compare)
    parser.add_argument("volumes", nargs="+", metavar="VOLUME", help="image file; several are the channels in order")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="folder for the results; made if it is not there"
    )
    parser.add_argument(
        "--model",
        "--bundle",
        dest="models",
        action="append",
        required=True,
        metavar="PATH",
        help="what to explain, as of explain; given several times, the models are compared",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST_HELP)
    parser.add_argument("--config", action="append", metavar="NAME", help="as of explain; of every model that is given")
    _add_choices(parser)
    add_options(parser)
    parser.add_argument("--python", metavar="PYTHON", help=PYTHON_HELP)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """What is compared, and by what measure."""
    what = parser.add_argument_group("what is compared: one of these, or several models")
    for name, words in (
        ("targets", "classes, each as --target of explain"),
        ("methods", "methods, see inspect"),
        ("layers", "layers, see inspect"),
    ):
        what.add_argument(f"--{name}", action="append", metavar="A,B", help=_SEVERAL.format(what=words))
    parser.add_argument(
        "--target", metavar="TARGET", help="what every explanation is of, where not classes are compared"
    )
    parser.add_argument(
        "--one-scale",
        action="store_true",
        help="one colour scale for all, in shares of the largest raw magnitude (default: one each); of classes only",
    )
    parser.add_argument(
        "--difference",
        choices=MEASURES,
        default="heat",
        help="of exactly two: subtract normalised heat, or raw magnitudes, of classes only (default: %(default)s)",
    )
    parser.add_argument(
        "--hottest",
        type=float,
        default=HOTTEST,
        metavar="SHARE",
        help="share of what was seen that is the hottest of a map; agreement counts them (default: %(default)s)",
    )


def run_compare(options: argparse.Namespace) -> None:
    output = Path(absolute(options.output))
    asked = _asked(options)
    settings = _settings(options, asked)
    paths = [os.path.expanduser(path) for path in options.volumes]
    with finished_folders([Output(output, FILES)], _inputs(paths, options)) as folders, ProgressLine() as show:
        show(Progress("slicer", 0.0, "Starting Slicer's core"))
        from ..logic import OverlayLogic
        from ..scene import core

        core.ensureScene()
        nodes = [core.loadVolume(path) for path in paths]
        with several(options.python) as compute:
            each = _EachOnFileGrids(paths, nodes, compute)
            comparison = OverlayLogic(each).compare(nodes[0], channels=nodes[1:], report=show, **settings)
        show(Progress("write", 0.97, "Writing the maps"))
        told = _write(folders[0], comparison, each, nodes[0], options)
    _print(told, Path(options.output))


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    """What is compared, by the arguments of :meth:`OverlayLogic.compare`.

    Raises:
        ComparisonError: nothing, or more than one thing.
    """
    asked = {name: _listed(getattr(options, name)) for name in ("targets", "methods", "layers")}
    asked["models"] = options.models if len(options.models) > 1 else None
    given = ["several --model" if name == "models" else f"--{name}" for name, one in asked.items() if one is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "nothing"
        raise ComparisonError(
            f"One thing at a time can be compared, and {found} was given. Give --targets, --methods or --layers "
            "with at least two, or --model twice."
        )
    one_kind(asked)
    if options.target is not None and asked["targets"] is not None:
        raise ComparisonError("--target and --targets were given. Name all classes in --targets.")
    if options.intermediates_folder is not None:
        raise ComparisonError("--save-intermediates is of one explanation; leave it out, or use explain.")
    if not 0 < options.hottest <= 1:
        raise ComparisonError(f"--hottest is {options.hottest:g}. Give a share above 0 and up to 1, such as 0.1.")
    if options.difference == "magnitude" and asked["targets"] is None:
        raise ComparisonError(
            "--difference magnitude is of two classes: other maps have raw magnitudes of different units. Leave it out."
        )
    return asked


def _listed(given: Sequence[str] | None) -> list[str] | None:
    """What was typed as a list. A target at a place has commas of its own, so it stands alone."""
    if given is None:
        return None
    parts = [[words] if "@" in words else words.split(",") for words in given]
    return [word.strip() for part in parts for word in part if word.strip()]


def _settings(options: argparse.Namespace, asked: dict[str, Any]) -> dict[str, Any]:
    """The arguments of :meth:`OverlayLogic.compare`."""
    names = {one.name for one in dataclasses.fields(Options)} - {"intermediates_folder"}
    own = {"targets": "target", "methods": "method", "layers": "layer"}
    (name,) = (name for name, value in asked.items() if value is not None)
    settings = {key: value for key, value in vars(options).items() if key in names | {"target"}}
    settings.pop(own.get(name, ""), None)
    model = {} if name == "models" else {"modelPath": options.models[0]}
    return {
        **settings,
        **model,
        name: asked[name],
        "trust": options.trust,
        "configs": tuple(options.config or ()),
        "oneScale": options.one_scale,
    }


def _inputs(paths: list[str], options: argparse.Namespace) -> list[str | Path]:
    """Everything that is read, which none of the results may replace."""
    targets = [*(options.targets or ()), options.target or ""]
    masks = [words.rpartition("@mask=")[2] for words in targets if "@mask=" in words]
    structures = [one.file for one in map(StructureFile.of, options.structures)]
    parts = [
        Path(model) / name
        for model in options.models
        if not ModelSource(model).lies_there
        for name in ("configs", "models", "scripts", "docs", *(options.config or ()))
    ]
    return [*paths, *masks, *(one for one in structures if isinstance(one, str)), *options.models, *parts]


class _EachOnFileGrids:
    """Answers every request on the grids of the files, and keeps every result in the first file's voxels."""

    def __init__(self, paths: Sequence[str], nodes: Sequence[Any], compute: Callable[..., Result]) -> None:
        from .file_grids import OnFileGrids  # which needs Slicer's core

        self.results: list[Result] = []
        self.there = OnFileGrids(paths, nodes, compute, None)

    def __call__(self, request: Request, report: Callable[[Progress], None]) -> Result:
        result = self.there(request, report)
        assert self.there.result is not None  # it has just been asked for
        self.results.append(self.there.result)
        return result


# What is written -----------------------------------------------------------------------------------------------------


def _write(folder: Path, comparison: Any, each: _EachOnFileGrids, volume: Any, options: argparse.Namespace) -> dict:
    """All files; returns what ``compare.json`` says."""
    from ..scene import core
    from ..scene.comparison import agreement, difference
    from ..scene.io.volumes import voxelsOf
    from ..scene.overlay import node as overlay

    most = max(result.magnitude for result in each.results)
    results = [on_scale(one, most) for one in each.results] if options.one_scale else each.results
    names, nodes = comparison.names, comparison.nodes
    items = []
    for name, file, node, result in zip(names, _files(names), nodes, results, strict=True):
        each.there.write(voxelsOf(node), name, folder / file)
        told = dataclasses.replace(result, heatmap=dataclasses.replace(result.heatmap, path=file))
        items.append({"name": name, "file": file, "result": told.to_dict()})
    told = {
        "comparison": comparison.kind,
        "one_scale": options.one_scale,
        "comparable": why_not_comparable(results) or "The raw magnitudes are of one unit.",
        "items": items,
        "not_explained": [one.to_dict() for one in comparison.notExplained],
        "difference": None,
        "agreement": None,
    }
    derived = []  # what is drawn below the maps
    if len(nodes) == 2:
        node = difference.showDifference(*nodes, by=options.difference, opacity=None)
        told["difference"] = {**(difference.saidOf(node) or {}), "file": "difference.nii.gz"}
        each.there.write(voxelsOf(node), "difference", folder / "difference.nii.gz")
        derived.append((node, *_difference_words(told["difference"])))
    if len(nodes) > 1:
        node = agreement.showAgreement(nodes, options.hottest, opacity=None)
        figures = agreement.figuresOf(node)
        told["agreement"] = {**figures.to_dict(), "file": "agreement.nii.gz"}
        each.there.write(voxelsOf(node), "agreement", folder / "agreement.nii.gz")
        derived.append((node, "Agreement", f"maps in whose hottest {figures.share:.0%} a voxel lies"))
    _montage(folder / "montage.png", comparison, results, volume, derived)
    overlay.jumpToPeak(comparison.overlayNode)
    core.saveScene(folder / "scene.mrb")
    words = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / "compare.json").write_text(words + "\n", encoding="utf-8")
    return told


def _difference_words(said: dict[str, Any]) -> tuple[str, str]:
    by = "normalised heat" if said["by"] == "heat" else "raw magnitude"
    return "Difference", f"{said['first']} − {said['second']}, {by}"


def _montage(path: Path, comparison: Any, results: Sequence[Result], volume: Any, derived: Sequence[tuple]) -> None:
    from ..scene.figure.montage import MontageRow, commonPlace, saveMontage

    scale = "on one scale, 1.0 is" if comparison.nodes[0].GetAttribute("CAMOverlay.Scale") == "one" else "1.0 is"
    nodes = [comparison.overlayOf(name) for name in comparison.names]  # with colours, which an item alone has not
    try:
        rows = [
            MontageRow(
                node,
                name,
                f"{result.target.name}, {result.method} at {result.layer}; {scale} {result.magnitude:.3g} raw",
            )
            for node, name, result in zip(nodes, comparison.names, results, strict=True)
        ]
        rows += [MontageRow(*one) for one in derived]
        place = commonPlace(comparison.nodes)
        title = f"Comparison by {comparison.kind}"
        subtitle = f"{volume.GetName()}   ·   all slices through voxel {place}, where the maps are hottest together"
        saveMontage(path, volume, rows, place, title, subtitle)
    finally:
        for node in nodes:
            _remove(node)


def _remove(node: Any) -> None:
    scene = node.GetScene()
    for one in (node.GetDisplayNode(), node.GetStorageNode(), node):
        if one is not None:
            scene.RemoveNode(one)


def _files(names: Sequence[str]) -> list[str]:
    """A file for every item: its name, of characters that every system allows."""
    plain = [re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "item" for name in names]
    return [f"heatmap-{one.replace(' (', '-').rstrip(')')[:80]}.nii.gz" for one in distinct(plain)]


def _print(told: dict[str, Any], output: Path) -> None:
    for item in told["items"]:
        result = Result.from_dict(item["result"])
        where = f"peak at voxel {result.peak}" if result.peak is not None else "0 everywhere"
        print(f"{told['comparison']:12s} {item['name']}: {where}, 1.0 is {result.magnitude:.3g} raw")
    for one in told["not_explained"]:
        print(f"warning      {one['name']} is not explained: {one['words']}")
    if told["agreement"]:
        figures = told["agreement"]
        for pair in figures["pairs"]:
            correlation = "none" if pair["correlation"] is None else f"{pair['correlation']:+.2f}"
            print(
                f"alike        {pair['first']} and {pair['second']}: rank correlation {correlation}, "
                f"hottest {figures['share']:.0%} overlap {pair['overlap']:.0%}"
            )
        chance = f"{figures['by_chance']:.2%}"
        print(f"agreement    {figures['counts'][-1]:.2%} of what was seen is hot in all, by chance {chance}")
    print(f"scale        {told['comparable']}")
    files = [item["file"] for item in told["items"]]
    files += [told[name]["file"] for name in ("difference", "agreement") if told[name]]
    print(f"written      {output}: {', '.join([*files, 'compare.json', 'montage.png', 'scene.mrb'])}")

"""What can be compared, and by what measure: choices of classes, methods, layers or models of one volume.

Torch-free, so that console, panel and command line say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import ComparisonError
from .findings import HotSpot, StructureFigures, Threshold
from .records import JsonRecord
from .request import Result

KINDS = {"targets": "class", "methods": "method", "layers": "layer", "models": "model"}
"""What a comparison may be of, as the console and the command line name it, and what one of them is called."""

OPTION = {"class": "target", "method": "method", "layer": "layer"}
"""The option of one run that holds the choice."""

HOTTEST = 0.05
"""Share of the seen voxels that counts as the hottest of a map, at first: about as much as a Grad-CAM lights up of a
head or a trunk. Half of it or twice as much is as legitimate, so it is an option."""


@dataclass(frozen=True)
class NotExplained(JsonRecord):
    """A choice that could not be explained, and the sentence that says why."""

    name: str
    words: str


def one_kind(asked: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """The kind of a comparison and its choices, out of the lists that were given.

    Args:
        asked: values by the keys of :data:`KINDS`; None of those that were not given.

    Raises:
        ComparisonError: none or several of them were given, or fewer than two choices.

    >>> one_kind({"methods": ["gradcam", "layercam"], "targets": None})
    ('method', ('gradcam', 'layercam'))
    """
    given = {name: values for name, values in asked.items() if values is not None}
    names = ", ".join(KINDS)
    if len(given) != 1:
        found = "none" if not given else " and ".join(given)
        raise ComparisonError(f"One thing at a time can be compared, and {found} were given. Give one of {names}.")
    ((name, values),) = given.items()
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ComparisonError(f"{name} is {values!r:.80}, not a list. Give at least two, such as {name}=[…, …].")
    choices = tuple(values)
    if len(choices) < 2:
        raise ComparisonError(f"{name} has {len(choices)} of the two that a comparison needs. Give at least two.")
    if twice := [one for n, one in enumerate(choices) if one in choices[:n]]:
        raise ComparisonError(f"{name} has {twice[0]!r:.80} twice. Give each once.")
    return KINDS[name], choices


def name_of(kind: str, result: Result) -> str:
    """What a result is called among those that it is compared with."""
    if kind == "method":
        return result.method
    if kind == "layer":
        return result.layer
    if kind == "model":
        return f"{result.bundle_name} {result.bundle_version}".strip() or result.bundle
    minus, classes = result.target.minus, result.prediction.classes
    return f"{result.target.name} - {classes[minus]}" if minus is not None else result.target.name


_UNREADABLE = str.maketrans({"&": "+", "<": "‹", ">": "›", '"': "'", ";": ","})


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The same with a number behind those that were there before, and without what a scene would not keep: Slicer
    writes the values of a sequence into its XML as they are, with a semicolon between them.

    >>> distinct(["a", "b & c", "a", "<d>; e"])
    ('a', 'b + c', 'a (2)', '‹d›, e')
    """
    found: list[str] = []
    for name in (" ".join(name.translate(_UNREADABLE).split()) for name in names):
        number = 2
        unique = name or "unnamed"
        while unique in found:
            unique, number = f"{name} ({number})", number + 1
        found.append(unique)
    return tuple(found)


# Scales --------------------------------------------------------------------------------------------------------------


def why_not_comparable(results: Sequence[Result]) -> str:
    """Why raw magnitudes of several maps cannot be compared, as a sentence; empty where they can.

    A magnitude (``heat × Result.magnitude``) has the unit of its method at its layer of its network: an activation
    times a gradient there. Two classes of one network, by one method at one layer, share it; nothing else does.
    """
    for what, values in (
        ("models", [(one.bundle, one.bundle_name, one.bundle_version) for one in results]),
        ("methods", [one.method for one in results]),
        ("layers", [one.layer for one in results]),
    ):
        if len(set(values)) > 1:
            shown = sorted({value[1] if isinstance(value, tuple) else value for value in values})
            return (
                f"The maps are of different {what} ({', '.join(shown)}), whose raw magnitudes have different units, "
                "so one colour scale would claim a comparison that there is not. Compare their normalised heat."
            )
    return ""


def on_scale(result: Result, most: float) -> Result:
    """A result whose heat is told as a share of another largest magnitude: 1.0 then stands for ``most``.

    What is said in shares of the scale moves with it; what does not depend on the scale stays.
    """
    factor = result.magnitude / most if most > 0 else 1.0
    if factor == 1.0:
        return result

    def spot(one: HotSpot) -> HotSpot:
        return replace(one, mean=one.mean * factor, maximum=one.maximum * factor)

    def structure(one: StructureFigures) -> StructureFigures:
        return replace(one, mean_inside=one.mean_inside * factor, mean_outside=one.mean_outside * factor)

    threshold = result.threshold
    if threshold.kind == "absolute":
        threshold = Threshold("absolute", threshold.value * factor)
    return replace(
        result,
        magnitude=most,
        findings=tuple(map(spot, result.findings)),
        structures=tuple(map(structure, result.structures)),
        threshold=threshold,
    )

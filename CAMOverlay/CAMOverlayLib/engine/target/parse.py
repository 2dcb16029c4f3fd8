"""What is asked, in whatever form it comes, as classes by index and a place.

A target is a class, by index or name; the difference of two (``lesion - healthy``); and in a segmentation network where
it is asked about: over the region predicted as that class, over a given mask, or at one voxel. In words::

    lesion    2    lesion-healthy    tumor@voxel=120,96,40    tumor@ras=-12.5,8,40    tumor@mask=FILE.nii.gz

and in Python also as a :class:`~CAMOverlayLib.contract.target.TargetSpec`. Words are understood here and not where they
are typed, because a class may itself be called ``non-small-cell`` or ``T1@rest``, and only here its names are known.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contract.errors import TargetError
from ...contract.request import Prediction
from ...contract.target import TargetSpec
from .prediction import predicted_class
from .regions import read_mask


def parse_target(wanted: int | str | TargetSpec | None, prediction: Prediction) -> TargetSpec:
    """A target in any of its forms as one whose classes are indices (``output`` None: to be chosen).

    Raises:
        TargetError: no such class, or not the form of a target.
    """
    if isinstance(wanted, TargetSpec):
        spec = wanted
    elif isinstance(wanted, str) and "@" in wanted and not _named(wanted, prediction):
        words, _, where = wanted.rpartition("@")
        spec = dataclasses.replace(parse_target(words.strip() or None, prediction), **_where(where))
    elif isinstance(wanted, str) and (pair := _difference(wanted, prediction)):
        spec = TargetSpec(*pair)
    else:
        spec = TargetSpec(wanted)
    if sum(x is not None for x in (spec.mask, spec.voxel, spec.ras)) > 1:
        raise TargetError("The target names more than one of mask, voxel and ras. Give one of them.")
    if spec.output is not None:
        spec = dataclasses.replace(spec, output=choose_target(spec.output, prediction))
    if spec.minus is not None:
        spec = dataclasses.replace(spec, minus=choose_target(spec.minus, prediction))
        if spec.minus == spec.output:
            name = prediction.classes[choose_target(spec.minus, prediction)]
            raise TargetError(f"The target is '{name}' minus itself. Give two classes.")
    return spec


def check_early(
    wanted: int | str | TargetSpec | None, classes: Sequence[str], shape: Sequence[int], masks: dict
) -> None:
    """Refuse what can be known to be wrong before the network runs: a form that is not a target's, a class name that
    is not there, a voxel outside the volume, a mask that cannot be read.

    Args:
        classes: names as far as they are known; none at all says nothing.
        shape: of the volume, I×J×K.
        masks: gets the mask that was read, so that nobody reads it twice.

    Raises:
        TargetError: says what is wrong.
    """
    names = tuple(classes)
    known = Prediction(names, (0.0,) * len(names), (0.0,) * len(names), "softmax", 0)
    try:
        spec = parse_target(wanted, known)
    except TargetError:
        if isinstance(wanted, str) and "@" in wanted:
            _where(wanted.rpartition("@")[2])  # raises where the place itself is wrong
        asked = [wanted.output, wanted.minus] if isinstance(wanted, TargetSpec) else [wanted]
        # Numbers beyond the names may exist, and stand-ins such as “class 3” are named later.
        if names and all((isinstance(a, str) and not _STAND_IN.search(a)) or a is None for a in asked):
            raise
        for value in asked:
            if value is not None and not isinstance(value, str):
                _as_index(value)
        return
    if spec.voxel is not None and any(not 0 <= v < n for v, n in zip(spec.voxel, shape)):
        raise TargetError(f"Voxel {tuple(spec.voxel)} is outside the volume, whose shape is {tuple(shape)}.")
    if spec.mask is not None:
        masks[spec.mask] = read_mask(spec.mask)


_STAND_IN = re.compile(r"(class|output) [0-9]+|^[^@]*[0-9]", re.IGNORECASE)


def choose_target(wanted: int | str | None, prediction: Prediction) -> int:
    """Index of the class to explain: by index, by name (any case), or the predicted one.

    The predicted class of a segmentation network is the one with the most voxels, background apart if there is
    anything else.

    Raises:
        TargetError: no such class; the classes there are, are in the message.
    """
    if wanted is None:
        return predicted_class(prediction)
    names = prediction.classes
    listed = ", ".join(f"{i} {n}" for i, n in enumerate(names))
    index = _as_index(wanted)
    if index is not None:
        if not 0 <= index < len(names):
            raise TargetError(f"There is no class {index}; the network has {len(names)}: {listed}.")
        return index
    name = str(wanted)
    matches = _named(name, prediction)
    if not matches:
        near = difflib.get_close_matches(name.casefold(), [n.casefold() for n in names], n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise TargetError(f"There is no class '{wanted}'; the network has {listed}.{hint}")
    return matches[0]


def _as_index(wanted: Any) -> int | None:
    """A class given as a number, NumPy's among them, or as the text of one; None for a name.

    Raises:
        TargetError: neither a whole number nor a name.
    """
    if isinstance(wanted, str):
        return int(wanted) if _WHOLE.fullmatch(wanted.strip()) else None
    if isinstance(wanted, (bool, np.bool_)):
        raise TargetError(f"{wanted} is not a class. Give its number or its name.")
    try:
        if float(wanted) == int(wanted):
            return int(wanted)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TargetError(f"{str(wanted)[:60]!r} is not a class. Give its number or its name.")


_WHOLE = re.compile(r"-?[0-9]{1,9}")


def _named(name: str, prediction: Prediction) -> list[int]:
    return [i for i, n in enumerate(prediction.classes) if n.casefold() == name.strip().casefold()]


def _difference(words: str, prediction: Prediction) -> tuple[int | str, int | str] | None:
    """``a-b`` as two classes. A class whose own name has a hyphen goes first."""
    if _named(words, prediction):
        return None
    for place in (i for i, letter in enumerate(words) if letter == "-"):
        pair = words[:place].strip(), words[place + 1 :].strip()
        if all(_WHOLE.fullmatch(side) or _named(side, prediction) for side in pair):
            return pair
    return None


def _where(words: str) -> dict[str, Any]:
    """``voxel=I,J,K``, ``ras=R,A,S`` or ``mask=FILE``.

    Raises:
        TargetError: anything else.
    """
    kind, _, value = words.partition("=")
    kind, numbers = kind.strip().casefold(), value.split(",")
    try:
        if kind == "mask" and value.strip():
            return {"mask": value.strip()}
        if kind in ("voxel", "ras") and len(numbers) == 3 and len(value) < 200:
            place = tuple(map(int if kind == "voxel" else float, numbers))
            if all(map(math.isfinite, place)):
                return {kind: place}
    except ValueError:
        pass
    raise TargetError(f"'@{words}' is not a place. Write @voxel=I,J,K (whole numbers), @ras=R,A,S (mm) or @mask=FILE.")

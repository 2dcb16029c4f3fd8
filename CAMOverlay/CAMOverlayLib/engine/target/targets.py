"""What is explained: a number made of the network's output, whose gradient is taken.

A target is a class, by index or name; the difference of two (``lesion - healthy``); and in a segmentation network where
it is asked about: over the region predicted as that class, over a given mask, or at one voxel. In words, as the command
line takes it::

    lesion    2    lesion-healthy    tumor@voxel=120,96,40    tumor@ras=-12.5,8,40    tumor@mask=FILE.nii.gz

and in Python also as a :class:`~CAMOverlayLib.contract.target.TargetSpec`.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...contract.errors import NotSeenError, TargetError
from ...contract.request import Prediction, Target
from ...contract.target import TargetSpec, VolumeFile
from .regions import TargetRegions, read_mask

NEAREST = 1e-3
"""Share of the voxels that stands in where none is predicted as the class: those where its score comes nearest."""


# The network's answer -------------------------------------------------------------------------------------------------


def predict(output: Tensor, classes: tuple[str, ...], multilabel: bool, regression: bool = False) -> Prediction:
    """The network's output in words.

    Args:
        output: 1×K of a classifier or a regression, or 1×K×spatial of a segmentation network, whose outputs are
            averaged over space.
        classes: names of the K outputs; numbers stand in for those that are missing.
        independent: the outputs are K separate yes-or-no answers (sigmoid), not one choice among K (softmax).
        regression: the outputs are numbers in a unit of their own; there are no probabilities, and what stands in
            their place are the outputs themselves.
    """
    scores = output.detach().float()
    count = scores.shape[1]
    word = "output" if regression else "class"
    names = tuple(classes[i] if i < len(classes) else f"{word} {i}" for i in range(count))
    if regression:
        values = _averaged(scores)
        return Prediction(names, values, values, "none", 0)
    sigmoid = multilabel or count == 1
    spatial = is_map(output)
    if not spatial:
        scores = scores.cpu().double()  # a few numbers cost nothing, and not every device has double precision
    probabilities = _probabilities(scores, sigmoid)
    averaged = _averaged(probabilities)
    found = Prediction(
        classes=names,
        outputs=_averaged(scores),
        probabilities=averaged,
        activation="sigmoid" if sigmoid else "softmax",
        index=max(range(count), key=averaged.__getitem__),
        voxels=_count_voxels(scores[0], sigmoid) if spatial else (),
    )
    return dataclasses.replace(found, index=choose_target(None, found))


def combine(predictions: Sequence[Prediction]) -> Prediction:
    """Of several pictures of one volume what the network said of it: averages, and sums of voxels."""
    first = predictions[0]
    if len(predictions) == 1:
        return first

    def average(rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
        return tuple(sum(column) / len(rows) for column in zip(*rows))

    probabilities = average([p.probabilities for p in predictions])
    found = dataclasses.replace(
        first,
        outputs=average([p.outputs for p in predictions]),
        probabilities=probabilities,
        index=first.index
        if first.activation == "none"
        else max(range(len(probabilities)), key=probabilities.__getitem__),
        voxels=tuple(sum(column) for column in zip(*(p.voxels for p in predictions))),
    )
    return dataclasses.replace(found, index=choose_target(None, found))


def _count_voxels(scores: Tensor, sigmoid: bool) -> tuple[int, ...]:
    """K×spatial to how many voxels are predicted as each class."""
    if sigmoid:
        return tuple(torch.count_nonzero(scores.flatten(1) > 0, 1).tolist())
    return tuple(torch.bincount(scores.argmax(0).flatten(), minlength=scores.shape[0]).tolist())


def is_map(output: Tensor) -> bool:
    """A segmentation network's output; a 1×K×1×1×1 is a classifier's."""
    return output.ndim > 2 and any(n > 1 for n in output.shape[2:])


def _probabilities(scores: Tensor, sigmoid: bool) -> Tensor:
    return scores.sigmoid() if sigmoid else scores.softmax(1)


def _averaged(values: Tensor) -> tuple[float, ...]:
    return tuple(values.flatten(2).mean(2)[0].tolist() if values.ndim > 2 else values[0].tolist())


def _predicted(scores: Tensor, index: int, sigmoid: bool) -> Tensor:
    """Spatial, bool: where the network says that class."""
    return scores[0, index] > 0 if sigmoid else scores[0].argmax(0) == index


# What is asked ------------------------------------------------------------------------------------------------------


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
        return _most_voxels(prediction) if any(prediction.voxels) else prediction.index
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


def _most_voxels(prediction: Prediction) -> int:
    voxels = list(prediction.voxels)
    unnamed = prediction.classes[0].casefold() in ("background", "class 0", "0")
    if prediction.activation == "softmax" and unnamed and any(voxels[1:]):
        voxels[0] = 0
    return voxels.index(max(voxels))


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


# The number ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Objective:
    """The number that is explained, as a function of the network's output.

    Attributes:
        terms: which outputs it adds up, each with a factor.
        region: bool, on the spatial grid of the output: where. None for a network without a map.
        target: the same in words.
        warnings: what the user should know of it.
    """

    terms: tuple[tuple[int, float], ...]
    region: Tensor | None
    target: Target
    warnings: tuple[str, ...] = ()

    def __call__(self, output: Tensor) -> Tensor:
        """One number for every image of the batch, of B×K or B×K×spatial."""
        return sum(factor * self._total(output[:, index]) for index, factor in self.terms)

    def _total(self, values: Tensor) -> Tensor:
        if self.region is None:
            return values.flatten(1).sum(1) if values.ndim > 1 else values
        return values[:, self.region.to(values.device)].sum(1)

    def minus(self, index: int, factor: float, name: str) -> Objective:
        """The same with ``factor`` times another output taken off, over the same region."""
        target = dataclasses.replace(
            self.target, description=f"{self.target.description}, minus {factor:g} × that of '{name}'"
        )
        return dataclasses.replace(self, terms=(*self.terms, (index, -factor)), target=target)


def build_objectives(
    outputs: Sequence[Tensor],
    wanted: int | str | TargetSpec | None,
    prediction: Prediction,
    places: Sequence[TargetRegions],
) -> list[Objective | None]:
    """What to differentiate in each of several pictures of one volume: the same target, None where a picture has
    nothing of it.

    Raises:
        TargetError: as :func:`build_objective`, where no picture has it.
    """
    if len(outputs) == 1:
        return [build_objective(outputs[0], wanted, prediction, places[0])]
    spec = parse_target(wanted, prediction)
    anywhere = all(place is None for place in (spec.mask, spec.voxel, spec.ras))
    if anywhere:
        spec = dataclasses.replace(spec, output=choose_target(spec.output, prediction))
    objectives: list[Objective | None] = []
    unseen: NotSeenError | None = None
    for output, where in zip(outputs, places, strict=True):
        try:
            objectives.append(build_objective(output, spec, prediction, where, stand_in=False))
        except NotSeenError as error:
            unseen = unseen or error
            objectives.append(None)
    found = [objective for objective in objectives if objective is not None]
    if anywhere and not found:
        # Nowhere predicted: the picture that comes nearest stands in.
        scores = [float(o[:, spec.output].max()) for o in outputs]
        best = scores.index(max(scores))
        objectives[best] = build_objective(outputs[best], spec, prediction, places[best])
    elif unseen is not None and not found:
        raise unseen
    elif len({objective.target.index for objective in found}) > 1:
        # A mask without a class: what is seen most in its largest part is asked of all of it.
        largest = max(found, key=lambda objective: int(objective.region.sum()) if objective.region is not None else 0)
        return build_objectives(outputs, dataclasses.replace(spec, output=largest.target.index), prediction, places)
    return objectives


def build_objective(
    output: Tensor,
    wanted: int | str | TargetSpec | None,
    prediction: Prediction,
    places: TargetRegions | None = None,
    stand_in: bool = True,
) -> Objective:
    """What to differentiate.

    A classifier's or a regression's output before its activation. For a segmentation network the sum of the class's
    outputs over the voxels predicted as that class (Seg-Grad-CAM, Vinogradova et al. 2020,
    https://arxiv.org/abs/2002.11434), over a mask, or at one voxel. Where no voxel is predicted as the class, the
    thousandth of the voxels where its score comes nearest stands in, with a warning: so one can ask why a lesion was
    missed.

    Args:
        output: 1×K or 1×K×spatial.
        places: finds masks and places on the output's grid; without it neither can be asked for.
        stand_in: explain the nearest voxels where none is predicted as the class.

    Raises:
        TargetError: the class, mask or voxel is not there, or makes no sense for this network.
        NotSeenError: the place is outside what the network saw, or no voxel is predicted so and none may stand in.
    """
    spec = parse_target(wanted, prediction)
    minus = None if spec.minus is None else choose_target(spec.minus, prediction)
    placed = next((kind for kind in ("mask", "voxel", "ras") if getattr(spec, kind) is not None), None)
    if not is_map(output):
        if placed:
            raise TargetError(
                f"The target names a {placed}, but this network gives one answer for the whole volume. "
                "Ask for a class only."
            )
        index = choose_target(spec.output, prediction)
        return _objective(index, minus, None, "", prediction)
    if placed is None:
        return _over_prediction(output, spec, prediction, stand_in)
    if places is None:
        raise TargetError(f"A {placed} cannot be found in the network's output here. Ask for a class only.")
    shape = tuple(output.shape[2:])
    if placed == "mask":
        assert spec.mask is not None
        where = places.of_mask(spec.mask, shape)
        words = f" over the {int(where.sum())} voxels of mask '{_mask_name(spec.mask)}'"
        index = _class_in(output, where, spec.output, prediction)
    else:
        assert spec.voxel is not None or spec.ras is not None
        where, words = (
            places.of_voxel(spec.voxel, shape) if spec.voxel is not None else places.of_point(spec.ras or (), shape)
        )
        index = _class_in(output, where, spec.output, prediction)
    return _objective(index, minus, where, words, prediction)


def _over_prediction(output: Tensor, spec: TargetSpec, prediction: Prediction, stand_in: bool) -> Objective:
    index = choose_target(spec.output, prediction)
    minus = None if spec.minus is None else choose_target(spec.minus, prediction)
    name = prediction.classes[index]
    scores = output.detach()
    if prediction.activation == "none":
        return _objective(index, minus, torch.ones_like(scores[0, 0], dtype=torch.bool), " over all voxels", prediction)
    sigmoid = prediction.activation == "sigmoid"
    region = _predicted(scores, index, sigmoid)
    voxels = int(torch.count_nonzero(region))
    if voxels:
        return _objective(index, minus, region, f" over the {voxels} voxels predicted so", prediction)
    if not stand_in:
        raise NotSeenError(f"No voxel is predicted as '{name}'. Ask for a class that is predicted.")
    probability = _probabilities(scores.float(), sigmoid)[0, index].flatten()
    count = max(1, math.ceil(NEAREST * probability.numel()))
    region = torch.zeros_like(probability, dtype=torch.bool)
    region[probability.topk(count).indices] = True
    where = f"the {count} voxels where its probability is highest"
    objective = _objective(index, minus, region.view(scores.shape[2:]), f" over {where}", prediction)
    warning = f"No voxel is predicted as '{name}'; explained are {where} ({float(probability.max()):.1%} at most)."
    return dataclasses.replace(objective, warnings=(warning,))


def _class_in(output: Tensor, where: Tensor, wanted: int | str | None, prediction: Prediction) -> int:
    """The class asked for, or the one that the network sees most in that place."""
    if wanted is not None:
        return choose_target(wanted, prediction)
    return int(output.detach()[0][:, where.to(output.device)].float().mean(1).argmax())


def _objective(index: int, minus: int | None, region: Tensor | None, words: str, prediction: Prediction) -> Objective:
    name = prediction.classes[index]
    before = "" if prediction.activation == "none" else f" before {prediction.activation}"
    kind = "" if prediction.activation == "none" else "class "
    total = "sum of the outputs" if region is not None and int(torch.count_nonzero(region)) > 1 else "output"
    if minus is None:
        return Objective(((index, 1.0),), region, Target(index, name, f"{total} of {kind}'{name}'{before}{words}"))
    if minus == index:
        raise TargetError(f"The target is '{name}' minus itself. Name another class to compare with.")
    other = prediction.classes[minus]
    description = f"{total} of {kind}'{name}' minus that of '{other}'{before}{words}"
    return Objective(((index, 1.0), (minus, -1.0)), region, Target(index, f"{name} − {other}", description, minus))


def _mask_name(mask: VolumeFile | str | None) -> str:
    return mask.name if isinstance(mask, VolumeFile) else str(mask)

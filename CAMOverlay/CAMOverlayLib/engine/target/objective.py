"""What is explained: a number made of the network's output, whose gradient is taken."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...contract.errors import NotSeenError, TargetError
from ...contract.request import Prediction, Target
from ...contract.target import TargetSpec, VolumeFile
from .parse import choose_target, parse_target
from .prediction import is_map, predicted_as, probabilities_of
from .regions import TargetRegions

NEAREST = 1e-3
"""Share of the voxels that stands in where none is predicted as the class: those where its score comes nearest."""


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
    region = predicted_as(scores, index, sigmoid)
    voxels = int(torch.count_nonzero(region))
    if voxels:
        return _objective(index, minus, region, f" over the {voxels} voxels predicted so", prediction)
    if not stand_in:
        raise NotSeenError(f"No voxel is predicted as '{name}'. Ask for a class that is predicted.")
    probability = probabilities_of(scores.float(), sigmoid)[0, index].flatten()
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

"""More than one opinion on one input: the networks of an ensemble, passes with dropout, mirrored images.

The first kind that there is counts, in this order. The networks of an ensemble have given their opinions by the time;
the other two run the network again, which is left as it was found.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..geometry.resample import to_input_grid
from ..inference import AttributionMap, EnsembleInference, Inference, apply
from ..preprocessing.random_state import generators_restored
from ..progress import Step, share_of, sub_progress
from ..target.objective import Objective
from ..target.prediction import is_map, strongest
from .subject import Subject

PASSES = 20
"""With dropout: the deviation of so few is itself uncertain by a sixth."""

TOLERATED = 0.8
"""A network tolerates mirroring along an axis if its answer, mirrored back, overlaps with the plain one by this much
(Dice, averaged over the classes that it predicts), or names the same class for the whole."""

DROPOUT: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Dropout: functional.dropout,
    nn.Dropout1d: functional.dropout1d,
    nn.Dropout2d: functional.dropout2d,
    nn.Dropout3d: functional.dropout3d,
    nn.AlphaDropout: functional.alpha_dropout,
    nn.FeatureAlphaDropout: functional.feature_alpha_dropout,
}


@dataclass(frozen=True)
class Opinion:
    """Of all pieces: the network's output, and the map of those that hold something of the target.

    Attributes:
        maps: None where maps are not asked for, as they would take too long.
    """

    outputs: Sequence[Tensor]
    maps: Sequence[AttributionMap | None] | None


@dataclass(frozen=True)
class Opinions:
    """Whose they are, in words, how many, and all of them one after the other.

    Attributes:
        words: empty where there is one opinion only; ``why`` says then why.
    """

    words: str
    count: int
    each: Iterator[Opinion]
    why: str = ""


def opinions(subject: Subject, step: Step, passes: int = PASSES) -> Opinions:
    """The first kind that there is."""
    inferences = subject.explained.inferences
    if all(isinstance(one, EnsembleInference) for one in inferences):
        return _of_members(subject)
    layers = dropout_layers(subject.model.network)
    if layers:
        words = f"{passes} passes with the network's dropout ({len(layers)} layer{'s' * (len(layers) > 1)}) switched on"
        return Opinions(words, passes, _with_dropout(subject, layers, passes, step))
    axes, found = mirror_axes(subject, share_of(step, 0, 2))
    if not axes:
        return Opinions("", 1, iter(()), f"there is one network, it has no dropout, and it {found}")
    flips = [f for count in range(len(axes) + 1) for f in itertools.combinations(axes, count)]
    words = f"the image plain and mirrored along {_listed(axes)} in all {len(flips) - 1} ways ({found})"
    return Opinions(words, len(flips), _mirrored(subject, flips, share_of(step, 1, 2)))


def _of_members(subject: Subject) -> Opinions:
    found: Sequence[Any] = subject.explained.inferences
    objectives, count = subject.explained.objectives, len(found[0].members)

    def each() -> Iterator[Opinion]:
        for n in range(count):
            maps = [one.maps[n] if objective else None for one, objective in zip(found, objectives, strict=True)]
            yield Opinion([one.outputs[n] for one in found], maps)

    return Opinions(f"{count} networks of one training", count, each())


# Dropout -------------------------------------------------------------------------------------------------------------


def dropout_layers(network: nn.Module) -> list[nn.Module]:
    """Layers that drop something in training."""
    return [one for one in network.modules() if type(one) in DROPOUT and getattr(one, "p", 0) > 0]


@contextmanager
def dropping(layers: Sequence[nn.Module]) -> Iterator[None]:
    """These layers drop as in training, for the time of a block, whatever mode they are in; nothing else changes."""

    def drop(layer: Any, inputs: Any, output: Any) -> Tensor:
        return DROPOUT[type(layer)](inputs[0], layer.p, training=True)

    handles = [layer.register_forward_hook(drop) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _with_dropout(subject: Subject, layers: Sequence[nn.Module], passes: int, step: Step) -> Iterator[Opinion]:
    for number in range(passes):
        with dropping(layers), generators_restored(seed=number):
            found = _asked(subject, sub_progress(step, number, passes, "pass"))
        yield found


# Mirroring -----------------------------------------------------------------------------------------------------------


def mirror_axes(subject: Subject, step: Step) -> tuple[tuple[int, ...], str]:
    """The spatial axes along which the network tolerates mirroring, and how that is known.

    What the training says counts, where a model tells it (nnU-Net's ``inference_allowed_mirroring_axes``). Otherwise
    it is measured on the piece that holds most of the target.
    """
    axes = range(subject.explained.inferences[0].image.ndim - 2)
    if subject.model.mirror_axes is not None:
        allowed = tuple(axis for axis in subject.model.mirror_axes if axis in axes)
        return allowed, "as in its training" if allowed else "was trained without mirroring"
    number = _fullest(subject.explained.objectives)
    alike = {}
    for axis in axes:
        step(axis, len(axes), f"mirrored along {'IJK'[axis]}")
        image = subject.explained.inferences[number].image.flip(2 + axis)
        output = _inference(subject, image).predict((), step).detach()
        back = output.flip(2 + axis) if is_map(output) else output
        alike[axis] = _overlap(subject.answers[number], back, subject.sigmoid)
    measured = ", ".join(f"{'IJK'[axis]} {share:.0%}" for axis, share in alike.items())
    allowed = tuple(axis for axis, share in alike.items() if share >= TOLERATED)
    if not allowed:
        return (), f"does not tolerate mirroring (overlap of the answers: {measured})"
    return allowed, f"overlap of the answers: {measured}"


def _mirrored(subject: Subject, flips: Sequence[tuple[int, ...]], step: Step) -> Iterator[Opinion]:
    for number, flip in enumerate(flips):
        yield _asked(subject, sub_progress(step, number, len(flips), "mirroring"), flip)


def _overlap(plain: Tensor, other: Tensor, sigmoid: bool) -> float:
    """How much of what is predicted is predicted in both: 0 to 1."""
    if not is_map(plain):
        said = [one[0] > 0 if sigmoid else one[0].argmax() for one in (plain.flatten(1), other.flatten(1))]
        return float(torch.equal(said[0], said[1]))
    if sigmoid:
        pairs = [(plain[0, n] > 0, other[0, n] > 0) for n in range(plain.shape[1])]
    else:
        labels = strongest(plain[0]), strongest(other[0])
        found = torch.unique(labels[0]).tolist()
        pairs = [(labels[0] == n, labels[1] == n) for n in found if n or len(found) == 1]
    dice = [2 * int((a & b).sum()) / max(1, int(a.sum()) + int(b.sum())) for a, b in pairs if a.any()]
    return sum(dice) / len(dice) if dice else 1.0


def _fullest(objectives: Sequence[Objective | None]) -> int:
    """Number of the piece with the largest region of the target."""
    sizes = [0 if one is None else 1 if one.region is None else int(one.region.sum()) for one in objectives]
    return sizes.index(max(sizes))


# Asking --------------------------------------------------------------------------------------------------------------


def _asked(subject: Subject, step: Step, flip: tuple[int, ...] | None = None) -> Opinion:
    """All pieces once more, perhaps mirrored, with what comes of it mirrored back."""
    outputs: list[Tensor] = []
    maps: list[AttributionMap | None] = []
    pieces = list(zip(subject.explained.inferences, subject.explained.objectives, strict=True))
    layers, long, axes = subject.explained.layers, subject.method.info.long, [2 + axis for axis in flip or ()]
    for number, (before, objective) in enumerate(pieces):
        progress = sub_progress(step, number, len(pieces))
        progress(0, 1, "the network once more")
        one = _inference(subject, before.image.flip(axes) if axes else before.image)
        output = one.predict(layers if objective and not long else (), progress).detach()
        outputs.append(output.flip(axes) if axes and is_map(output) else output)
        found = None
        if objective and not long:
            asked = _moved(objective, flip or ())
            found = one.attribute(subject.method, layers, subject.explained.prediction, asked, progress)
        maps.append(_back(found, tuple(before.image.shape[2:]), flip) if found else None)
    return Opinion(outputs, None if long else maps)


def _inference(subject: Subject, image: Tensor) -> Inference:
    inferer = subject.model.inferer
    if getattr(inferer, "mirrored", ()):  # nnU-Net's own averages over mirrored windows would leave nothing to compare
        inferer = copy.copy(inferer)
        inferer.mirrored = ()  # type: ignore[union-attr]
    return apply(subject.model.network, image, inferer)


def _moved(objective: Objective, flip: tuple[int, ...]) -> Objective:
    if not flip or objective.region is None:
        return objective
    return replace(objective, region=objective.region.flip(flip))


def _back(found: AttributionMap, shape: tuple[int, ...], flip: tuple[int, ...] | None) -> AttributionMap:
    """The map mirrored back; on the network's input where activations do not divide it, and lie elsewhere in the
    mirrored one."""
    if flip is None:
        return found
    if found.steps is None:
        return replace(found, values=found.values.flip(flip))
    fine = to_input_grid(found.values, shape, steps=found.steps)[0]
    return replace(found, values=fine.flip(flip), steps=None)


def _listed(axes: Sequence[int]) -> str:
    names = ["IJK"[axis] for axis in axes]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

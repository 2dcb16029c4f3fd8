"""What the network said: its output in words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ...contract.request import Prediction


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
    probabilities = probabilities_of(scores, sigmoid)
    averaged = _averaged(probabilities)
    found = Prediction(
        classes=names,
        outputs=_averaged(scores),
        probabilities=averaged,
        activation="sigmoid" if sigmoid else "softmax",
        index=max(range(count), key=averaged.__getitem__),
        voxels=_count_voxels(scores[0], sigmoid) if spatial else (),
    )
    return dataclasses.replace(found, index=predicted_class(found))


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
    return dataclasses.replace(found, index=predicted_class(found))


def _count_voxels(scores: Tensor, sigmoid: bool) -> tuple[int, ...]:
    """K×spatial to how many voxels are predicted as each class."""
    if sigmoid:
        return tuple(torch.count_nonzero(scores.flatten(1) > 0, 1).tolist())
    return tuple(torch.bincount(strongest(scores).flatten(), minlength=scores.shape[0]).tolist())


def is_map(output: Tensor) -> bool:
    """A segmentation network's output; a 1×K×1×1×1 is a classifier's."""
    return output.ndim > 2 and any(n > 1 for n in output.shape[2:])


def probabilities_of(scores: Tensor, sigmoid: bool) -> Tensor:
    return scores.sigmoid() if sigmoid else scores.softmax(1)


def log_odds(scores: Tensor, index: int, sigmoid: bool) -> Tensor:
    """Of a class against all others, in nats, K×N outputs to N: a probability of 0.9999 hides a loss, they do not."""
    if sigmoid or len(scores) == 1:
        return scores[index]
    return scores[index] - torch.cat([scores[:index], scores[index + 1 :]]).logsumexp(0)


def _averaged(values: Tensor) -> tuple[float, ...]:
    return tuple(values.flatten(2).mean(2)[0].tolist() if values.ndim > 2 else values[0].tolist())


def predicted_as(scores: Tensor, index: int, sigmoid: bool) -> Tensor:
    """Spatial, bool: where the network says that class."""
    return scores[0, index] > 0 if sigmoid else strongest(scores[0]) == index


def predicted_class(prediction: Prediction) -> int:
    """Index of the predicted class. Of a segmentation network it is the one with the most voxels, background apart if
    there is anything else."""
    if not any(prediction.voxels):
        return prediction.index
    voxels = list(prediction.voxels)
    unnamed = prediction.classes[0].casefold() in ("background", "class 0", "0")
    if prediction.activation == "softmax" and unnamed and any(voxels[1:]):
        voxels[0] = 0
    return voxels.index(max(voxels))


def strongest(scores: Tensor) -> Tensor:
    """The class with the highest score at every place, the first of equal ones: K×spatial to spatial, int64.

    Class by class, as ``argmax`` over the first axis takes twenty times as long on a CPU for a few classes.
    """
    best, found = scores[0], torch.zeros(scores.shape[1:], dtype=torch.int64, device=scores.device)
    for index in range(1, len(scores)):
        found.masked_fill_(scores[index] > best, index)
        best = torch.maximum(best, scores[index])
    return found

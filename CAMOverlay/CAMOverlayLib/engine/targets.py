"""What is explained: a number made of the network's output, whose gradient is taken."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor

from ..errors import TargetError
from ..request import Prediction, Target


def predict(output: Tensor, classes: tuple[str, ...], independent: bool) -> Prediction:
    """The network's output in words.

    Args:
        output: 1×K of a classifier, or 1×K×spatial of a segmentation network, whose outputs are averaged over space.
        classes: names of the K outputs; numbers stand in for those that are missing.
        independent: the outputs are K separate yes-or-no answers (sigmoid), not one choice among K (softmax).
    """
    # Half precision would overflow in the sums, and on the CPU a few numbers in double precision cost nothing.
    scores = output.detach().double()
    count = scores.shape[1]
    names = tuple(classes[i] if i < len(classes) else f"class {i}" for i in range(count))
    sigmoid = independent or count == 1
    probabilities = scores.sigmoid() if sigmoid else scores.softmax(1)
    if scores.ndim > 2:
        scores, probabilities = scores.flatten(2).mean(2), probabilities.flatten(2).mean(2)
    return Prediction(
        classes=names,
        outputs=tuple(scores[0].tolist()),
        probabilities=tuple(probabilities[0].tolist()),
        activation="sigmoid" if sigmoid else "softmax",
        index=int(probabilities[0].argmax()),
    )


def choose_target(wanted: int | str | None, prediction: Prediction) -> int:
    """Index of the class to explain: by index, by name (any case), or the predicted one.

    Raises:
        TargetError: no such class; the classes there are, are in the message.
    """
    if wanted is None:
        return prediction.index
    names = prediction.classes
    listed = ", ".join(f"{i} {n}" for i, n in enumerate(names))
    if isinstance(wanted, int) or wanted.lstrip("-").isdecimal():
        index = int(wanted)
        if not 0 <= index < len(names):
            raise TargetError(f"There is no class {index}; the network has {len(names)}: {listed}.")
        return index
    matches = [i for i, n in enumerate(names) if n.casefold() == wanted.casefold()]
    if not matches:
        near = difflib.get_close_matches(wanted.casefold(), [n.casefold() for n in names], n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise TargetError(f"There is no class '{wanted}'; the network has {listed}.{hint}")
    return matches[0]


def score_of(output: Tensor, index: int, prediction: Prediction) -> tuple[Tensor, Target]:
    """The scalar to differentiate, and in words what it is.

    A classifier's logit; for a segmentation network the sum of the class's logits over the voxels predicted as that
    class (Seg-Grad-CAM, Vinogradova et al. 2020, https://arxiv.org/abs/2002.11434).

    Raises:
        TargetError: no voxel is predicted as the class, so there is no region to explain.
    """
    name = prediction.classes[index]
    logits = output[0, index]
    if output.ndim == 2:
        return logits.sum(), Target(index, name, f"output of class '{name}' before {prediction.activation}")
    scores = output.detach()[0]
    region = scores[index] > 0 if prediction.activation == "sigmoid" else scores.argmax(0) == index
    voxels = int(torch.count_nonzero(region))
    if voxels == 0:
        raise TargetError(f"No voxel is predicted as '{name}', so there is no region to explain. Choose another class.")
    words = f"sum of the outputs of class '{name}' before {prediction.activation} over the {voxels} voxels predicted so"
    return logits[region].sum(), Target(index, name, words)

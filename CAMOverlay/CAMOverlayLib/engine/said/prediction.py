"""The predicted segmentation and the entropy on the volume's own grid, from interpolated probabilities.

Probabilities are interpolated and then decided upon, as MONAI's ``Invertd`` before ``AsDiscreted`` does it, so that
edges are as smooth as the volume's grid allows; labels that were interpolated to the nearest one would show the steps
of the network's grid. No more is held than the labels and one block of all classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...contract.geometry import as_3d
from ..further import FurtherArray
from ..geometry.blocks import blocks
from ..geometry.resample import activation_grid
from ..preprocessing.trace import PreprocessingTrace
from ..progress import Step, sub_progress
from ..restore.affine import field_of_view
from ..restore.plan import InversionPlan
from ..restore.transforms import place_by_operations
from .probability import class_probability
from .subject import Made, Subject
from .tally import Tally, decided, entropy_of, label_type

NEGLIGIBLE = 1e-7
"""A probability that is nowhere higher adds less than 0.001 bits to an entropy, of a thousand classes."""

MOST_NAMED = 4


def voxelwise_volumes(subject: Subject, wanted: Sequence[str], step: Step) -> Made:
    """Of all classes together: the prediction and, of a choice among them, its entropy, in one go over the volume."""
    labels, entropy = "prediction" in wanted, "entropy" in wanted and not subject.sigmoid
    if not labels and not entropy:
        return [], []
    grid, count = subject.inputs.grid, len(subject.explained.prediction.classes)
    whole = np.zeros(grid.shape, label_type(count, subject.sigmoid), order="F")
    undecided = np.zeros(grid.shape, np.float32, order="F") if entropy else None
    labelled = subject.views(whole)
    uncertain = [None for _ in labelled] if undecided is None else subject.views(undecided)
    for number, views in enumerate(zip(labelled, uncertain, strict=True)):
        trace, plan, progress = (
            subject.inputs.traces[number],
            subject.plans[number],
            sub_progress(step, number, len(labelled)),
        )
        _fill(views, subject.answers[number], trace, plan, subject.sigmoid, progress)
    made = [_prediction(subject, whole)] if labels else []
    return ([*made, _entropy(subject, undecided)] if undecided is not None else made), []


def _fill(
    views: Sequence[np.ndarray | None],
    output: Tensor,
    trace: PreprocessingTrace,
    plan: InversionPlan,
    sigmoid: bool,
    step: Step,
) -> None:
    """One piece: labels, and entropy where there is a place for it."""
    scores = output if output.ndim == 5 else output[..., None]
    count, entropy = scores.shape[1], views[1] is not None
    if plan.inverse == "operations":
        tally = Tally(trace.volume_grid.shape, count, sigmoid, entropy)
        for index in range(count):  # one after the other: a replay takes one map
            step(index, count, f"class {index + 1} of {count}")
            values = class_probability(scores, index, sigmoid)
            tally.take(index, place_by_operations(values, trace, False, plan.affine_holds).array)
        for view, found in zip(views, (tally.labels, tally.entropy), strict=True):
            if view is not None and found is not None:
                view[:] = found
        return
    source = activation_grid(as_3d(tuple(scores.shape[2:])), trace.input_grid)
    least = 0.5 if sigmoid else NEGLIGIBLE if entropy else (1 - 1e-4) / count  # the winner of K has 1 / K or more

    def prepare(part: Tensor) -> tuple[Tensor, Sequence[int]]:
        probabilities = part.float().sigmoid() if sigmoid else part.float().softmax(0)
        numbers = torch.nonzero(probabilities.flatten(1).amax(1) >= least)[:, 0].tolist()
        return probabilities[numbers], numbers

    for block in blocks(scores[0], source, trace.volume_grid, field_of_view(trace), prepare):
        step(block.number, block.count, f"block {block.number + 1} of {block.count}")
        labels, uncertain = views
        assert labels is not None
        labels[block.place] = decided(block.numbers, block.values, labels.dtype, sigmoid)
        if uncertain is not None:
            uncertain[block.place] = entropy_of(block.values)


def _prediction(subject: Subject, labels: np.ndarray) -> FurtherArray:
    names, sigmoid = subject.explained.prediction.classes, subject.sigmoid
    if sigmoid:
        counts = [int(np.count_nonzero(labels & labels.dtype.type(1 << n))) for n in range(len(names))]
        how = "bit n of a value is class n, where it is above 50 %"
    else:
        counts = np.bincount(labels.ravel(order="K"), minlength=len(names)).tolist()
        how = "a value is the number of the most probable class"
    millilitres = abs(float(np.linalg.det(subject.inputs.grid.affine[:3, :3]))) / 1000
    shown = [n for n in range(len(names)) if counts[n] and (sigmoid or n)]  # 0 is also what was not seen
    largest = sorted(shown, key=lambda n: -counts[n])[:MOST_NAMED]
    sizes = [(names[n], counts[n] * millilitres) for n in largest]
    found = ", ".join(f"{name} {ml:.0f} ml" if ml >= 100 else f"{name} {ml:.3g} ml" for name, ml in sizes)
    found = found or "nothing but background"
    more = f" and {len(shown) - len(largest)} more" if len(shown) > len(largest) else ""
    highest = (1 << len(names)) - 1 if sigmoid else len(names) - 1
    return FurtherArray("prediction", labels, f"{found}{more}; {how}", float(highest), names, sigmoid)


def _entropy(subject: Subject, values: np.ndarray) -> FurtherArray:
    count = len(subject.explained.prediction.classes)
    words = f"entropy of the {count} probabilities in bits: 0 is sure, 1 a choice between two equals"
    return FurtherArray("entropy", values, words, math.log2(count))

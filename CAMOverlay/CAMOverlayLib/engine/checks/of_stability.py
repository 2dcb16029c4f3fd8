"""Is the map stable? Made again under a little noise, shifts by one voxel, and mirrored where the network tolerates it.

Every such map is brought back and compared with the first: rank correlation, and how far the peak moved. What counts
as alike is judged beside random pairs, as everywhere (:mod:`.similarity`). How much all these maps differ from place to
place, each as it would be shown, is kept as a map of its own where the map that is checked is the whole; and Captum's
sensitivity_max, over the noisy images, is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ...contract.findings import Check
from ..target.objective import Objective
from .captum_figures import sensitivity_max
from .similarity import SEED, Array, Likeness, correlation
from .subject import Subject
from .verdict import said

NAME = "stability"

NOISE = 0.05
"""Of the image's standard deviation."""

DEVIATION = "deviation"
"""Name of the map of what differs."""

Change = tuple[str, Tensor, Objective, Callable[[Array], Array]]
"""In words; the image; the question, moved along; and the way back for the map."""


def check(subject: Subject, full: bool, steps: int) -> Check:
    noisy, maps, names = _made_again(subject, 2 if steps > 3 else 1)
    similar = [correlation(subject.heat, one) for one in maps]
    moved = [_mm(subject, one) for one in maps]
    found = Likeness.beside(float(np.mean(similar)), subject.chance())
    spread = deviation([subject.heat, *maps])
    if not subject.part:
        subject.kept[DEVIATION] = spread
    figures = found.figures() | {
        "peak moved mm": float(np.median(moved)),
        "peak moved at most mm": max(moved),
        "one activation mm": float(np.linalg.norm(subject.spacing)),
        "deviation": float(spread.mean()),
        "largest deviation": float(spread.max()),
        "mirrored": float("mirrored" in names),
    }
    figures |= sensitivity_max(subject, noisy, maps[: len(noisy)])
    curves = {"x": np.arange(len(maps)), "similarity": similar, "peak moved mm": moved}
    verdict, words = _judge(found, figures, len(maps))
    if subject.part:
        words += "; there is no map of the deviation, as only a part was made again"
    return said(NAME, verdict, words, figures, subject, curves)


def _made_again(subject: Subject, noisy: int) -> tuple[list[Tensor], list[Array], list[str]]:
    """The noisy images; the maps of all changed images, brought back, those of the noisy ones first; and what was
    changed."""
    changes = list(_changes(subject, noisy))
    maps, names = [], []
    for number, (name, image, objective, back) in enumerate(changes):
        subject.step(number, len(changes), name)
        case = subject.changed(image=image, objective=objective)
        if name == "mirrored" and not _tolerated(subject, case.forward.output):
            continue
        maps.append(back(subject.heat_of(case)))
        names.append(name)
    return [image for name, image, *_ in changes if name == "noise"], maps, names


def deviation(maps: Sequence[Array]) -> Array:
    """Standard deviation place by place, of maps of which each is divided by its largest value, as it would be shown:
    0.5 at most."""
    shown = [one / one.max() if one.max() > 0 else one for one in maps]
    return np.std(shown, axis=0)


def _judge(found: Likeness, figures: dict[str, float], count: int) -> tuple[str, str]:
    moved, one = figures["peak moved mm"], figures["one activation mm"]
    words = (
        f"{count} small changes of the image leave maps that correlate by {found.similarity:.2f} with this one (random "
        f"pairs by up to {found.bound:.2f}), the peak moves by {moved:.1f} mm"
    )
    if found.blind:
        return "undecided", f"{words}: random pairs are too alike to tell"
    if found.apart:
        return "failed", words
    return ("passed" if found.alike and moved <= one else "undecided"), words


def _changes(subject: Subject, noisy: int) -> Iterator[Change]:
    image, objective = subject.case.image, subject.case.objective
    for number in range(noisy):
        generator = torch.Generator().manual_seed(SEED + number)
        noise = torch.randn(image.shape, generator=generator).to(image) * NOISE * image.std()
        yield "noise", image + noise, objective, _as_it_is
    fine = tuple(subject.heat.shape) == tuple(image.shape[2:])
    for axis in range(image.ndim - 2):
        asked = _moved(objective, partial(torch.roll, shifts=1, dims=axis))
        whole = objective.region is not None and tuple(objective.region.shape) == tuple(image.shape[2:])
        back = partial(np.roll, shift=-1, axis=axis) if fine else _as_it_is
        yield "one voxel", torch.roll(image, 1, 2 + axis), asked if whole else objective, back
    mirrored = _moved(objective, partial(torch.flip, dims=(0,)))
    yield "mirrored", torch.flip(image, (2,)), mirrored, partial(np.flip, axis=0)


def _as_it_is(heat: Array) -> Array:
    return heat


def _moved(objective: Objective, move: Callable[[Tensor], Tensor]) -> Objective:
    return objective if objective.region is None else dataclasses.replace(objective, region=move(objective.region))


def _tolerated(subject: Subject, output: Tensor) -> bool:
    """The mirrored image gets the same answer: what comes first of the whole still does."""
    before, now = (
        one.detach().float().flatten(2).mean(2)[0] if one.ndim > 2 else one.detach().float()[0]
        for one in (subject.case.forward.output, output)
    )
    return bool(before.argmax() == now.argmax())


def _mm(subject: Subject, heat: Array) -> float:
    """From the map's peak to that of another map of its shape."""
    peaks = [np.unravel_index(int(one.argmax()), one.shape) for one in (subject.heat, heat)]
    return float(np.linalg.norm((np.array(peaks[0]) - np.array(peaks[1])) * np.array(subject.spacing)))

"""Two figures of Captum, computed by Captum: infidelity and sensitivity_max (Yeh et al. 2019,
https://arxiv.org/abs/1901.09392), of what the checks ask the network anyway, so that they cost no pass of their own.

Where Captum is not installed there are none, and nothing is said of them. They are told and not judged: how large is
too large, neither paper nor library says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..geometry.resample import LINEAR
from .similarity import Array
from .subject import Subject


def _metrics() -> Any:
    """``captum.metrics``, or None where it is not installed."""
    try:
        from captum import metrics
    except ImportError:
        return None
    return metrics


def infidelity(
    subject: Subject,
    hole: Callable[[int], Tensor],
    without: Callable[[int], Tensor],
    intact: float,
    answers: Sequence[float],
) -> dict[str, float]:
    """How badly the map foretells what the answer loses with parts of the image: the mean square of what it is off by.

    The loss foretold is the sum of the map over what was taken away, scaled as fits best (Captum's ``normalize``): a
    map has no unit. What was taken away counts as a whole, as Captum's ``infidelity_perturb_func_decorator`` has it
    for maps of contributions.

    Args:
        hole: 1×1×spatial on the image's grid, true where the part of that number was taken away.
        without: the image without it.
        intact, answers: the explained number of the image, and without each part.

    Returns:
        ``infidelity``, and beside it ``infidelity of no map``: that of a map that is 0 everywhere, which is what a map
        that foretells nothing has; in squares of the explained number. Empty without Captum.
    """
    metrics = _metrics()
    if metrics is None:
        return {}
    image = subject.case.image
    number = -1

    def taken(images: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal number
        number += 1
        return hole(number).to(images).expand_as(images), without(number)

    def asked(images: Tensor) -> Tensor:
        return image.new_tensor([intact if torch.equal(images, image) else answers[number]])

    found = metrics.infidelity(
        asked,
        taken,
        image,
        _on_image(subject, image),
        n_perturb_samples=len(answers),
        max_examples_per_batch=1,
        normalize=True,
    )
    nothing = sum((intact - answer) ** 2 for answer in answers) / len(answers)
    return {"infidelity": float(found), "infidelity of no map": nothing}


def _on_image(subject: Subject, image: Tensor) -> Tensor:
    """The map on the image's grid, in every channel alike."""
    heat = torch.as_tensor(subject.heat)[None, None].to(image)
    size = tuple(image.shape[2:])
    return functional.interpolate(heat, size=size, mode=LINEAR[len(size)], align_corners=False).expand_as(image)


def sensitivity_max(subject: Subject, images: Sequence[Tensor], heats: Sequence[Array]) -> dict[str, float]:
    """How far the map gets from itself at most under small changes of the image, as a share of its own length.

    Args:
        images, heats: the changed images, and the map of each.

    Returns:
        ``sensitivity_max``; empty without Captum, and where nothing was changed.
    """
    metrics = _metrics()
    if metrics is None or not images:
        return {}
    number = -1

    def changed(given: Tensor) -> Tensor:
        nonlocal number
        number += 1
        return images[number]

    def explained(given: Any) -> tuple[Tensor]:
        heat = subject.heat if number < 0 else heats[number]
        return (torch.as_tensor(heat.copy())[None],)  # of a bare tensor, Captum would take the rows for inputs

    found = metrics.sensitivity_max(
        explained, subject.case.image, changed, n_perturb_samples=len(images), max_examples_per_batch=1
    )
    return {"sensitivity_max": float(found)}

"""The methods by name. A new one is a file here and a line in :data:`METHODS`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ...errors import MethodError
from .gradcam import grad_cam


@dataclass(frozen=True)
class Method:
    """A way to weigh a layer's activation into a map.

    ``weigh(activation, gradient)`` takes two tensors of shape 1×C×spatial and returns a non-negative map of shape
    spatial, higher meaning more evidence for the target.
    """

    name: str
    title: str
    paper: str
    weigh: Callable[[Tensor, Tensor], Tensor]


METHODS = {
    method.name: method
    for method in (
        Method("gradcam", "Grad-CAM", "Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391", grad_cam),
    )
}


def find_method(name: str) -> Method:
    """The method of this name, written any way (``Grad-CAM``, ``gradcam``).

    Raises:
        MethodError: no such method; the names there are, are in the message.
    """
    plain = name.casefold().replace("-", "").replace("_", "").replace(" ", "")
    if plain in METHODS:
        return METHODS[plain]
    near = difflib.get_close_matches(plain, METHODS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise MethodError(f"There is no method '{name}'; there are {', '.join(METHODS)}.{hint}")

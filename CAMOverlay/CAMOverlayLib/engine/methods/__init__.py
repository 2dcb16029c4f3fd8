"""The methods by name. A new one is a file here that ends in a ``METHOD``, and its name in the list below."""

from __future__ import annotations

import difflib

from ...contract.errors import MethodError
from . import (
    eigencam,
    finercam,
    gradcam,
    gradcampp,
    guidedbackprop,
    hirescam,
    integratedgradients,
    layercam,
    occlusion,
    refined,
    saliency,
    scorecam,
    smoothgrad,
    xgradcam,
)
from .method import Case, Method

METHODS: dict[str, Method] = {
    module.METHOD.name: module.METHOD
    for module in (
        gradcam,
        refined,
        hirescam,
        layercam,
        gradcampp,
        xgradcam,
        finercam,
        eigencam,
        scorecam,
        saliency,
        smoothgrad,
        guidedbackprop,
        integratedgradients,
        occlusion,
    )
}

__all__ = ["METHODS", "Case", "Method", "find_method"]


def find_method(name: str) -> Method:
    """The method of this name or title, written any way (``gradcam``, ``Grad-CAM``, ``Grad-CAM++``).

    Raises:
        MethodError: no such method; the names there are, are in the message.
    """
    plain = _plain(name)
    for method in METHODS.values():
        if plain in (method.name, _plain(method.title)):
            return method
    near = difflib.get_close_matches(plain, METHODS, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise MethodError(f"There is no method '{name}'; there are {', '.join(METHODS)}.{hint}")


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold().replace("++", "pp") if c.isalnum())

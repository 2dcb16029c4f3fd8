"""The methods by name: for each entry of ``contract/methods.py`` the file here of that name, with its ``METHOD``."""

from __future__ import annotations

import importlib

from ...contract.methods import CATALOGUE, find_method_info
from .method import Case, Method

METHODS: dict[str, Method] = {name: importlib.import_module(f"{__name__}.{name}").METHOD for name in CATALOGUE}

__all__ = ["METHODS", "Case", "Method", "find_method"]


def find_method(name: str) -> Method:
    """As :func:`CAMOverlayLib.contract.methods.find_method_info`, with what it computes."""
    return METHODS[find_method_info(name).name]

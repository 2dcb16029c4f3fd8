"""What files are called on the way between two machines, none of which knows the other's folders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

IN_RUN = "cam-overlay://run"
MODELS = "cam-overlay://models"

OUT, STEPS = "out", "steps"
"""Folders of a run whose files come back: the result's, and those of every step's volume."""


def replaced(value: Any, change: Callable[[str], str]) -> Any:
    """A value that JSON can say, with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: replaced(inner, change) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(inner, change) for inner in value]
    return value

"""A check's answer, in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...contract.findings import Check
from .subject import Subject


def said(
    name: str,
    verdict: str,
    words: str,
    figures: Mapping[str, float],
    subject: Subject,
    curves: Mapping[str, Any] | None = None,
) -> Check:
    """The answer, with what part of the whole it was measured on.

    Args:
        curves: sequences of numbers, by name.
    """
    where = f" ({subject.part})" if subject.part else ""
    plain = {key: tuple(float(value) for value in values) for key, values in (curves or {}).items()}
    return Check(name, verdict, f"{words}{where}", {key: float(value) for key, value in figures.items()}, plain)


def undecided(name: str, words: str) -> Check:
    """No answer, and why."""
    return Check(name, "undecided", words)

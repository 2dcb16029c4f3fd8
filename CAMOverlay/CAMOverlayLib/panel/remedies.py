"""Errors in the panel's words: a remedy that is at hand here, and no option of another program."""

from __future__ import annotations

import re

from slicer.i18n import tr as _

from ..contract.errors import DeviceError

_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def inThePanel(error: BaseException) -> str:
    """An error's sentence, without what only the command line can do, and with what can be done here."""
    return sentence(str(error), _remedy(error))


def sentence(text: str, remedy: str = "") -> str:
    """A message without advice that names an option of the command line; ``remedy`` takes its place.

    The lines after the first are a log and stay as they are.
    """
    first, newline, rest = text.partition("\n")
    if _OPTION.search(first):
        first = re.sub(r"\s*\([^()]*(?<![\w-])--[a-z][^()]*\)", "", first)
        parts = re.split(r"(?<=[.!?])\s+", first)
        first = " ".join(part for part in parts if not _OPTION.search(part)) or _OPTION.sub("", first).strip()
    if remedy and remedy not in first:
        first = f"{first} {remedy}"
    return first + newline + rest


def _remedy(error: BaseException) -> str:
    if isinstance(error, DeviceError):
        return _("Choose another device under Advanced.")
    return ""

"""The options of :class:`CAMOverlayLib.contract.options.Options` on the command line, made from its fields."""

from __future__ import annotations

import argparse
from typing import Any

from ..contract.options import option_fields

FORMER_FLAGS = {"amp": "--mixed", "intermediates_folder": "--trail", "interpolation": "--blocks"}
"""What options were called here once; they keep working."""


class _Several(argparse.Action):
    """An option that may be given several times: a tuple of what was said."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, (*getattr(namespace, self.dest), values))


def add_options(parser: argparse.ArgumentParser) -> None:
    """One option per field. Former names are understood, and not advertised."""
    for one in option_fields():
        said = one.metadata
        flag = "--" + (said["flag"] or one.name).replace("_", "-")
        settings: dict[str, Any] = {"dest": one.name, "default": one.default, "help": said["help"]}
        if isinstance(one.default, tuple):
            settings |= {"action": _Several, "metavar": said["metavar"]}
        elif isinstance(one.default, bool):
            settings["action"] = "store_true"
        elif said["choices"]:
            settings["choices"] = said["choices"]
        else:
            settings["metavar"] = said["metavar"]
            if isinstance(one.default, (int, float)):
                settings["type"] = type(one.default)
        parser.add_argument(flag, **settings)
        if one.name in FORMER_FLAGS:
            if one.name == "interpolation":  # --blocks took no value
                settings = {"dest": one.name, "default": one.default, "action": "store_const", "const": "nearest"}
            parser.add_argument(FORMER_FLAGS[one.name], **settings | {"help": argparse.SUPPRESS})

"""What the real Slicer offers, class by class: the list that everything in this package is cut to.

The list was taken by introspection from a running Slicer 5.13. `offered.json` is the extract of it that
this package needs, one class a line: the classes that the panel and the functions of `slicer.util` that it calls
use, and those that they are made of. The full lists lie outside the repository. To take more classes into the extract:

    python -m SlicerHost.offered PATH/TO/slicer-api QListWidget ctkDoubleSlider
"""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

EXTRACT = Path(__file__).with_name("offered.json")

#: Objects that cannot be constructed, under the class by which this package knows them.
INSTANCES = {
    "slicer.app": "qSlicerApplication",
    "slicer.app.coreIOManager()": "qSlicerIOManager",
    "slicer.app.layoutManager()": "qSlicerLayoutManager",
    "slicer.app.layoutManager().sliceWidget('Red')": "qMRMLSliceWidget",
    "slicer.app.moduleManager()": "qSlicerModuleManager",
    "slicer.modules.colors": "qSlicerLoadableModule",
    "slicer.util.mainWindow()": "qSlicerMainWindow",
}


@dataclass(frozen=True)
class Offer:
    """The members of one class: properties with their C++ type, signals with signatures, the rest by name."""

    inherits: tuple[str, ...] = ()
    properties: dict[str, str] = field(default_factory=dict)
    signals: tuple[str, ...] = ()
    methods: frozenset[str] = frozenset()
    other: frozenset[str] = frozenset()

    def names(self) -> set[str]:
        return {*self.properties, *(s.partition("(")[0] for s in self.signals), *self.methods, *self.other}

    def withAll(self, more: Offer) -> Offer:
        return Offer(
            self.inherits,
            {**more.properties, **self.properties},
            tuple(dict.fromkeys(self.signals + more.signals)),
            self.methods | more.methods,
            self.other | more.other,
        )


@functools.cache
def _extract() -> dict:
    return json.loads(EXTRACT.read_text())


def names(module: str) -> frozenset[str]:
    """Every name in `qt`, `ctk` or `slicer` of the real Slicer."""
    return frozenset(_extract()["names"][module])


@functools.cache
def offer(className: str) -> Offer | None:
    """The members of a class with those that it inherits, or None for a class known by name only."""
    entry = _extract()["classes"].get(className)
    if entry is None:
        return None
    own = fromList(entry)
    for base in ("QWidget", "QObject"):  # left out of the lists of the classes that inherit them
        if base in own.inherits and base != className:
            own = own.withAll(offer(base))
    return own


def fromList(entry: dict) -> Offer:
    """One entry of the full lists, or of the extract."""
    return Offer(
        tuple(n for n in entry.get("inherits", ()) if not n.startswith("?")),
        dict(entry.get("properties", {})),
        tuple(entry.get("signals", ())),
        frozenset(entry.get("methods", ())),
        # A class that could not be constructed for the introspection has its names in one heap.
        frozenset([*entry.get("other", ()), *entry.get("names", ())]),
    )


def classes(group: str) -> list[str]:
    """The classes in the extract that come from one of the lists `qt`, `ctk`, `qmrml`."""
    start = {"qt": "Q", "ctk": "ctk", "qmrml": "qMRML"}[group]
    return [name for name in _extract()["classes"] if name.startswith(start) and name not in INSTANCES.values()]


# --- making the extract -----------------------------------------------------------------------------


def readLists(folder: Path, *more: str) -> tuple[dict[str, dict], dict[str, list[str]]]:
    """The entries of all classes that are taken, and the names of the modules."""
    groups = ("qt", "ctk", "qmrml")
    lists = {name: json.loads((folder / f"{name}.json").read_text()) for name in (*groups, "instances")}
    taken = {group: (*classes(group), *(name for name in more if name in lists[group])) for group in groups}
    chosen = {name: lists[group][name] for group in groups for name in taken[group]}
    chosen.update({name: lists["instances"][where] for where, name in INSTANCES.items()})
    moduleNames = json.loads((folder / "names.json").read_text())
    return chosen, {module: moduleNames[module] for module in ("qt", "ctk", "slicer")}


def writeExtract(folder: Path, *more: str) -> None:
    chosen, moduleNames = readLists(folder, *more)
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(chosen.items())]
    EXTRACT.write_text('{"names": ' + json.dumps(moduleNames) + ',\n"classes": {\n' + ",\n".join(lines) + "\n}}\n")


if __name__ == "__main__":
    writeExtract(Path(sys.argv[1]), *sys.argv[2:])

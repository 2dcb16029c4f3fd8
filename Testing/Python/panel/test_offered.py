"""Module code uses nothing that the real Slicer lacks: its Python and its Designer file, compared with the lists.

Names are read from the code, not from running it: `qt.…`, `ctk.…`, `slicer.…`, and what is used on the widgets that the
Designer file names (`ui.applyButton.…`) and on what the code makes itself (`box = qt.QMessageBox(…)`, `box.…`).
"""

from __future__ import annotations

import ast
import functools
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from support import SHARED

ROOT = Path(__file__).resolve().parents[3] / "CAMOverlay"
LISTS = SHARED / "slicer-api"
FILES = [
    ROOT / "CAMOverlay.py",
    ROOT / "CAMOverlayLib" / "logic.py",
    *sorted(p for folder in ("panel", "scene", "worker") for p in (ROOT / "CAMOverlayLib" / folder).rglob("*.py")),
]
DESIGN = ROOT / "Resources" / "UI" / "CAMOverlay.ui"

pytestmark = pytest.mark.skipif(not LISTS.exists(), reason="no ../shared here")


@functools.cache
def lists(name: str) -> dict:
    return json.loads((LISTS / f"{name}.json").read_text(encoding="utf-8"))


@functools.cache
def members(className: str) -> frozenset[str]:
    """Everything that an object of a class has, inherited names included; empty for a class that is not listed."""
    found: set[str] = set()
    for name in ("qt", "ctk", "qmrml"):
        entry = lists(name).get(className)
        if entry is None:
            continue
        for part in ("properties", "methods", "other", "names"):
            found |= set(entry.get(part, ()))
        found |= {signal.partition("(")[0] for signal in entry.get("signals", ())}
        inherited = [
            parent for parent in entry.get("inherits", ()) if parent != className and not parent.startswith("?")
        ]
        for parent in inherited:
            found |= members(parent)
    return frozenset(found)


def properties(className: str) -> set[str]:
    entry = next((lists(n)[className] for n in ("qt", "ctk", "qmrml") if className in lists(n)), {})
    parents = [p for p in entry.get("inherits", ()) if p != className and not p.startswith("?")]
    return set(entry.get("properties", ())) | {name for parent in parents for name in properties(parent)}


@functools.cache
def widgets() -> dict[str, str]:
    """Name → class of every widget in the Designer file."""
    return {w.get("name"): w.get("class") for w in ElementTree.parse(DESIGN).iter("widget")}


def pathOf(node: ast.AST) -> list[str]:
    """`a.b.c` as names, empty for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (inner := pathOf(node.value)):
        return [*inner, node.attr]
    return []


def problems(text: str) -> list[str]:
    """Everything that a piece of code uses and the lists do not have."""
    return sorted({problem for part in ast.parse(text).body or () for problem in _problemsOf(part)})


def _problemsOf(tree: ast.AST) -> list[str]:
    """The same for one statement of a module: a class, a function."""
    found = []
    made = {}  # names of the Qt objects that the code constructs
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            path = pathOf(node.value.func)
            if len(path) == 2 and path[0] in ("qt", "ctk", "slicer") and members(path[1]):
                made.update({".".join(pathOf(target)): path[1] for target in node.targets if pathOf(target)})
    for node in ast.walk(tree):
        path = pathOf(node)
        if not path:
            continue
        if path[0] == "self" and path[1:2] == ["_qt"]:  # as the worker's transport holds it
            path = ["qt", *path[2:]]
        if path[0] in ("qt", "ctk") and len(path) > 1:
            if path[1] not in lists("names")[path[0]]:
                found.append(".".join(path[:2]))
            elif len(path) > 2 and path[1] != "Qt" and members(path[1]) and path[2] not in members(path[1]):
                found.append(".".join(path[:3]))
        elif path[0] == "slicer" and len(path) > 1:
            if path[1] == "util" and len(path) > 2:
                if path[2] not in lists("python")["slicer.util"]:
                    found.append(".".join(path[:3]))
            elif path[1] not in lists("names")["slicer"]:
                found.append(".".join(path[:2]))
        elif "ui" in path[:2] and len(path) > (at := path.index("ui")) + 1:
            name = path[at + 1]
            if name not in widgets():
                found.append(f"ui.{name}: no such widget in the Designer file")
            elif len(path) > at + 2 and path[at + 2] not in members(widgets()[name]):
                found.append(f"ui.{name}.{path[at + 2]}: not in {widgets()[name]}")
        for name, cls in made.items():
            parts = name.split(".")
            if path[: len(parts)] == parts and len(path) > len(parts) and path[len(parts)] not in members(cls):
                found.append(f"{name}.{path[len(parts)]}: not in {cls}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in lists("python"):
            found += [f"{node.module}.{a.name}" for a in node.names if a.name not in lists("python")[node.module]]
        elif isinstance(node, ast.Call) and node.keywords and pathOf(node.func)[:1] in (["qt"], ["ctk"]):
            found.append(f"{'.'.join(pathOf(node.func))} with keyword arguments")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_code_uses_only_what_slicer_has(path):
    assert problems(path.read_text(encoding="utf-8")) == []


def test_the_designer_file_uses_only_what_slicer_has():
    found = []
    for widget in ElementTree.parse(DESIGN).iter("widget"):
        cls = widget.get("class")
        assert members(cls), f"{cls} is not listed"
        for prop in widget.findall("property"):
            name = prop.get("name")
            if prop.get("stdset") != "0" and name not in properties(cls) | {"geometry", "buddy"}:
                found.append(f"{cls}.{name}")
    assert found == []


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("qt.QNoSuchThing()", "qt.QNoSuchThing"),
        ("qt.QProcess.NoSuch", "qt.QProcess.NoSuch"),
        ("ctk.ctkNoSuch()", "ctk.ctkNoSuch"),
        ("slicer.nosuch", "slicer.nosuch"),
        ("slicer.util.nosuch()", "slicer.util.nosuch"),
        ("self.ui.applyButton.setNoSuch(1)", "ui.applyButton.setNoSuch: not in QPushButton"),
        ("ui.noSuchButton.text", "ui.noSuchButton: no such widget in the Designer file"),
        ("def f():\n    box = qt.QMessageBox()\n    box.nosuch = 1", "box.nosuch: not in QMessageBox"),
        ("from slicer.util import nosuch", "slicer.util.nosuch"),
        ("qt.QPushButton(parent=x)", "qt.QPushButton with keyword arguments"),
    ],
)
def test_the_reader_finds_what_is_wrong(code, problem):
    assert problems(code) == [problem]

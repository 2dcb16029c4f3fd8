"""The border between the computation and Slicer: neither side imports what belongs to the other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "CAMOverlay" / "CAMOverlayLib"

SLICER = {"slicer", "vtk", "vtkmodules", "qt", "ctk", "PythonQt", "PySide6", "mrml", "vtkITK", "vtkSegmentationCorePython"}
COMPUTATION = {"torch", "monai", "nibabel"}


def importedModules(path: Path) -> set[str]:
    """Top-level names of everything that a file imports anywhere in it, and of the siblings it imports by dots."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level >= 2:
            targets = [node.module] if node.module else [alias.name for alias in node.names]
            names |= {".." + target.split(".")[0] for target in targets}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"__import__", "importlib.import_module"}:
            names |= {argument.value.split(".")[0] for argument in node.args if isinstance(argument, ast.Constant)}
    return names


def files(folder: str) -> list[Path]:
    found = sorted((LIBRARY / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("path", files("engine"), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_engine_knows_nothing_of_slicer(path):
    assert not importedModules(path) & (SLICER | {"..scene", "..worker", "..cli", "CAMOverlay"})


@pytest.mark.parametrize("path", files("scene"), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_scene_knows_nothing_of_the_computation(path):
    forbidden = COMPUTATION | {"..engine", "..worker", "..cli", "CAMOverlay"}
    assert not importedModules(path) & (forbidden | {"qt", "ctk", "PythonQt", "PySide6"})


@pytest.mark.parametrize("name", ["__init__.py", "request.py", "errors.py", "bundle_files.py", "bundle_writer.py"])
def test_what_crosses_the_border_needs_only_the_standard_library(name):
    optional = {"yaml"} if name == "bundle_files.py" else set()
    assert importedModules(LIBRARY / name) <= set(sys.stdlib_module_names) | optional


def loadedBy(*modules: str) -> set[str]:
    """Top-level names of all modules that a fresh Python has loaded after importing some."""
    program = f"import sys; sys.path.insert(0, {str(LIBRARY.parent)!r})\n"
    program += "".join(f"import {module}\n" for module in modules)
    program += "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_is_cheap():
    modules = ["CAMOverlayLib", "CAMOverlayLib.request", "CAMOverlayLib.errors", "CAMOverlayLib.scene", "CAMOverlayLib.engine"]
    assert not loadedBy(*modules) & (SLICER | COMPUTATION | {"numpy"})


def test_scene_loads_neither_torch_nor_monai_nor_nibabel():
    modules = [f"CAMOverlayLib.scene.{path.stem}" for path in files("scene") if path.stem != "__init__"]
    loaded = loadedBy(*modules)
    assert "slicer" in loaded
    assert not loaded & COMPUTATION


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("import torch.nn", "torch"),
        ("from monai.data import x", "monai"),
        ("def f():\n    import nibabel as nib", "nibabel"),
        ("importlib.import_module('torch.nn')", "torch"),
        ("from ..engine.bundle import x", "..engine"),
        ("from .. import engine", "..engine"),
    ],
)
def test_the_reader_of_imports_finds_them(tmp_path, text, name):
    (tmp_path / "x.py").write_text(text)
    assert importedModules(tmp_path / "x.py") == {name}

"""The border between the computation and Slicer: neither side imports what belongs to the other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from rooms import LIBRARY, imports

SLICER = {
    "slicer",
    "vtk",
    "vtkmodules",
    "qt",
    "ctk",
    "PythonQt",
    "PySide6",
    "mrml",
    "vtkITK",
    "vtkSegmentationCorePython",
}
COMPUTATION = {"torch", "monai", "nibabel"}


def importedModules(path: Path) -> set[str]:
    """What a file imports anywhere in it: of others the top-level name, of this package ``CAMOverlayLib.<room>``."""
    names = imports(path)
    return {
        ".".join(name.split(".")[:2]) if name.startswith("CAMOverlayLib.") else name.split(".")[0] for name in names
    }


def rooms(*names: str) -> set[str]:
    return {f"CAMOverlayLib.{name}" for name in names} | {"CAMOverlay"}


def files(folder: str) -> list[Path]:
    found = sorted((LIBRARY / folder).rglob("*.py"))
    assert found, folder
    return found


@pytest.mark.parametrize("path", files("engine"), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_engine_knows_nothing_of_slicer(path):
    assert not importedModules(path) & (SLICER | rooms("scene", "worker", "panel", "cli", "logic", "demo", "zoo"))


@pytest.mark.parametrize("path", files("scene"), ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_scene_knows_nothing_of_the_computation(path):
    forbidden = COMPUTATION | rooms("engine", "worker", "panel", "cli", "logic", "demo", "zoo")
    assert not importedModules(path) & (forbidden | {"qt", "ctk", "PythonQt", "PySide6"})


@pytest.mark.parametrize("path", files("contract"), ids=lambda path: path.name)
def test_what_crosses_the_border_needs_the_standard_library_and_at_most_numpy(path):
    own = {name for name in importedModules(path) if name.startswith("CAMOverlayLib")}
    assert own <= rooms("contract")
    offered = {"numpy", "yaml", "isal"}  # the last two where they are installed
    assert importedModules(path) - own <= set(sys.stdlib_module_names) | offered


@pytest.mark.parametrize("path", files("reading"), ids=lambda path: path.name)
def test_what_both_sides_read_off_a_map_needs_numpy_and_scipy_only(path):
    own = {name for name in importedModules(path) if name.startswith("CAMOverlayLib")}
    assert own <= rooms("contract", "reading")
    assert importedModules(path) - own <= set(sys.stdlib_module_names) | {"numpy", "scipy"}


@pytest.mark.parametrize("path", files("dicom"), ids=lambda path: path.name)
def test_dicom_needs_numpy_and_its_libraries_only_and_these_only_when_asked(path):
    own = {name for name in importedModules(path) if name.startswith("CAMOverlayLib")}
    assert own <= rooms("contract", "dicom") | {"CAMOverlayLib", "CAMOverlayLib.__version__"}
    assert importedModules(path) - own <= set(sys.stdlib_module_names) | {"numpy"}  # the others are named in library.py


@pytest.mark.parametrize("path", files("cohort"), ids=lambda path: path.name)
def test_many_volumes_need_no_slicer_and_no_command(path):
    own = rooms("scene", "worker", "panel", "cli", "logic", "comparing", "demo", "zoo", "file_grid")
    if path.name not in ("compute.py", "checks.py"):  # a scene of each case, where that is asked for: the one door
        own |= rooms("case_scene")
    assert not importedModules(path) & (SLICER | own | {"torch", "monai"})


def test_many_volumes_load_the_libraries_only_where_they_are_computed():
    paths = [path.relative_to(LIBRARY).with_suffix("") for path in files("cohort") if path.stem != "__init__"]
    modules = [".".join(("CAMOverlayLib", *path.parts)) for path in paths]
    assert not loadedBy(*modules) & (SLICER | COMPUTATION | {"dask", "distributed", "pandas", "psutil"})


@pytest.mark.parametrize("path", files("report"), ids=lambda path: path.name)
def test_what_is_taken_away_is_made_by_numpy_and_pillow_alone(path):
    own = {name for name in importedModules(path) if name.startswith("CAMOverlayLib")}
    assert own <= rooms("contract", "report") | {"CAMOverlayLib", "CAMOverlayLib.__version__"}
    assert importedModules(path) - own <= set(sys.stdlib_module_names) | {"numpy", "PIL", "ipyniivue", "CAMOverlay"}


SUMMARY = [LIBRARY / "cohort" / "page.py", *files("cohort/summary")]


@pytest.mark.parametrize("path", SUMMARY, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_what_comes_out_of_a_cohort_is_made_without_torch_and_slicer(path):
    own = {name for name in importedModules(path) if name.startswith("CAMOverlayLib")}
    assert own <= rooms("contract", "reading", "report", "cohort") | {"CAMOverlayLib", "CAMOverlayLib.__version__"}
    allowed = {"numpy", "scipy", "PIL", "nibabel", "CAMOverlay"}
    assert importedModules(path) - own <= set(sys.stdlib_module_names) | allowed


def test_the_cases_of_a_cohort_are_read_with_the_standard_library():
    assert importedModules(LIBRARY / "cohort" / "summary" / "cases.py") - rooms("contract") <= set(
        sys.stdlib_module_names
    )


def test_the_package_itself_needs_nothing_before_it_is_asked():
    tree = ast.parse((LIBRARY / "__init__.py").read_text(encoding="utf-8"))
    assert not [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]


def loadedBy(*modules: str) -> set[str]:
    """Top-level names of all modules that a fresh Python has loaded after importing some."""
    program = f"import sys; sys.path.insert(0, {str(LIBRARY.parent)!r})\n"
    program += "".join(f"import {module}\n" for module in modules)
    program += "print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_is_cheap():
    modules = [
        "CAMOverlayLib",
        "CAMOverlayLib.contract.request",
        "CAMOverlayLib.contract.errors",
        "CAMOverlayLib.scene",
        "CAMOverlayLib.engine",
    ]
    assert not loadedBy(*modules) & (SLICER | COMPUTATION | {"numpy"})


def test_scene_loads_neither_torch_nor_monai_nor_nibabel():
    modules = [".".join(("CAMOverlayLib", *path.relative_to(LIBRARY).with_suffix("").parts)) for path in files("scene")]
    modules = [module.removesuffix(".__init__") for module in modules]
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
        ("from ..engine.bundle import x", "CAMOverlayLib.engine"),
        ("from .. import engine", "CAMOverlayLib.engine"),
    ],
)
def test_the_reader_of_imports_finds_them(tmp_path, text, name):
    (tmp_path / "x.py").write_text(text)
    assert importedModules(tmp_path / "x.py") == {name}

"""The module as Slicer installs it: into an empty folder by the CMake files' own patterns, without torch or MONAI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULE = ROOT / "CAMOverlay"


def installed(folder: Path) -> Path:
    """Copy what the patterns in CMakeLists.txt name, as Slicer's macro would."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    name = re.search(r"set\(MODULE_NAME (\w+)\)", text)[1]
    for block in re.findall(r"file\(GLOB_RECURSE \w+(.*?)\)", text, re.DOTALL):
        words = block.replace("${MODULE_NAME}", name).split()
        for pattern in words[words.index("${CMAKE_CURRENT_SOURCE_DIR}") + 1 :]:
            parent, _, last = pattern.rpartition("/")
            for path in (MODULE / parent).rglob(last):
                if path.is_file() and "__pycache__" not in path.parts:
                    target = folder / path.relative_to(MODULE)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, target)
    return folder / f"{name}.py"


def inHost(module: Path, program: str) -> subprocess.CompletedProcess:
    """Load a module in a host of its own, in which torch, MONAI and nibabel cannot be imported."""
    code = f"""
import sys
for name in ("torch", "monai", "nibabel"):
    sys.modules[name] = None
sys.path.insert(0, {str(ROOT / "Testing")!r})
sys.path.insert(0, {str(module.parent)!r})
import SlicerHost
host = SlicerHost.start()
import slicer
host.loadModule({str(module)!r})
host.startupCompleted()
widget = host.open({module.stem!r})
{program}
host.checkNoErrors()
host.stop()
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["QT_QPA_PLATFORM"] = "offscreen"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, cwd=module.parent
    )


def test_installed_into_an_empty_folder_it_opens_and_has_everything(tmp_path):
    module = installed(tmp_path / "qt-scripted-modules")
    there = {path.relative_to(module.parent).as_posix() for path in module.parent.rglob("*") if path.is_file()}
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "CAMOverlay"], capture_output=True, text=True
    ).stdout.split()
    if tracked:
        assert {path.removeprefix("CAMOverlay/") for path in tracked} - {"CMakeLists.txt"} <= there
    ran = inHost(
        module,
        """
import CAMOverlayLib
from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.panel.bundle_state import BundleState
assert CAMOverlayLib.__file__.startswith(sys.path[0]), CAMOverlayLib.__file__
assert BundleState.read(str(DEMO_BUNDLE)).info.classes[1] == "bright lesion"
assert widget.ui.applyButton.text == "&Apply" and not slicer.modules.camoverlay.icon.isNull()
import SampleData
SampleData.downloadSample("CAMOverlayDemo")
host.process()
assert widget.ui.inputSelector.currentNode().GetName() == "BrainWithLesion"
""",
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize(
    "path", sorted((ROOT / "CAMOverlay" / "CAMOverlayLib" / "panel").rglob("*.py")), ids=lambda p: p.stem
)
def test_the_panel_imports_nothing_of_the_computation(path):
    import ast

    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    assert not names & {"torch", "monai", "nibabel", "engine"}


def test_extension_metadata():
    """What the Extensions Index asks for."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    values = dict(re.findall(r'set\((EXTENSION_\w+) "([^"]*)"\)', text))
    for key in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        assert values.get(f"EXTENSION_{key}"), key
    for url in (values["EXTENSION_ICONURL"], *values["EXTENSION_SCREENSHOTURLS"].split()):
        assert (ROOT / url.partition("/main/")[2]).is_file(), url

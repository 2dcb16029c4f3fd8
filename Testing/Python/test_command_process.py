"""The command computes in a process that loads the libraries while this one starts Slicer's core, and leaves out what
nobody wants."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel
import numpy as np
import pytest
from support import REPOSITORY

from CAMOverlayLib.cli.computation import computation
from CAMOverlayLib.contract.model import ModelSource

HERE = os.environ | {"PYTHONPATH": str(REPOSITORY / "CAMOverlay"), "OMP_NUM_THREADS": "1"}

NEVER_TORCH = """
import sys
from CAMOverlayLib.cli.main import main
code = main(sys.argv[1:])
assert not {"torch", "monai"} & set(sys.modules), "the libraries were loaded here too"
sys.exit(code)
"""


@pytest.fixture
def head(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 500, (20, 20, 20)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1, -1, 2, 1])), tmp_path / "head.nii.gz")
    return tmp_path / "head.nii.gz"


def test_the_command_loads_no_library_itself_and_computes_what_this_process_computes(make_bundle, head, tmp_path):
    from CAMOverlayLib.cli.main import main

    asked = ["explain", head, "--bundle", make_bundle(), "--trust", "--no-scene", "--no-picture", "--report", "none"]
    here, there = [list(map(str, [*asked, "--output", tmp_path / name])) for name in ("here", "there")]
    run = subprocess.run([sys.executable, "-c", NEVER_TORCH, *there], env=HERE, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "Loading the libraries" in run.stderr
    assert sorted(os.listdir(tmp_path / "there")) == ["findings.csv", "heatmap.nii.gz", "report.json"]
    assert run.stdout.splitlines()[-1].endswith("heatmap.nii.gz, report.json, findings.csv")
    assert main(here) == 0  # the libraries are loaded in this process, which computes itself then
    one, other = (nibabel.load(tmp_path / name / "heatmap.nii.gz") for name in ("here", "there"))
    assert np.asarray(one.dataobj).max() > 0
    assert np.asarray(one.dataobj).tobytes() == np.asarray(other.dataobj).tobytes()
    assert one.header.binaryblock == other.header.binaryblock


def test_where_the_libraries_are_loaded_there_is_no_process():
    from CAMOverlayLib.logic import computeHere

    assert "torch" in sys.modules
    with computation(None, ModelSource("nowhere")) as compute:
        assert compute is computeHere


def test_a_heatmap_that_cannot_be_written_beside_the_rest_is_an_error(make_bundle, head, tmp_path, capfd, monkeypatch):
    from CAMOverlayLib.cli.main import main
    from CAMOverlayLib.engine.geometry import volume

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(volume, "write_gz", full)
    asked = ["explain", head, "--bundle", make_bundle(), "--trust", "--report", "none", "--output", tmp_path / "out"]
    assert main(list(map(str, asked))) == 2
    assert "No space left on device" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("said", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_process_ends_with_its_code_when_all_is_said(said, code):
    """Also with what is registered to happen at the end, and what is still in the stream."""
    script = (
        "import atexit, sys\n"
        "from CAMOverlayLib.cli.leaving import Leaving\n"
        "leaving = Leaving()\n"
        "atexit.register(leaving)\n"
        "atexit.register(lambda: print('at the end', end=''))\n"
        f"leaving.code = {said}\n"
        "print('said', end=', ')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], env=HERE, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (code, "said, at the end"), run.stderr


def test_the_process_that_computes_ends_with_its_answer(make_bundle, head, tmp_path):
    """What comes then, picture and scene, has its memory."""
    script = (
        "import os, sys\n"
        "from CAMOverlayLib.cli.main import main\n"
        "from CAMOverlayLib.scene import core\n"
        "from CAMOverlayLib.worker import transport\n"
        "started, start, save = [], transport.PipeTransport.start, core.saveScene\n"
        "def starting(self, *rest):\n"
        "    start(self, *rest)\n"
        "    started.append(self._process.pid)\n"
        "def saving(*rest):\n"
        "    print('alive:', [pid for pid in started if os.path.exists(f'/proc/{pid}')], 'of', len(started))\n"
        "    return save(*rest)\n"
        "transport.PipeTransport.start, core.saveScene = starting, saving\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    asked = ["explain", head, "--bundle", make_bundle(), "--trust", "--no-picture", "--report", "none"]
    command = [sys.executable, "-c", script, *map(str, asked), "--output", str(tmp_path / "out")]
    run = subprocess.run(command, env=HERE, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "alive: [] of 1" in run.stdout

"""``--python`` of the command line: another Python says and computes what this one does; its process is gone then."""

from __future__ import annotations

import json
import os
import shlex

import nibabel
import numpy as np
import pytest

from CAMOverlayLib.cli.main import main
from CAMOverlayLib.contract.request import Result
from CAMOverlayLib.report.repeat import as_command, as_python


@pytest.fixture
def volume(tmp_path):
    voxels = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), tmp_path / "v.nii.gz")
    return tmp_path / "v.nii.gz"


def said(capfd, *words):
    capfd.readouterr()
    code = main(list(map(str, words)))
    return code, capfd.readouterr()


@pytest.mark.parametrize("trust", [["--trust"], []])
def test_inspect_says_there_what_it_says_here(zygote, fault_bundle, capfd, trust):
    words = ["inspect", "--model", fault_bundle(), *trust]
    (_, here), (code, there) = said(capfd, *words), said(capfd, *words, "--python", zygote.python)
    assert code == 0 and here.out == there.out and ("receptive field" in here.out) == bool(trust)
    code, refused = said(capfd, *words, "--python", "/no/env")
    assert code == 2 and "/no/env" in refused.err and not refused.out


def test_compare_computes_there_what_it_computes_here(zygote, fault_bundle, volume, tmp_path, capfd):
    bundle = fault_bundle()
    words = ["compare", volume, "--model", bundle, "--trust", "--methods", "gradcam,layercam", "--checks", "none"]
    for name, more in (("here", []), ("there", ["--python", zygote.python])):
        code, told = said(capfd, *words, "--output", tmp_path / name, *more)
        assert code == 0, told.err
    maps = [one for one in sorted(os.listdir(tmp_path / "here")) if one.startswith("heatmap-")]
    assert len(maps) == 2 and sorted(os.listdir(tmp_path / "here")) == sorted(os.listdir(tmp_path / "there"))
    for one in maps:
        here, there = (np.asarray(nibabel.load(tmp_path / name / one).dataobj) for name in ("here", "there"))
        assert here.any() and here.tobytes() == there.tobytes()


def test_the_words_that_repeat_a_run_name_the_python_that_computed(
    zygote, fault_bundle, volume, tmp_path, capfd, monkeypatch
):
    words = ["explain", volume, "--model", fault_bundle(), "--trust", "--checks", "none", "--report", "none"]
    code, told = said(capfd, *words, "--python", zygote.python, "--output", tmp_path / "out")
    assert code == 0, told.err
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    command = shlex.split(told["repeat"]["command"].replace("\\\n", ""), comments=True)
    assert command[command.index("--python") + 1] == str(zygote.python)
    monkeypatch.chdir(tmp_path)
    assert main(command[1:]) == 0
    folders = (tmp_path / "out", tmp_path / "explained")
    first, second = (np.asarray(nibabel.load(one / "heatmap.nii.gz").dataobj) for one in folders)
    assert first.any() and first.tobytes() == second.tobytes()
    told.pop("repeat")
    result = Result.from_dict(told)
    assert f"worker=Worker({str(zygote.python)!r})" in as_python(result)
    for nodes in ((), ("MRHead",)):
        compile(as_python(result, nodes), "console", "exec")
    assert "--python" in as_command(result, windows=True)

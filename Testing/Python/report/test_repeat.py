"""A result says how to compute it again: both texts are run, and the heatmaps compared bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import slicer
from geometries import GEOMETRIES, blob
from scene.helpers import makeHeatmap, makeResult
from support import REPOSITORY

from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.options import Options
from CAMOverlayLib.contract.provenance import Provenance
from CAMOverlayLib.contract.request import Result
from CAMOverlayLib.contract.target import StructureFile, TargetSpec, VolumeFile
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.logic import OverlayLogic
from CAMOverlayLib.report.repeat import as_command, as_python
from CAMOverlayLib.scene import core
from CAMOverlayLib.scene.io.volumes import voxelsOf
from CAMOverlayLib.scene.overlay.node import resultOf

SHAPE = (26, 24, 20)
AFFINE = GEOMETRIES["LPS"]
SEGMENTER = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 2,
    "out_channels": 3,
    "channels": [4, 8, 8],
    "strides": [2, 2],
}
CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
    {"_target_": "Resized", "keys": "image", "spatial_size": [24, 24, 24]},
]


@pytest.fixture
def volumes(tmp_path):
    """Two channels, one of them under a name that a shell would read, and a mask."""
    folder = tmp_path / "it's a $(folder)"
    folder.mkdir()
    centre = (AFFINE @ [14, 11, 9, 1])[:3]
    image = 500 * blob(SHAPE, AFFINE, centre, 7) + np.random.default_rng(1).normal(0, 20, SHAPE)
    paths = [folder / name for name in ("T1 & more.nii.gz", "T2.nii.gz", "mask.nii.gz")]
    for path, array in zip(paths, (image, 400 - image, blob(SHAPE, AFFINE, centre, 5) > 0.5)):
        write_nifti(Volume(np.asfortranarray(array.astype(np.float32)), AFFINE, "v"), path)
    return paths


def run(words, monkeypatch, folder) -> np.ndarray:
    """The command line's own door, in this process; the heatmap that it wrote."""
    from CAMOverlayLib.cli.main import _parser
    from CAMOverlayLib.cli.output import scratch_folder

    monkeypatch.chdir(folder)
    options = _parser().parse_args(words)
    with scratch_folder():
        options.run(options)
    core.ensureScene().Clear(0)
    return np.asarray(nibabel.load(Path(options.output) / "heatmap.nii.gz").dataobj)


def executed(text: str) -> np.ndarray:
    names = {"slicer": slicer}
    with contextlib.redirect_stdout(None):
        exec(text, names)
    return np.array(voxelsOf(names["overlay"]))


def words_of(command: str) -> list[str]:
    words = shlex.split(command.replace("\\\n", ""), comments=True)  # which a shell joins
    assert words[0] == "cam-overlay"
    return words[1:]


ASKED = [
    *(
        "--target",
        "2-1@voxel=14,11,9",
        "--method",
        "hirescam",
        "--interpolation",
        "nearest",
        "--threshold",
        "share=0.4",
    ),
    *("--channel-shares", "--checks", "none", "--structures", "lesion=MASK"),
]


def test_command_and_python_of_a_bundle_give_the_same_heatmap(make_bundle, volumes, tmp_path, monkeypatch):
    """Two channels, a voxel, a structure, a configuration of another name."""
    bundle = make_bundle("my bundle", SEGMENTER, CHAIN, ("air", "lesion", "non-lesion"), 2)
    (bundle / "configs" / "inference.json").rename(bundle / "configs" / "other.json")
    words = [word.replace("MASK", str(volumes[2])) for word in ASKED]
    given = ["explain", *map(str, volumes[:2]), "--model", str(bundle), "--trust", "--config", "configs/other.json"]
    first = run([*given, *words, "--output", "first"], monkeypatch, tmp_path)
    report = json.loads((tmp_path / "first" / "report.json").read_text())
    page = (tmp_path / "first" / "report.html").read_text()
    result = Result.from_dict(report)
    assert result.provenance.content_hash and result.provenance.door == "command"
    assert first.max() == 1
    (tmp_path / "elsewhere").mkdir()
    again = run(words_of(report["repeat"]["command"]), monkeypatch, tmp_path / "elsewhere")
    np.testing.assert_array_equal(again, first)
    told = Result.from_json((tmp_path / "elsewhere" / "explained" / "report.json").read_text())
    assert told.provenance == result.provenance and told.target == result.target
    np.testing.assert_array_equal(executed(report["repeat"]["python"]), first)
    import html

    assert html.escape(report["repeat"]["command"]) in page and html.escape(report["repeat"]["python"]) in page


@pytest.mark.slow
def test_command_and_python_of_a_network_without_a_bundle(volumes, tmp_path, monkeypatch):
    arguments = '{"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "init_features": 8, "block_config": [2]}'
    given = ["explain", str(volumes[0]), "--network", "DenseNet", "--network-args", arguments, "--random-weights"]
    words = [*given, "--classes", "a,b", "--target", "b", "--checks", "none", "--report", "none", "--output", "first"]
    first = run(words, monkeypatch, tmp_path)
    assert not (tmp_path / "first" / "report.html").exists()
    repeat = json.loads((tmp_path / "first" / "report.json").read_text())["repeat"]
    np.testing.assert_array_equal(run(words_of(repeat["command"]), monkeypatch, tmp_path), first)
    np.testing.assert_array_equal(executed(repeat["python"]), first)


def test_an_overlay_in_the_scene_says_how_with_nodes_and_without(make_bundle, volumes, tmp_path, monkeypatch):
    import slicer.util

    core.ensureScene()
    bundle = make_bundle("bundle", SEGMENTER, CHAIN, ("air", "lesion", "artefact"), 2)
    nodes = [core.loadVolume(path) for path in volumes[:2]]
    mask = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "what 'was' drawn")
    loaded = core.loadVolume(volumes[2])
    mask.SetAndObserveImageData(loaded.GetImageData())
    mask.CopyOrientation(loaded)
    options = {"trust": True, "channels": nodes[1:], "checks": "none", "method": "layercam"}
    options |= {"structures": [mask], "occludeStructures": True}
    node = OverlayLogic().process(nodes[0], bundle, target="lesion", minus=0, mask=mask, label=1, **options)
    first, result = np.array(voxelsOf(node)), resultOf(node)
    assert result.provenance.volumes == tuple(map(str, volumes[:2]))
    in_scene = as_python(result, [one.GetName() for one in nodes]).replace(
        'slicer.util.getModuleLogic("CAMOverlay")', "__import__('CAMOverlayLib.logic').logic.OverlayLogic()"
    )
    np.testing.assert_array_equal(executed(in_scene), first)
    command = as_command(result)
    assert "# First save what was asked about, of \"what 'was' drawn\", as what_was_drawn-mask.nii.gz" in command
    assert result.provenance.structure_nodes == ("what 'was' drawn",) and not result.provenance.options.structures
    assert "as the label map what_was_drawn-structures.nii.gz" in command and len(result.occluded) == 1
    (tmp_path / "what_was_drawn-structures.nii.gz").write_bytes(volumes[2].read_bytes())
    (tmp_path / "what_was_drawn-mask.nii.gz").write_bytes(volumes[2].read_bytes())
    np.testing.assert_array_equal(run(words_of(command), monkeypatch, tmp_path), first)
    # What is no longer in its file is not said to be.
    slicer.mrmlScene.Clear(0)
    changed = core.loadVolume(volumes[0])
    slicer.util.arrayFromVolume(changed)[:] += 1
    slicer.util.arrayFromVolumeModified(changed)
    from CAMOverlayLib.scene.asked import fileOf

    assert fileOf(changed) == ""


NASTY = "a\"b'c`d$(touch pwned)\n# e\u202e; touch pwned & calc %PATH%"


@pytest.fixture
def nasty(tmp_path):
    made = makeResult(makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)))
    options = Options(layer=NASTY, structures=(StructureFile(f"/{NASTY}", (NASTY,)),))
    asked = Provenance(
        "command", options, NASTY, ModelSource(f"/{NASTY}", True, configs=(NASTY,)), NASTY, (), (f"/{NASTY}",)
    )
    target = replace(made.target, name=NASTY)
    return replace(made, target=target, bundle_name=NASTY, inputs=(NASTY,), provenance=asked)


def test_no_name_gets_out_of_its_quotes_or_its_comment(nasty, tmp_path):
    text = as_command(nasty, windows=False)
    program = tmp_path / "cam-overlay"
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$@" > said\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["sh"], input=text, text=True, cwd=tmp_path, env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    )
    said = (tmp_path / "said").read_text().split("\0")[:-1]
    assert done.returncode == 0 and not (tmp_path / "pwned").exists()
    assert said[said.index("--target") + 1] == said[said.index("--layer") + 1] == NASTY
    assert said[1] == f"/{NASTY}"
    code = compile(as_python(nasty), "copied", "exec")
    assert "touch pwned" not in "".join(name for name in code.co_names)
    assert len([line for line in as_python(nasty).splitlines() if line.startswith("#")]) == 2


def test_for_powershell_quotation_marks_are_doubled(nasty):
    words = as_command(replace(nasty, provenance=replace(nasty.provenance, target="it\u2019s 'x'")), windows=True)
    assert "--target 'it\u2019\u2019s ''x'''" in words


def test_a_place_is_said_in_mm_where_the_doors_count_voxels_from_different_ends(nasty):
    affine = ((-2.0, 0.0, 0.0, 10.0), (0.0, 3.0, 0.0, 0.0), (0.0, 0.0, 1.0, -5.0), (0.0, 0.0, 0.0, 1.0))
    made = replace(nasty, heatmap=VolumeFile("", affine))
    asked = replace(nasty.provenance, options=Options(), target="a@voxel=1,2,3")
    assert "target='a@ras=8.0,6.0,-2.0'" in as_python(replace(made, provenance=asked))
    assert "--target a@voxel=1,2,3" in as_command(replace(made, provenance=asked))
    asked = replace(asked, door="scene", target=TargetSpec("a", voxel=(1, 2, 3)))
    assert "--target a@ras=8.0,6.0,-2.0" in as_command(replace(made, provenance=asked))
    assert "TargetSpec(output='a', voxel=(1, 2, 3))" in as_python(replace(made, provenance=asked))


def test_the_room_needs_neither_slicer_nor_torch():
    program = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY / 'CAMOverlay')!r})\n"
        "import CAMOverlayLib.report.page, CAMOverlayLib.report.notebook, CAMOverlayLib.report.repeat\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & {"slicer", "vtk", "torch", "monai", "nibabel", "qt", "ipyniivue"}

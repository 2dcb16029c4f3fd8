"""The command line as a user runs it: real files, the real Slicer core, and a process of its own where that matters."""

import json
import os
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from support import REPOSITORY, SLOW, SMALL_NETWORK, USUAL_CHAIN, real_volumes, request

from CAMOverlayLib.contract.request import STAGES, Result
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti

FILES = ["findings.csv", "heatmap.nii.gz", "overlay.png", "report.html", "report.json", "scene.mrb"]


def cam_overlay(*arguments, python=sys.executable, **options):
    command = [python, "-m", "CAMOverlayLib", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "CAMOverlay")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, **options)


def here(capfd, *arguments):
    """The same in this process, which has loaded the libraries."""
    code, out, err = called(capfd, *arguments)
    return SimpleNamespace(returncode=code, stdout=out, stderr=err)


def test_the_demo_points_at_the_lesion(tmp_path):
    run = cam_overlay("demo", "--output", "deep/demo", cwd=tmp_path)
    (tmp_path / "deep" / "demo").rename(tmp_path / "demo") if run.returncode == 0 else None
    assert run.returncode == 0, run.stderr
    assert sorted(os.listdir(tmp_path / "demo")) == FILES
    said = dict(line.split(maxsplit=1) for line in run.stdout.splitlines())
    assert float(said["distance"].split()[0]) < 15
    assert said["prediction"].split(" (")[0] in said["lesion"]
    report = Result.from_json((tmp_path / "demo" / "report.json").read_text())
    heatmap = nibabel.load(tmp_path / "demo" / "heatmap.nii.gz")
    source = nibabel.load(REPOSITORY / "CAMOverlay/Resources/DemoVolume/brain_with_lesion.nii.gz")
    assert heatmap.shape == source.shape and heatmap.get_data_dtype() == np.float32
    np.testing.assert_allclose(heatmap.affine, source.affine, atol=1e-4)
    assert np.asarray(heatmap.dataobj)[report.peak] == np.asarray(heatmap.dataobj).max()
    assert set(STAGES) - {"import"} <= set(report.timings)
    with zipfile.ZipFile(tmp_path / "demo" / "scene.mrb") as scene:
        assert any(name.endswith(".mrml") for name in scene.namelist())
    # Everything a run writes to the terminal: results on stdout, progress on stderr, and nothing else.
    assert {line.strip().split("%")[0].isdigit() for line in run.stderr.splitlines()} == {True}, run.stderr


@pytest.fixture
def volume(tmp_path):
    affine = GEOMETRIES["oblique LPS"]
    array = (100 + 500 * blob((30, 28, 26), affine, affine[:3] @ [15, 12, 13, 1], 6)).astype(np.int16)
    return write_nifti(Volume(array, affine, "v"), tmp_path / "head.nii.gz")


def test_explain_with_every_option(make_bundle, volume, tmp_path, capfd):
    run = here(
        capfd,
        "explain",
        volume,
        "--bundle",
        make_bundle(),
        "--output",
        tmp_path / "a" / "b",
        "--trust",
        "--target",
        "artefact",
        "--layer",
        "features.denseblock1",
        "--method",
        "Grad-CAM",
        "--device",
        "cpu",
    )
    assert run.returncode == 0, run.stderr
    report = json.loads((tmp_path / "a/b/report.json").read_text())
    assert (report["target"]["name"], report["layer"], report["method"]) == (
        "artefact",
        "features.denseblock1",
        "Grad-CAM",
    )
    assert report["heatmap"]["path"] == "heatmap.nii.gz" and report["inputs"] == ["head"]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "a/b").iterdir()}
    again = here(capfd, "explain", volume, "--bundle", tmp_path / "bundle", "--output", tmp_path / "a/b", "--trust")
    assert again.returncode == 0 and sorted(before) == FILES == sorted(os.listdir(tmp_path / "a/b"))
    assert all((tmp_path / "a/b" / name).stat().st_mtime_ns > time for name, time in before.items())


def test_the_trail_is_written_and_loads_as_nodes_over_the_original(make_bundle, volume, tmp_path, capfd):
    run = here(
        capfd,
        "explain",
        volume,
        "--bundle",
        make_bundle(),
        "--output",
        tmp_path / "out",
        "--trust",
        "--verify",
        "--interpolation",
        "nearest",
        "--inverse",
        "operations",
        "--save-intermediates",
        tmp_path / "trail",
    )
    assert run.returncode == 0, run.stderr
    assert (
        "verified     the two inverses differ by" in run.stdout and "alignment    inconclusive" in run.stdout
    )  # a blob is symmetric
    from CAMOverlayLib.contract.errors import VolumeError
    from CAMOverlayLib.logic import OverlayLogic
    from CAMOverlayLib.scene import core
    from CAMOverlayLib.scene.figure import slices

    core.ensureScene()
    source = core.loadVolume(volume)
    nodes = OverlayLogic.loadIntermediates(tmp_path / "trail")
    names = [node.GetName() for node in nodes]
    assert names[0] == "forward-01-LoadImaged" and {"forward-08-EnsureTyped", "backward-02-EnsureChannelFirstd"} < set(
        names
    )
    whole = slices.worldBounds(source)
    for node in nodes:  # each lies within the original, up to the voxel that resampling may add
        bounds = slices.worldBounds(node)
        assert (bounds[0] > whole[0] - 25).all() and (bounds[1] < whole[1] + 25).all(), node.GetName()
    with pytest.raises(VolumeError, match="holds no intermediate volumes"):
        OverlayLogic.loadIntermediates(tmp_path / "out")


def test_inspect(make_bundle, capfd):
    bundle = make_bundle()
    untrusted = here(capfd, "inspect", "--bundle", bundle)
    assert untrusted.returncode == 0, untrusted.stderr
    assert "0 healthy, 1 lesion, 2 artefact" in untrusted.stdout and "LoadImaged" in untrusted.stdout
    assert "features" not in untrusted.stdout
    trusted = here(capfd, "inspect", "--bundle", bundle, "--trust").stdout
    assert "8 EnsureTyped" in trusted and "for an input of 1 × 48 × 48 × 48" in trusted
    (default,) = [line for line in trusted.splitlines() if "default" in line]
    name, kind, *shape, stride, field, _, _ = default.split()
    assert (name, kind, shape, stride) == ("class_layers.relu", "ReLU", ["16", "×", "6", "×", "6", "×", "6"], "8×8×8")
    assert all(int(n) > 8 for n in field.split("×"))
    assert "refined" in trusted and "← stage" in trusted


def nifti(path, array, affine=np.eye(4), header=None):
    image = nibabel.Nifti1Image(array, affine)
    for key, value in (header or {}).items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def wrong_inputs(make_bundle, tmp_path, volume):
    """Name → (arguments of explain, what the one line must contain)."""
    good = make_bundle()
    cube = np.ones((8, 8, 8), np.float32)
    holes = cube.copy()
    holes[1, 2, 3] = np.nan
    (tmp_path / "text.nii.gz").write_text("not an image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    other = make_bundle("other", network=SMALL_NETWORK | {"growth_rate": 6})
    torch.save(torch.load(good / "models/model.pt"), other / "models/model.pt")
    flat = nifti(tmp_path / "flat.nii", cube)
    with flat.open("r+b") as file:  # nibabel would not write a geometry without volume
        file.seek(280)
        file.write(np.zeros(12, "<f4").tobytes())
    out = ["--output", tmp_path / "out", "--trust"]
    two = nifti(tmp_path / "two.nii", cube)
    return {
        "missing file": ([tmp_path / "absent.nii", "--bundle", good, *out], "absent.nii does not exist"),
        "unreadable file": ([tmp_path / "text.nii.gz", "--bundle", good, *out], "text.nii.gz"),
        "folder instead of a file": ([tmp_path / "empty", "--bundle", good, *out], "is a folder"),
        "not a bundle": ([volume, "--bundle", tmp_path / "empty", *out], "is not a MONAI bundle"),
        "missing weights": ([volume, "--bundle", make_bundle("bare", weights=None), *out], "model.pt' do not exist"),
        "weights of another network": ([volume, "--bundle", other, *out], "are not those of this DenseNet"),
        "wrong channel count": (
            [two, two, "--bundle", good, *out],
            "expects 1 channel(s) (image), the given volumes make 2",
        ),
        "4-D input": ([nifti(tmp_path / "4d.nii", np.ones((4, 4, 4, 3), np.float32)), "--bundle", good, *out], "4-D"),
        "NaN": ([nifti(tmp_path / "nan.nii", holes), "--bundle", good, *out], "1 voxels that are NaN or infinite"),
        "infinite": (
            [nifti(tmp_path / "inf.nii", cube * np.inf), "--bundle", good, *out],
            "512 voxels that are NaN or",
        ),
        "singular geometry": ([flat, "--bundle", good, *out], "singular geometry"),
        "unknown layer": ([volume, "--bundle", good, *out, "--layer", "features.denseblok1"], "features.denseblock1"),
        "unknown class": ([volume, "--bundle", good, *out, "--target", "lesoin"], "Did you mean 'lesion'"),
        "unknown method": ([volume, "--bundle", good, *out, "--method", "gradcan"], "Did you mean 'gradcam'"),
        "unknown device": ([volume, "--bundle", good, *out, "--device", "tpu"], "device 'tpu'"),
        "untrusted": ([volume, "--bundle", good, "--output", tmp_path / "out"], "--trust"),
        "output is a file": ([volume, "--bundle", good, "--trust", "--output", tmp_path / "file"], "is a file"),
        "output below a file": (
            [volume, "--bundle", good, "--trust", "--output", tmp_path / "file/x"],
            "cannot be written",
        ),
        "output not writable": ([volume, "--bundle", good, "--trust", "--output", "/proc/x"], "cannot be written"),
        "no output": ([volume, "--bundle", good], "required: --output"),
        "failing transform": (
            [
                volume,
                "--bundle",
                make_bundle("knee", chain=[*USUAL_CHAIN, {"_target_": "SqueezeDimd", "keys": "image", "dim": 1}]),
                *out,
            ],
            "SqueezeDimd, failed",
        ),
    }


def test_wrong_input_is_one_line_and_leaves_no_trace(make_bundle, tmp_path, volume, monkeypatch, capfd):
    # In this process, for speed: the exit code and both streams are those of the command.
    from CAMOverlayLib.cli.main import main

    cases = wrong_inputs(make_bundle, tmp_path, volume)
    before = sorted(os.listdir(tmp_path))
    for name, (arguments, expected) in cases.items():
        try:
            code = main(["explain", *map(str, arguments)])
        except SystemExit as exit:
            code = exit.code
        out, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if not line.strip().split("%")[0].isdigit()]
        assert code == 2, name
        assert len(lines) == 1 and lines[0].startswith("cam-overlay: error: "), (name, err)
        assert expected in lines[0], (name, lines[0])
        assert out == "" and "Traceback" not in err, name
        assert sorted(os.listdir(tmp_path)) == before, name


# A network without a bundle -------------------------------------------------------------------------------------------

ARGUMENTS = {key: value for key, value in SMALL_NETWORK.items() if key != "_target_"}
NETWORK = ["--network", "DenseNet", "--network-args", json.dumps(ARGUMENTS)]


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "chain.json").write_text(
        json.dumps(
            {
                "key": "image",
                "preprocessing": [
                    {"_target_": "LoadImaged", "keys": "@key"},
                    {"_target_": "EnsureChannelFirstd", "keys": "@key"},
                    {"_target_": "Resized", "keys": "@key", "spatial_size": [24, 24, 24]},
                ],
            }
        )
    )
    return tmp_path / "chain.json"


def called(capfd, *arguments):
    """Exit code and both streams of a command, in this process for speed."""
    from CAMOverlayLib.cli.main import main

    try:
        code = main([*map(str, arguments)])
    except SystemExit as exit:
        code = exit.code
    return code, *capfd.readouterr()


def test_explain_without_a_bundle(make_bundle, chain, volume, tmp_path, capfd):
    weights = make_bundle() / "models/model.pt"  # of the same network, on the same chain to be compared with
    run = here(
        capfd,
        "explain",
        volume,
        *NETWORK,
        "--weights",
        weights,
        "--preprocessing",
        chain,
        "--output",
        tmp_path / "out",
        "--classes",
        "healthy,lesion,artefact",
        "--target",
        "lesion",
    )
    assert run.returncode == 0, run.stderr
    report = Result.from_json((tmp_path / "out/report.json").read_text())
    assert (report.bundle, report.bundle_name, report.target.name) == ("DenseNet", "DenseNet", "lesion")
    assert report.warnings == () and report.network_input_shape == (24, 24, 24)
    with zipfile.ZipFile(tmp_path / "out/scene.mrb") as scene:
        (mrml,) = [scene.read(name).decode() for name in scene.namelist() if name.endswith(".mrml")]
    assert "CAMOverlay.Bundle:DenseNet;" in mrml and "CAMOverlay-" not in mrml + report.to_json()  # no temporary folder
    # The same as a bundle that is kept, explained the usual way.
    from CAMOverlayLib.cli.main import main
    from CAMOverlayLib.engine.geometry.volume import save_array
    from CAMOverlayLib.engine.pipeline import explain

    options = [*NETWORK, "--weights", weights, "--preprocessing", chain, "--output", tmp_path / "kept"]
    assert main(["bundle", *map(str, options)]) == 0
    image = nibabel.load(volume)
    file = save_array(np.asarray(image.dataobj), image.affine, "head", tmp_path / "head.npy")
    again = explain(request((file,), str(tmp_path / "kept"), str(tmp_path), trust=True, target=1))
    assert again.prediction.outputs == pytest.approx(report.prediction.outputs, rel=1e-4)
    assert again.peak == report.peak


def test_inspect_and_bundle_with_a_network_in_a_file(chain, tmp_path, capfd):
    (tmp_path / "net.py").write_text(
        "import torch\n\n"
        "def small(outputs):\n"
        "    conv, pool = torch.nn.Conv3d(1, outputs, 3, 2), torch.nn.AdaptiveAvgPool3d(1)\n"
        "    return torch.nn.Sequential(conv, pool, torch.nn.Flatten())\n"
    )
    (tmp_path / "arguments.yaml").write_text("outputs: 2\n")
    network, arguments = tmp_path / "net.py:small", f"@{tmp_path}/arguments.yaml"
    model = ["--network", network, "--network-args", arguments, "--random-weights"]
    code, out, err = called(capfd, "inspect", *model)
    assert code == 0, err
    assert "small" in out and "scripts/net.py" in out and "Conv3d" not in out
    assert "random weights" in out and "No --preprocessing was given" in out
    code, out, err = called(capfd, "bundle", *model, "--output", tmp_path / "new")
    assert code == 2 and "net.py:small with its transforms runs code of its own" in err and "--trust" in err
    assert not (tmp_path / "new").exists()
    model += ["--preprocessing", chain, "--classes", "a,b", "--trust"]
    code, out, err = called(capfd, "inspect", *model)
    assert code == 0, err
    assert "Conv3d                 2 × 11 × 11 × 11" in out and "← default" in out
    code, out, err = called(capfd, "bundle", *model, "--output", tmp_path / "new")
    assert code == 0 and "written" in out and "random weights" in out, err
    assert sorted(str(p.relative_to(tmp_path / "new")) for p in (tmp_path / "new").rglob("*.*")) == [
        "configs/inference.json",
        "configs/metadata.json",
        "docs/README.md",
        "models/model.pt",
        "scripts/__init__.py",
        "scripts/net.py",
    ]
    code, out, err = called(capfd, "inspect", "--bundle", tmp_path / "new", "--trust")
    assert code == 0 and "classes   0 a, 1 b" in out, err


def wrong_models(make_bundle, tmp_path, chain):
    """Name → (arguments, what the one line must contain)."""
    good = make_bundle()
    weights, random = good / "models/model.pt", "--random-weights"
    (tmp_path / "evil.json").write_text('[{"_target_": "Lambdad", "keys": "image", "func": "$print"}]')
    other = [*NETWORK[:3], json.dumps(ARGUMENTS | {"growth_rate": 6}), "--weights", weights]
    return {
        "neither": ([], "one of the arguments --model/--bundle --network is required"),
        "both": (["--bundle", good, *NETWORK], "not allowed with"),
        "weights of a bundle": (["--bundle", good, "--weights", weights], "--weights belongs to --network"),
        "no weights": (NETWORK, "DenseNet needs its weights"),
        "weights twice": ([*NETWORK, random, "--weights", weights], "not allowed with"),
        "weights that are not there": ([*NETWORK, "--weights", tmp_path / "no.pt"], "no.pt' do not exist"),
        "weights of another network": (other, f"The weights '{weights}' are not those of this DenseNet"),
        "unknown network": (["--network", "DenseNet1211", random], "DenseNet1211. Did you mean DenseNet121?"),
        "unknown package": (
            ["--network", "no_such.Net", random],
            "no_such.Net with its transforms runs code of its own",
        ),
        "no arguments": (["--network", "DenseNet", random], "'spatial_dims'"),
        "arguments in no JSON": ([*NETWORK[:3], "spatial_dims=3", random], "--network-args spatial_dims=3 is not JSON"),
        "arguments in a list": ([*NETWORK[:3], "[3]", random], "--network-args [3] is a list, not an object"),
        "arguments in no file": ([*NETWORK[:3], "@no.json", random], "'no.json' of --network-args does not exist"),
        "an expression": ([*NETWORK, random, "--preprocessing", tmp_path / "evil.json"], "1 expressions (print)"),
        "classes": ([*NETWORK, random, "--classes", "a,b"], "2 classes are named (a, b)"),
        "a window": ([*NETWORK, random, "--window", "large"], "--window large is not a size"),
    }


def test_a_wrong_model_is_one_line_and_leaves_no_trace(make_bundle, chain, tmp_path, capfd):
    cases = wrong_models(make_bundle, tmp_path, chain)
    before = sorted(os.listdir(tmp_path))
    for name, (arguments, expected) in cases.items():
        writes = name not in ("neither", "both", "weights of a bundle")
        command = ["bundle", "--output", tmp_path / "new"] if writes else ["inspect"]
        if "--preprocessing" not in arguments and "--bundle" not in arguments:
            arguments = [*arguments, "--preprocessing", chain]
        code, out, err = called(capfd, *command, *arguments)
        assert code == 2, name
        assert len(err.splitlines()) == 1 and err.startswith("cam-overlay: error: "), (name, err)
        assert expected in err and ".cam-overlay" not in err, (name, err)
        assert out == "" and sorted(os.listdir(tmp_path)) == before, name


@pytest.mark.slow
def test_an_error_is_one_line_in_a_real_process_too(make_bundle, tmp_path, volume, zygote):
    arguments = ("explain", volume, "--bundle", make_bundle(), "--output", tmp_path / "out", "--trust", "--target", 9)
    run = cam_overlay(*arguments, python=zygote.python)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.splitlines()[-1] == (
        "cam-overlay: error: There is no class 9; the network has 3: 0 healthy, 1 lesion, 2 artefact."
    )
    assert "Traceback" not in run.stderr and not (tmp_path / "out").exists()


def test_a_failing_run_keeps_what_the_folder_held(make_bundle, tmp_path, volume):
    from CAMOverlayLib.cli.main import main

    (tmp_path / "out").mkdir()
    (tmp_path / "out/report.json").write_text("mine")
    assert main(["explain", str(volume), "--bundle", str(make_bundle()), "--output", str(tmp_path / "out")]) == 2
    assert os.listdir(tmp_path / "out") == ["report.json"] and (tmp_path / "out/report.json").read_text() == "mine"


def test_help_needs_neither_torch_nor_slicer():
    code = "import sys; from CAMOverlayLib.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'monai', 'slicer', 'vtk', 'nibabel'} & set(sys.modules), sorted(sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "CAMOverlay")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "real_volume", [*map(SLOW, real_volumes()[:-1]), *(real_volumes()[-1:] or [None])], indirect=True
)
@pytest.mark.slow
def test_real_volumes_end_to_end(real_volume, make_bundle, tmp_path):
    run = cam_overlay(
        "explain", real_volume, "--bundle", make_bundle(), "--output", tmp_path / "out", "--trust", "--target", "1"
    )
    assert run.returncode == 0, run.stderr
    heatmap, source = nibabel.load(tmp_path / "out/heatmap.nii.gz"), nibabel.load(real_volume)
    assert heatmap.shape == source.shape
    np.testing.assert_allclose(heatmap.affine, source.affine, atol=1e-4)
    assert np.asarray(heatmap.dataobj).max() > 0.5


def test_home_and_the_working_folder_mean_the_callers(make_bundle, volume, tmp_path, monkeypatch):
    """``--option=~/…`` reaches the program as it is: no shell replaces the sign there."""
    from CAMOverlayLib.cli.main import main

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_bundle()
    for here in ("~/", ""):
        options = [
            f"--output={here}out{len(here)}",
            f"--trail={here}trail{len(here)}",
            f"--bundle={here}bundle",
            "--trust",
        ]
        assert main(["explain", f"{here}{volume.name}", *options]) == 0
        assert sorted(os.listdir(tmp_path / f"out{len(here)}")) == FILES and any(
            (tmp_path / f"trail{len(here)}").iterdir()
        )
    assert not (tmp_path / "~").exists()


def compared(folder):
    return json.loads((folder / "compare.json").read_text())


def test_compare_two_classes_on_one_scale_with_their_difference(make_bundle, volume, tmp_path, capfd):
    from CAMOverlayLib.cli.main import main  # in this process: to load torch three times takes longer than all else

    bundle, out = make_bundle(), tmp_path / "out"
    arguments = (
        volume, "--model", bundle, "--trust", "--targets", "healthy,lesion", "--targets", "nonsense",
        "--one-scale", "--difference", "magnitude", "--hottest", "0.2", "--checks", "none", "--output", out,
    )  # fmt: skip
    assert main(["compare", *map(str, arguments)]) == 0
    printed = capfd.readouterr().out
    assert sorted(os.listdir(out)) == [
        "agreement.nii.gz", "compare.json", "difference.nii.gz", "heatmap-healthy.nii.gz", "heatmap-lesion.nii.gz",
        "montage.png", "scene.mrb",
    ]  # fmt: skip
    told = compared(out)
    assert told["comparison"] == "class" and [one["name"] for one in told["not_explained"]] == ["nonsense"]
    assert "warning      nonsense is not explained" in printed and "rank correlation" in printed
    results = [Result.from_dict(one["result"]) for one in told["items"]]
    maps = [nibabel.load(out / one["file"]) for one in told["items"]]
    heat = [np.asarray(one.dataobj) for one in maps]
    assert results[0].magnitude == results[1].magnitude and max(one.max() for one in heat) == 1
    for number, name in enumerate(("healthy", "lesion")):  # as each is alone, on the file's own grid
        alone = tmp_path / name
        again = [volume, "--model", bundle, "--trust", "--target", name, "--checks", "none", "--output", alone]
        assert main(["explain", *map(str, again)]) == 0
        said = Result.from_json((alone / "report.json").read_text())
        image = nibabel.load(alone / "heatmap.nii.gz")
        np.testing.assert_allclose(maps[number].affine, image.affine, atol=1e-4)
        raw = np.asarray(image.dataobj) * said.magnitude
        np.testing.assert_allclose(heat[number] * results[number].magnitude, raw, atol=1e-5 * said.magnitude)
        assert results[number].peak == said.peak
    difference = np.asarray(nibabel.load(out / "difference.nii.gz").dataobj)
    magnitude = results[0].magnitude
    np.testing.assert_allclose(difference, (heat[0] - heat[1]) * magnitude, atol=1e-5 * magnitude)
    counts = np.asarray(nibabel.load(out / "agreement.nii.gz").dataobj)
    assert counts.dtype == np.uint8 and set(np.unique(counts)) <= {0, 1, 2} and told["agreement"]["share"] == 0.2
    from CAMOverlayLib.scene import comparison, core
    from CAMOverlayLib.scene.overlay import node as overlay

    scene = core.loadScene(out / "scene.mrb")
    there = comparison.comparisonOf(scene.GetFirstNodeByClass("vtkMRMLSequenceBrowserNode"))
    assert there.names == ("healthy", "lesion")
    there.show("lesion")
    assert overlay.resultOf(there.overlayNode).target.name == "lesion"
    scene.Clear(0)


def test_compare_refuses_in_one_line_and_leaves_no_trace(make_bundle, tmp_path, volume, capfd):
    from CAMOverlayLib.cli.main import main

    bundle, out = make_bundle(), tmp_path / "out"
    usual = [volume, "--model", bundle, "--trust", "--output", out]
    cases = {
        "nothing": ([*usual], "nothing was given. Give --targets"),
        "one": ([*usual, "--methods", "gradcam"], "of the two that a comparison needs"),
        "two things": ([*usual, "--methods", "gradcam,layercam", "--layers", "a,b"], "--methods and --layers"),
        "twice": ([*usual, "--targets", "0,0"], "twice"),
        "both": ([*usual, "--targets", "0,1", "--target", "2"], "Name all classes in --targets"),
        "scale": ([*usual, "--methods", "gradcam,layercam", "--one-scale"], "different units"),
        "raw": ([*usual, "--layers", "a,b", "--difference", "magnitude"], "different units"),
        "share": ([*usual, "--targets", "0,1", "--hottest", "2"], "above 0 and up to 1"),
        "steps": ([*usual, "--targets", "0,1", "--save-intermediates", tmp_path / "s"], "leave it out"),
        "none works": ([*usual, "--targets", "x,y", "--checks", "none"], "'x'"),
        "no trust": ([volume, "--model", bundle, "--targets", "0,1", "--output", out], "--trust"),
    }
    before = sorted(os.listdir(tmp_path))
    for name, (arguments, expected) in cases.items():
        code = main(["compare", *map(str, arguments)])
        printed, err = capfd.readouterr()
        lines = [line for line in err.splitlines() if not line.strip().split("%")[0].isdigit()]
        assert code == 2 and printed == "", (name, printed)
        assert lines and lines[-1].startswith("cam-overlay: error: ") and expected in lines[-1], (name, err)
        assert sorted(os.listdir(tmp_path)) == before, name

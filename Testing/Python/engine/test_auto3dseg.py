"""Networks of Auto3DSeg: the file that the Slicer extension downloads, and the folds that the training writes.

The references are the originals' own steps, written here once more with MONAI's transforms: for a file the Slicer
extension's ``auto3dseg_segresnet_inference.py``, for a fold Auto3DSeg's ``segmenter.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
import yaml
from geometries import GEOMETRIES, blob
from monai import transforms as mt
from monai.inferers import SlidingWindowInfererAdapt
from monai.networks.nets import DiNTS, SegResNetDS, SwinUNETR, TopologyInstance, TopologySearch
from support import REPOSITORY, SLOW, request

from CAMOverlayLib.contract.errors import BundleError, UntrustedBundleError, WeightsError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.model_kinds import kind_of, summarise
from CAMOverlayLib.engine.bundle.opened import open_model
from CAMOverlayLib.engine.inference import apply
from CAMOverlayLib.engine.layer_choice import inspect_model
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing

CPU = torch.device("cpu")
SHAPE = (44, 40, 36)
NETWORK = {
    "_target_": "SegResNetDS",
    "init_filters": 4,
    "blocks_down": [1, 1, 1],
    "norm": "INSTANCE_NVFUSER",
    "in_channels": 1,
    "out_channels": 3,
    "dsdepth": 2,
}
CONFIG = {
    "bundle_root": "/somewhere/segresnet_0",
    "ckpt_path": "$@bundle_root + '/model'",  # never looked at
    "modality": "ct",
    "input_channels": 1,
    "output_classes": 3,
    "class_names": ["lung", "tumour"],
    "network": NETWORK,
    "orientation_ras": True,
    "crop_foreground": True,
    "resample": True,
    "resample_resolution": [2.0, 2.0, 2.5],
    "normalize_mode": "range",
    "intensity_bounds": [-200.0, 500.0],
    "roi_size": [16, 16, 16],
    "extra_modalities": {},
    "sigmoid": False,
    "loss": {"_target_": "os.system"},  # never looked at
}
LABELS = (
    "LabelValue,Name,SegmentedPropertyTypeCodeSequence.CodeValue\n0,background,\n1,left_lung,39607008\n2,mass,4147007\n"
)


def reference_network(config):
    torch.manual_seed(0)
    given = {key: value for key, value in config["network"].items() if key != "_target_"}
    return SegResNetDS(**{**given, "norm": "INSTANCE"}).eval()


@pytest.fixture
def make(tmp_path):
    """A function that writes a checkpoint, as ``layout`` has it, and returns the path to give."""

    def write(layout="folder", labels=LABELS, change=lambda content: content, name="lungs-v1.2.0", **config):
        config = {**CONFIG, **config}
        file = {
            "file": tmp_path / name / "model.pt",
            "folder": tmp_path / name / "model.pt",
            "fold": tmp_path / "work" / "segresnet_0" / "model" / "model.pt",
        }[layout]
        file.parent.mkdir(parents=True, exist_ok=True)
        state = reference_network(config).state_dict()
        content = {"state_dict": state, "config": config, "epoch": 3, "best_metric": np.float64(0.5)}
        torch.save(change(content), file)
        if labels and layout != "fold":
            (file.parent / "labels.csv").write_text(labels)
        if layout == "fold":
            fold = file.parents[1]
            (fold / "configs").mkdir(exist_ok=True)
            (fold / "configs" / "hyper_parameters.yaml").write_text(yaml.safe_dump(CONFIG))
            (fold / "algo_object.pkl").write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
            return fold
        return file if layout == "file" else file.parent

    return write


def volume_of(affine, seed=0):
    """A body (positive, with lumps in it) in air (negative), off the middle, so the crop is lopsided."""
    rng = np.random.default_rng(seed)
    place = lambda *voxel: affine[:3] @ [*voxel, 1]
    body = 900 * blob(SHAPE, affine, place(26, 17, 20), 14)
    for number, voxel in enumerate([(20, 12, 15), (30, 24, 24), (28, 10, 26), (18, 22, 18), (33, 15, 12)]):
        body = body + (150 + 90 * number) * blob(SHAPE, affine, place(*voxel), 4)
    return (body - 300 + rng.normal(0, 3, SHAPE)).astype(np.int16)


def nifti(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


# The originals' steps, once more ---


def normalised(mode, key, low=-200.0, high=500.0):
    if mode in ("range", "ct"):
        return [
            mt.ScaleIntensityRanged(keys=key, a_min=low, a_max=high, b_min=-1, b_max=1, clip=False),
            mt.Lambdad(keys=key, func=lambda x: torch.sigmoid(x)),
        ]
    if mode == "pet":
        return [mt.Lambdad(keys=key, func=lambda x: torch.sigmoid((x - x.min()) / x.std()))]
    if mode == "none":
        return []
    steps = [mt.NormalizeIntensityd(keys=key, nonzero=True, channel_wise=True)]
    return steps + ([mt.Lambdad(keys=key, func=lambda x: 3 * torch.tanh(x / 3))] if mode == "meanstdtanh" else [])


def spaced(pixdim):
    return mt.Spacingd(
        keys=["image"],
        pixdim=list(pixdim),
        mode=["bilinear"],
        dtype=torch.float,
        min_pixdim=np.array(pixdim) * 0.75,
        max_pixdim=np.array(pixdim) * 1.25,
        allow_missing_keys=True,
    )


def the_extensions_input(files, config):
    """As the extension's script prepares one image or several; BraTS is another branch of it."""
    keys = [f"image{n + 1}" for n in range(len(files))]
    loader = mt.LoadImaged(keys=keys, ensure_channel_first=True, dtype=None, allow_missing_keys=True, image_only=False)
    join = [
        mt.ConcatItemsd(keys=keys, name="image", dim=0),
        mt.EnsureTyped(keys="image", data_type="tensor", dtype=torch.float, allow_missing_keys=True),
    ]
    if len(keys) == 1:
        steps = join + normalised(config["normalize_mode"], "image")
    else:
        modes = [config["normalize_mode"], *config["extra_modalities"].values()]
        steps = [step for key, mode in zip(keys, modes) for step in normalised(mode, key)] + join
    if config["orientation_ras"]:
        steps.append(mt.Orientationd(keys="image", axcodes="RAS"))
    if config["crop_foreground"]:
        steps.append(mt.CropForegroundd(keys="image", source_key="image1", margin=10, allow_smaller=True))
    if config["resample_resolution"] is not None:
        steps.append(spaced(config["resample_resolution"]))
    return mt.Compose(steps)(loader(dict(zip(keys, map(str, files)))))["image"]


def the_segmenters_input(files, config):
    """As Auto3DSeg's ``DataTransformBuilder`` does it without labels."""
    extra = list(config["extra_modalities"])
    keys = ["image", *extra]
    steps = [
        mt.LoadImaged(keys=keys, ensure_channel_first=True, dtype=None, allow_missing_keys=True, image_only=True),
        mt.EnsureTyped(keys=keys, data_type="tensor", dtype=torch.float, allow_missing_keys=True),
    ]
    if config["orientation_ras"]:
        steps.append(mt.Orientationd(keys=["image"], axcodes="RAS"))
    if config["crop_foreground"] and not extra:
        steps.append(mt.CropForegroundd(keys=["image"], source_key="image", margin=10, allow_smaller=True))
    if config["resample"]:
        steps.append(spaced(config["resample_resolution"]))
    steps += [mt.ResampleToMatchd(keys=key, key_dst="image", dtype=np.float32) for key in extra]
    for key, mode in {"image": config["normalize_mode"], **config["extra_modalities"]}.items():
        steps += normalised(mode, key)
    if extra:
        steps += [mt.ConcatItemsd(keys=keys, name="image"), mt.DeleteItemsd(keys=extra)]
    names = [str(file) for file in files]
    data = dict(zip(keys, names)) if len(keys) == len(names) else {"image": names}
    return mt.Compose(steps)(data)["image"]


def given(folder, files):
    """What the network is given here: the chain run as the pipeline runs it."""
    opened = open_model(ModelSource(str(folder)))
    return trace_preprocessing(opened.preprocessing(), files, image_key="image").image


def require_equal(found, reference):
    assert tuple(found.shape) == tuple(reference.shape)
    torch.testing.assert_close(found.as_tensor(), reference.as_tensor(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.asarray(found.affine), np.asarray(reference.affine), atol=1e-6)


# Found, and read without trust ---


@pytest.mark.parametrize("layout", ["file", "folder", "fold"])
def test_it_says_what_it_is_without_trust(make, layout):
    path = make(layout)
    summary = summarise(ModelSource(str(path)))
    assert summary.kind == "MONAI Auto3DSeg model"
    assert not summary.needs_trust and not any(vars(summary.code).values())
    info = summary.info
    assert (info.name, info.version) == (("segresnet_0", "") if layout == "fold" else ("lungs", "1.2.0"))
    names = ("background", "lung", "tumour") if layout == "fold" else ("background", "left_lung", "mass")
    assert info.classes == names
    assert (info.channels, info.channel_names, info.spatial_shape) == (1, ("image",), (16, 16, 16))
    found = inspect_model(open_model(ModelSource(str(path))))
    assert found.summary == summary and found.layers and found.default and "Spacingd" in found.transforms


def test_its_summary_needs_no_torch(make):
    """As in Slicer's process, which has none."""
    program = (
        "import sys\n"
        "from CAMOverlayLib.contract.model import ModelSource\n"
        "from CAMOverlayLib.contract.model_kinds import summarise\n"
        "print(summarise(ModelSource(sys.argv[1])).info.classes, {'torch', 'monai', 'numpy'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "CAMOverlay")}
    asked = [sys.executable, "-c", program, str(make("file"))]
    done = subprocess.run(asked, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "('background', 'left_lung', 'mass') set()"


def test_a_worker_inspects_it(make, tmp_path):
    from CAMOverlayLib.contract.inspection import Inspection
    from CAMOverlayLib.worker.operations import Operations

    source = ModelSource(str(make("file")))
    operations = Operations.__new__(Operations)  # without what a process of its own does once
    answer = Operations.inspect(operations, {"model": source.to_dict()}, lambda progress: None)
    found = Inspection.from_dict(json.loads(json.dumps(answer)))
    assert found.layers and found.summary.info.classes[2] == "mass"


def test_by_hash_exactly_the_content_that_was_trusted(make):
    path = make("file")
    known = open_model(ModelSource(str(path))).content_hash
    assert open_model(ModelSource(str(path), trusted_hash=known)).model(CPU).network is not None
    make("file", sigmoid=True)
    assert "has changed" in refused(path, UntrustedBundleError, trusted_hash=known)


def test_classes_where_outputs_are_independent_and_where_there_are_no_names(make):
    known = make(sigmoid=True, class_names=[{"name": n, "index": [1]} for n in ("TC", "WT", "ET")])
    assert summarise(ModelSource(str(known))).info.classes == ("TC", "WT", "ET")  # labels.csv names other things
    unnamed = make(labels="", name="unnamed", class_names=["acc_0", "acc_1"])
    assert summarise(ModelSource(str(unnamed))).info.classes == ()


def test_bundles_and_nnunet_are_left_to_their_kinds(make_bundle, make, tmp_path):
    bundle = make_bundle()
    assert kind_of(bundle).name == "MONAI bundle"
    (bundle / "model.pt").write_bytes(b"")
    (bundle / "configs" / "hyper_parameters.yaml").write_text("a: 1")
    assert kind_of(bundle).name == "MONAI bundle"
    for name in ("plans.json", "dataset.json"):
        folder = make(name=name.split(".")[0])
        (folder / name).write_text("{}")
        assert kind_of(folder).name == "MONAI bundle"
    assert kind_of(tmp_path / "nowhere.pt").name == "MONAI bundle"


# Preprocessing and logits, value for value ---


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("layout", ["folder", "fold"])
def test_the_network_is_given_what_the_original_gives_it(make, tmp_path, layout, name):
    file = nifti(tmp_path / "v.nii.gz", volume_of(GEOMETRIES[name]), GEOMETRIES[name])
    reference = the_segmenters_input if layout == "fold" else the_extensions_input
    require_equal(given(make(layout), [file]), reference([file], CONFIG))


@pytest.mark.parametrize("mode", ["none", "ct", "meanstd", "mri", "meanstdtanh", "pet"])
@pytest.mark.parametrize("layout", ["file", "fold"])
def test_every_normalisation(make, tmp_path, layout, mode):
    file = nifti(tmp_path / "v.nii.gz", volume_of(GEOMETRIES["oblique"]), GEOMETRIES["oblique"])
    reference = the_segmenters_input if layout == "fold" else the_extensions_input
    path = make(layout, normalize_mode=mode)
    require_equal(given(path, [file]), reference([file], {**CONFIG, "normalize_mode": mode}))


@pytest.mark.parametrize(
    "config",
    [
        {"orientation_ras": False},
        {"crop_foreground": False},
        {"resample_resolution": None, "resample": False},
        {"resample": False},  # the extension resamples all the same
        {"orientation_ras": False, "crop_foreground": False, "resample": False, "resample_resolution": [1.2, 1.5, 2]},
    ],
    ids=lambda config: ",".join(config),
)
@pytest.mark.parametrize("layout", ["file", "fold"])
def test_every_step_is_left_out_where_it_is_off(make, tmp_path, layout, config):
    affine = GEOMETRIES["oblique LPS"]
    file = nifti(tmp_path / "v.nii.gz", volume_of(affine), affine)
    reference = the_segmenters_input if layout == "fold" else the_extensions_input
    require_equal(given(make(layout, **config), [file]), reference([file], {**CONFIG, **config}))


@pytest.mark.parametrize("layout", ["folder", "fold"])
def test_several_modalities_each_with_its_mode(make, tmp_path, layout):
    affine = GEOMETRIES["LPS"]
    files = [nifti(tmp_path / f"{n}.nii.gz", volume_of(affine, n), affine) for n in range(2)]
    config = {
        "input_channels": 2,
        "extra_modalities": {"adc": "meanstd"},
        "network": {**NETWORK, "in_channels": 2},
    }
    reference = the_segmenters_input if layout == "fold" else the_extensions_input
    path = make(layout, **config)
    assert summarise(ModelSource(str(path))).info.channel_names == ("image", "adc")
    require_equal(given(path, files), reference(files, {**CONFIG, **config}))


@pytest.mark.parametrize("layout", ["folder", "fold"])
def test_several_channels_of_one_image_as_in_brats(make, tmp_path, layout):
    affine = GEOMETRIES["oblique"]
    files = [nifti(tmp_path / f"{n}.nii.gz", volume_of(affine, n), affine) for n in range(4)]
    config = {
        "input_channels": 4,
        "normalize_mode": "meanstd",
        "sigmoid": True,
        "network": {**NETWORK, "in_channels": 4},
    }
    # The extension's branch for BraTS loads all files as one image and then does what the training did.
    require_equal(given(make(layout, **config), files), the_segmenters_input(files, {**CONFIG, **config}))


@pytest.mark.parametrize("layout", ["file", "fold"])
def test_the_logits_are_the_originals(make, tmp_path, layout):
    file = nifti(tmp_path / "v.nii.gz", volume_of(GEOMETRIES["oblique LPS"]), GEOMETRIES["oblique LPS"])
    reference = the_segmenters_input if layout == "fold" else the_extensions_input
    inferer = SlidingWindowInfererAdapt(roi_size=[16, 16, 16], sw_batch_size=1, overlap=0.625, mode="gaussian")
    with torch.no_grad():
        expected = inferer(reference([file], CONFIG)[None].as_tensor(), reference_network(CONFIG))
    path = make(layout)
    opened = open_model(ModelSource(str(path)))
    image = given(path, [file])[None].as_tensor()
    found = apply(opened.network(CPU), image, opened.inferer()).predict((), lambda *a: None)
    assert found.shape == expected.shape  # of deep supervision the finest answer alone
    scale = float(expected.max() - expected.min())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 * scale)


# Explained ---


@pytest.mark.parametrize("name", ["LPS", "permuted and left-handed", SLOW("anisotropic"), SLOW("oblique LPS")])
@pytest.mark.parametrize("layout", ["file", SLOW("fold")])
def test_explained_without_trust_on_the_volumes_own_grid(make, export, tmp_path, layout, name):
    affine = GEOMETRIES[name]
    (tmp_path / "out").mkdir()
    asked = request((export(volume_of(affine), affine),), make(layout), tmp_path / "out", trust=False, target=None)
    result = explain(asked)
    heat = np.load(result.heatmap.path)
    assert heat.shape == SHAPE and np.isfinite(heat).all() and heat.max() == pytest.approx(1) and heat.min() >= 0
    np.testing.assert_allclose(result.heatmap.affine, affine, atol=1e-9)
    assert result.placement.verdict != "mismatch", result.placement.words
    index = np.indices(SHAPE)
    inside = np.ones(SHAPE, bool)
    for *factors, low, high in result.field_of_view.planes:
        value = np.tensordot(factors, index, 1)
        inside &= (low - 1e-6 <= value) & (value <= high + 1e-6)
    assert not heat[~inside].any()
    if name == "LPS":  # the crop left something out
        assert 0 < inside.sum() < inside.size


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["file", "fold"])
def test_placed_and_verified_on_real_volumes(make, export, tmp_path, real_volume, layout):
    image = nibabel.load(real_volume)
    affine = image.affine @ np.diag([2.0, 2.0, 2.0, 1.0])  # a coarser copy: a minute less
    array = np.asarray(image.dataobj)[::2, ::2, ::2]
    (tmp_path / "out").mkdir()
    path = make(layout, roi_size=[64, 64, 64], resample_resolution=[4.0, 4.0, 4.0])
    result = explain(request((export(array, affine),), path, tmp_path / "out", trust=False))
    heat = np.load(result.heatmap.path)
    assert heat.shape == array.shape and heat.max() == pytest.approx(1)
    assert result.placement.verdict == "verified", result.placement.words


def test_the_command_line_needs_no_trust(make, tmp_path, capfd):
    from CAMOverlayLib.cli.main import main

    path = make("file")
    volume = nifti(tmp_path / "v.nii.gz", volume_of(GEOMETRIES["oblique"]), GEOMETRIES["oblique"])
    out = tmp_path / "out"
    assert main(["explain", str(volume), "--model", str(path), "--output", str(out), "--target", "mass"]) == 0
    heat = nibabel.load(out / "heatmap.nii.gz")
    assert heat.shape == SHAPE
    np.testing.assert_allclose(heat.affine, GEOMETRIES["oblique"], atol=1e-5)
    assert json.loads((out / "report.json").read_text())["bundle"] == str(path)
    capfd.readouterr()
    assert main(["inspect", "--model", str(path)]) == 0
    told = capfd.readouterr().out
    assert "1 left_lung, 2 mass" in told and "Spacingd" in told and "default" in told


# What is wrong is one sentence, and nothing runs ---


def refused(path, kind=BundleError, **source) -> str:
    before = {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")}
    with pytest.raises(kind) as error:
        opened = open_model(ModelSource(str(path), **source))
        opened.model(CPU)
    message = str(error.value)
    assert "\n" not in message and len(message) < 900
    assert {p: p.stat().st_mtime_ns for p in path.parent.rglob("*")} == before
    return message


class Hostile:
    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def test_a_hostile_pickle_runs_neither_when_summarised_nor_when_loaded(make, tmp_path):
    canary = tmp_path / "canary"
    for place in ("config", "state_dict", "more"):
        path = make("file", change=lambda content, place=place: {**content, place: Hostile(canary)})
        assert "may run code" in refused(path, WeightsError)
        assert "may run code" in refused(path, WeightsError, trust=True)
    assert not canary.exists()


@pytest.mark.slow
def test_what_lies_beside_the_model_is_not_imported(make, export, tmp_path):
    """A file of the name of a module that a library may look for later."""
    path = make("file")
    canary = tmp_path / "canary"
    code = f"open({str(canary)!r}, 'w')\n"
    (path.parent / "cam_overlay_canary.py").write_text(code)
    network = open_model(ModelSource(str(path))).network(CPU)
    assert isinstance(network, SegResNetDS)

    from CAMOverlayLib.engine.bundle import auto3dseg

    class Curious(SegResNetDS):
        def forward(self, x):
            try:
                import cam_overlay_canary  # noqa: F401
            except ImportError:
                return super().forward(x)
            raise AssertionError("what lies beside the model was imported")

    network.__class__ = Curious
    (tmp_path / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto3dseg.Auto3DSegModel, "network", lambda self, device: network)
        for given in (path, path.parent):
            inspect_model(open_model(ModelSource(str(given))))
            affine = GEOMETRIES["LPS"]
            explain(request((export(volume_of(affine), affine),), given, tmp_path / "out", trust=False))
    assert not canary.exists()


@pytest.mark.parametrize(
    ("network", "named"),
    [
        ({"_target_": "os.system", "command": "touch canary"}, "os.system"),
        ({**NETWORK, "act": "$__import__('os').system('touch canary')"}, "__import__"),
        ({**NETWORK, "preprocess": {"_target_": "builtins.print"}}, "builtins.print"),
        ({**NETWORK, "_requires_": "x"}, "_requires_"),
    ],
)
def test_a_network_that_is_no_plain_part_of_monai_needs_trust(make, network, named):
    path = make("file")
    content = torch.load(path, weights_only=False)
    content["config"]["network"] = {"in_channels": 1, "out_channels": 3, **network}
    torch.save(content, path)
    summary = summarise(ModelSource(str(path)))
    assert summary.needs_trust
    assert any(named in line for line in (*summary.code.targets, *summary.code.expressions))
    assert named in refused(path, UntrustedBundleError)
    assert inspect_model(open_model(ModelSource(str(path)))).layers == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: {"state_dict": c["state_dict"]}, "'config' is not there"),
        (lambda c: {"config": c["config"], "model": c["state_dict"]}, "'state_dict' is not there"),
        (lambda c: c["state_dict"], "'config' is not there"),
        (lambda c: {**c, "config": {**c["config"], "network": None}}, "'network'"),
        (lambda c: {**c, "config": {**c["config"], "network": {**NETWORK, "_target_": "NoSuchNet"}}}, "NoSuchNet"),
        (lambda c: {**c, "config": {**c["config"], "network": {**NETWORK, "blocks_down": "many"}}}, "cannot be built"),
        (lambda c: {**c, "config": {**c["config"], "normalize_mode": "fancy"}}, "'normalize_mode'"),
        (lambda c: {**c, "config": {k: v for k, v in c["config"].items() if k != "normalize_mode"}}, "normalize_mode"),
        (lambda c: {**c, "config": {**c["config"], "intensity_bounds": [5, 5]}}, "'intensity_bounds'"),
        (lambda c: {**c, "config": {**c["config"], "roi_size": None}}, "'roi_size'"),
        (lambda c: {**c, "config": {**c["config"], "roi_size": [64, 0, 64]}}, "'roi_size'"),
        (
            lambda c: {**c, "config": {**c["config"], "resample_resolution": [1, float("nan"), 1]}},
            "resample_resolution",
        ),
        (lambda c: {**c, "config": {**c["config"], "orientation_ras": "yes"}}, "'orientation_ras'"),
        (
            lambda c: {**c, "config": {**c["config"], "input_channels": 2, "extra_modalities": {"a": "ct", "b": "ct"}}},
            "'e",
        ),
        (lambda c: {**c, "config": {**c["config"], "network": {**NETWORK, "init_filters": 8}}}, "another shape"),
    ],
)
def test_a_checkpoint_that_is_none_or_of_another_version(make, change, words):
    assert words in refused(make("file", change=change), trust="NoSuchNet" in words)


def test_nan_weights_and_truncated_files(make):
    def spoiled(content):
        content["state_dict"]["encoder.conv_init.weight"][0, 0, 0, 0, 0] = float("nan")
        return content

    assert "NaN or infinite" in refused(make("file", change=spoiled), WeightsError)
    path = make("file")
    whole = path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        refused(path, WeightsError)


def test_folders_that_hold_several_or_none(make, tmp_path):
    fold = make("fold")
    shutil.copytree(fold, fold.parent / "segresnet_1")
    message = refused(fold.parent)
    assert "segresnet_0, segresnet_1" in message
    (fold / "model" / "model.pt").unlink()
    assert "without a trained network" in refused(fold)
    make("folder", name="cache/model")
    assert "not a model but holds some: model" in refused(tmp_path / "cache")


def test_labels_and_configurations_that_do_not_belong(make):
    path = make("folder", labels="a,b\n1,2\n")
    assert "LabelValue" in refused(path)
    assert "configs/x.json" in refused(make("fold"), configs=("configs/x.json",))
    assert "'custom_data_transforms' of its own" in refused(make("fold", custom_data_transforms=[{"key": "x"}]))


# Folds of other algorithms ---


@pytest.fixture
def swinunetr(tmp_path):
    """A fold as Auto3DSeg's template ``swinunetr`` writes it, with a small network."""
    fold = tmp_path / "swinunetr_0"
    (fold / "configs").mkdir(parents=True)
    (fold / "model_fold0").mkdir()
    network = {"_target_": "SwinUNETR", "feature_size": 12, "in_channels": "@training#input_channels"}
    network |= {"out_channels": "@training#output_classes", "spatial_dims": 3, "use_checkpoint": False}
    key = {"keys": "@image_key"}
    chain = [
        {"_target_": "LoadImaged", **key, "image_only": True},
        {"_target_": "EnsureChannelFirstd", **key},
        {"_target_": "Orientationd", **key, "axcodes": "RAS"},
        {"_target_": "Spacingd", **key, "pixdim": "$@transforms#resample_to_spacing", "mode": "bilinear"},
        {"_target_": "CastToTyped", **key, "dtype": "$torch.float32"},
        {"_target_": "NormalizeIntensityd", **key, "nonzero": True, "channel_wise": True},
    ]
    files = {
        "hyper_parameters": {
            "bundle_root": None,
            "fold": 0,
            "class_names": ["liver"],
            "transforms": {"resample_to_spacing": "$@training#resample_to_spacing"},
            "training": {
                "input_channels": 1,
                "output_classes": 2,
                "num_sw_batch_size": 2,
                "overlap_ratio": 0.25,
                "patch_size_valid": [64, 64, 64],
                "resample_to_spacing": [2.0, 2.0, 2.0],
                "softmax": True,
            },
            "infer": {"ckpt_name": "$@bundle_root + '/model_fold' + str(@fold) + '/best_metric_model.pt'"},
        },
        "network": {"network": network},
        "transforms_infer": {"image_key": "image", "transforms_infer": {"_target_": "Compose", "transforms": chain}},
    }
    for name, content in files.items():
        (fold / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    torch.manual_seed(0)
    weights = SwinUNETR(in_channels=1, out_channels=2, feature_size=12, spatial_dims=3).state_dict()
    torch.save(weights, fold / "model_fold0" / "best_metric_model.pt")
    return fold


@pytest.mark.slow
def test_a_fold_with_configurations_is_explained_once_it_is_trusted(swinunetr, export, tmp_path):
    summary = summarise(ModelSource(str(swinunetr)))
    assert summary.kind == "MONAI Auto3DSeg fold" and summary.needs_trust
    assert "torch.float32" in summary.code.expressions and "SwinUNETR" in summary.code.targets
    assert summary.info.classes == ("background", "liver") and summary.info.spatial_shape == (64, 64, 64)
    affine = GEOMETRIES["oblique"]
    file = export(volume_of(affine), affine)
    (tmp_path / "out").mkdir()
    with pytest.raises(UntrustedBundleError):
        explain(request((file,), swinunetr, tmp_path / "out", trust=False))
    inferer = open_model(ModelSource(str(swinunetr), trust=True)).inferer()
    assert (inferer.roi_size, inferer.overlap, inferer.sw_batch_size) == ([64, 64, 64], 0.25, 2)
    result = explain(request((file,), swinunetr, tmp_path / "out", trust=True, target="liver"))
    assert np.load(result.heatmap.path).shape == SHAPE and result.placement.verdict != "mismatch"
    (swinunetr / "model_fold0" / "best_metric_model.pt").unlink()
    assert "model_fold" in refused(swinunetr, WeightsError, trust=True)


def test_a_fold_of_dints_with_its_architecture_in_a_file_of_its_own(swinunetr, export, tmp_path):
    """As Auto3DSeg's template ``dints`` writes it: for a card, also where there is none."""
    fold = swinunetr.rename(tmp_path / "dints_0")
    search = {"channel_mul": 0.2, "num_blocks": 3, "num_depths": 3, "use_downsample": True}
    torch.manual_seed(0)
    node_a, code_a, code_c, _ = TopologySearch(**search, device="cpu", spatial_dims=3).decode()
    (fold / "scripts").mkdir()
    torch.save({"node_a": node_a, "code_a": code_a, "code_c": code_c}, fold / "scripts" / "arch_code.pth")
    space = TopologyInstance(**search, arch_code=[code_a, code_c], device="cpu")
    network = DiNTS(dints_space=space, in_channels=1, num_classes=2, use_downsample=True, node_a=node_a)
    torch.save(network.state_dict(), fold / "model_fold0" / "best_metric_model.pt")
    arch = "$@training_network#arch_ckpt"
    definition = {
        "arch_ckpt_path": "$@bundle_root + '/scripts/arch_code.pth'",
        "arch_ckpt": "$torch.load(@training_network#arch_ckpt_path, map_location=torch.device('cuda'))",
        "dints_space": {
            "_target_": "TopologyInstance",
            **search,
            "arch_code": [f"{arch}['code_a']", f"{arch}['code_c']"],
            "device": "$torch.device('cuda')",
        },
        "network": {
            "_target_": "DiNTS",
            "dints_space": "$@training_network#dints_space",
            "in_channels": "@training#input_channels",
            "num_classes": "@training#output_classes",
            "use_downsample": True,
            "node_a": f"{arch}['node_a']",
        },
    }
    (fold / "configs" / "network.yaml").write_text(yaml.safe_dump({"training_network": definition}))
    summary = summarise(ModelSource(str(fold)))
    assert summary.needs_trust and any("torch.load" in line for line in summary.code.expressions)
    affine = GEOMETRIES["LPS"]
    (tmp_path / "out").mkdir()
    asked = request((export(volume_of(affine), affine),), fold, tmp_path / "out", trust=True, target="liver")
    assert np.load(explain(asked).heatmap.path).shape == SHAPE

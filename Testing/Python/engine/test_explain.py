"""The whole story on the engine's side, with a network whose right answer is known."""

import json

import nibabel
import numpy as np
import pytest
import support
import torch
from geometries import GEOMETRIES, blob
from support import FEW, ONE_REAL_VOLUME, USUAL_CHAIN, real_volumes

from CAMOverlayLib.contract.errors import (
    BundleError,
    CAMOverlayError,
    Cancelled,
    DeviceError,
    LayerError,
    MethodError,
    OutputError,
    PlacementError,
    TargetError,
    UntrustedBundleError,
    VolumeError,
)
from CAMOverlayLib.contract.request import STAGES, Request, Result
from CAMOverlayLib.contract.target import TargetSpec
from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME
from CAMOverlayLib.engine.pipeline import explain


@pytest.fixture
def bright_bundle(make_bundle):
    """A classifier whose class 'bright' is exactly the largest value of the image pooled 4×4×4."""
    network = "$torch.nn.Sequential(torch.nn.Conv3d(1, 2, 4, 4), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool3d(1), torch.nn.Flatten())"  # noqa: E501

    folder = make_bundle(network=network, classes=("dark", "bright"), weights=None)
    kernel = torch.stack([-torch.ones(1, 4, 4, 4), torch.ones(1, 4, 4, 4)]) / 64
    torch.save({"0.weight": kernel, "0.bias": torch.tensor([0.0, 0.0])}, folder / "models" / "model.pt")
    return folder


def request(volume, bundle, tmp_path, **options):
    (tmp_path / "out").mkdir(exist_ok=True)
    return support.request((volume,), bundle, tmp_path / "out", **options)


def bright_volume(affine, shape=(40, 44, 36), voxel=(26, 15, 20)):
    centre = affine[:3] @ [*voxel, 1]
    noise = np.random.default_rng(0).normal(0, 2, shape)
    return (100 + noise + 500 * blob(shape, affine, centre, 5)).astype(np.int16), centre


@pytest.mark.parametrize("name", FEW(GEOMETRIES, "oblique LPS", "permuted and left-handed", "anisotropic"))
def test_the_heatmap_peaks_where_the_network_looked(bright_bundle, export, tmp_path, name):
    affine = GEOMETRIES[name]
    array, centre = bright_volume(affine)
    result = explain(request(export(array, affine), bright_bundle, tmp_path))
    heatmap = np.load(result.heatmap.path, mmap_mode="r")
    assert heatmap.shape == array.shape and heatmap.dtype == np.float32 and heatmap.flags.f_contiguous
    assert result.heatmap.affine == tuple(map(tuple, affine.tolist()))
    assert heatmap.min() >= 0 and 0.5 < heatmap.max() <= 1
    assert result.prediction.name == "bright" == result.target.name
    # The network cannot tell places within one activation apart.
    distance = np.linalg.norm(np.array(result.peak_ras) - centre)
    assert distance <= np.linalg.norm(result.activation_spacing)
    assert heatmap[result.peak] == heatmap.max()
    weighted = np.stack(np.meshgrid(*map(np.arange, array.shape), indexing="ij"), -1)[heatmap > 0.5 * heatmap.max()]
    assert np.linalg.norm(affine[:3] @ [*weighted.mean(0), 1] - centre) <= 0.5 * np.linalg.norm(
        result.activation_spacing
    )


def test_the_result_says_everything_and_survives_json(bright_bundle, export, tmp_path):
    affine = GEOMETRIES["oblique"]
    array, _ = bright_volume(affine)
    result = explain(request(export(array, affine, "brain"), bright_bundle, tmp_path))
    assert Result.from_json(result.to_json()) == result
    assert [s.name + "d" * (not s.name.endswith("d")) for s in result.steps] == [t["_target_"] for t in USUAL_CHAIN]
    assert (result.layer, result.method, result.device) == ("1", "Grad-CAM", result.device)
    assert result.inputs == ("brain",) and result.bundle_name == "bundle"
    assert result.activation_shape == (12, 12, 12) and result.network_input_shape == (48, 48, 48)
    input_extent = [48 * s for s in result.steps[-1].spacing_after]
    assert result.activation_spacing == pytest.approx([e / 12 for e in input_extent])
    assert set(result.timings) == set(STAGES) - {"import"} and all(t >= 0 for t in result.timings.values())
    assert {"torch", "monai", "nibabel", "numpy", "CAMOverlay"} <= set(result.versions)
    assert sum(result.prediction.probabilities) == pytest.approx(1)
    json.loads(result.to_json())


def test_two_runs_can_be_compared_by_magnitude(bright_bundle, export, tmp_path):
    """The [0, 1] map hides how strong the evidence was; map × magnitude does not."""
    affine = GEOMETRIES["axis-aligned"]
    array, _ = bright_volume(affine)
    chain = [t for t in USUAL_CHAIN if t["_target_"] != "NormalizeIntensityd"]
    config = json.loads((bright_bundle / "configs/inference.json").read_text())
    config["preprocessing"]["transforms"] = chain
    (bright_bundle / "configs/inference.json").write_text(json.dumps(config))
    one = explain(request(export(array, affine), bright_bundle, tmp_path))
    two = explain(request(export(array * 2, affine, "twice"), bright_bundle, tmp_path))
    assert two.magnitude == pytest.approx(2 * one.magnitude, rel=1e-3)


def test_progress_names_every_stage_and_never_goes_back(bright_bundle, export, tmp_path):
    events = []
    array, _ = bright_volume(GEOMETRIES["LPS"])
    explain(request(export(array, GEOMETRIES["LPS"]), bright_bundle, tmp_path), events.append)
    assert list(dict.fromkeys(e.stage for e in events)) == [s for s in STAGES if s != "import"]
    fractions = [e.fraction for e in events]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    assert {"Spacingd", "Resized"} <= {e.message for e in events}


@pytest.mark.parametrize("stage", [s for s in STAGES if s != "import"])
@pytest.mark.some(4)
def test_cancelling_at_any_stage_leaves_nothing_behind(bright_bundle, export, tmp_path, stage):
    def cancel(progress):
        if progress.stage == stage:
            raise Cancelled("stop")

    array, _ = bright_volume(GEOMETRIES["LPS"])
    with pytest.raises(Cancelled):
        explain(request(export(array, GEOMETRIES["LPS"]), bright_bundle, tmp_path), cancel)
    assert not list((tmp_path / "out").iterdir())


def test_the_input_is_not_modified(bright_bundle, export, tmp_path):
    array, _ = bright_volume(GEOMETRIES["LPS"])
    file = export(array, GEOMETRIES["LPS"])
    before = open(file.path, "rb").read()
    explain(request(file, bright_bundle, tmp_path))
    assert open(file.path, "rb").read() == before
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["heatmap.npy"]


def test_another_class_another_map(make_bundle, export, tmp_path):
    bundle = make_bundle()
    file = export(bright_volume(GEOMETRIES["LPS"])[0], GEOMETRIES["LPS"])
    maps = []
    for target in (0, "lesion", 2):
        result = explain(request(file, bundle, tmp_path, target=target))
        maps.append(np.load(result.heatmap.path))
    assert np.isfinite(maps).all()
    assert not np.allclose(maps[0], maps[1]) and not np.allclose(maps[1], maps[2])


def test_no_evidence_is_a_warning_and_an_empty_map(bright_bundle, export, tmp_path):
    array, _ = bright_volume(GEOMETRIES["LPS"])
    bias = torch.tensor([-1e6, -1e6])
    state = torch.load(bright_bundle / "models/model.pt") | {"0.bias": bias}
    torch.save(state, bright_bundle / "models/model.pt")
    result = explain(request(export(array, GEOMETRIES["LPS"]), bright_bundle, tmp_path))
    assert result.magnitude == 0 and not np.load(result.heatmap.path).any()
    assert "No evidence" in result.warnings[0]


WRONG = {
    "untrusted": ({"model": {"path": str(DEMO_BUNDLE)}}, UntrustedBundleError, "Trust it only if"),
    "unknown class": ({"target": "tumor"}, TargetError, "network has 0 dark, 1 bright"),
    "unknown layer": ({"layer": "7"}, LayerError, "default is 1"),
    "unknown method": ({"method": "x-ray"}, MethodError, "there are gradcam"),
    "unknown device": ({"device": "abacus"}, DeviceError, "Use auto"),
    "absent bundle": ({"model": {"path": "/nowhere", "trust": True}}, BundleError, "'/nowhere' is not a folder"),
    "absent folder": ({"output_folder": "/nowhere/out"}, OutputError, "Choose another"),
}


@pytest.mark.parametrize(("options", "error", "message"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_answered_in_a_sentence(bright_bundle, export, tmp_path, options, error, message):
    array, _ = bright_volume(GEOMETRIES["LPS"])
    ask = request(export(array, GEOMETRIES["LPS"]), bright_bundle, tmp_path).to_dict() | options
    with pytest.raises(error, match=message) as caught:
        explain(Request.from_dict(ask))
    assert isinstance(caught.value, CAMOverlayError) and "\n" not in str(caught.value)
    assert not list((tmp_path / "out").iterdir())


def test_the_number_of_channels_is_checked(bright_bundle, make_bundle, export, tmp_path):
    array, _ = bright_volume(GEOMETRIES["LPS"])
    one, two = export(array, GEOMETRIES["LPS"], "one"), export(array, GEOMETRIES["LPS"], "two")
    ask = request(one, bright_bundle, tmp_path)
    with pytest.raises(VolumeError, match=r"expects 1 channel\(s\) \(image\), the given volumes make 2"):
        explain(Request(**(vars(ask) | {"volumes": (one, two)})))
    moved = export(array, GEOMETRIES["oblique"], "moved")
    with pytest.raises(VolumeError, match="'moved' lies nowhere within 'one'"):
        explain(Request(**(vars(ask) | {"volumes": (one, moved)})))


@ONE_REAL_VOLUME
def test_real_volumes(real_volume, export_nifti, make_bundle, tmp_path):
    result = explain(request(export_nifti(real_volume), make_bundle(), tmp_path, target=1))
    heatmap = np.load(result.heatmap.path)
    assert np.isfinite(heatmap).all() and heatmap.max() > 0.5
    assert 0 < result.field_of_view.share <= 1 and (heatmap > 0).mean() <= result.field_of_view.share + 1e-6
    assert result.placement.verdict == "verified", result.placement


@pytest.mark.parametrize(
    "path", FEW([DEMO_VOLUME, *real_volumes()], DEMO_VOLUME, *real_volumes()[:1]), ids=lambda p: p.name.split(".")[0]
)
def test_the_demo_bundle_is_in_place_on_every_volume(path, export_nifti, tmp_path):
    ask = request(export_nifti(path), DEMO_BUNDLE, tmp_path, target="bright lesion", verify=True)
    result = explain(ask)
    placement = result.placement
    assert (placement.verdict, placement.inverse) == (
        "verified",
        "affine",
    ) and placement.score > placement.candidate_score
    # Within one voxel of each other, the diagonal neighbours included.
    assert placement.peak_distance <= np.linalg.norm(nibabel.load(path).affine[:3, :3])
    assert placement.difference < 0.4  # interpolating twice lowers a peak that lies between the input's voxels


def test_the_trail_lies_on_the_original(bright_bundle, export, tmp_path):
    """Every step's volume, forward and backward, has an affine of its own that puts it in the same place."""
    affine = GEOMETRIES["oblique LPS"]
    array, centre = bright_volume(affine)
    for inverse in ("affine", "operations"):
        folder = tmp_path / inverse
        folder.mkdir()
        file = export(array, affine)
        result = explain(request(file, bright_bundle, tmp_path, intermediates_folder=str(folder), inverse=inverse))
        names = sorted(p.name for p in folder.iterdir())
        assert names == sorted(
            f"{plan}-{n:02d}-{step.name}.nii.gz"
            for n, step in enumerate(result.steps, 1)
            for plan in ("forward", "backward")
            if plan == "forward" or inverse == "affine" or (folder / f"backward-{n:02d}-{step.name}.nii.gz").exists()
        )
        for path in folder.iterdir():
            image = nibabel.load(path)
            values = np.asarray(image.dataobj)
            peak = image.affine[:3] @ [*np.unravel_index(values.argmax(), values.shape), 1]
            reach = 6 if path.name.startswith("forward") else np.linalg.norm(result.activation_spacing)
            assert np.linalg.norm(peak - centre) <= reach, path.name
        assert result.placement.inverse == inverse


def test_blocks_and_the_inverse_can_be_asked_for(bright_bundle, export, tmp_path):
    array, _ = bright_volume(GEOMETRIES["axis-aligned"])
    file = export(array, GEOMETRIES["axis-aligned"])
    smooth = explain(request(file, bright_bundle, tmp_path))
    smooth_map = np.load(smooth.heatmap.path)
    blocks = np.load(explain(request(file, bright_bundle, tmp_path, interpolation="nearest")).heatmap.path)
    assert len(np.unique(blocks)) < 12**3 < len(np.unique(smooth_map))
    assert smooth.steps[4].inverse == "part of the one resampling" and smooth.steps[5].inverse == "nothing to undo"
    with pytest.raises(PlacementError, match="no inverse 'magic'"):
        explain(request(file, bright_bundle, tmp_path, inverse="magic"))


# Targets, methods and layers through the whole story ----------------------------------------------------------------

UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 16],
    "strides": [2, 2],
}
LABELS = ("background", "organ", "tumor")


@pytest.mark.parametrize("method", ["gradcam", "refined", "saliency"])
def test_a_segmentation_network_at_one_voxel(make_bundle, export, tmp_path, method):
    """What a single voxel's label hangs on lies around that voxel of the original volume."""
    affine = GEOMETRIES["oblique"]
    array, _ = bright_volume(affine)
    ask = request(
        export(array, affine),
        make_bundle(network=UNET, classes=LABELS),
        tmp_path,
        target="tumor@voxel=26,15,20",
        method=method,
    )
    result = explain(ask)
    heatmap = np.load(result.heatmap.path)
    assert heatmap.max() > 0.5 and result.target.name == "tumor" and "voxel (26, 15, 20)" in result.target.description
    assert sum(result.prediction.voxels) == 48**3
    seen = np.linalg.norm(np.array(result.peak) - [26, 15, 20]) * np.linalg.norm(affine[:3, 0])
    assert seen < 40, result.peak  # its receptive field
    assert result.layer.split(" × ")[-1] == ("the network's input" if method == "saliency" else "model.1.submodule.1")
    assert result.activation_shape == {"gradcam": (12,) * 3, "refined": (24,) * 3, "saliency": (48,) * 3}[method]


def test_a_mask_and_the_difference_of_two_classes(make_bundle, export, tmp_path):
    affine = GEOMETRIES["LPS"]
    array, _ = bright_volume(affine)
    mask = np.zeros(array.shape, np.uint8)
    mask[20:30, 10:20, 15:25] = 1
    spec = TargetSpec("tumor", minus="organ", mask=export(mask, affine, "mask"))
    bundle = make_bundle(network=UNET, classes=LABELS)
    result = explain(request(export(array, affine), bundle, tmp_path, target=spec))
    assert result.target.name == "tumor − organ" and "voxels of mask 'mask'" in result.target.description
    assert Result.from_json(result.to_json()) == result and result.target.minus == 1


def test_a_class_that_is_predicted_nowhere_is_a_warning(make_bundle, export, tmp_path):
    bundle = make_bundle(network=UNET, classes=LABELS)
    state = torch.load(bundle / "models/model.pt")
    bias = [name for name, value in state.items() if name.endswith("bias") and value.shape == (3,)][-1]
    state[bias] = torch.tensor([0.0, 0.0, -100.0])
    torch.save(state, bundle / "models/model.pt")
    array, _ = bright_volume(GEOMETRIES["LPS"])
    result = explain(request(export(array, GEOMETRIES["LPS"]), bundle, tmp_path, target="tumor"))
    assert result.prediction.voxels[2] == 0 and "No voxel is predicted as 'tumor'" in result.warnings[0]
    assert "111 voxels where its probability is highest" in result.target.description


def test_a_regression(make_bundle, export, tmp_path):
    network = {
        "_target_": "Regressor",
        "in_shape": [1, 48, 48, 48],
        "out_shape": [1],
        "channels": [4, 8],
        "strides": [2, 2],
    }
    array, _ = bright_volume(GEOMETRIES["LPS"])
    result = explain(
        request(export(array, GEOMETRIES["LPS"]), make_bundle(network=network, classes=("age",)), tmp_path)
    )
    assert result.prediction.activation == "none" and result.target.description == "output of 'age'"
    assert np.load(result.heatmap.path).any() or result.warnings


def test_long_methods_report_progress_and_can_be_cancelled(bright_bundle, export, tmp_path):
    array, _ = bright_volume(GEOMETRIES["LPS"])
    ask = request(export(array, GEOMETRIES["LPS"]), bright_bundle, tmp_path, method="Occlusion sensitivity")
    events = []

    def cancel(progress):
        events.append(progress)
        if progress.message == "Occlusion" and progress.fraction > 0.68:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        explain(ask, cancel)
    during = [e.fraction for e in events if e.message == "Occlusion"]
    assert len(during) > 10 and during == sorted(during) and not list((tmp_path / "out").iterdir())


def test_methods_and_classes_share_one_forward_pass(bright_bundle, export, tmp_path, monkeypatch):
    from CAMOverlayLib.engine import inference as applied
    from CAMOverlayLib.engine.cache import Cache

    passes, original = [], applied.forward_to_layers
    monkeypatch.setattr(applied, "forward_to_layers", lambda *a: passes.append(a[2]) or original(*a))
    array, _ = bright_volume(GEOMETRIES["LPS"])
    file, cache = export(array, GEOMETRIES["LPS"]), Cache()
    for method in (
        "refined",
        "gradcam",
        "hirescam",
        "layercam",
        "gradcampp",
        "xgradcam",
        "finercam",
        "eigencam",
        "saliency",
    ):
        for target in (0, 1):
            explain(request(file, bright_bundle, tmp_path, method=method, target=target), cache=cache)
    assert len(passes) == 1

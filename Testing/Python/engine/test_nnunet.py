"""nnU-Net v2 models against nnU-Net itself, whose answers lie in Testing/Oracles/nnunet, and against the truth."""

import itertools
import json
import os
import shutil
import zipfile

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from Oracles.nnunet.cases import BY_NAME, CASES, answer, real_answer, real_input
from scipy import ndimage
from support import ONE_REAL_VOLUME, SHARED, SLOW

from CAMOverlayLib.contract.errors import BundleError, CAMOverlayError, PreprocessingError, WeightsError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.model_kinds import summarise
from CAMOverlayLib.contract.nnunet_plans import KIND, Normalisation, Resampling
from CAMOverlayLib.contract.request import Request
from CAMOverlayLib.engine.bundle.opened import open_model
from CAMOverlayLib.engine.cache import Cache
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.nnunet import preprocessing
from CAMOverlayLib.engine.nnunet.windows import NnunetWindows, starts
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.affine import field_of_view, place_by_affine
from CAMOverlayLib.engine.restore.plan import plan_inversion
from CAMOverlayLib.engine.restore.transforms import place_by_operations

CPU = torch.device("cpu")
VOLUMES = [case for case in CASES if case.name != "photograph"]
QUICK_CUTS = ("slices_2d", "residual_encoder")
"""Two of the three volumes; the others are in ``make test-bundles``."""
SAMPLE = (slice(None), *[slice(None, None, 4)] * 3)


def words(case):
    return (("all_folds",) if len(case.folds) > 1 else ()) + (("mirroring",) if case.mirroring else ())


def evaluated(case):
    return open_model(ModelSource(str(case.model), configs=words(case))).model(CPU)


def logits(model, image):
    networks = (model.network, *model.others)
    with torch.no_grad():
        return sum(model.inferer(image.as_tensor()[None], one) for one in networks)[0] / len(networks)


def label_map(case, scores, trace):
    """What the scores (K×spatial) say on the volume's grid, I×J×K, by the saved operations."""
    low = float(scores.min())
    placed = np.stack([place_by_operations(one - low, trace).array for one in scores])
    inside = place_by_operations(torch.ones_like(scores[0]), trace).array > 0
    if "regions_class_order" not in case.dataset_json:
        return np.where(inside, placed.argmax(0), 0)
    labels = np.zeros(placed.shape[1:], np.uint8)
    for one, value in zip(placed + low, case.dataset_json["regions_class_order"]):
        labels[(one > 0) & inside] = value
    return labels


def compare(case, said, files):
    """The whole way, with what nnunetv2 said of the same files."""
    model = evaluated(case)
    trace = trace_preprocessing(model.chain, files)
    image = trace.image
    assert tuple(image.shape) == said.preprocessed_shape
    if said.preprocessed is not None:
        np.testing.assert_allclose(image.numpy()[SAMPLE], said.preprocessed, atol=1e-5)
    np.testing.assert_allclose(
        image.numpy().reshape(len(image), -1).mean(1), said.preprocessed_statistics[:, 0], atol=1e-4
    )
    scores = logits(model, image)
    assert tuple(scores.shape) == said.logits_shape
    spread = float(np.ptp(said.logits_float32))
    assert np.abs(scores.numpy()[SAMPLE] - said.logits_float32).max() <= 1e-4 * spread
    # nnU-Net sums in half precision, which moves its own answer by more in corners under a single window.
    assert np.median(np.abs(scores.numpy()[SAMPLE] - said.logits)) <= 1e-3 * spread
    differ = label_map(case, scores, trace) != said.labels
    assert not (differ & ~said.unsure).any() and differ.mean() <= 0.005
    return trace


@pytest.mark.parametrize("case", VOLUMES, ids=lambda case: case.name)
def test_it_says_what_nnunet_itself_says(case):
    compare(case, answer(case), list(case.input_files))


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared volumes are not there")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case.name in QUICK_CUTS else pytest.mark.slow, id=case.name)
        for case in VOLUMES
        if case.cuts
    ],
)
@pytest.mark.some(1)
def test_it_says_so_of_real_volumes_too(case, tmp_path):
    channels, affine = real_input(case, SHARED / "data")
    files = []
    for number, voxels in enumerate(channels):
        files.append(tmp_path / f"channel_{number}.nii")
        nibabel.save(nibabel.Nifti1Image(voxels, affine), files[-1])
    trace = compare(case, real_answer(case), files)
    assert plan_inversion(trace).agreement.verdict in ("verified", "inconclusive")


@pytest.mark.parametrize(
    "name", ["anisotropic_ct", *(pytest.param(one, marks=pytest.mark.slow) for one in ("isotropic_mr", "slices_2d"))]
)
@ONE_REAL_VOLUME
def test_its_place_is_verified_on_whole_real_volumes(name, real_volume):
    voxels = np.ascontiguousarray(nibabel.load(real_volume).dataobj)
    chain = open_model(ModelSource(str(BY_NAME[name].model))).preprocessing()
    trace = trace_preprocessing(chain, [real_volume], original=torch.from_numpy(voxels))
    assert plan_inversion(trace).agreement.verdict == "verified"
    assert all(step.evidence.startswith("verified") for step in trace.steps[1:]), trace.steps


def test_a_photograph_is_what_it_is_to_nnunet():
    case = BY_NAME["photograph"]
    said, model = answer(case), evaluated(case)
    image = model.chain([str(file) for file in case.input_files])
    np.testing.assert_allclose(image.numpy()[:, None][SAMPLE], said.preprocessed, atol=1e-5)
    scores = logits(model, image).numpy()[:, None]
    assert np.abs(scores[SAMPLE] - said.logits_float32).max() <= 1e-4 * np.ptp(said.logits_float32)
    assert model.takes_pictures


def exported(files, export):
    return tuple(export(np.asarray(nibabel.load(file).dataobj), nibabel.load(file).affine) for file in files)


@pytest.mark.parametrize("name", [SLOW("anisotropic_ct"), "slices_2d", "regions", "two_folds"])
def test_a_map_lies_on_the_volume_and_its_place_is_verified(name, export, tmp_path):
    case = BY_NAME[name]
    volumes = exported(case.input_files, export)
    (tmp_path / "out").mkdir()
    folds = ("all_folds",) if name == "two_folds" else ()  # mirroring, eight times the windows, is compared above
    source = ModelSource(str(case.model), configs=folds)
    result = explain(Request(volumes, source, str(tmp_path / "out")))  # nobody trusts it: nothing can run
    heat = np.load(result.heatmap.path)
    assert heat.shape == answer(case).labels.shape and heat.max() == 1 and heat.std() > 0
    assert result.placement.verdict == "verified", result.placement.words
    names = [step.name for step in result.steps]
    assert names[-4:] == ["AxisOrder", "CropToNonzero", "NormaliseChannels", "ResampleToSpacing"]
    assert "windows of" in result.applied and ("2 networks averaged" in result.applied) == (name == "two_folds")
    assert result.prediction.activation == ("sigmoid" if name == "regions" else "softmax")
    assert result.bundle_name == case.dataset


@pytest.mark.parametrize(
    "name", ["two_folds", *map(SLOW, ["anisotropic_ct", "isotropic_mr", "slices_2d", "two_channels"])]
)
def test_the_prediction_comes_from_interpolated_probabilities(name, export, tmp_path):
    """On the file's own grid, computed once more from the scores: windows, folds and the coarse axis included. nnU-Net
    itself interpolates scores, along a coarse axis to the nearest, and its labels of these networks of random weights,
    which have edges everywhere, are others in some voxels."""
    case = BY_NAME[name]
    images = [nibabel.load(file) for file in case.input_files]
    volumes = tuple(export(np.asarray(one.dataobj), one.affine, f"channel {n}") for n, one in enumerate(images))
    source = ModelSource(str(case.model), configs=words(case))
    result = explain(Request(volumes, source, str(tmp_path), also="prediction,disagreement?", checks="none"))
    maps = {one.name: np.load(one.file.path) for one in result.further}
    model = evaluated(case)
    trace = trace_preprocessing(model.chain, list(case.input_files))
    probabilities = logits(model, trace.image).softmax(0).double().numpy()
    mapping = trace.input_grid.index_from(trace.volume_grid)
    index = np.stack(np.meshgrid(*map(np.arange, trace.volume_grid.shape), indexing="ij"))
    at = np.tensordot(mapping[:3, :3], index, 1) + mapping[:3, 3, None, None, None]
    placed = np.stack([ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in probabilities])
    wanted = placed.argmax(0) * field_of_view(trace).mask()
    assert (maps["prediction"] == wanted).mean() > 0.9998
    print(f"{name}: {(maps['prediction'] != answer(case).labels).mean():.2%} of the labels are not nnU-Net's")
    many = len(case.folds) > 1
    if many:
        assert "over 2 networks of one training" in result.further[1].words and maps["disagreement"].max() > 0


@pytest.mark.slow
def test_another_class_comes_from_memory(export, tmp_path):
    case, cache = BY_NAME["isotropic_mr"], Cache()
    volumes, source = exported(case.input_files, export), ModelSource(str(BY_NAME["isotropic_mr"].model))
    (tmp_path / "out").mkdir()
    fresh = []
    for target in ("organ", "lesion"):
        fresh.append(
            explain(Request(volumes, source, str(tmp_path / "out"), target=target, checks="none"), cache=cache)
        )
    assert fresh[0].target.name == "organ" and fresh[1].target.name == "lesion"
    assert fresh[1].timings["preprocess"] < 0.2 * fresh[0].timings["preprocess"]
    alone = explain(Request(volumes, source, str(tmp_path / "out"), target="lesion", checks="none"))
    assert alone.magnitude == pytest.approx(fresh[1].magnitude)


SHAPE = (52, 46, 38)
CHAINS = {
    "isotropic": ((0, 1, 2), (1.6, 1.6, 1.6), "SimpleITKIO"),
    "coarse along K": ((0, 1, 2), (4.0, 1.3, 1.3), "SimpleITKIO"),
    "permuted": ((2, 0, 1), (1.7, 1.5, 1.6), "NibabelIO"),
    "turned to RAS": ((1, 0, 2), (1.5, 1.8, 1.7), "NibabelIOWithReorient"),
    "2-D": ((0, 1, 2), (1.4, 1.5), "SimpleITKIO"),
}


TO_THE_TRUTH = [*itertools.product(CHAINS, ["anisotropic", "oblique", "oblique LPS", "permuted and left-handed"])]
EACH_ONCE = [
    ("isotropic", "oblique"),
    ("coarse along K", "oblique LPS"),
    ("permuted", "anisotropic"),
    ("turned to RAS", "permuted and left-handed"),
    ("2-D", "oblique LPS"),
]


@pytest.mark.parametrize(
    ("chain", "geometry"),
    [pytest.param(*one, marks=() if one in EACH_ONCE else pytest.mark.slow) for one in TO_THE_TRUTH],
)
def test_a_map_goes_back_to_the_truth(chain, geometry, tmp_path):
    """A field that is known everywhere goes through the chain as voxels do, is taken for the heatmap and put back."""
    affine = GEOMETRIES[geometry]
    transpose, spacing, reader = CHAINS[chain]
    if geometry == "anisotropic":
        spacing = tuple(min(s, 1.5) for s in spacing)
    at = lambda *share: affine[:3] @ [*(s * n for s, n in zip(share, SHAPE)), 1]  # as test_spatial_transforms has it
    field = blob(SHAPE, affine, at(0.4, 0.6, 0.5), 17) + 0.5 * blob(SHAPE, affine, at(0.75, 0.3, 0.6), 14)
    field += 0.4 * blob(SHAPE, affine, at(0.3, 0.25, 0.3), 14)
    field[:3], field[:, -2:] = 0, 0  # a border to crop
    file = write_nifti(Volume(field, affine, "v"), tmp_path / "v.nii")
    plans = type(
        "Plans", (), {"reader": reader, "transpose": transpose, "spacing": spacing, "resampling": Resampling()}
    )
    plans.normalisations = (Normalisation("NoNormalization"),)
    trace = trace_preprocessing(preprocessing.chain_of(plans), [file])
    seen = field_of_view(trace)
    heat = trace.image.as_tensor()[0].float()
    inside = seen.mask()
    placed, replayed = place_by_affine(heat, trace).array, place_by_operations(heat, trace).array
    assert not placed[~inside].any() and not replayed[~inside].any()
    index = np.indices(SHAPE)
    coarse = np.abs(np.linalg.inv(trace.grids[-1].index_from(trace.volume_grid))[:3, :3]).sum(1) * 1.5
    for axis in range(3):
        where = np.nonzero(inside.any(tuple(a for a in range(3) if a != axis)))[0]
        inside &= (index[axis] >= where[0] + coarse[axis]) & (index[axis] <= where[-1] - coarse[axis])
    assert inside.mean() > 0.02
    # Nearest slices across the coarse axis move values by half a slice on the way in; that is nnU-Net's doing.
    limit = 0.02 if chain != "coarse along K" else 0.12
    assert np.abs(placed - field)[inside].max() <= limit
    peak, wanted = (np.array(np.unravel_index(one.argmax(), SHAPE)) for one in (placed, field))
    step = np.abs(np.linalg.inv(trace.grids[-1].index_from(trace.volume_grid))[:3, :3]).sum(1)
    assert (np.abs(peak - wanted) <= np.maximum(1, step)).all()


def test_windows_are_spread_evenly_and_end_with_the_image():
    assert starts(32, 32) == [0] and starts(33, 32) == [0, 1] and starts(64, 32) == [0, 16, 32]
    for length in range(8, 60):
        begun = starts(length, 8)
        assert begun[0] == 0 and begun[-1] == length - 8 and all(0 < b - a <= 4 for a, b in itertools.pairwise(begun))


def test_mirroring_averages_over_every_way_of_it():
    torch.manual_seed(0)
    image, weight = torch.rand(1, 1, 8, 8, 8), torch.rand(1, 1, 3, 3, 3)
    network = lambda x: torch.nn.functional.conv3d(x, weight, padding=1)
    found = NnunetWindows((8, 8, 8), (0, 2))(image, network)
    ways = [(), (2,), (4,), (2, 4)]
    expected = sum(network(image.flip(way) if way else image).flip(way) for way in ways) / 4
    torch.testing.assert_close(found, expected)


# Where it lies --------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path):
    """A dataset's folder with two configurations and two folds, to break."""
    folder = tmp_path / "results" / "Dataset908_TwoFolds"
    shutil.copytree(BY_NAME["two_folds"].model.parent, folder)
    flat = BY_NAME["slices_2d"].model
    shutil.copytree(flat, folder / flat.name)
    return folder


def test_folder_dataset_and_archive_are_the_same_model(dataset, tmp_path):
    trained = dataset / BY_NAME["two_folds"].model.name
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for file in sorted(dataset.rglob("*")):
            made.write(file, file.relative_to(dataset.parent))
    found = [summarise(ModelSource(str(path))) for path in (trained, dataset, archive)]
    assert found[0].kind == KIND and not found[0].needs_trust
    assert found[0] == found[1] and found[0].info == found[2].info
    assert "configuration 3d_fullres, fold 0 of 2" in found[0].info.task
    assert len({str(open_model(ModelSource(str(p))).network(CPU)) for p in (trained, archive)}) == 1
    assert "configuration 2d" in summarise(ModelSource(str(dataset), configs=("2d",))).info.task
    both = open_model(ModelSource(str(dataset), configs=("all_folds",))).model(CPU)
    assert len(both.others) == 1 and both.notes == ()
    one = open_model(ModelSource(str(dataset), configs=("fold_1",)))
    assert "Fold 1 of 2 was explained" in one.model(CPU).notes[0]
    pairs = zip(one.network(CPU).parameters(), both.others[0].parameters())
    assert all(torch.equal(a, b) for a, b in pairs)


def test_a_file_or_a_fold_of_the_model_is_the_model(dataset):
    trained = dataset / BY_NAME["two_folds"].model.name
    for named, fold in (
        ("plans.json", "fold 0 of 2"),
        ("fold_1", "fold 1 of 2"),
        ("fold_1/checkpoint_final.pth", "fold 1 of 2"),
    ):
        found = summarise(ModelSource(str(trained / named)))
        assert found.kind == KIND and found.info.task.endswith(fold), found.info.task


def test_the_checkpoint_says_which_configuration_it_is(dataset):
    renamed = dataset / "my best model"
    (dataset / BY_NAME["two_folds"].model.name).rename(renamed)
    assert open_model(ModelSource(str(renamed))).plans.configuration == "3d_fullres"


def test_an_archive_writes_nowhere_else(tmp_path):
    model = BY_NAME["isotropic_mr"].model
    archive, inside = tmp_path / "model.zip", "Dataset1_A/T__P__3d_fullres/"
    with zipfile.ZipFile(archive, "w") as made:
        for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
            made.write(model / name, inside + name)
        made.writestr("../../evil/fold_0/checkpoint_final.pth", b"")
        made.writestr("../plans.json", b"")
        made.writestr(inside + "evil.py", b"")
    assert open_model(ModelSource(str(archive))).network(CPU) is not None
    assert not (tmp_path.parent / "evil").exists() and sorted(os.listdir(tmp_path)) == ["model.zip"]


def edited(folder, name, change):
    values = json.loads((folder / name).read_text())
    change(values)
    (folder / name).write_text(json.dumps(values))


def configuration(change):
    return lambda folder: edited(folder, "plans.json", lambda v: change(v["configurations"]["3d_fullres"]))


def architecture(**values):
    return configuration(lambda c: c["architecture"].update(values))


def arguments(**values):
    return configuration(lambda c: c["architecture"]["arch_kwargs"].update(values))


class Evil:
    def __reduce__(self):
        return os.system, ("touch nnunet-was-here",)


def checkpoint(values):
    return lambda folder: torch.save(values, folder / "fold_0/checkpoint_final.pth")


def truncate(name, share=0.5):
    def change(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


BROKEN = {
    "no plans": (lambda f: (f / "plans.json").unlink(), BundleError, "is not a MONAI bundle|holds no nnU-Net model"),
    "no folds": (lambda f: shutil.rmtree(f / "fold_0"), WeightsError, "no fold_K/checkpoint_final.pth"),
    "plans cut off": (truncate("plans.json"), BundleError, "cannot be read as a configuration"),
    "dataset cut off": (truncate("dataset.json"), BundleError, "cannot be read as a configuration"),
    "plans are a list": (lambda f: (f / "plans.json").write_text("[]"), BundleError, "should be an object"),
    "no labels": (lambda f: edited(f, "dataset.json", lambda v: v.pop("labels")), BundleError, "has no 'labels'"),
    "labels with a gap": (
        lambda f: edited(f, "dataset.json", lambda v: v["labels"].update(lesion=7)),
        BundleError,
        "without a gap",
    ),
    "unknown normalisation": (
        configuration(lambda c: c.update(normalization_schemes=["Mine"])),
        BundleError,
        "normalises channel 0 by 'Mine'",
    ),
    "unknown resampling": (
        configuration(lambda c: c.update(resampling_fn_data="resample_torch")),
        BundleError,
        "resample_torch",
    ),
    "unknown reader": (
        lambda f: edited(f, "plans.json", lambda v: v.update(image_reader_writer="os.system")),
        BundleError,
        "image_reader_writer 'os.system'",
    ),
    "a cascade": (
        configuration(lambda c: c.update(previous_stage="3d_lowres")),
        BundleError,
        "second stage of a cascade: it takes the segmentation of '3d_lowres'",
    ),
    "a patch of nothing": (configuration(lambda c: c.update(patch_size=[0, 1, 2])), BundleError, "numbers above 0"),
    "code as a network": (architecture(network_class_name="os.system"), BundleError, "only classes of dynamic_network"),
    "code as a layer": (arguments(conv_op="os.system"), BundleError, "only classes of dynamic_network"),
    "a function of torch as a layer": (arguments(conv_op="torch.nn.functional.conv3d"), BundleError, "not a layer"),
    "an endless network": (arguments(features_per_stage=[10**9] * 3), BundleError, "1000000000 of something"),
    "arguments of another network": (arguments(colour="red"), BundleError, "cannot be made as"),
    "weights of another network": (arguments(features_per_stage=[4, 8, 16]), WeightsError, "have another shape"),
    "weights cut off": (truncate("fold_0/checkpoint_final.pth"), WeightsError, "cannot be read safely"),
    "weights of nothing": (truncate("fold_0/checkpoint_final.pth", 0), WeightsError, "cannot be read safely"),
    "malicious weights": (checkpoint({"network_weights": Evil()}), WeightsError, "cannot be read safely"),
    "bare weights": (checkpoint({"conv.weight": torch.ones(2)}), WeightsError, "no 'network_weights'"),
    "a checkpoint of another configuration": (
        checkpoint({"network_weights": {}, "init_args": {"configuration": "2d"}}),
        BundleError,
        "no configuration '2d'; it has 3d_fullres",
    ),
}


@pytest.mark.parametrize(("change", "kind", "sentence"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_said_in_one_sentence(change, kind, sentence, tmp_path, export, monkeypatch):
    case = BY_NAME["isotropic_mr"]
    folder = tmp_path / case.dataset / case.model.name
    shutil.copytree(case.model, folder)
    change(folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    volumes = exported(case.input_files, export)
    for work in (
        lambda: open_model(ModelSource(str(folder))).model(CPU),
        lambda: explain(Request(volumes, ModelSource(str(folder)), str(tmp_path / "out"))),
    ):
        with pytest.raises(kind, match=sentence) as caught:
            work()
        assert isinstance(caught.value, CAMOverlayError) and "\n" not in str(caught.value)
    assert not (tmp_path / "nnunet-was-here").exists() and not list((tmp_path / "out").iterdir())


def test_what_was_asked_for_and_is_not_there_is_said(dataset):
    with pytest.raises(BundleError, match=r"has no 'fold_7'; there are 2d, 3d_fullres, fold_0, fold_1"):
        summarise(ModelSource(str(dataset), configs=("fold_7",)))
    shutil.copytree(
        dataset / BY_NAME["two_folds"].model.name, dataset / "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres"
    )
    with pytest.raises(BundleError, match="holds 2 models of configuration '3d_fullres'"):
        summarise(ModelSource(str(dataset)))
    unmirrored = open_model(ModelSource(str(BY_NAME["isotropic_mr"].model), configs=("mirroring",)))
    unmirrored._checkpoint = dict(unmirrored._checkpoint) | {"inference_allowed_mirroring_axes": None}
    with pytest.raises(BundleError, match="trained without mirroring"):
        unmirrored.inferer()


def test_channels_are_counted(export, tmp_path):
    case = BY_NAME["two_channels"]
    (tmp_path / "out").mkdir()
    one = exported(case.input_files[:1], export)
    with pytest.raises((CAMOverlayError, PreprocessingError), match="2 channel"):
        explain(Request(one, ModelSource(str(case.model)), str(tmp_path / "out")))

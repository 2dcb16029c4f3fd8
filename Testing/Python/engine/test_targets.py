"""What is explained: classes, regressions, differences, regions and places, and the words for them."""

import nibabel
import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from monai.networks.nets import Classifier, Regressor

from CAMOverlayLib.contract.errors import TargetError
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import Request
from CAMOverlayLib.contract.target import TargetSpec, VolumeFile
from CAMOverlayLib.engine.bundle.model import is_regression
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.parse import choose_target
from CAMOverlayLib.engine.target.prediction import predict, strongest
from CAMOverlayLib.engine.target.regions import TargetRegions

CLASSES = ("healthy", "Lesion", "artefact")
LOGITS = torch.tensor([[0.5, 2.0, -1.0]])


def test_prediction_of_a_classifier():
    prediction = predict(LOGITS, CLASSES, multilabel=False)
    assert prediction.name == "Lesion" and prediction.activation == "softmax"
    assert prediction.probabilities == pytest.approx(LOGITS.softmax(1)[0].tolist())
    assert prediction.outputs == (0.5, 2.0, -1.0)
    assert predict(LOGITS, ("healthy",), False).classes == ("healthy", "class 1", "class 2")


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_the_strongest_class_of_every_place_is_that_of_argmax(classes, kind):
    scores = torch.randn((classes, 9, 8, 7), generator=torch.Generator().manual_seed(classes)).to(kind)
    assert torch.equal(strongest(scores), torch.from_numpy(scores.float().numpy().argmax(0)))
    assert not strongest(torch.zeros_like(scores)).any(), "of equal ones the first"


def test_prediction_of_independent_outputs():
    prediction = predict(LOGITS, CLASSES, multilabel=True)
    assert prediction.activation == "sigmoid"
    assert prediction.probabilities == pytest.approx(LOGITS.sigmoid()[0].tolist())
    assert predict(LOGITS[:, :1], (), False).activation == "sigmoid"


def test_a_class_is_found_by_index_by_name_and_by_default():
    prediction = predict(LOGITS, CLASSES, False)
    assert [choose_target(w, prediction) for w in (None, 0, "2", "lesion", "ARTEFACT")] == [1, 0, 2, 1, 2]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (3, "no class 3; the network has 3: 0 healthy, 1 Lesion"),
        ("-1", "no class -1"),
        ("lesoin", "Did you mean 'lesion'"),
    ],
)
def test_an_unknown_class_is_answered_with_those_there_are(wanted, message):
    with pytest.raises(TargetError, match=message):
        choose_target(wanted, predict(LOGITS, CLASSES, False))


# What is differentiated -----------------------------------------------------------------------------------------------


def segmentation(shape=(4, 4, 4)):
    """Class 1 in the first two slabs, class 0 elsewhere, class 2 nowhere."""
    output = torch.zeros(1, 3, *shape)
    output[0, 1, :2] = 3.0
    output[0, 2] = torch.linspace(-2, -1, 64).view(shape)
    return output


def test_a_segmentation_target_is_the_region_predicted_so():
    output = segmentation()
    prediction = predict(output, ("background", "organ", "tumor"), False)
    assert prediction.voxels == (32, 32, 0)
    objective = build_objective(output, 1, prediction)
    assert float(objective(output)) == 3.0 * 32 and "32 voxels predicted so" in objective.target.description
    assert torch.equal(
        objective(output.expand(2, -1, -1, -1, -1)), torch.tensor([96.0, 96.0])
    )  # a number for every image
    assert build_objective(output, None, prediction).target.name == "organ"  # background is not what one asks for
    assert build_objective(output, "background", prediction).target.index == 0


def test_a_class_that_is_nowhere_is_asked_for_where_it_comes_nearest():
    output = segmentation()
    objective = build_objective(output, "tumor", predict(output, ("background", "organ", "tumor"), False))
    nearest = output.softmax(1)[0, 2].argmax()
    assert objective.region.flatten().nonzero().tolist() == [[nearest]]
    assert "highest" in objective.target.description and "No voxel is predicted as 'tumor'" in objective.warnings[0]


def test_the_difference_of_two_classes():
    prediction = predict(LOGITS, CLASSES, False)
    for words in ("lesion-healthy", "1-0", "Lesion - healthy", TargetSpec("lesion", "healthy")):
        objective = build_objective(LOGITS, words, prediction)
        assert float(objective(LOGITS)) == 1.5 and (objective.target.index, objective.target.minus) == (1, 0)
    assert objective.target.name == "Lesion − healthy"
    assert objective.target.description == "output of class 'Lesion' minus that of 'healthy' before softmax"
    with pytest.raises(TargetError, match="minus itself"):
        build_objective(LOGITS, "1-1", prediction)
    hyphened = predict(LOGITS, ("non-lesion", "lesion", "non"), False)
    assert build_objective(LOGITS, "non-lesion", hyphened).target.minus is None
    assert build_objective(LOGITS, "lesion-non-lesion", hyphened).target.minus == 0
    over = build_objective(segmentation(), "1-0", predict(segmentation(), (), False))
    assert float(over(segmentation())) == 96 and "sum of the outputs" in over.target.description


def test_a_regression_has_no_probabilities():
    prediction = predict(torch.tensor([[61.5, -2.0]]), ("age",), False, regression=True)
    assert prediction.activation == "none" and prediction.classes == ("age", "output 1")
    assert prediction.probabilities == prediction.outputs == (61.5, -2.0)
    objective = build_objective(torch.tensor([[61.5, -2.0]]), None, prediction)
    assert objective.target.description == "output of 'age'" and float(objective(torch.tensor([[61.5, -2.0]]))) == 61.5


def test_what_is_a_regression():
    regressor = Regressor(in_shape=(1, 8, 8), out_shape=(1,), channels=(2,), strides=(2,))
    classifier = Classifier(in_shape=(1, 8, 8), classes=2, channels=(2,), strides=(2,))
    said = {"network_data_format": {"outputs": {"pred": {"type": "regression"}}}}
    assert is_regression(regressor, {}) and not is_regression(classifier, {}) and is_regression(classifier, said)


def test_a_classifier_of_one_voxel_is_a_classifier():
    output = LOGITS.view(1, 3, 1, 1, 1)
    prediction = predict(output, CLASSES, False)
    assert prediction.name == "Lesion" and prediction.voxels == ()
    assert float(build_objective(output, 0, prediction)(output)) == 0.5


# Places ---------------------------------------------------------------------------------------------------------------

VOLUME = Grid((40, 30, 20), GEOMETRIES["oblique LPS"])
# What the network saw: half of the volume along I, at half the resolution.
INPUT = Grid((10, 15, 10), VOLUME.affine @ np.array([[2, 0, 0, 20.5], [0, 2, 0, 0.5], [0, 0, 2, 0.5], [0, 0, 0, 1.0]]))


def output_at(index):
    output = torch.zeros(1, 2, *INPUT.shape)
    output[(0, 1, *index)] = 7.0
    output[0, 0] = 1.0
    return output


@pytest.mark.parametrize("voxel", [(20, 0, 0), (33, 12, 7), (39, 29, 19)])
def test_a_voxel_of_the_volume_is_found_in_the_output(voxel):
    index = tuple(((np.array(voxel) - [20, 0, 0]) // 2).tolist())
    output = output_at(index)
    prediction, region = predict(output, ("background", "lesion"), False), TargetRegions(VOLUME, INPUT)
    ras = tuple(float(x) for x in VOLUME.affine[:3] @ [*voxel, 1])
    for wanted in (
        f"lesion@voxel={','.join(map(str, voxel))}",
        TargetSpec(voxel=voxel),
        TargetSpec(1, ras=ras),
        "@ras=" + ",".join(map(str, ras)),
    ):
        objective = build_objective(output, wanted, prediction, region)
        assert float(objective(output)) == 7.0 and objective.target.name == "lesion", wanted
        assert f"which is voxel {index} of the output" in objective.target.description
    both = build_objective(output, "lesion-background@voxel=" + ",".join(map(str, voxel)), prediction, region)
    assert float(both(output)) == 6.0


def test_a_mask_on_any_grid_is_found_in_the_output(tmp_path):
    output, region = output_at((4, 5, 6)), TargetRegions(VOLUME, INPUT)
    output[0, 1] += torch.arange(1500.0).view(INPUT.shape) / 1500
    prediction = predict(output, ("background", "lesion"), False)
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[26:32, 8:12, 12:14] = 3  # of the output 3:6, 4:6, 6:7
    nibabel.save(nibabel.Nifti1Image(mask, VOLUME.affine), tmp_path / "mask.nii.gz")
    np.save(tmp_path / "turned.npy", mask[::-1].copy())
    turned = VOLUME.affine @ np.array([[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    file = VolumeFile(str(tmp_path / "turned.npy"), tuple(map(tuple, turned.tolist())), "drawn")
    for wanted in (f"1@mask={tmp_path / 'mask.nii.gz'}", TargetSpec(1, mask=file)):
        objective = build_objective(output, wanted, prediction, region)
        expected = torch.zeros(INPUT.shape, dtype=torch.bool)
        expected[3:6, 4:6, 6:7] = True
        assert torch.equal(objective.region, expected) and "6 voxels of mask" in objective.target.description
    assert float(objective(output)) == pytest.approx(float(output[0, 1][expected].sum()))


WRONG = {
    "outside the volume": ("1@voxel=40,0,0", "outside the volume, whose shape is"),
    "cropped away": ("1@voxel=3,4,5", "did not see voxel"),
    "no place": ("1@here", "is not a place. Write @voxel"),
    "not whole": ("1@voxel=1.5,2,3", "whole numbers"),
    "two places": (TargetSpec(1, voxel=(30, 4, 4), ras=(1.0, 2.0, 3.0)), "more than one"),
    "no file": ("1@mask=/nowhere.nii.gz", "cannot be read"),
}


@pytest.mark.parametrize(("wanted", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_place_is_answered_in_a_sentence(wanted, message):
    output = output_at((1, 1, 1))
    with pytest.raises(TargetError, match=message):
        build_objective(output, wanted, predict(output, ("background", "lesion"), False), TargetRegions(VOLUME, INPUT))


def test_a_mask_that_the_network_did_not_see(tmp_path):
    output, mask = output_at((1, 1, 1)), np.zeros(VOLUME.shape, np.uint8)
    for name, message in (("empty", "is empty"), ("cropped", "Nothing of mask")):
        nibabel.save(nibabel.Nifti1Image(mask, VOLUME.affine), tmp_path / f"{name}.nii.gz")
        with pytest.raises(TargetError, match=message):
            build_objective(
                output, f"1@mask={tmp_path / name}.nii.gz", predict(output, (), False), TargetRegions(VOLUME, INPUT)
            )
        mask[:10] = 1


def test_a_place_needs_a_map_and_an_affine_that_holds():
    with pytest.raises(TargetError, match="one answer for the whole volume"):
        build_objective(LOGITS, "1@voxel=1,2,3", predict(LOGITS, CLASSES, False), TargetRegions(VOLUME, INPUT))
    output = output_at((1, 1, 1))
    with pytest.raises(TargetError, match="warps the voxels"):
        build_objective(
            output, "1@voxel=30,2,3", predict(output, (), False), TargetRegions(VOLUME, INPUT, affine_holds=False)
        )


def test_a_target_survives_json():
    file = VolumeFile("mask.npy", ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0)), "mask")
    for target in (
        None,
        2,
        "lesion-healthy",
        TargetSpec("a", 1, voxel=(1, 2, 3)),
        TargetSpec(mask=file),
        TargetSpec(mask="x.nii"),
    ):
        request = Request((file,), ModelSource("bundle"), "out", target=target)
        assert Request.from_json(request.to_json()) == request

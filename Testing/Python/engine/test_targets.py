import pytest
import torch
from CAMOverlayLib.engine.targets import choose_target, predict, score_of
from CAMOverlayLib.errors import TargetError

CLASSES = ("healthy", "Lesion", "artefact")
LOGITS = torch.tensor([[0.5, 2.0, -1.0]])


def test_prediction_of_a_classifier():
    prediction = predict(LOGITS, CLASSES, independent=False)
    assert prediction.name == "Lesion" and prediction.activation == "softmax"
    assert prediction.probabilities == pytest.approx(LOGITS.softmax(1)[0].tolist())
    assert prediction.outputs == (0.5, 2.0, -1.0)
    assert predict(LOGITS, ("healthy",), False).classes == ("healthy", "class 1", "class 2")


def test_prediction_of_independent_outputs():
    prediction = predict(LOGITS, CLASSES, independent=True)
    assert prediction.activation == "sigmoid"
    assert prediction.probabilities == pytest.approx(LOGITS.sigmoid()[0].tolist())
    assert predict(LOGITS[:, :1], (), False).activation == "sigmoid"


def test_a_class_is_found_by_index_by_name_and_by_default():
    prediction = predict(LOGITS, CLASSES, False)
    assert [choose_target(w, prediction) for w in (None, 0, "2", "lesion", "ARTEFACT")] == [1, 0, 2, 1, 2]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [(3, "no class 3; the network has 3: 0 healthy, 1 Lesion"), ("-1", "no class -1"), ("lesoin", "Did you mean 'lesion'")],
)
def test_an_unknown_class_is_answered_with_those_there_are(wanted, message):
    with pytest.raises(TargetError, match=message):
        choose_target(wanted, predict(LOGITS, CLASSES, False))


def test_a_segmentation_target_is_the_region_predicted_so():
    output = torch.zeros(1, 2, 4, 4, 4)
    output[0, 1, :2] = 3.0
    output.requires_grad_()
    prediction = predict(output, ("background", "organ"), False)
    score, target = score_of(output, 1, prediction)
    assert float(score) == 3.0 * 32 and "32 voxels" in target.description
    with pytest.raises(TargetError, match="No voxel is predicted as 'organ'"):
        score_of(output * 0 - torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1), 1, prediction)

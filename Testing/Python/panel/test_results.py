"""What the section Result says of each kind of answer."""

from __future__ import annotations

import numpy as np
import pytest
from CAMOverlayLib.request import Prediction
from scene.helpers import makeHeatmap, makeResult

NAMES = ("healthy", "lesion", "artefact")
ANSWERS = {
    "one of several": (((-1.0, 2.0, 0.0), (0.05, 0.8, 0.15), "softmax", 1), "Predicted <b>lesion</b> (80.0%)", [1]),
    "several at once": (
        ((-1.0, 2.0, 1.0), (0.27, 0.88, 0.73), "sigmoid", 1), "Above 50 %: <b>lesion</b> (88.0%), <b>artefact</b> (73.0%)", [1, 2],
    ),
    "none of them": (
        ((-1.0, -2.0, -3.0), (0.27, 0.12, 0.05), "sigmoid", 0), "No output is above 50 %; the highest is <b>healthy</b> (27.0%)", [],
    ),
    "numbers": (
        ((-1.0, 2.5, 30.0), (-1.0, 2.5, 30.0), "none", 0),
        "Output: <b>healthy</b> (-1), <b>lesion</b> (2.5), <b>artefact</b> (30)", [],
    ),
    "voxels": (
        ((-1.0, 2.0, 0.0), (0.6, 0.4, 0.0), "softmax", 0, (12, 4300, 0)),
        "Predicted voxels: <b>lesion</b> (4,300), <b>healthy</b> (12)", [0, 1],
    ),
    "no voxels": (((-1.0, -2.0, -2.0), (0.2, 0.1, 0.1), "sigmoid", 0, (0, 0, 0)), "No voxel is predicted as any class.", []),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "words", "bold"), ANSWERS.values(), ids=ANSWERS)
def test_each_kind_of_answer_is_told_as_what_it_is(host, panel, tmp_path, answer, words, bold):
    section, table = panel.panel.results, panel.ui.classTable
    section.show(makeResult(makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)), prediction=Prediction(NAMES, *answer)))
    assert panel.ui.predictionLabel.text.startswith(words + "<br>Shown: evidence for <b>lesion</b>")
    assert [row for row in range(3) if table.item(row, 0).font().bold()] == bold
    section.show(None)

"""What the section Result says of each kind of answer."""

from __future__ import annotations

import numpy as np
import pytest
from scene.helpers import makeHeatmap, makeResult

from CAMOverlayLib.contract.request import Prediction

NAMES = ("healthy", "lesion", "artefact")
ANSWERS = {
    "one of several": (((-1.0, 2.0, 0.0), (0.05, 0.8, 0.15), "softmax", 1), "Predicted <b>lesion</b> (80.0%)", [1]),
    "several at once": (
        ((-1.0, 2.0, 1.0), (0.27, 0.88, 0.73), "sigmoid", 1),
        "Above 50 %: <b>lesion</b> (88.0%), <b>artefact</b> (73.0%)",
        [1, 2],
    ),
    "none of them": (
        ((-1.0, -2.0, -3.0), (0.27, 0.12, 0.05), "sigmoid", 0),
        "No output is above 50 %; the highest is <b>healthy</b> (27.0%)",
        [],
    ),
    "numbers": (
        ((-1.0, 2.5, 30.0), (-1.0, 2.5, 30.0), "none", 0),
        "Output: <b>healthy</b> (-1), <b>lesion</b> (2.5), <b>artefact</b> (30)",
        [],
    ),
    "voxels": (
        ((-1.0, 2.0, 0.0), (0.6, 0.4, 0.0), "softmax", 0, (12, 4300, 0)),
        "Predicted voxels: <b>lesion</b> (4,300), <b>healthy</b> (12)",
        [0, 1],
    ),
    "no voxels": (
        ((-1.0, -2.0, -2.0), (0.2, 0.1, 0.1), "sigmoid", 0, (0, 0, 0)),
        "No voxel is predicted as any class.",
        [],
    ),
}


@pytest.mark.parametrize(("answer", "words", "bold"), ANSWERS.values(), ids=ANSWERS)
def test_each_kind_of_answer_is_told_as_what_it_is(host, panel, tmp_path, answer, words, bold):
    section, table = panel.panel.results, panel.ui.classTable
    section.show(
        makeResult(makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)), prediction=Prediction(NAMES, *answer))
    )
    assert panel.ui.predictionLabel.text.startswith(words + "<br>Shown: evidence for <b>lesion</b>")
    assert [row for row in range(3) if table.item(row, 0).font().bold()] == bold
    section.show(None)


@pytest.mark.parametrize(
    "spoil",
    [
        {"activation_spacing": ("wide", None)},
        {"activation_spacing": None},
        {"warnings": 5},
        {"steps": (None,)},
        {"steps": 7},
        {"prediction": None},
        {"prediction": Prediction(NAMES, (1.0,), ("a", "b", "c"), "softmax", 1)},
        {"prediction": Prediction((1, None, {}), (1.0, 2.0, 3.0), (0.1, 0.2, 0.7), "softmax", 1)},
        {"prediction": Prediction(NAMES, (1.0, 2.0, 3.0), (0.1, 0.2, 0.7), "softmax", 99)},
        {"prediction": Prediction(NAMES, (1.0, 2.0, 3.0), (0.1, float("nan"), 0.7), "softmax", 1)},
        {"field_of_view": None},
        {"placement": "yes"},
        {"target": 3},
    ],
    ids=lambda spoil: next(iter(spoil)),
)
def test_a_spoilt_result_raises_nothing(host, panel, tmp_path, spoil):
    from dataclasses import replace

    good = makeResult(
        makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)),
        prediction=Prediction(NAMES, *ANSWERS["one of several"][0]),
    )
    section = panel.panel.results
    section.show(replace(good, **spoil))
    assert not panel.ui.resultButton.enabled or section.shown is not None
    section.show(good)
    assert panel.ui.resultButton.enabled and panel.ui.classTable.rowCount == 3, "and the next one is shown"
    section.show(None)


def test_many_classes_do_not_hold_the_panel(host, panel, tmp_path):
    import time

    count = 100_000
    shares = np.zeros(count)
    shares[[5, 77_777]] = 0.2, 0.8
    names = tuple(f"class {i}" for i in range(count))
    many = Prediction(names, tuple(shares), tuple(shares), "softmax", 77_777)
    result = makeResult(makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)), prediction=many)
    began = time.perf_counter()
    panel.panel.results.show(result)
    panel.panel.explain.setClasses(names)
    assert time.perf_counter() - began < 5
    table = panel.ui.classTable
    listed = [table.item(row, 0).text() for row in range(table.rowCount)]
    assert "class 77777" in listed and "class 5" in listed and len(listed) <= 300
    panel.panel.results.show(None)
    panel.panel.explain.setBundle(None)

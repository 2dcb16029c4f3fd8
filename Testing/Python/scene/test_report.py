"""The report that an overlay carries: whatever a scene brings, reading it gives a sound result or none, at once."""

from __future__ import annotations

import copy
import json
import time

import pytest
import slicer
from hypothesis import given, settings
from hypothesis import strategies as st
from scene.helpers import GEOMETRIES, makeHeatmap, makeResult, makeVolume

from CAMOverlayLib.contract.request import Result, TransformStep
from CAMOverlayLib.scene.figure import picture
from CAMOverlayLib.scene.overlay import node as overlay
from CAMOverlayLib.scene.overlay.report import readReport

STEP = TransformStep(
    "Spacingd",
    {"pixdim": "(1, 1, 1)"},
    None,
    (6, 5, 4),
    None,
    (1.0, 1.0, 1.0),
    "RAS",
    tuple(map(tuple, GEOMETRIES["oblique"].tolist())),
    (0.0, 1.0),
    0.5,
    True,
    0.1,
)


@pytest.fixture
def report(tmp_path):
    return makeResult(
        makeHeatmap(tmp_path, GEOMETRIES["oblique"][:3, :3].reshape(3, 3, 1), GEOMETRIES["oblique"]), steps=(STEP,)
    ).to_json()


def overlayWith(text: str):
    node = makeVolume(GEOMETRIES["oblique"][:3, :3].reshape(3, 3, 1).astype("f4"), GEOMETRIES["oblique"])
    node.SetAttribute("CAMOverlay.Report", text)
    return node


def isUsable(text: str) -> bool:
    """Read it as the module does, and use it in every way in which the scene's side does."""
    node = overlayWith(text)
    try:
        result = overlay.resultOf(node)
        overlay._legendTitle(node)
        picture._words(node, node)
        if result is not None:
            assert Result.from_json(result.to_json()) == result
            assert result.prediction.name and overlay.predictedClasses(result.prediction) is not None
            assert isinstance(result.placement.verdict, str) and f"{result.field_of_view.share:.0%}"
        return result is not None
    finally:
        slicer.mrmlScene.RemoveNode(node)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.just(10**400)
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_one_field_holds(tmp_path_factory, data):
    voxels = GEOMETRIES["oblique"][:3, :3].reshape(3, 3, 1)
    heatmap = makeHeatmap(tmp_path_factory.getbasetemp(), voxels, GEOMETRIES["oblique"])
    values = json.loads(makeResult(heatmap, steps=(STEP,)).to_json())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from([path for path in places(values) if path]))
        holder = values
        for key in path[:-1]:
            holder = holder[key]
        if data.draw(st.booleans()):
            del holder[path[-1]]
        else:
            holder[path[-1]] = data.draw(anything)
    isUsable(json.dumps(values))


@settings(max_examples=100, deadline=None)
@given(
    text=st.text(st.characters(blacklist_characters="\x00", blacklist_categories=("Cs",)), min_size=1, max_size=200)
    | anything.map(json.dumps)
)
def test_whatever_the_attribute_is(text):
    isUsable(text)


def test_a_text_that_is_cut_anywhere(report):
    assert isUsable(report)
    assert not any(isUsable(report[:length]) for length in range(1, len(report), 37))


SPOILT = {
    "no JSON": lambda v: "{",
    "not a record": lambda v: "[]",
    "a number": lambda v: "7",
    "nested": lambda v: "[" * 100_000,
    "no prediction": lambda v: v.pop("prediction"),
    "prediction is a text": lambda v: v.update(prediction="lesion"),
    "index outside": lambda v: v["prediction"].update(index=7),
    "negative index": lambda v: v["prediction"].update(index=-1),
    "fewer outputs": lambda v: v["prediction"].update(outputs=[1.0]),
    "a probability in words": lambda v: v["prediction"].update(probabilities=["much", 0.1]),
    "fewer voxels": lambda v: v["prediction"].update(voxels=[1]),
    "no classes": lambda v: v["prediction"].update(classes=[], outputs=[], probabilities=[]),
    "a name that is none": lambda v: v["target"].update(name=None),
    "true is no index": lambda v: v["target"].update(index=True),
    "share in words": lambda v: v["field_of_view"].update(share="all"),
    "planes of three": lambda v: v["field_of_view"].update(planes=[[1, 0, 0]]),
    "steps are numbers": lambda v: v.update(steps=[1, 2]),
    "spacing is a text": lambda v: v.update(activation_spacing="wide"),
    "infinite": lambda v: v.update(magnitude=float("inf")),
    "beyond a double": lambda v: v.update(magnitude=10**400),
    "half a character": lambda v: v.update(layer="\ud800"),
    "a hundred thousand classes": lambda v: v["prediction"].update(
        classes=["x"] * 100_000, outputs=[0.5] * 100_000, probabilities=[0.5] * 100_000
    ),
}


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt(report, how):
    values = json.loads(report)
    text = SPOILT[how](values)
    started = time.perf_counter()
    assert not isUsable(
        text
        if isinstance(text, str) and how in ("no JSON", "not a record", "a number", "nested")
        else json.dumps(values)
    )
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize(
    ("then", "now"), [("proven", "verified"), ("undecided", "inconclusive"), ("refuted", "mismatch")]
)
def test_the_words_of_earlier_versions(report, then, now):
    values = json.loads(report)
    values["placement"]["verdict"] = then
    assert overlay.resultOf(overlayWith(json.dumps(values))).placement.verdict == now


def test_what_is_missing_gets_a_neutral_value_and_what_is_unknown_is_left_out(report):
    values = json.loads(report)
    for name in (
        "placement",
        "steps",
        "timings",
        "versions",
        "warnings",
        "applied",
        "network_input_shape",
        "activation_spacing",
    ):
        del values[name]
    values["heatmap"].pop("affine")
    values["invented later"] = {"a": [1, 2]}
    values["prediction"]["invented later"] = 3
    assert isUsable(json.dumps(values))
    result = readReport(json.dumps(values))
    assert result.target.name == "lesion" and result.placement.verdict == "inconclusive" and result.steps == ()
    assert all(len(row) == 4 for row in result.heatmap.affine)


def test_a_report_is_read_once(report):
    node = overlayWith(report)
    first = overlay.resultOf(node)
    assert overlay.resultOf(node) is first
    started = time.perf_counter()
    for _ in range(100):
        overlay.resultOf(node)
    print(f"resultOf of a report that was read before: {(time.perf_counter() - started) * 10:.3f} ms")
    changed = copy.deepcopy(json.loads(report))
    changed["layer"] = "another"
    node.SetAttribute("CAMOverlay.Report", json.dumps(changed))
    assert overlay.resultOf(node).layer == "another"

"""The records that cross the border: of earlier versions, with NumPy's values in every field, and spoilt."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from CAMOverlayLib.contract.errors import TargetError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.records import SpoiltRecord
from CAMOverlayLib.contract.request import SCHEMA, FieldOfView, Placement, Prediction, Request, Result, Target
from CAMOverlayLib.contract.target import TargetSpec, VolumeFile

EYE = tuple(tuple(float(row == column) for column in range(4)) for row in range(4))
WORDS = {"proven": "verified", "undecided": "inconclusive", "refuted": "mismatch"}


def result(**changes) -> Result:
    return dataclasses.replace(
        Result(
            VolumeFile("/o/heatmap.npy", EYE),
            2.5,
            (1, 2, 3),
            (1.0, 2.0, 3.0),
            Prediction(("a", "b"), (0.1, 0.9), (0.3, 0.7), "softmax", 1),
            Target(1, "b", "the output of b"),
            "layer",
            "Grad-CAM",
            "cpu",
            "/b",
            "bundle",
            "1.0",
            ("Head",),
            (4, 4, 4),
            (8.0, 8.0, 8.0),
            (32, 32, 32),
            FieldOfView(1.0),
            Placement("verified", "Alignment verified.", 1.0, "mirrored", 0.5, "affine", seconds=0.5),
            (),
        ),
        **changes,
    )


def as_written_by_version_1(verdict: str) -> dict:
    """What the first version stored: its own words, and no number of a version."""
    values = json.loads(result().to_json())
    del values["schema"]
    values["placement"].update(verdict=verdict, words=f"Placement {verdict}: more than the best of 26 others.")
    return values


@pytest.mark.parametrize("verdict", WORDS)
@pytest.mark.parametrize("schema", [None, 1, SCHEMA])
def test_a_result_of_the_first_version(verdict, schema):
    values = as_written_by_version_1(verdict) | ({} if schema is None else {"schema": schema})
    found = Result.from_dict(values)
    assert found.placement.verdict == WORDS[verdict] and found.schema == SCHEMA
    assert found.placement.words == f"Alignment {WORDS[verdict]}: more than the best of 26 others."
    assert Result.from_json(found.to_json()) == found
    assert values["placement"]["verdict"] == verdict, "what was given is left as it was"


@pytest.mark.parametrize("verdict", WORDS)
def test_a_scene_of_the_first_version_says_the_same(verdict):
    pytest.importorskip("slicer")
    from CAMOverlayLib.scene.overlay.report import readReport

    values = as_written_by_version_1(verdict)
    assert readReport(json.dumps(values)) == Result.from_dict(values)


def test_a_result_of_a_later_version_is_read_as_far_as_it_is_known():
    values = json.loads(result().to_json()) | {"schema": SCHEMA + 1, "invented later": 1}
    assert Result.from_dict(values).schema == SCHEMA + 1


def test_a_request_of_the_first_version():
    values = json.loads(
        Request((VolumeFile("/v.npy", EYE),), ModelSource("/b"), "/o", target=TargetSpec(1, voxel=(1, 2, 3))).to_json()
    )
    for name in ("schema", "model", "amp", "slices"):
        del values[name]
    found = Request.from_dict(values | {"bundle": "/b", "trust": True})
    assert found.model == ModelSource("/b", trust=True) and found.target == TargetSpec(1, voxel=(1, 2, 3))


def in_numpy(value):
    """The same in NumPy's types, with arrays for lists of numbers."""
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, (int, float)):
        return np.asarray(value)[()]
    if isinstance(value, str):
        return np.str_(value)
    if isinstance(value, tuple) and value and not dataclasses.is_dataclass(value[0]):
        return np.asarray(value) if not isinstance(value[0], str) else tuple(map(np.str_, value))
    return value


REQUESTS = {
    "a class": {"target": 1},
    "a name": {"target": "b"},
    "a voxel": {"target": TargetSpec(1, 0, voxel=(1, 2, 3))},
    "a point": {"target": TargetSpec("b", ras=(1.5, 2.0, -3.0))},
}


@pytest.mark.parametrize("how", REQUESTS)
def test_numpy_in_every_field(how):
    plain = Request(
        (VolumeFile("/v.npy", EYE, "Head"),),
        ModelSource("/b", True, "0" * 64, ("a.json", "b.json")),
        "/o",
        layer="x",
        inverse="affine",
        verify=True,
        interpolation="nearest",
        intermediates_folder="/t",
        slices="axial",
        amp=True,
        **REQUESTS[how],
    )

    def changed(record):
        return type(record)(**{f.name: changed_value(getattr(record, f.name)) for f in dataclasses.fields(record)})

    def changed_value(value):
        if dataclasses.is_dataclass(value):
            return changed(value)
        if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            return tuple(map(changed, value))
        return in_numpy(value)

    found = changed(plain)
    assert found == plain and found.to_json() == plain.to_json()
    assert all(type(getattr(found, f.name)) is type(getattr(plain, f.name)) for f in dataclasses.fields(plain))
    assert Request.from_json(found.to_json()) == plain


@pytest.mark.parametrize("value", [np.array([1, 2]), np.bool_(True), np.float64(1.5), np.nan, {}, object(), b"b"])
def test_what_is_no_class_is_none_in_numpy_either(value):
    with pytest.raises(TargetError, match="not a class"):
        Request((), ModelSource("/b"), "/o", target=value)


@pytest.mark.parametrize(
    "value", [np.array([1, 2]), np.array([1.5, 2, 3]), np.zeros((3, 1)), np.array(["a", "b", "c"])]
)
def test_what_is_no_voxel_is_none_in_numpy_either(value):
    with pytest.raises(TargetError, match="The voxel"):
        TargetSpec(1, voxel=value)


def test_a_spoilt_field_is_named():
    with pytest.raises(SpoiltRecord, match=r"Result\.placement\.score"):
        Result.from_dict(
            json.loads(result().to_json()) | {"placement": {"verdict": "proven", "words": "", "score": "x"}}
        )

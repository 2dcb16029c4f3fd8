"""A map before it is finished: the same map at the same place, on fewer voxels, for those who ask for it."""

import dataclasses

import nibabel
import numpy as np
import pytest
import support
from geometries import GEOMETRIES
from hypothesis import given, settings
from hypothesis import strategies as st
from support import FEW

from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.contract.request import Request
from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME
from CAMOverlayLib.engine import sketch
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.sketch import coarsened


@pytest.fixture(scope="module")
def demo():
    image = nibabel.load(DEMO_VOLUME)
    return np.asfortranarray(image.dataobj), image.affine


def run(volume, tmp_path, **options):
    """The result, and what was drawn before it, with its voxels."""
    drawn = []

    def report(progress):
        if progress.sketch is not None:
            drawn.append((progress, np.load(progress.sketch.path)))

    (tmp_path / "out").mkdir(exist_ok=True)
    asked = dataclasses.replace(support.request((volume,), DEMO_BUNDLE, tmp_path / "out"), **options)
    return explain(asked, report), drawn


@pytest.mark.parametrize("method", ["gradcam", "refined"])
def test_it_is_the_finished_map_on_fewer_voxels(demo, export, tmp_path, method):
    result, drawn = run(export(*demo), tmp_path, method=method, sketch=True)
    ((progress, found),) = drawn
    assert progress.stage == "backward"
    assert found.dtype == np.float32
    assert found.flags.f_contiguous
    finished = np.load(result.heatmap.path)
    assert max(found.shape) <= sketch.LARGEST < max(finished.shape)
    # Each of its voxels has about the mean of those that it stands for.
    index = np.linalg.inv(np.array(result.heatmap.affine)) @ np.array(progress.sketch.affine)
    factors = np.rint(np.diag(index)[:3]).astype(int)
    assert np.allclose(index[:3, :3], np.diag(factors), atol=1e-6)
    whole = [(0, n * f - m) for n, f, m in zip(found.shape, factors, finished.shape)]
    blocks = np.pad(finished, whole, mode="edge").reshape([n for pair in zip(found.shape, factors) for n in pair])
    means = blocks.mean((1, 3, 5))
    assert np.abs(found * means.max() / found.max() - means).max() < 0.15
    assert np.corrcoef(found.ravel(), means.ravel())[0, 1] > 0.99
    hottest = np.array(np.unravel_index(found.argmax(), found.shape))
    assert np.abs(index[:3] @ [*hottest, 1] - result.peak).max() <= 2 * np.abs(np.diag(index)[:3]).max()


def test_only_those_who_ask_get_one_and_the_result_is_the_same(demo, export, tmp_path):
    volume = export(*demo)
    asked, drawn = run(volume, tmp_path, sketch=True)
    heat = np.load(asked.heatmap.path)
    (tmp_path / "out/sketch-1.npy").unlink()
    unasked, none = run(volume, tmp_path)
    assert drawn and not none
    assert not list(tmp_path.glob("out/sketch*"))
    assert np.array_equal(np.load(unasked.heatmap.path), heat)
    assert unasked.peak == asked.peak


def test_of_occlusion_the_first_round_is_shown_too(demo, export, tmp_path):
    result, drawn = run(export(*demo), tmp_path, method="occlusion", sketch=True)
    (first, coarse), (_, last) = drawn
    assert 0 < first.fraction < 0.69
    assert first.message == "Occlusion"
    assert coarse.max() == pytest.approx(1, abs=0.05)
    assert not np.array_equal(coarse, last)
    finished = np.load(result.heatmap.path)
    there = np.array(result.peak) * coarse.shape // finished.shape
    assert coarse[tuple(there)] > 0.5, "the place that is the hottest in the end is hot at first"


def test_where_the_operations_bring_the_map_back_there_is_none(demo, export, tmp_path):
    assert not run(export(*demo), tmp_path, sketch=True, inverse="operations")[1]


def test_a_request_with_and_without_it_crosses_the_border(tmp_path):
    asked = support.request((), DEMO_BUNDLE, tmp_path)
    for one in (asked, dataclasses.replace(asked, sketch=True)):
        assert Request.from_dict(one.to_dict()) == one


@pytest.mark.parametrize("name", FEW(GEOMETRIES, "oblique LPS"))
@settings(max_examples=support.examples(60), deadline=None)
@given(shape=st.tuples(*[st.integers(1, 700)] * 3), most=st.integers(1, 200))
def test_whole_voxels_are_put_together(name, shape, most):
    grid = Grid(shape, GEOMETRIES[name])
    found = coarsened(grid, most)
    assert max(found.shape) <= most
    assert np.allclose(found.to_ras([-0.5] * 3), grid.to_ras([-0.5] * 3), atol=1e-6), "the same first corner"
    index = grid.index_from(found)
    factors = np.diag(index)[:3]
    assert np.allclose(index[:3, :3], np.diag(np.rint(factors)), atol=1e-6)
    reach = np.array(found.shape) * np.rint(factors)
    assert (reach >= shape).all()
    assert (reach - shape < np.rint(factors)).all(), "no voxel is empty"

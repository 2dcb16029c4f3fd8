"""Names of classes and shapes, in all the forms in which bundles write them, and in none at all."""

from pathlib import Path

import pytest

from CAMOverlayLib.contract import bundle_files
from CAMOverlayLib.contract.bundle_files import info_of
from CAMOverlayLib.contract.bundle_metadata import LONGEST, MOST


def info(output=None, entry=None, **metadata):
    data_format = {"inputs": {"image": entry or {}}, "outputs": {"pred": output or {}}}
    return info_of(Path("bundle"), {"network_data_format": data_format, **metadata})


NAMES = ("background", "liver", "spleen")


@pytest.mark.parametrize(
    "output",
    [
        {"channel_def": {"0": "background", "1": "liver", "2": "spleen"}},
        {"label_def": {"0": "background", "1": "liver", "2": "spleen"}},
        {"label_def": {"2": "spleen", "0": "background", "1": "liver"}},
        {"channel_def": {}, "label_def": {0: "background", 1: "liver", 2: "spleen"}},
        {"channel_def": ["background", "liver", "spleen"]},
        {"labels": {"background": 0, "liver": 1, "spleen": "2"}},
        {"class_names": ["background", " liver ", "spl\teen".replace("\t", "")]},
        {"label_def": {"1": "liver", "2": "spleen"}, "format": "segmentation"},
        {"label_def": {"1": {"name": "liver"}, "2": {"name": "spleen", "color": [1, 2, 3]}}, "format": "labels"},
        {"classes": [{"id": 0, "name": "background"}, {"id": 1, "name": "liver"}, {"id": 2, "name": "spleen"}]},
    ],
)
def test_class_names_in_every_form(output):
    assert info(output).classes == NAMES


def test_names_beside_the_outputs_and_of_the_first_output_only():
    assert info(labels={"0": "background", "1": "liver", "2": "spleen"}).classes == NAMES
    several = {"inputs": {}, "outputs": {"a": {"label_def": {"0": "x", "1": "y"}}, "b": {"channel_def": {"0": "z"}}}}
    assert info_of(Path("b"), {"network_data_format": several}).classes == ("x", "y")


def test_gaps_have_numbers():
    assert info({"channel_def": {"0": "a", "2": "c"}}).classes == ("a", "class 1", "c")
    assert info({"channel_def": {"1": "a"}, "format": "classes"}).classes == ("class 0", "a")


@pytest.mark.parametrize(
    "given",
    [
        None,
        3,
        "liver",
        {"a": "b"},
        {"a": ["b"]},
        {"1000000000": "a"},
        {"-1": "a"},
        {str(MOST): "a"},
        {"0": None},
        {"0": ""},
        [None],
        [[]],
        {"0": {"a": 1}, "x": "y"},
        {"0.5": "a"},
        {"١": "a"},
        [True],
    ],
)
def test_what_names_no_classes_is_left_out(given):
    classes = info({"channel_def": given, "label_def": given}).classes
    assert classes == () or (all(isinstance(name, str) and name for name in classes) and len(classes) <= MOST)


def test_a_name_is_one_short_line():
    (name,) = info({"channel_def": {"0": "a\x1b[1m\nb" + "c" * 2_000_000}}).classes
    assert len(name) <= LONGEST and name.startswith("a [1m b") and name.isprintable()


@pytest.mark.parametrize(
    ("entry", "channels", "shape"),
    [
        ({"num_channels": 3, "spatial_shape": [256, 256]}, 3, (256, 256)),
        ({"num_channels": "3", "spatial_shape": ["256", "256"]}, 3, (256, 256)),
        ({"num_channels": 3.0, "spatial_shape": ["16*n", 96, "8*n"]}, 3, ("16*n", 96, "8*n")),
        ({"num_channels": "two", "spatial_shape": 3}, None, ()),
        ({"num_channels": [1], "spatial_shape": {"a": 1}}, None, ()),
        ({"num_channels": {}, "spatial_shape": [[1], 2]}, None, ()),
        ({"num_channels": float("nan"), "spatial_shape": [1] * 9}, None, ()),
        ({"num_channels": float("inf"), "spatial_shape": [0, -1]}, None, ()),
        ({"num_channels": 1e400, "spatial_shape": None}, None, ()),
        ({"num_channels": -1, "spatial_shape": "96"}, None, ()),
        ({"num_channels": True, "spatial_shape": [True]}, None, ()),
        ({"num_channels": 10**30}, None, ()),
    ],
)
def test_numbers_as_numbers_or_strings(entry, channels, shape):
    assert (info(entry=entry).channels, info(entry=entry).spatial_shape) == (channels, shape)


@pytest.mark.parametrize(
    "data_format",
    [
        [],
        3,
        None,
        {"inputs": 3},
        {"inputs": [], "outputs": {}},
        {"inputs": {"image": 3}, "outputs": {"pred": []}},
        {"outputs": [{"channel_def": {"0": "a"}}]},
    ],
)
def test_metadata_of_any_shape_is_read(data_format):
    said = info_of(Path("bundle"), {"network_data_format": data_format})
    assert said.channels is None and said.spatial_shape == () and said.classes in ((), ("a",))
    assert bundle_files.info_of(Path("bundle"), {}).name == "bundle"

"""What MONAI's loader makes of voxels in memory is to the bit what it makes of their file, and the file is written only
for chains that open it."""

import dataclasses
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES
from monai.data import ITKReader, MetaTensor, NibabelReader, PILReader
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    Lambdad,
    LoadImage,
    LoadImaged,
    MapTransform,
    OneOf,
    Orientationd,
    ScaleIntensityd,
    Spacingd,
    ToTensord,
)

from CAMOverlayLib.contract.errors import PreprocessingError
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing import inputs
from CAMOverlayLib.engine.preprocessing.from_memory import from_memory, loads_from_memory
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing

IMAGE = "image"
TYPES = (
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
)
SHAPES = {"volume": (7, 5, 4), "thin": (7, 5, 1), "2-D": (7, 5), "colour": (7, 5, 4, 3), "colour 2-D": (7, 5, 3)}


def voxels(kind="int16", shape=(7, 5, 4)):
    rng = np.random.default_rng(3)
    values = (
        rng.normal(0, 90, shape)
        if np.dtype(kind).kind in "if"
        else rng.integers(0, 2 if kind == "bool" else 250, shape)
    )
    return np.asfortranarray(values.astype(kind))


def same(one, other):
    """Two things that a loader returned: array, type, order in memory, affine, every piece of metadata."""
    if isinstance(one, (tuple, list)):
        assert type(one) is type(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, MetaTensor):
        assert isinstance(other, MetaTensor)
        assert one.dtype == other.dtype
        assert one.stride() == other.stride()
        assert torch.equal(one.as_tensor(), other.as_tensor())
        same(one.meta, other.meta)
        assert one.applied_operations == other.applied_operations
    elif isinstance(one, (np.ndarray, np.generic, torch.Tensor)):
        a, b = np.asarray(one), np.asarray(other)
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    else:
        assert type(one) is type(other)
        assert repr(one) == repr(other)


def both(loader, volumes, folder, wrap=lambda files: files[0] if len(files) == 1 else files):
    """What a loader makes of the files, and of the volumes while there are no such files."""
    files = [folder / f"channel_{n}.nii" for n in range(len(volumes))]
    given = wrap([str(f) for f in files])
    run = from_memory(loader, {str(f): v for f, v in zip(files, volumes)})
    assert run is not loader
    found = run(given)
    assert not any(f.exists() for f in files)
    for file, volume in zip(files, volumes):
        write_nifti(volume, file)
    return loader(given), found


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wanted", [np.float32, None], ids=["float32", "as it is"])
def test_every_type(kind, wanted, tmp_path):
    same(*both(LoadImage(dtype=wanted), [Volume(voxels(kind), GEOMETRIES["oblique LPS"], "v")], tmp_path))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_geometry(name, tmp_path):
    same(*both(LoadImage(), [Volume(voxels(), GEOMETRIES[name], "v")], tmp_path))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channel_first", [False, True])
@pytest.mark.parametrize("image_only", [False, True])
@pytest.mark.parametrize("order", ["F", "C", "reversed"])
def test_every_shape(shape, channel_first, image_only, order, tmp_path):
    array = voxels(shape=SHAPES[shape])
    array = np.ascontiguousarray(array) if order == "C" else array[::-1] if order == "reversed" else array
    loader = LoadImage(image_only=image_only, ensure_channel_first=channel_first)
    same(*both(loader, [Volume(array, GEOMETRIES["oblique LPS"], "v")], tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"reader": "NibabelReader"},
        {"reader": "NibabelReader", "as_closest_canonical": True},
        {"as_closest_canonical": True},
        {"channel_dim": -1},
        {"channel_dim": "no_channel", "reader": NibabelReader},
        {"reader": NibabelReader(squeeze_non_spatial_dims=True)},
        {"simple_keys": True},
        {"prune_meta_pattern": ".*_code$", "prune_meta_sep": " "},
        {"expanduser": False},
    ],
    ids=repr,
)
def test_every_setting(options, tmp_path):
    shape = SHAPES["colour"] if options.get("channel_dim") == -1 else SHAPES["volume"]
    same(*both(LoadImage(**options), [Volume(voxels(shape=shape), GEOMETRIES["oblique LPS"], "v")], tmp_path))


@pytest.mark.parametrize("kind", ["int16", "float32"])
def test_several_channels(kind, tmp_path):
    volumes = [Volume(voxels(kind) + n, GEOMETRIES["oblique LPS"], "v") for n in range(3)]
    same(*both(LoadImage(ensure_channel_first=True), volumes, tmp_path))


@pytest.mark.parametrize("image_only", [False, True])
def test_the_version_for_dictionaries(image_only, tmp_path):
    loader = LoadImaged((IMAGE, "other"), image_only=image_only, ensure_channel_first=True)
    volumes = [Volume(voxels() + n, GEOMETRIES["oblique LPS"], "v") for n in range(2)]
    same(*both(loader, volumes, tmp_path, lambda files: dict(zip((IMAGE, "other"), files))))


@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_a_transform_that_writes_into_its_image_leaves_the_volume_alone(kind, tmp_path):
    volume = Volume(voxels(kind), np.eye(4), "v")
    before = volume.array.copy()
    for dtype in (kind, None):
        image = from_memory(LoadImage(dtype=dtype), {"v.nii": volume})("v.nii")
        image.mul_(0)
        assert np.array_equal(volume.array, before)


class OpensThePath(MapTransform):
    """Somebody's own loader."""

    def __call__(self, data):
        return {**data, IMAGE: LoadImage()(data[IMAGE])}


def chain(*first, **options):
    return Compose([*(first or (LoadImaged(IMAGE),)), EnsureChannelFirstd(IMAGE), Orientationd(IMAGE, "RAS"),
                    Spacingd(IMAGE, (2, 2, 2)), ScaleIntensityd(IMAGE)], **options)  # fmt: skip


FROM_MEMORY = {
    "usual": lambda: chain(),
    "nested": lambda: Compose([Compose([LoadImaged(IMAGE)]), *chain().transforms[1:]]),
    "lazy": lambda: chain(lazy=True),
    "asks a function of the voxels": lambda: Compose(
        [*chain().transforms, CropForegroundd(IMAGE, IMAGE, lambda x: x > 0)]
    ),
    "reader of NIfTI files by name": lambda: chain(LoadImaged(IMAGE, reader="NibabelReader")),
}

FROM_A_FILE = {
    "a loader of one's own": lambda: chain(OpensThePath(IMAGE)),
    "a reader by name": lambda: chain(LoadImaged(IMAGE, reader=["PILReader", "NibabelReader", Counting])),
    "a function of one's own": lambda: chain(LoadImaged(IMAGE), Lambdad(IMAGE, lambda x: x)),
    "nothing that loads": lambda: Compose([ToTensord(IMAGE)]),
    "one of its own inside": lambda: Compose([LoadImaged(IMAGE), OneOf([OpensThePath(IMAGE)])]),
}


class Counting(NibabelReader):
    """A reader of somebody's own."""


@pytest.mark.parametrize("name", FROM_MEMORY)
def test_chains_of_known_transforms_need_no_file(name, tmp_path):
    assert loads_from_memory(FROM_MEMORY[name](), [tmp_path / "v.nii"])


@pytest.mark.parametrize("name", FROM_A_FILE)
def test_chains_that_may_open_the_file_get_one(name, tmp_path):
    assert not loads_from_memory(FROM_A_FILE[name](), [tmp_path / "v.nii"])


@pytest.mark.parametrize("reader", [ITKReader, PILReader])
def test_another_reader_of_monai_gets_a_file(reader, tmp_path):
    loader = LoadImaged(IMAGE)
    loader.register(object.__new__(reader))  # the last that is registered is asked first
    loader._loader.auto_select = False
    assert not loads_from_memory(chain(loader), [tmp_path / "v.nii"])


def model_of(steps):
    """As much of a model as running its chain needs."""
    return type("Chained", (), {"folder": None, "chain": steps})


def run(steps, volume, folder, **options):
    file = folder / "channel_0.nii"
    trace = inputs._through_chain(model_of(steps), {file: volume}, None, False, **options)
    return trace, file.exists()


@pytest.mark.parametrize("name", FROM_MEMORY)
def test_the_network_gets_the_same_input(name, tmp_path):
    volume = Volume(voxels(shape=(12, 11, 9)), GEOMETRIES["oblique LPS"], "v")
    (tmp_path / "a").mkdir()
    found, written = run(FROM_MEMORY[name](), volume, tmp_path / "a")
    assert not written
    expected = trace_preprocessing(FROM_MEMORY[name](), [write_nifti(volume, tmp_path / "a" / "channel_0.nii")])
    assert torch.equal(found.image.as_tensor(), expected.image.as_tensor())
    assert torch.equal(torch.as_tensor(found.image.affine), torch.as_tensor(expected.image.affine))
    assert [dataclasses.replace(s, seconds=0, parameters={}) for s in found.steps] == [
        dataclasses.replace(s, seconds=0, parameters={}) for s in expected.steps
    ]


def test_the_chain_is_left_as_it_was(tmp_path):
    loader = LoadImaged(IMAGE)
    readers = list(loader._loader.readers)
    run(chain(loader), Volume(voxels(shape=(12, 11, 9)), np.eye(4), "v"), tmp_path)
    assert loader._loader.readers == readers


def test_a_loader_of_ones_own_finds_its_file(tmp_path):
    volume = Volume(voxels(shape=(12, 11, 9)), GEOMETRIES["oblique LPS"], "v")
    found, written = run(chain(OpensThePath(IMAGE)), volume, tmp_path)
    assert written
    (tmp_path / "a").mkdir()
    usual, _ = run(chain(), volume, tmp_path / "a")
    assert torch.equal(found.image.as_tensor(), usual.image.as_tensor())


def test_a_function_that_opens_the_file_after_all_gets_one(tmp_path):
    opened = []

    def above(image):
        opened.append(Path(image.meta["filename_or_obj"]).stat().st_size)
        return image > 0

    steps = Compose([*chain().transforms, CropForegroundd(IMAGE, IMAGE, above, allow_smaller=True)])
    _, written = run(steps, Volume(voxels(shape=(12, 11, 9)), np.eye(4), "v"), tmp_path)
    assert written
    assert opened


def test_a_chain_that_fails_for_another_reason_writes_nothing(tmp_path):
    steps = chain(LoadImaged(IMAGE), ScaleIntensityd("nowhere"))
    with pytest.raises(PreprocessingError, match="ScaleIntensityd"):
        run(steps, Volume(voxels(), np.eye(4), "v"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_monai_still_takes_a_reader_when_it_is_called():
    for loader in (LoadImage, LoadImaged):
        assert list(inspect.signature(loader.__call__).parameters)[2] == "reader"

"""A map that is born in its file is the file that would have been written, and none where the run ends early."""

import errno
import gc
import os
import sys

import numpy as np
import pytest

from CAMOverlayLib.contract.errors import OutputError
from CAMOverlayLib.engine.geometry import unnamed_file
from CAMOverlayLib.engine.geometry.unnamed_file import WORTH_IT, UnnamedFile, name_file, zeros_for
from CAMOverlayLib.engine.geometry.volume import save_array

LARGE = (160, 210, 130)
AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="files without a name are Linux's")


def filled(folder, shape=LARGE):
    array = zeros_for(folder, shape)
    assert array.shape == shape and array.dtype == np.float32 and array.flags.f_contiguous and not array.any()
    array[...] = np.random.default_rng(0).random(shape, np.float32)
    return array


@linux
def test_the_file_is_byte_for_byte_that_of_an_array_in_memory(tmp_path):
    array = filled(tmp_path)
    assert isinstance(array.base, UnnamedFile) and not os.listdir(tmp_path)
    saved = save_array(array, AFFINE, "heat", tmp_path / "born.npy")
    assert saved.path == str(tmp_path / "born.npy") and saved.name == "heat"
    save_array(np.array(array, order="F"), AFFINE, "heat", tmp_path / "written.npy")
    assert (tmp_path / "born.npy").read_bytes() == (tmp_path / "written.npy").read_bytes()
    assert (tmp_path / "born.npy").stat().st_mode == (tmp_path / "written.npy").stat().st_mode
    expected = array.copy()
    del array
    gc.collect()
    np.testing.assert_array_equal(np.load(tmp_path / "born.npy", mmap_mode="r"), expected)


@linux
def test_an_earlier_file_is_replaced_and_who_has_it_mapped_keeps_what_was_in_it(tmp_path):
    path = tmp_path / "heatmap.npy"
    save_array(np.full((2, 3, 4), 7, np.float32), AFFINE, "before", path)
    before = np.load(path, mmap_mode="r")
    array = filled(tmp_path)
    save_array(array, AFFINE, "heat", path)
    np.testing.assert_array_equal(np.load(path), array)
    assert (before == 7).all()


@linux
def test_nothing_is_left_of_a_run_that_ends_early(tmp_path):
    open_before = len(os.listdir("/proc/self/fd"))
    array = filled(tmp_path)
    assert len(os.listdir("/proc/self/fd")) > open_before
    del array
    gc.collect()
    assert not os.listdir(tmp_path) and len(os.listdir("/proc/self/fd")) == open_before


def test_a_part_or_a_copy_of_it_is_written_as_any_array_is(tmp_path):
    array = filled(tmp_path)
    for name, one in {"part": array[:, :, :100], "copy": array.copy(order="F"), "turned": array[::-1]}.items():
        assert not name_file(one, tmp_path / name)
        save_array(one, AFFINE, name, tmp_path / f"{name}.npy")
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), one)


def test_small_arrays_are_in_memory(tmp_path):
    assert WORTH_IT > 4 * 30**3 and zeros_for(tmp_path, (30, 30, 30)).base is None


@linux
@pytest.mark.parametrize("reason", ["no space", "no such files"])
def test_where_there_can_be_no_such_file_the_array_is_in_memory(tmp_path, monkeypatch, reason):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if reason == "no space":
        monkeypatch.setattr(unnamed_file.os, "posix_fallocate", refuse)
    else:
        monkeypatch.delattr(unnamed_file.os, "O_TMPFILE")
    open_before = len(os.listdir("/proc/self/fd"))
    array = filled(tmp_path)
    assert not isinstance(array.base, UnnamedFile) and len(os.listdir("/proc/self/fd")) == open_before
    save_array(array, AFFINE, "heat", tmp_path / "heatmap.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "heatmap.npy"), array)


@linux
def test_a_name_that_cannot_be_given_is_an_error_that_says_why(tmp_path):
    array = filled(tmp_path)
    with pytest.raises(OutputError, match=r"heatmap\.npy.*No such file or directory"):
        save_array(array, AFFINE, "heat", tmp_path / "missing" / "heatmap.npy")

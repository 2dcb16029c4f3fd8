"""How much memory the preprocessing takes is said before it begins, and what cannot fit is refused."""

import numpy as np
import pytest
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, Resized, Rotated, Spacingd
from support import request

from CAMOverlayLib.contract.errors import DeviceError
from CAMOverlayLib.engine.geometry.volume import Volume
from CAMOverlayLib.engine.pipeline import explain
from CAMOverlayLib.engine.preprocessing import memory
from CAMOverlayLib.engine.preprocessing.memory import PLAIN, RESAMPLED, Need, free_memory, need_of

IMAGE = "image"
LOAD = [LoadImaged(IMAGE), EnsureChannelFirstd(IMAGE)]


def large(count=1, components=()):
    """Volumes of 2.1 GB of int16 that take no memory."""
    array = np.broadcast_to(np.int16(0), (1024, 1024, 1000, *components))
    return [Volume(array, np.eye(4), "v")] * count


def test_what_a_chain_takes():
    plain = Compose([*LOAD, Resized(IMAGE, (64, 64, 64))])
    resampled = Compose([*LOAD, Compose([Spacingd(IMAGE, (2, 2, 2)), Rotated(IMAGE, (0.1, 0, 0))])])
    image = 4 * 1024 * 1024 * 1000
    assert need_of(plain, large()).image == image
    assert need_of(plain, large()).peak == PLAIN * image
    assert need_of(resampled, large()).peak == RESAMPLED * image
    assert need_of(plain, large(2)).image == 2 * image
    assert need_of(plain, large(1, (3,))).image == 3 * image


def test_it_is_said_warned_of_and_refused():
    assert Need(1e6, 3e6, 1e9).words() == ""
    assert Need(1e9, 3e9, 8e9).words() == "up to 3.0 GB of memory, 8.0 GB are free"
    assert Need(1e9, 3e9, None).words() == "up to 3.0 GB of memory"
    assert Need(1e9, 3e9, 8e9).note() == Need(1e9, 3e9, None).note() == ""
    assert "may need 3.0 GB of memory where 2.0 GB were free" in Need(1e9, 3e9, 2e9).note()
    Need(1e9, 3e9, 2e9).require()
    Need(1e9, 3e9, None).require()
    with pytest.raises(DeviceError, match=r"takes 1\.0 GB, and 3\.0 GB are needed in all; 0\.5 GB are free\. Crop"):
        Need(1e9, 3e9, 5e8).require()


def test_what_is_free(tmp_path):
    here = free_memory()
    assert here is None or here > 1e6
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 8000 kB\n")
    assert free_memory(tmp_path) == 8000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("3000000\n")
    (group / "memory.max").write_text("max\n")
    assert free_memory(tmp_path) == 8000 * 1024
    (group / "memory.max").write_text("5000000\n")
    assert free_memory(tmp_path) == 2000000
    (group / "memory.stat").write_text("anon 7\ninactive_file 1000000\n")
    assert free_memory(tmp_path) == 3000000


@pytest.fixture
def asked(make_bundle, export, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 500, (20, 20, 20)).astype(np.int16)
    (tmp_path / "out").mkdir()
    return request((export(voxels, np.eye(4)),), make_bundle(), tmp_path / "out")


def test_a_volume_that_cannot_fit_is_refused_before_anything_is_computed(asked, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 31_000.0)  # it takes 32 000 bytes
    names = []
    with pytest.raises(DeviceError, match="Not enough memory"):
        explain(asked, lambda progress: names.append(progress.message))
    assert not any("LoadImage" in name for name in names)


def test_a_tight_fit_is_said_with_the_steps_and_in_the_result(asked, monkeypatch):
    monkeypatch.setattr(memory, "free_memory", lambda: 40_000.0)
    monkeypatch.setattr(memory, "WORTH_SAYING", 1.0)
    said = []
    result = explain(asked, lambda progress: said.append(progress.message))
    assert any("LoadImaged (up to 0.0 GB of memory" in words for words in said)
    assert any("may need" in words for words in result.warnings)

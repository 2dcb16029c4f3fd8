"""How many times a volume's float32 size the preprocessing takes at its peak, in this fresh process, beside what is
loaded anyway; and a hash of what the network gets.

    python Testing/Benchmarks/memory.py orient|crop|spacing|fine [SLICES]
"""

from __future__ import annotations

import gc
import hashlib
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CAMOverlay"))

import numpy as np
import torch
from bench import peak, reset_peak
from monai.transforms import Compose, CropForegroundd, EnsureChannelFirstd, LoadImaged, Orientationd, Resized, Spacingd

from CAMOverlayLib.engine.geometry.volume import read_volume, save_array
from CAMOverlayLib.engine.preprocessing import inputs


def chain(which: str) -> Compose:
    """``fine``: onto a grid about as fine as the volume's."""
    key = "image"
    crop = [CropForegroundd(key, key, lambda x: x > -400)] if which != "orient" else []
    pixdim = {"spacing": (1.5, 1.5, 2.0), "fine": (0.8, 0.8, 1.0)}.get(which)
    spacing = [Spacingd(key, pixdim)] if pixdim else []
    first = [LoadImaged(key), EnsureChannelFirstd(key), Orientationd(key, "RAS", labels=None)]
    return Compose([*first, *crop, *spacing, Resized(key, (128, 128, 96))])


def main(which: str, slices: str = "240") -> None:
    shape = (512, 512, int(slices))
    coarse = torch.randn((1, 1, 32, 32, 16), generator=torch.Generator().manual_seed(0))
    voxels = (torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0, 0] * 300).short().numpy()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        affine = np.diag([-0.8, -0.8, 1.5, 1.0])
        volume = read_volume(save_array(np.asfortranarray(voxels), affine, "ct", folder / "ct.npy"))
        del voxels
        volume.array.sum()  # all of it mapped
        gc.collect()
        before = reset_peak()
        model: Any = SimpleNamespace(folder=None, chain=chain(which))
        monitored = inputs._monitored([volume])
        trace = inputs._through_chain(model, {folder / "channel_0.nii": volume}, None, False, monitored, volume.grid)
        times = (peak() - before) * 1024 / (4 * volume.array.size)
    print(f"{which}: {times:.2f} × float32  {hashlib.sha1(trace.image.as_tensor().numpy().tobytes()).hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])

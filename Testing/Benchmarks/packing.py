"""What packing the heatmap of a 512×512×240 volume costs, by whom: seconds, seconds of a core, and the size.

python Testing/Benchmarks/packing.py [--rounds 2]      # zlib_ng, where that is installed, too
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CAMOverlay"))

import nibabel
import numpy as np
import torch

from CAMOverlayLib.contract import packed
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti


def heatmap() -> np.ndarray:
    """A map of 4×4×3 activations on the volume, with a margin that the network did not see."""
    coarse = torch.rand((1, 1, 4, 4, 3), generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(512, 512, 240), mode="trilinear")[0, 0].numpy()
    seen = np.zeros_like(fine)
    seen[60:-60, 60:-60] = fine[60:-60, 60:-60]
    return np.asfortranarray(seen)


def measure(name: str, work: Callable[[], int], rounds: int) -> None:
    found = []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        size = work()
        found.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, core = (min(column) for column in zip(*found))
    print(f"{name:28s} {wall:6.2f} s  {core:6.2f} s of a core  {size / 1e6:6.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    rounds, heat = parser.parse_args().rounds, heatmap()
    raw = heat.T.reshape(-1).view(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "heatmap.nii.gz"

        def by_nibabel() -> int:
            nibabel.save(nibabel.Nifti1Image(heat, np.eye(4)), file)
            return file.stat().st_size

        def in_parts() -> int:
            write_nifti(Volume(heat, np.eye(4), "heatmap"), file)
            return file.stat().st_size

        measure("nibabel", by_nibabel, rounds)
        measure(f"in parts, {packed.packing.__name__}", in_parts, rounds)
        packed.packing = zlib
        measure("in parts, zlib", in_parts, rounds)
    for name, levels in (("zlib", (6,)), ("isal.isal_zlib", (0, 2)), ("zlib_ng.zlib_ng", (1, 2))):
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            library: Any = importlib.import_module(name)
            for level in levels:
                measure(
                    f"{name}, level {level}", lambda pack=library.compress, level=level: len(pack(raw, level)), rounds
                )


if __name__ == "__main__":
    main()

"""What MONAI's loader costs on a 512×512×240 CT: through a file that is written for it, and from memory.

python Testing/Benchmarks/loading.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CAMOverlay"))

import numpy as np
from monai.transforms import LoadImage

from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.from_memory import from_memory

SHAPE = (512, 512, 240)


def best(work: Callable[[], Any], rounds: int) -> str:
    """Of some rounds the shortest time, and the least that was taken of the cores."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, core = (min(column) for column in zip(*found))
    return f"{wall:6.3f} s  {core:6.3f} s of a core"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    voxels = np.random.default_rng(0).integers(-1000, 1000, SHAPE, dtype=np.int16)
    volume, loader = Volume(np.asfortranarray(voxels), np.diag([-0.8, -0.8, 1.5, 1.0]), "ct"), LoadImage()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ct.nii"
        print("write the file  ", best(lambda: write_nifti(volume, file), rounds))
        print("load the file   ", best(lambda: loader(str(file)), rounds))
    from_voxels = from_memory(loader, {"ct.nii": volume})
    print("load from memory", best(lambda: from_voxels("ct.nii"), rounds))


if __name__ == "__main__":
    main()

"""What the trust card says of maps of which the truth is known: ``make trust-card``, some minutes, seeds fixed.

    python Testing/Benchmarks/trust_card.py [--volumes 12] [--json output/trust_card.json]

Twelve fresh volumes with a lesion (``lesions.py``: a real brain template, every head and scan another, half bright,
half dark) are explained by the demo network as it was trained, by the same with random weights, and by an edge
detector that passes for an explanation of the trained one. The first should pass, the second belong to no network and
no answer, the third to no class and no network. Every verdict is counted, also those that should not be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "CAMOverlay")]

from Benchmarks.lesions import make_phantom
from CAMOverlayLib.contract.findings import CHECKS, VERDICTS
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import Request, Result
from CAMOverlayLib.contract.target import VolumeFile
from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.engine.bundle.model import Model
from CAMOverlayLib.engine.bundle.opened import open_model
from CAMOverlayLib.engine.cache import Cache
from CAMOverlayLib.engine.geometry.volume import read_volume
from CAMOverlayLib.engine.methods import METHODS, Case, Method
from CAMOverlayLib.engine.methods.method import no_layer
from CAMOverlayLib.engine.pipeline import explain_model
from CAMOverlayLib.engine.progress import Clock

SEEDS = range(32_000, 32_100)
"""Of no other benchmark, test or training."""

UP_TO_THE_MAP = ("volume", "preprocess", "forward", "backward")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--json", type=Path, default=Path("output/trust_card.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows: list[Row] = []
    for number, seed in enumerate(SEEDS[: options.volumes]):
        kind = ("bright", "dark")[number % 2]
        with tempfile.TemporaryDirectory() as folder:
            volume = written(seed, kind, Path(folder))
            for name, (network, method) in subjects(seed).items():
                rows.append({"subject": name, "seed": seed, "kind": kind} | checked(volume, network, method, folder))
                say(rows[-1])
    print(table(rows))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=1) + "\n")


def say(row: Row) -> None:
    words = " ".join(f"{name}={row['verdicts'][name]}" for name in CHECKS)
    print(f"{row['seed']} {row['kind']:6s} {row['subject']:14s} {words}", file=sys.stderr, flush=True)


def written(seed: int, kind: str, folder: Path) -> VolumeFile:
    phantom = make_phantom(seed, kind)
    np.save(folder / "volume.npy", np.asfortranarray(np.rint(phantom.array).astype(np.int16)))
    affine = tuple(tuple(float(x) for x in row) for row in phantom.affine)
    return VolumeFile(str(folder / "volume.npy"), affine, f"phantom {seed}")


def demo() -> Model:
    return open_model(ModelSource(str(DEMO_BUNDLE), trust=True)).model(torch.device("cpu"))


def of_random_weights(seed: int) -> nn.Module:
    network = demo().network
    torch.manual_seed(seed)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return network


def edges(case: Case) -> torch.Tensor:
    return (case.image - case.image.mean()).abs()[0].mean(0)


def subjects(seed: int) -> dict[str, tuple[nn.Module, Callable[[Case], torch.Tensor] | None]]:
    trained = demo().network
    return {
        "trained": (trained, None),
        "random weights": (of_random_weights(seed), None),
        "edge detector": (trained, edges),
    }


def checked(volume: VolumeFile, network: nn.Module, method: Callable | None, folder: str) -> Row:
    """The verdicts, and what the checks took."""
    name, before = ("saliency", METHODS["saliency"]) if method else ("gradcam", METHODS["gradcam"])
    if method:
        METHODS[name] = Method(before.info, method, no_layer)
    request = Request((volume,), ModelSource(str(DEMO_BUNDLE), True), folder, method=name, device="cpu", checks="full")
    try:
        result = explained(volume, network, request)
        quick = explained(volume, network, replace(request, checks="quick"))
    finally:
        METHODS[name] = before
    return {
        "predicted": result.prediction.name,
        "verdicts": {one.name: one.verdict for one in result.checks},
        "figures": {one.name: one.figures for one in result.checks},
        "full": costs(result),
        "quick": costs(quick),
    }


def explained(volume: VolumeFile, network: nn.Module, request: Request) -> Result:
    clock = Clock(lambda progress: None)
    with clock.stage("volume"):
        read = read_volume(volume)
    return explain_model(replace(demo(), network=network), [read], request, clock, Cache())


def costs(result: Result) -> tuple[float, float]:
    """What the checks took in terms of the run up to the map, and of its two passes alone."""
    timings = result.timings
    passes = timings["forward"] + timings["backward"]
    return timings["check"] / sum(timings[one] for one in UP_TO_THE_MAP), timings["check"] / passes


def table(rows: list[Row]) -> str:
    """Passed / failed / undecided, by subject and check; then the costs, in medians."""
    lines = ["| | " + " | ".join(CHECKS) + " |", "|---" * (1 + len(CHECKS)) + "|"]
    for subject in dict.fromkeys(row["subject"] for row in rows):
        cells = []
        for check in CHECKS:
            counts = Counter(row["verdicts"][check] for row in rows if row["subject"] == subject)
            cells.append(" / ".join(str(counts[verdict]) for verdict in VERDICTS))
        lines.append(f"| {subject} | " + " | ".join(cells) + " |")
    lines += ["", f"passed / failed / undecided, of {len({row['seed'] for row in rows})} volumes each"]
    trained = [row for row in rows if row["subject"] == "trained"]
    for what in ("quick", "full"):
        of_run, of_passes = np.median([row[what] for row in trained], axis=0)
        lines.append(f"{what}: {of_run:.2f} × the run up to the map, {of_passes:.1f} × its two passes")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

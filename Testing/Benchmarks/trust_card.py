"""What the trust card says of maps of which the truth is known: ``make trust-card``, some minutes, seeds fixed.

    python Testing/Benchmarks/trust_card.py [--volumes 12] [--subjects trained …] [--json output/trust_card.json]

Twelve fresh volumes with a lesion (``lesions.py``: a real brain template, every head and scan another, half bright,
half dark) are explained by the demo network as it was trained, by the same with random weights, by the same trained on
shuffled labels, here and now, and by an edge detector that passes for an explanation of the trained one. The first
should pass, the second belong to no network and no answer, the third to no answer, the last to no class and no network.
Every verdict is counted, also those that should not be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "CAMOverlay")]

from Benchmarks.lesions import make_phantom
from Benchmarks.train_demo_bundle import TRAINING_SEEDS, read_bundle, through_chain, train
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

SUBJECTS = ("trained", "random weights", "shuffled labels", "edge detector")

SHUFFLED_HEADS, SHUFFLED_EPOCHS = 8, 12
"""Few enough that the network learns its wrong labels by heart, or tries to, in some minutes."""

UP_TO_THE_MAP = ("volume", "preprocess", "forward", "backward")

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=int, default=12)
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--json", type=Path, default=Path("output/trust_card.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows: list[Row] = []
    for number, seed in enumerate(SEEDS[: options.volumes]):
        kind = ("bright", "dark")[number % 2]
        with tempfile.TemporaryDirectory() as folder:
            volume = written(seed, kind, Path(folder))
            for name in options.subjects:
                rows.append({"subject": name, "seed": seed, "kind": kind} | checked(volume, name, seed, folder))
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


@cache
def of_shuffled_labels() -> nn.Module:
    """Trained as the demo network was, on fewer heads, with the labels of all volumes in random order."""
    network, chain = read_bundle(DEMO_BUNDLE)
    examples = through_chain(chain, TRAINING_SEEDS[:SHUFFLED_HEADS])
    torch.manual_seed(0)
    order = torch.randperm(len(examples)).tolist()
    shuffled = [one._replace(label=examples[other].label) for one, other in zip(examples, order, strict=True)]
    train(network, shuffled, SHUFFLED_EPOCHS)
    with torch.no_grad():
        right = np.mean([int(network(one.image[None]).argmax()) == one.label for one in shuffled])
    print(f"shuffled labels: {right:.0%} of {len(shuffled)} learnt by heart", file=sys.stderr, flush=True)
    return network


def edges(case: Case) -> torch.Tensor:
    return (case.image - case.image.mean()).abs()[0].mean(0)


def network_of(subject: str, seed: int) -> nn.Module:
    if subject == "random weights":
        return of_random_weights(seed)
    return of_shuffled_labels() if subject == "shuffled labels" else demo().network


def checked(volume: VolumeFile, subject: str, seed: int, folder: str) -> Row:
    """The verdicts, and what the checks took."""
    network, dressed = network_of(subject, seed), subject == "edge detector"
    name, before = ("saliency", METHODS["saliency"]) if dressed else ("gradcam", METHODS["gradcam"])
    if dressed:
        METHODS[name] = Method(before.info, edges, no_layer)
    request = Request((volume,), ModelSource(str(DEMO_BUNDLE), True), folder, method=name, device="cpu", checks="full")
    try:
        result = explained(volume, network, request)
        quick = explained(volume, network, replace(request, checks="quick")) if subject == "trained" else None
    finally:
        METHODS[name] = before
    return {
        "predicted": result.prediction.name,
        "verdicts": {one.name: one.verdict for one in result.checks},
        "figures": {one.name: one.figures for one in result.checks},
        "full": costs(result),
        "quick": costs(quick) if quick else None,
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
        found = np.array([row[what] for row in trained]) if trained else np.full((1, 2), np.nan)
        (of_run, of_passes), most = np.median(found, axis=0), found[:, 0].max()
        lines.append(
            f"{what}: {of_run:.2f} × the run up to the map ({most:.2f} at most), {of_passes:.1f} × its two passes"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

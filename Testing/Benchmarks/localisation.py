"""How sharp the maps are, and whether they hit: ``make bench-localisation``, some minutes on two cores, seeds fixed.

    python Testing/Benchmarks/localisation.py [--choose | --on-choosing] [--weights FOLDER] [--json FILE]

Small networks of three families, total strides 8, 16 and 32, learn here to tell no lesion from a bright and a dark one
(``lesions.py``: a real brain template, every head and scan another). The volumes of one head differ in the lesion
alone, and every head has bright and dark specks, so that neither absence nor overall brightness gives a class away;
classes are nevertheless reported apart. Then every method explains the class of fresh volumes that have a lesion and
whose class the network tells right; its map goes back to the original volume, oblique and anisotropic as it is, and is
compared with the place where the lesion was painted. MONAI's GradCAM with the inverse of its ``Compose`` is the peer.

Beside the methods stand maps that explain nothing: of the same networks with random weights, |x − mean| of the input,
and a ball at the head's centre. In volumes with a bright and a dark lesion each class's map is to lie in its own, also
of the demo network. And one network learns lesions that differ from their surroundings in texture alone.

``--choose`` prints instead what the refined method's recipe and the default layer were chosen from. Networks and
lesions there are others than those of the report.

A network that is less than 95 % right on fresh volumes in eval mode trains once more; one that still is, is listed as
left out and measured by nobody.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "CAMOverlay")]

from Benchmarks.localisation_controls import CONTROLS, RANDOM, untrained
from Benchmarks.localisation_metrics import score
from Benchmarks.localisation_networks import RECIPES, accuracy, make, train
from Benchmarks.localisation_pairs import Maps, Owned, asked_methods, measure_pairs, of_pairs, report_pairs
from Benchmarks.localisation_recipes import recipes
from Benchmarks.localisation_report import LEAST_ACCURACY, Measured, as_json, as_markdown, report
from Benchmarks.localisation_volumes import Volume, chain, inputs, read, read_pairs
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.demo import DEMO_BUNDLE
from CAMOverlayLib.engine.bundle.opened import open_model
from CAMOverlayLib.engine.geometry.resample import activation_grid
from CAMOverlayLib.engine.methods import METHODS, Case, Method
from CAMOverlayLib.engine.network.forward import forward_to_layers
from CAMOverlayLib.engine.network.layers import LayerTable, list_layers
from CAMOverlayLib.engine.restore.affine import place_by_affine
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.prediction import predict

# Ranges of seeds that never meet, nor those of the demo bundle and of the tests.
TRAINING_SEEDS = range(20_000, 20_200)
CHECKING_SEEDS = range(21_000, 21_030)
CHOOSING_SEEDS = range(5_000, 5_012)
REPORTING_SEEDS = range(23_000, 23_020)
CHOOSING_PAIR_SEEDS = range(26_200, 26_206)
PAIR_SEEDS = range(24_000, 24_008)
DEMO_PAIR_SEEDS = range(25_000, 25_020)
DEMO_CHOOSING_PAIR_SEEDS = range(26_000, 26_060)
DEMO_LESION_MM = (7.0, 12.0)
"""As the demo network learned them."""

CHOOSING = [("plain/8", 0), ("densenet/16", 0), ("resnet/32", 0)]
CHOOSING += [(name, seed) for name in ("resnet/16", "densenet/32") for seed in (0, 3)]
REPORTING = [(name, seed) for name in ("plain/8", "resnet/16", "densenet/32") for seed in (1, 2)]
"""Families with their total stride, and seeds."""
REPORTING += [("texture plain/8", 1)]

HEADS_OF = {"occlusion": 1, "scorecam": 3, "smoothgrad": 3, "integratedgradients": 3, "refinedsmooth": 10}
HEADS_OF |= dict.fromkeys(("hirescam", "layercam", "gradcampp", "xgradcam", "finercam", "eigencam"), 8)
"""Methods that take long, or whose maps are all but Grad-CAM's on these networks, explain the first of the heads only;
how many volumes stands in every row."""

PEER = "MONAI GradCAM + inverse"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--choose", action="store_true", help="print what recipe and default layer were chosen from")
    parser.add_argument(
        "--on-choosing", action="store_true", help="report on the networks that recipes are compared on"
    )
    parser.add_argument("--weights", type=Path, help="keep trained weights in this folder, and use those there")
    parser.add_argument("--only", default="", help="networks whose name, as in 'resnet/16 seed 3', contains this")
    parser.add_argument(
        "--methods", default="", help="separated by commas: only these methods, and of random weights none but them"
    )
    parser.add_argument("--json", type=Path, default=Path("output/localisation.json"))
    options = parser.parse_args()

    started = time.perf_counter()
    known = CHOOSING if options.choose or options.on_choosing else REPORTING
    networks = [one for one in known if options.only in f"{one[0]} seed {one[1]}"]
    with tempfile.TemporaryDirectory() as folder, workers() as pool:
        prepare(networks, Path(folder), pool, options.weights, partial(say, started))
        jobs = {pool.submit(job, name, seed, Path(folder), options): f"{name} seed {seed}" for name, seed in networks}
        demo = None if options.only or options.on_choosing else pool.submit(demo_pairs, options.choose)
        for done in as_completed(jobs):
            say(started, f"{jobs[done]}: {done.result().accuracy:.1%} right")
    found = [done.result() for done in jobs]
    report(found)
    figures, table = as_json(found), as_markdown(found)
    if demo is not None:
        report_pairs("Two lesions, the demo network", demo.result())
        figures["two lesions, demo network"] = of_pairs(demo.result())
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=1) + "\n")
    options.json.with_suffix(".md").write_text(table)
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes; written: {options.json}")


def prepare(
    networks: Sequence[tuple[str, int]],
    folder: Path,
    pool: ProcessPoolExecutor,
    kept: Path | None,
    tell: Callable[[str], None],
) -> None:
    """What the networks learn from and are checked on, a file each in the folder."""
    for task in sorted({RECIPES[name].task for name, _ in networks}):
        members = [one for one in networks if RECIPES[one[0]].task == task]
        needed = {"checking": CHECKING_SEEDS}
        if any(weights_file(kept, *one) is None for one in members):
            needed["training"] = TRAINING_SEEDS
        for purpose, seeds in needed.items():
            heads = list(pool.map(partial(inputs, classes=RECIPES[members[0][0]].classes), seeds))
            torch.save(torch.cat(heads), folder / f"{task}-{purpose}.pt")
            tell(f"{len(heads)} heads with {task} for {purpose}")


def say(started: float, words: str) -> None:
    print(f"{time.perf_counter() - started:5.0f} s  {words}", file=sys.stderr, flush=True)


def workers() -> ProcessPoolExecutor:
    """Two processes of one thread each: two networks at once learn faster than one with two threads, and how many cores
    there are changes no sum."""
    return ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), initializer=set_up)


def set_up() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads what it did not write


def job(name: str, seed: int, folder: Path, options: argparse.Namespace) -> Measured:
    """One network from the first step of its training to the last of its maps."""
    choose = options.choose
    network, found = trained(name, seed, folder, options.weights)
    if found.left_out:
        return found
    few = set(options.methods.split(",")) if options.methods else set()
    kept = {METHODS[one].title + RANDOM for one in few}
    others = controls(name, seed, folder, network, choose)
    others = {title: row for title, row in others.items() if not few or title in kept}
    maps_of = (lambda table, heads: recipes(table)) if choose else partial(methods, few=few)
    measure(network, volumes(name, choose), found, others, maps_of)
    if RECIPES[name].task == "lesions":
        found.pairs = measure_pairs(network, pairs(choose), recipes if choose else asked_methods)
    return found


def volumes(name: str, choose: bool) -> list[Volume]:
    return _volumes(RECIPES[name].task, choose)


@cache
def _volumes(task: str, choose: bool) -> list[Volume]:
    classes = next(recipe.classes for recipe in RECIPES.values() if recipe.task == task)
    return list(read(CHOOSING_SEEDS if choose else REPORTING_SEEDS, classes))


@cache
def pairs(choose: bool) -> list[Volume]:
    return list(read_pairs(CHOOSING_PAIR_SEEDS if choose else PAIR_SEEDS, chain()))


def demo_pairs(choose: bool) -> Owned:
    """Two lesions in one volume as the demo network sees them."""
    model = open_model(ModelSource(str(DEMO_BUNDLE), trust=True)).model(torch.device("cpu"))
    seeds = DEMO_CHOOSING_PAIR_SEEDS if choose else DEMO_PAIR_SEEDS
    volumes = list(read_pairs(seeds, model.chain, DEMO_LESION_MM))
    return measure_pairs(model.network, volumes, recipes if choose else asked_methods)


# Networks -------------------------------------------------------------------------------------------------------------


def trained(name: str, seed: int, folder: Path, kept: Path | None) -> tuple[nn.Module, Measured]:
    """A network that is right, or was given a second chance."""
    task = RECIPES[name].task
    network, checking = make(name, seed), torch.load(folder / f"{task}-checking.pt", mmap=True)
    file = weights_file(kept, name, seed)
    if file is not None:
        state = torch.load(file, weights_only=True)
        network.load_state_dict(state["weights"])
        return network, Measured(name, seed, accuracy(network, checking), state["rounds"])
    training = torch.load(folder / f"{task}-training.pt", mmap=True)
    for rounds in (1, 2):
        train(network, RECIPES[name].epochs, training)
        right = accuracy(network, checking)
        if right >= LEAST_ACCURACY:
            break
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        torch.save({"weights": network.state_dict(), "rounds": rounds}, kept / _file_name(name, seed))
    return network, Measured(name, seed, right, rounds)


def weights_file(kept: Path | None, name: str, seed: int) -> Path | None:
    """Where the weights of a network were kept, if they were."""
    file = kept / _file_name(name, seed) if kept is not None else None
    return file if file is not None and file.exists() else None


def _file_name(name: str, seed: int) -> str:
    return f"{name.replace('/', '-')}-{seed}.pt"


# Maps and what they are worth -----------------------------------------------------------------------------------------


Row = Callable[[Volume], np.ndarray]
"""From a volume to a map on its own grid."""


def measure(
    network: nn.Module,
    volumes: Sequence[Volume],
    found: Measured,
    others: Mapping[str, Row],
    maps_of: Callable[[LayerTable, int], Maps],
) -> None:
    """Explain every volume whose class is told right, and score every map on the volume's own grid.

    Args:
        others: maps that the network itself does not make.
        maps_of: those that it does, of its layers and the number of the head, from 1.
    """
    table = list_layers(network, volumes[0].image[None], receptive=False)
    found.layer = table.default
    first = sorted({v.seed for v in volumes})
    for volume in volumes:
        maps = maps_of(table, 1 + first.index(volume.seed))
        case = case_of(network, volume, sorted({name for names, _ in maps.values() for name in names}))
        if case.prediction.index != volume.label:
            continue
        spacing = activation_grid(table.find(None).spatial_shape, volume.trace.input_grid).spacing
        found.activation_mm = float(np.mean(spacing))
        kind = list(RECIPES[found.name].classes)[volume.label]
        for name, (names, compute) in maps.items():
            heat = placed(compute(replace(case, layers=names)), volume)
            found.add(name, kind, score(heat, volume.truth, found.activation_mm / 2))
        for name, other in others.items():
            found.add(name, kind, score(other(volume), volume.truth, found.activation_mm / 2))


def case_of(network: nn.Module, volume: Volume, layers: Sequence[str]) -> Case:
    """The volume's own class, to explain."""
    image = volume.image[None]
    forward = forward_to_layers(network, image, layers)
    prediction = predict(forward.output, ("", "", ""), False)
    return Case(
        network, image, forward, tuple(layers), prediction, build_objective(forward.output, volume.label, prediction)
    )


def placed(heat: Tensor, volume: Volume) -> np.ndarray:
    """A map on the volume's own grid, I×J×K, its maximum about 1."""
    heat = heat.detach().float()
    return place_by_affine(heat / max(float(heat.max()), 1e-30), volume.trace).array


def controls(name: str, seed: int, folder: Path, network: nn.Module, choose: bool) -> dict[str, Row]:
    """By name: the peer's map, those of random weights, and those that look at no network."""
    if choose:
        return {}
    checking = torch.load(folder / f"{RECIPES[name].task}-checking.pt", mmap=True)
    random, first = untrained(name, seed, checking[:12]), next(iter(volumes(name, choose)))
    table = list_layers(random, first.image[None], receptive=False)

    def of_random(method: Method) -> Row:
        layers = method.layers(table, table.find(None))
        return lambda volume: placed(method.compute(case_of(random, volume, layers)), volume)

    rows: dict[str, Row] = {PEER: MonaiPeer(network, table.default)}
    rows |= {METHODS[one].title + RANDOM: of_random(METHODS[one]) for one in ("gradcam", "refined")}
    rows |= {title: partial(_of_input, look) for title, look in CONTROLS.items()}
    return rows


def _of_input(look: Callable[[Tensor], Tensor], volume: Volume) -> np.ndarray:
    return placed(look(volume.image[None]), volume)


def methods(table: LayerTable, heads: int, few: Collection[str] = ()) -> Maps:
    """Every method that explains the n-th head; of ``few``, where any are named."""
    chosen = table.find(None)
    return {
        method.title: (method.layers(table, chosen), method.compute)
        for name, method in METHODS.items()
        if heads <= HEADS_OF.get(name, heads) and (not few or name in few)
    }


class MonaiPeer:
    """What a user of MONAI alone gets: GradCAM, upsampled to the input by MONAI, put back by ``Compose.inverse``."""

    def __init__(self, network: nn.Module, layer: str) -> None:
        from monai.visualize import GradCAM

        self._gradcam = GradCAM(deepcopy(network), layer)  # its hooks stay in the network

    def __call__(self, volume: Volume) -> np.ndarray:
        from monai.data import MetaTensor
        from monai.transforms.utils import allow_missing_keys_mode

        steps, image = volume.trace.chain, volume.trace.image
        # MONAI's default maps the largest value to 0 and the smallest to 1.
        heat = 1 - torch.as_tensor(self._gradcam(volume.image[None], class_idx=volume.label)[0]).detach()
        mapped = MetaTensor(heat, affine=image.affine, applied_operations=deepcopy(image.applied_operations))
        with allow_missing_keys_mode(steps):
            return steps.inverse({"image": mapped})["image"].as_tensor()[0].numpy()


if __name__ == "__main__":
    main()
